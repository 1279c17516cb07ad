"""Which column is which, and what a column may hold."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragicl.data.examples import DataFile
from ragicl.errors import DataError

NAMED = {
    "text": (["text", "text", "label"], ["a", "b", "x"]),
    "label": (["text", "label", "label"], ["a", "x", "y"]),
    "id": (["id", "id", "text", "label"], ["1", "2", "a", "x"]),
}
UNUSED = (["text", "label", "note", "note"], ["a", "x", "n", "m"])
SUFFIXES = [".csv", ".tsv", ".parquet", ".jsonl", ".json"]


def write(path, names, cells):
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            separator = "\t" if path.suffix == ".tsv" else ","
            csv.writer(file, delimiter=separator).writerows([names, cells])
    elif path.suffix == ".parquet":
        pq.write_table(pa.table([[cell] for cell in cells], names=names), path)
    else:
        pairs = ", ".join(
            f"{json.dumps(n)}: {json.dumps(c)}" for n, c in zip(names, cells, strict=True)
        )
        path.write_text(f"[{{{pairs}}}]" if path.suffix == ".json" else f"{{{pairs}}}\n")


def read(path, **options):
    told = []
    return list(DataFile(str(path), notify=told.append, **options).examples()), told


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("column", NAMED)
def test_a_column_that_occurs_twice_cannot_be_used(tmp_path, suffix, column):
    write(tmp_path / f"t{suffix}", *NAMED[column])
    with pytest.raises(DataError, match=f"'{column}' is the name of 2 columns; rename them"):
        read(tmp_path / f"t{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_that_is_not_used_is_left_out_with_a_word(tmp_path, suffix):
    write(tmp_path / f"t{suffix}", *UNUSED)
    [example], told = read(tmp_path / f"t{suffix}")
    assert (example.input, example.output, example.meta) == ("a", "x", {})
    assert [line.partition(": ")[2] for line in told] == [
        "'note' is the name of 2 columns; rename them; they are left out"
    ]


def test_columns_without_a_name_are_nothing_to_speak_of(tmp_path):
    (tmp_path / "t.csv").write_text("text,label,,\na,x,,\n")
    [example], told = read(tmp_path / "t.csv")
    assert (example.meta, told) == ({"": ""}, [])
