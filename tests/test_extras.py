"""What an extra installs is asked for by its name, where it is missing and only there."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
from cli_runner import ROWS, write_rows
from conftest import ROOT

from ragicl import Example, Index
from ragicl.backends.defaults import SMOLLM2
from ragicl.backends.fake import FakeEncoder

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {"accelerate", "datasets", "gguf", "matplotlib", "peft", "pyarrow",
          "python_calamine", "rouge_score", "sacrebleu"}  # fmt: skip
PREPARED = "import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"


def without(blocked, code, cwd):
    start = PREPARED.format(blocked=sorted(blocked))
    return subprocess.run(
        [sys.executable, "-c", start + code], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "RAGICL_CACHE": str(cwd / "cache")},
    )  # fmt: skip


def command_without(blocked, cwd, *arguments):
    code = f"from ragicl.cli.main import main\nmain({[str(a) for a in arguments]!r})\n"
    return without(blocked, code, cwd)


@pytest.fixture
def work(tmp_path):
    with Index.create(tmp_path / "index", encoder=FakeEncoder()) as index:
        index.add([Example(row["text"], row["label"]) for row in ROWS])
    write_rows(tmp_path / "things.jsonl", ROWS)
    (tmp_path / "things.parquet").write_bytes(b"")
    (tmp_path / "things.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    (tmp_path / "things.xlsx").touch()
    (tmp_path / "nlu.yml").touch()
    (tmp_path / "saved").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("blocked", "arguments", "extra"),
    [
        ("pyarrow", ["index", "things.parquet", "--encoder", "fake:a"], "parquet"),
        ("datasets", ["index", "saved", "--encoder", "fake:a"], "hub"),
        ("datasets", ["index", "org/name", "--encoder", "fake:a"], "hub"),
        ("pyarrow", ["index", "things.jsonl.zst", "--encoder", "fake:a"], "parquet"),
        ("python_calamine", ["index", "things.xlsx", "--encoder", "fake:a"], "xlsx"),
        ("yaml", ["index", "nlu.yml", "--encoder", "fake:a"], "rasa"),
        pytest.param("gguf", ["predict", "index", "a", "--decide", "lm"], "gguf",
                     marks=pytest.mark.packaged),
        pytest.param("accelerate", ["predict", "index", "a", "--decide", "lm"], "gguf",
                     marks=pytest.mark.packaged),
    ],
)  # fmt: skip
def test_a_command_names_the_extra(work, blocked, arguments, extra):
    if extra == "gguf" and SMOLLM2.path() is None:
        pytest.skip("needs the packaged language model")
    done = command_without({blocked}, work, *arguments)
    assert done.returncode == 1, done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("Error: ")
    assert f"needs {blocked}; install it with: pip install 'ragicl[{extra}]'" in message
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("blocked", "code"),
    [
        ("matplotlib", "import ragicl.evaluate.report.plots"),
        ("accelerate", "import ragicl.backends.hf.training.api"),
        ("datasets", "import ragicl.backends.hf.training.api"),
        ("rouge_score", "from ragicl.evaluate.metrics.text_scores import *; text_rows([], [])"),
        ("sacrebleu", "from ragicl.evaluate.metrics.text_scores import *; text_rows([], [])"),
    ],
)
def test_an_evaluation_names_the_extra(tmp_path, blocked, code):
    done = without({blocked}, code, tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ragicl.errors.MissingExtraError: ")
    assert f"needs {blocked}; install it with: pip install 'ragicl[eval]'" in last


def test_the_vote_and_the_classifiers_need_no_extra(work):
    indexed = command_without(EXTRAS, work, "index", "things.jsonl", "--encoder", "fake:a")
    assert indexed.returncode == 0, indexed.stderr
    done = command_without(EXTRAS, work, "predict", "index", "a ripe pear", "--decide", "knn")
    assert done.returncode == 0, done.stderr
    assert '"output": "fruit"' in done.stdout
    done = command_without(EXTRAS, work, "audit", "index")
    assert done.returncode == 0, done.stderr


def test_extras_that_are_named_exist():
    named = {
        extra
        for file in (ROOT / "ragicl").rglob("*.py")
        for extra in re.findall(r"""require\(\s*"(\w+)",""", file.read_text())
    }
    assert named == set(PROJECT["optional-dependencies"]) - {"all", "docs", "test"}


def test_main_dependencies_hold_none_of_an_extra():
    main = {re.split(r"[>=\[]", d)[0].replace("-", "_") for d in PROJECT["dependencies"]}
    assert not main & EXTRAS
