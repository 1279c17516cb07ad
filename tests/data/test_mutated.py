"""300 files mutated from good ones: rows that were written, or one clear line."""

import csv
import io
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragicl.data.examples import DataFile
from ragicl.errors import DataError

KINDS = ["csv", "tsv", "jsonl", "parquet"]
WORDS = ['good "film"', "naïve, really", "line 1\nline 2", "tab\there", "it's 5'11\"", "ok"]


def rows_of(pick):
    return [
        {
            "text": f"{n} {' '.join(pick.choices(WORDS, k=3))}",
            "label": pick.choice(["pos", "neg"]),
            "id": f"r{n}",
            "note": pick.choice(["", "x;y", "z"]),
        }
        for n in range(12)
    ]


def written(kind, rows):
    if kind == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if kind == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], delimiter="\t" if kind == "tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def flip(content, pick):
    content[pick.randrange(len(content))] = pick.randrange(256)


def drop(content, pick):
    at = pick.randrange(len(content))
    del content[at : at + pick.randrange(1, 9)]


def double(content, pick):
    at = pick.randrange(len(content))
    content[at:at] = content[at : at + pick.randrange(1, 40)]


def insert(content, pick):
    odd = [
        b'"',
        b"\t",
        b",",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b";",
        b"{",
        b"[",
        b"\\",
    ]
    at = pick.randrange(len(content))
    content[at:at] = pick.choice(odd)


def cut(content, pick):
    del content[pick.randrange(1, len(content)) :]


def swap_lines(content, pick):
    lines = content.split(b"\n")
    pick.shuffle(lines)
    content[:] = b"\n".join(lines)


def recode(content, pick):
    text = content.decode("utf-8", "replace")
    content[:] = text.encode(pick.choice(["utf-16", "utf-16-le", "cp1252"]), "replace")


MUTATIONS = [flip, drop, double, insert, insert, cut, swap_lines, recode]


def outcome(path, on_error):
    data = DataFile(str(path), on_error=on_error)
    try:
        return list(data.examples())
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(75))
def test_a_mutated_file_gives_a_right_reading_or_one_clear_line(tmp_path, kind, seed):
    pick = random.Random(f"{kind} {seed}")
    content = bytearray(written(kind, rows_of(pick)))
    for _ in range(pick.randrange(1, 4)):
        pick.choice(MUTATIONS)(content, pick)
        content = content or bytearray(b"\n")
    path = tmp_path / f"mutated.{kind}"
    path.write_bytes(content)
    for on_error in ("stop", "skip"):
        found = outcome(path, on_error)
        if isinstance(found, str):
            assert "\n" not in found
            assert path.name in found
            assert len(found) < 1000
        else:
            assert all(e.input.strip() and e.output.strip() for e in found)
            assert all("\0" not in e.output for e in found) or b"\0" in content
            assert list(DataFile(str(path), on_error=on_error).examples()) == found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(10))
def test_a_byte_that_is_damaged_spoils_no_other_row(tmp_path, kind, seed):
    """One byte of a text that is no UTF-8: of line formats all other rows are read."""
    if kind == "parquet":
        pytest.skip("no format of lines")
    pick = random.Random(seed)
    rows = rows_of(pick)
    spoilt = pick.randrange(len(rows))
    marked = [row | ({"text": "§ damaged"} if n == spoilt else {}) for n, row in enumerate(rows)]
    content = written(kind, marked).replace("§".encode(), b"\xff")
    path = tmp_path / f"mutated.{kind}"
    path.write_bytes(content)
    assert f"mutated.{kind}:" in outcome(path, "stop")
    found = outcome(path, "skip")
    assert [(e.input, e.output) for e in found] == [
        (row["text"], row["label"]) for n, row in enumerate(rows) if n != spoilt
    ]
