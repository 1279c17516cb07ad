"""An audit's file holds nothing that a spreadsheet runs, and is read back as it was."""

from __future__ import annotations

import csv
from io import StringIO

import numpy as np
import pytest
from cli_runner import run

from ragicl import Example, Index
from ragicl.backends.fake import FakeEncoder
from ragicl.data.formulas import guarded, unguarded

FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "'=1",
    "''-1",
    "'",
    "'quoted'",
    "-",
    "a=1",
]
FIRST = tuple("=+-@\t\r")


def test_reading_undoes_exactly_what_writing_did():
    random = np.random.default_rng(0)
    texts = [
        "".join(random.choice(list("'=+-@\t\ra1"), size=random.integers(0, 6))) for _ in range(500)
    ]
    for text in [*FORMULAS, *texts]:
        row = {"text": guarded(text), "suggested": "", "reasons": "label"}
        assert not row["text"].startswith(FIRST)
        assert unguarded(row)["text"] == text
    assert guarded(-0.5) == -0.5


def test_other_files_are_read_as_they_are():
    for row in ({"text": "'=1"}, {"text": "'=1", "suggested": "a", "reasons": ["label"]}):
        assert unguarded(row) == row


@pytest.fixture
def formulas(work):
    """An index in which every example is worth a look, and begins like a formula."""
    with Index.create(work / "index", encoder="fake:a") as index:
        for n, text in enumerate(FORMULAS):
            for copy in ("saw drill", "saw drill tool"):
                index.add([Example(f"{text} {copy}", f"{text.strip()}L", f"{text}{n}{copy}")])
    return work / "index"


def stored(folder):
    with Index.open(folder, encoder=FakeEncoder("a")) as index:
        return {e.id: e for e in index.sample(1000)}


@pytest.mark.parametrize("separator", [",", ";"])
def test_an_audit_comes_back_unchanged(formulas, work, separator):
    file = work / "audit.csv"
    run("audit", formulas, "--out", file)
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.reader(opened))
    assert len(rows) > len(FORMULAS)
    assert not [cell for row in rows for cell in row if cell.startswith(FIRST) and not number(cell)]
    text = StringIO(newline="")
    csv.writer(text, delimiter=separator).writerows(rows)
    file.write_bytes(text.getvalue().encode("utf-8-sig"))
    before = stored(formulas)
    done = run("update", formulas, file)
    assert f"0 changed, 0 removed, {len(rows) - 1} as they were" in done.stderr
    assert stored(formulas) == before


def test_a_correction_of_a_guarded_row_is_applied(formulas, work):
    run("audit", formulas, "--out", work / "audit.csv")
    with (work / "audit.csv").open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    rows[0]["label"] = "'-right"
    with (work / "audit.csv").open("w", encoding="utf-8-sig", newline="") as opened:
        writer = csv.DictWriter(opened, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    before = stored(formulas)
    assert "1 changed" in run("update", formulas, work / "audit.csv").stderr
    changed = [e for e in stored(formulas).values() if e != before[e.id]]
    assert [e.output for e in changed] == ["-right"]


def number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True
