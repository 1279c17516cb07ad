"""What texts, labels, paths and options say must not reach a terminal as commands to it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_runner import LM, ROWS, run, write_rows
from click.testing import CliRunner

from ragicl.cli.main import main
from ragicl.errors import QUOTED, UNSEEN, quoted, visible

EVIL = "\x1b]0;gone\x07 \x9b2J \u202ecod.exe\u202c \x08\r\x7f\u2066"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def evil(work):
    """An index whose texts, labels and ids hold commands to a terminal."""
    rows = [
        {"text": f"{row['text']} {EVIL}", "label": f"{row['label']}{EVIL}", "id": f"{n}{EVIL}"}
        for n, row in enumerate(ROWS)
    ]
    write_rows(work / "evil.jsonl", rows)
    run("index", "evil.jsonl", "--encoder", "fake:a")
    return work / "indexes" / "evil"


def commands(folder):
    knn = ["--decide", "knn", "--k", "3"]
    yield from (["predict", folder, f"saw {EVIL}", *knn, "--format", f] for f in ("table", "json"))
    yield ["predict", folder, f"saw {EVIL}", *knn, "--format", "jsonl"]
    yield from (["prompt", folder, "saw", *LM, "--format", form] for form in ("table", "json"))
    yield from (["explain", folder, "saw", *LM, "--format", form] for form in ("table", "json"))
    yield from (["audit", folder, "--format", form] for form in ("table", "json", "jsonl"))
    yield ["suggest", "evil.jsonl", "--encoder", "fake:a", "--n", "2", "--format", "table"]
    yield ["add", folder, "evil.jsonl"]
    yield ["update", folder, "evil.jsonl"]
    yield ["info", folder, "--format", "table"]
    yield ["index", "evil.jsonl", "--out", f"indexes/{EVIL}", "--encoder", "fake:a"]
    yield ["info", f"nowhere{EVIL}"]
    yield ["remove", folder, f"none{EVIL}"]
    yield ["predict", folder, "saw", "--k", EVIL]
    yield ["predict", folder, "saw", "--labels", EVIL, *knn]
    yield ["predict", folder, "saw", "--lm", EVIL]
    yield ["predict", folder, "--file", f"no{EVIL}.jsonl"]
    yield ["predict", folder, f"--k{EVIL}", "1"]
    yield [f"command{EVIL}"]
    yield [f"--option{EVIL}"]


def test_nothing_shown_is_obeyed_by_a_terminal(evil):
    for arguments in commands(evil):
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exit_code in (0, 1, 2), arguments
        assert "Traceback" not in result.stderr
        for shown in (result.stdout, result.stderr):
            assert not OBEYED.search(shown), (arguments, OBEYED.findall(shown))
        if "json" in arguments and not result.exit_code:
            json.loads(result.stdout)


def test_json_keeps_what_it_escapes(evil):
    for arguments in (["--format", "jsonl"], ["--out", "rows.jsonl"]):
        result = run("predict", evil, f"saw {EVIL}", "--decide", "knn", *arguments)
        text = Path("rows.jsonl").read_bytes().decode() if "--out" in arguments else result.stdout
        assert json.loads(text)["input"] == f"saw {EVIL}"
        assert not OBEYED.search(text)


def test_what_is_seen_stays_as_it_is():
    text = "a\tb\nc é日本🙂 \u200f שלום"
    assert visible(text) == text
    assert visible("\x1b\x9b\u202e") == r"\u001b\u009b\u202e"
    assert not UNSEEN.search(visible("".join(map(chr, range(0x3000)))))


def test_a_message_repeats_at_most_200_characters():
    assert quoted("short") == "'short'"
    assert len(quoted("x" * 10_000)) == len(quoted(["x"] * 10_000)) == QUOTED + 1
