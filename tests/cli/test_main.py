"""How the command ends: its exit status, and what it does when its output is not read."""

import subprocess
import sys

import pytest
from cli_runner import LM, ROWS, fails, misused, run, write_rows

from ragicl.cli.main import main


def test_errors_at_run_time_are_status_1(things):
    fails("info", "nowhere", match="there is no index at nowhere")
    fails("predict", things, "x", *LM, "--k", -1, match="k is -1")
    fails("predict", things, "--file", "nowhere.csv", *LM, match="no such file")


def test_wrong_usage_is_status_2(things):
    misused("predict", things, "x", "--k", "many", match="Invalid value for '--k'")
    misused("predict", things, "x", "--nothing", match="No such option")
    misused("predict", things, "x", "--file", "y.csv", match="Give texts or --file, not both.")
    misused("predict", things, " ", match="A text is empty.")
    misused("evaluate", things, match="Missing option '--out'")
    misused("nothing", match="No such command")


def test_an_interruption_ends_with_one_word(things, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ragicl.engine.Engine.open", interrupted)
    result = run("predict", things, "x", code=1)
    assert result.stderr.strip() == "Aborted!"


@pytest.mark.parametrize("command", [["--help"], ["predict", "INDEX", "--file", "many.jsonl"]])
def test_a_closed_pipe_is_silent(things, command):
    write_rows(things.parents[1] / "many.jsonl", ROWS * 20)  # more than a pipe holds
    arguments = [str(things) if a == "INDEX" else a for a in command]
    decide = [] if command == ["--help"] else ["--decide", "knn"]
    with subprocess.Popen(
        [sys.executable, "-m", "ragicl", *arguments, *decide],
        cwd=things.parents[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        child.stdout.close()
        said = child.stderr.read()
    assert child.returncode == 1
    assert "Error" not in said
    assert "Broken pipe" not in said


def test_every_command_is_an_error_in_the_same_way(tmp_path):
    """The commands that take an index say that there is none, and nothing else."""
    given = {"add": ["x.jsonl"], "update": ["x.jsonl"], "remove": ["id"], "prompt": ["text"],
             "explain": ["text"], "predict": ["text"],
             "evaluate": ["--test", "x.jsonl", "--out", tmp_path / "out"]}  # fmt: skip
    (tmp_path / "x.jsonl").write_text('{"id": "1", "text": "a", "label": "b"}\n')
    for name in sorted(set(main.commands) - {"index", "suggest"}):
        rest = [tmp_path / a if a == "x.jsonl" else a for a in given.get(name, [])]
        fails(name, tmp_path / "nowhere", *rest, match="there is no index at")
