"""Standard streams that are closed, full, or of another encoding than UTF-8."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest

PREDICT = ["predict", "indexes/things", "日本 🙂 é", "--decide", "knn", "--k", "2"]


def shell(work, arguments, redirected, **environment):
    """Run a command with its streams redirected by a shell."""
    line = shlex.join([sys.executable, "-W", "ignore", "-m", "ragicl", *arguments])
    return subprocess.run(
        ["bash", "-c", f"{line} {redirected}"],
        cwd=work, capture_output=True, env=os.environ | environment, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("redirected", ["2>&-", "<&-", "<&- 2>&-", "2>/dev/null"])
@pytest.mark.parametrize("form", ["jsonl", "json", "table", "csv"])
def test_results_come_without_stdin_or_stderr(things, redirected, form):
    ran = shell(things.parents[1], [*PREDICT, "--format", form], redirected)
    assert ran.returncode == 0
    assert "日本 🙂 é".encode() in ran.stdout
    assert ran.stderr == b""


def test_a_file_does_not_get_the_number_of_a_closed_stream(things):
    work = things.parents[1]
    for redirected in (">&- 2>&-", "<&- >&- 2>&-"):
        ran = shell(work, [*PREDICT, "--out", "rows.jsonl"], redirected)
        assert ran.returncode == 0
        assert json.loads((work / "rows.jsonl").read_text())["input"] == "日本 🙂 é"


@pytest.mark.parametrize("redirected", [">&-", "> /dev/full", ">&- <&-"])
@pytest.mark.parametrize(
    "arguments",
    [PREDICT, [*PREDICT, "--format", "json"], ["info", "indexes/things"], ["--help"],
     ["index", "things.jsonl", "--encoder", "fake:a", "--out", "new"]],
)  # fmt: skip
def test_results_that_stdout_does_not_take_are_an_error(things, redirected, arguments):
    ran = shell(things.parents[1], arguments, redirected)
    assert ran.returncode == 1
    said = [line for line in ran.stderr.decode().splitlines() if line.startswith("Error")]
    assert len(said) == 1
    assert said[0].startswith("Error: cannot read or write stdout: ")
    assert b"Traceback" not in ran.stderr
    assert b"Exception ignored" not in ran.stderr


def test_rows_are_read_from_no_stdin(things):
    ran = shell(things.parents[1], ["predict", "indexes/things", "--decide", "knn"], "<&-")
    assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-8"])
@pytest.mark.parametrize("form", ["jsonl", "json", "table", "csv"])
def test_characters_that_an_encoding_lacks_are_escaped(things, encoding, form):
    ran = shell(
        things.parents[1], [*PREDICT, "--format", form], "",
        PYTHONIOENCODING=encoding, PYTHONUTF8="0",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    text = ran.stdout.decode(encoding)
    if form in ("json", "jsonl"):
        row = json.loads(text)
        assert (row[0] if form == "json" else row)["input"] == "日本 🙂 é"
    elif encoding != "utf-8":
        assert "\\u65e5\\u672c \\ud83d\\ude42 é" in text
