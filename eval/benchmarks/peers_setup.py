"""Which scorers are compared, and what each runs with: an environment and a readable model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TORCH = "torch==2.13.0"
LATEST = "transformers==5.23.0"
OLDER = "transformers==4.57.6"


@dataclass(frozen=True, slots=True)
class Library:
    """What a scorer needs.

    :ivar distribution: what its version is reported of
    :ivar requirements: what pip installs for it; none where ragicl's own environment serves
    :ivar alone: installed without the dependencies that it asks for
    :ivar older: it needs transformers 4, which reads the model's settings under older names
    """

    distribution: str
    requirements: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    older: bool = False


@dataclass(frozen=True, slots=True)
class Scorer:
    """A library in one precision."""

    library: str
    dtype: str

    @property
    def name(self) -> str:
        """Name in the results and on the command line."""
        return f"{self.library}-{self.dtype}"


# OpenICL asks for transformers 4.28.1, of 2023, and for faiss-gpu; it imports faiss even to score.
OPENICL = "accelerate datasets evaluate faiss-cpu nltk openai rank-bm25 requests scikit-learn"
LANGCHAIN = ("langchain-core==1.7.2", "langchain-community<0.5", "langchain-huggingface==1.2.3")
LIBRARIES = {
    "ragicl_exact": Library("ragicl"),
    "ragicl": Library("ragicl"),
    "per_label": Library("transformers"),
    # cappr imports DynamicCache.from_legacy_cache, which transformers 5 no longer has.
    "cappr": Library("cappr", ("cappr[hf]==0.9.6", OLDER, "numpy<2"), older=True),
    "lm_eval": Library("lm-eval", ("lm-eval[hf]==0.4.13", LATEST)),
    "skorch": Library("skorch", ("skorch==1.4.0", LATEST)),
    "openicl": Library(
        "openicl",
        (LATEST, "sentence-transformers", *OPENICL.split()),
        alone=("openicl==0.1.8",),
    ),
    "langchain": Library("langchain-core", (*LANGCHAIN, "faiss-cpu", LATEST)),
    "dspy": Library("dspy", ("dspy==3.4.1", LATEST)),
}
FLOAT32_ONLY = {"openicl"}  # it turns losses into numpy arrays, which have no bf16
SCORERS = tuple(
    Scorer(library, dtype)
    for library in LIBRARIES
    for dtype in ("bfloat16", "float32")
    if dtype == "float32" or library not in FLOAT32_ONLY
)


class SetupError(Exception):
    """A peer could not be installed."""


def python_of(key: str, folder: Path) -> Path:
    """Return the Python that a library runs with, installing the library where it is not yet.

    :raises SetupError: with the last thing pip said
    """
    library = LIBRARIES[key]
    if not library.requirements:
        return Path(sys.executable)
    home = folder / "environments" / key
    python, done = home / "bin" / "python", home / "installed.txt"
    wanted = "\n".join((TORCH, *library.requirements, *library.alone))
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(home, ignore_errors=True)
        print(f"installing {key}", flush=True)
        _run(sys.executable, "-m", "venv", str(home))
        _install(python, library)
        done.write_text(wanted)
    return python


def _install(python: Path, library: Library) -> None:
    """Install torch first and hold it there: any other build of it may be gigabytes larger."""
    constraints = python.parents[1] / "constraints.txt"
    constraints.write_text(TORCH + "\n")
    pip = (str(python), "-m", "pip", "install", "--quiet", "--constraint", str(constraints))
    _run(*pip, TORCH)
    _run(*pip, *library.requirements)
    if library.alone:
        _run(*pip, "--no-deps", *library.alone)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise SetupError((lines or done.stderr.splitlines() or ["no message"])[-1])


def model_for(key: str, model: Path, folder: Path) -> Path:
    """Return the model's folder, or a view of it that transformers 4 reads the same way."""
    return _older_view(model, folder / "model-4") if LIBRARIES[key].older else model


def _older_view(model: Path, view: Path) -> Path:
    """Write the settings as transformers 4 names them, beside links to the model's other files.

    Read by version 4 as they are, they would silently give the default ``rope_theta``, which is
    not this model's, and no tokenizer.
    """
    view.mkdir(parents=True, exist_ok=True)
    for file in model.iterdir():
        if not (view / file.name).exists():
            (view / file.name).symlink_to(file.resolve())
    config = json.loads((model / "config.json").read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["torch_dtype"] = config.pop("dtype")
    tokenizer = json.loads((model / "tokenizer_config.json").read_text())
    tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    tokenizer["model_input_names"] = ["input_ids", "attention_mask"]
    for name, settings in (("config.json", config), ("tokenizer_config.json", tokenizer)):
        (view / name).unlink(missing_ok=True)
        (view / name).write_text(json.dumps(settings, indent=1))
    return view
