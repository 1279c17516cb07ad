"""Runs ragicl's commands in this process, on a few rows."""

import json

import pytest
from click.testing import CliRunner

from ragicl.cli.main import main

KINDS = {
    "fruit": ("sweet ripe", ["apple", "pear"]),
    "tool": ("sharp steel", ["hammer", "saw"]),
}
ROWS = [
    {"text": f"{common} {thing} {word}", "label": label}
    for label, (common, things) in KINDS.items()
    for thing in things
    for word in ["red", "big", "old", "new", "tiny"]
]
LM = ["--lm", "fake:4000"]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The folder that commands run in, with ROWS in things.jsonl."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "things.jsonl", ROWS)
    return tmp_path


@pytest.fixture
def things(work):
    """The index of things.jsonl."""
    run("index", "things.jsonl", "--encoder", "fake:a")
    return work / "indexes" / "things"


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(*arguments, code=0, stdin=None):
    result = CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)
    assert result.exit_code == code, result.output
    return result


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def fails(*arguments, match, stdin=None):
    """The command ends with status 1 and one line that says what is wrong."""
    _ends(*arguments, code=1, match=match, stdin=stdin)


def misused(*arguments, match, stdin=None):
    """The command line is wrong: status 2, and a last line that says what is."""
    _ends(*arguments, code=2, match=match, stdin=stdin)


def _ends(*arguments, code, match, stdin):
    result = run(*arguments, code=code, stdin=stdin)
    message = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(message) == 1
    assert result.stderr.strip().endswith(message[0])
    assert match in message[0]
