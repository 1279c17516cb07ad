"""Commands that fill an index and look into it."""

import json
import signal
import subprocess
import sys
import time

import pytest
from cli_runner import LM, ROWS, fails, run, write_rows

from ragicl import Example, Index
from ragicl.backends.fake import FakeEncoder


def test_add_info_remove(things, work):
    write_rows(work / "more.jsonl", [{"text": "a loud drum", "label": "music"}, ROWS[0]])
    ids = run("add", things, "more.jsonl").stdout.split()
    report = json.loads(run("info", things).stdout)
    assert report["examples"] == len(ROWS) + 1
    assert report["labels"]["music"] == 1
    run("remove", things, ids[0])
    assert json.loads(run("info", things).stdout)["labels"] == {"fruit": 10, "tool": 10}
    fails("remove", things, ids[0], match="no example with id")


def test_dedupe_and_counts(work):
    rows = [*ROWS, ROWS[0], {"text": ROWS[1]["text"], "label": "tool"}]
    write_rows(work / "twice.jsonl", rows)
    result = run("index", "twice.jsonl", "--encoder", "fake:a")
    assert "1 exact duplicates, kept" in result.stderr
    assert "1 texts occur with more than one output" in result.stderr
    assert "22 examples" in result.stdout
    result = run("index", "twice.jsonl", "--encoder", "fake:a", "--dedupe", "--out", "once")
    assert "21 examples" in result.stdout


def test_running_index_again_embeds_nothing(things):
    result = run("index", "things.jsonl", "--encoder", "fake:a")
    assert "0 rows embedded, 20 were there already" in result.stderr


def bad_file(work, name, content):
    (work / name).write_bytes(content)
    return name


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("empty.jsonl", b"", "empty.jsonl has no rows"),
        ("column.jsonl", b'{"text": "a", "kind": "b"}\n', "no column 'label' or 'output'"),
        ("broken.jsonl", b'{"text": "a", "label": "b"}\n{"text": \n', "broken.jsonl:2: not valid"),
        ("latin.csv", b"text,label\ncaf\xe9,b\n", "latin.csv:2: not UTF-8"),
        ("one.jsonl", b'{"text": "a", "label": "b"}\n', "one row only"),
        ("same.csv", b"text,label\na,x\nb,x\nc,x\n", "same label"),
        ("note.txt", b"hello", "unknown kind of file"),
    ],
)
def test_bad_data(work, name, content, match):
    arguments = ["index", bad_file(work, name, content), "--encoder", "fake:a"]
    fails(*arguments, "--kind", "classify", match=match)
    assert not (work / "indexes").exists()


def test_second_writer(things, monkeypatch):
    holder = subprocess.Popen(
        [sys.executable, "-c",
         "import sys, filelock\nlock = filelock.FileLock(sys.argv[1])\nlock.acquire()\n"
         "print('held', flush=True)\nsys.stdin.read()",
         str(things / "writer.lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    monkeypatch.setattr("ragicl.index.lock.WAIT", 0.2)
    try:
        fails("remove", things, "x", match="another process is writing to")
    finally:
        holder.communicate()
    fails("remove", things, "x", match="no example with id")


@pytest.mark.slow
def test_killed_build_is_finished_by_the_same_command(work):
    rows = [{"text": f"text {n} about {n % 7}", "label": str(n % 2)} for n in range(6000)]
    write_rows(work / "many.jsonl", rows)
    script = (
        "from ragicl.index import build\n"
        "build.CHUNK = 100\n"
        "from ragicl.cli.main import main\n"
        "main(['index', 'many.jsonl', '--encoder', 'fake:a'])\n"
    )
    command = [sys.executable, "-c", script]
    child = subprocess.Popen(command, cwd=work, stderr=subprocess.DEVNULL)
    database = work / "indexes" / "many" / "examples.db-wal"
    deadline = time.monotonic() + 30
    while not (database.exists() and database.stat().st_size > 200_000):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    fails("predict", "indexes/many", "text", *LM, match="is not finished")
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=True)
    embedded, there = [int(s) for s in done.stderr.splitlines()[-1].split() if s.isdigit()]
    assert embedded + there == 6000
    assert there > 0
    assert "6000 examples, 2 labels" in done.stdout


def test_examples_are_what_was_indexed(things):
    with Index.open(things, encoder=FakeEncoder()) as opened:
        stored = sorted((e.input, e.output) for e in opened)
        assert isinstance(next(iter(opened)), Example)
    assert stored == sorted((row["text"], row["label"]) for row in ROWS)
