"""Help is instant, and public names are what they are said to be."""

import importlib.util
import json
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT

import ragicl
import ragicl.evaluate
from ragicl.backends import minilm
from ragicl.backends.defaults import MINILM
from ragicl.cli.main import main

HEAVY = {
    "numpy", "faiss", "torch", "transformers", "sentence_transformers", "datasets", "sklearn",
    "matplotlib", "scipy", "pyarrow", "bm25s", "tqdm", "filelock", "sqlite3",
}  # fmt: skip

MODELS = {
    "torch", "transformers", "sentence_transformers", "datasets", "pyarrow", "pandas", "sklearn",
    "scipy", "accelerate", "peft",
}  # fmt: skip


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], *([name, "--help"] for name in sorted(main.commands))],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments):
    loaded = loaded_after(
        "from ragicl.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass"
    )
    assert not loaded & HEAVY


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_after("import ragicl") & HEAVY


def test_opening_an_index_needs_no_torch():
    assert not loaded_after("import ragicl.index") & {"torch", "transformers", "datasets"}


@pytest.mark.skipif(MINILM.path() is None, reason=f"needs {MINILM.package}")
@pytest.mark.packaged
def test_a_vote_loads_no_library_of_models(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(f'{{"text": "text {n}", "label": "{n % 2}"}}\n' for n in range(minilm.FEW - 1))
    )
    folder = str(tmp_path / "index")
    for arguments in (
        ["index", str(rows), "--out", folder],
        ["predict", folder, "text 3", "--decide", "knn"],
        ["add", folder, str(rows)],
    ):
        loaded = loaded_after(
            "import contextlib, io\nfrom ragicl.cli.main import main\n"
            "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
            f"    main({arguments!r})"
        )
        assert "faiss" in loaded
        assert not loaded & MODELS, arguments


@pytest.mark.parametrize("name", ragicl.__all__)
def test_public_names_exist_and_are_documented(name):
    assert getattr(ragicl, name).__doc__
    assert name in dir(ragicl)


@pytest.mark.parametrize("name", ragicl.evaluate.__all__)
def test_public_names_of_the_evaluation_exist_and_are_documented(name):
    assert getattr(ragicl.evaluate, name).__doc__
    assert name in dir(ragicl.evaluate)


def test_unknown_name():
    with pytest.raises(AttributeError, match="nothing_there"):
        ragicl.evaluate.nothing_there  # noqa: B018
    with pytest.raises(AttributeError, match="nothing_here"):
        ragicl.nothing_here  # noqa: B018


def test_version_is_the_projects():
    assert f'version = "{ragicl.__version__}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.slow
def test_wheel_holds_the_package_alone(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"ragicl", f"ragicl-{ragicl.__version__}.dist-info"}
    names = zipfile.ZipFile(wheel).namelist()
    assert "ragicl/py.typed" in names
    assert "ragicl/evaluate/report/templates/report.html.j2" in names


def test_checkout_folders_are_not_importable():
    code = "import importlib.util as u; print([u.find_spec(n) is None for n in ('cli', 'eval')])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.strip() == "[True, True]"
    assert importlib.util.find_spec("ragicl.cli.main")
