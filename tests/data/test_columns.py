"""Which column is which, and what a column may hold."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragicl.data.columns import Columns
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


def rows_of(path, *rows, **options):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples, told = read(path, **options)
    return [(e.input, e.output, e.id, e.meta) for e in examples], told


TEXTS = ["text", "input", "sentence", "utterance", "query", "message", "Text", " QUERY "]
LABELS = ["label", "output", "category", "intent", "class", "target", "answer", "response", "Label"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("label", LABELS)
def test_usual_names_are_found(tmp_path, text, label):
    found, told = rows_of(tmp_path / "r.jsonl", {"No": 1, text: "a", label: "x"})
    assert found == [("a", "x", "", {"No": 1})]
    unusual = {name for name in (text, label) if name in TEXTS[2:6] + LABELS[2:8]}
    unusual |= {name for name in (text,) if name == " QUERY "}
    assert {line.split("'")[1] for line in told} == unusual


def test_what_is_ambiguous_lists_the_columns_and_the_option(tmp_path):
    row = {"text": "a", "category": "x", "intent": "y", "no": 1}
    with pytest.raises(DataError, match=r"'category' and 'intent' could .*'no'.*--output-column"):
        rows_of(tmp_path / "r.jsonl", row)
    with pytest.raises(DataError, match=r"'Query' and 'Message' could each .*--input-column"):
        rows_of(tmp_path / "r.jsonl", {"Query": "a", "Message": "b", "label": "x"})
    found, _ = rows_of(tmp_path / "r.jsonl", row, columns=Columns(output="intent"))
    assert found == [("a", "y", "", {"category": "x", "no": 1})]


def test_label_text_beside_label(tmp_path):
    found, told = rows_of(tmp_path / "r.jsonl", {"text": "a", "label": 1, "label_text": "sport"})
    assert found == [("a", "sport", "", {"label": 1})]
    assert "'label_text' is taken for the labels" in told[0]


def test_a_column_of_ids(tmp_path):
    row = {"text": "a", "label": "x", "Ticket": 7, "id": "n"}
    found, _ = rows_of(tmp_path / "r.jsonl", row, columns=Columns(id="ticket"))
    assert found == [("a", "x", "7", {"id": "n"})]
    row = {"text": "a", "label": "x", "ID": "n"}
    assert rows_of(tmp_path / "r.jsonl", row)[0] == [("a", "x", "n", {})]
    with pytest.raises(DataError, match=r"no column 'ticket'.*--id-column"):
        rows_of(tmp_path / "r.jsonl", row, columns=Columns(id="ticket"))


@pytest.mark.parametrize(
    ("label", "text", "word"),
    [
        (True, "true", "truth values"),
        (1.0, "1", "numbers"),
        (2.5, "2.5", "numbers"),
        (["x"], "x", "lists"),
        ([3], "3", "lists"),
        ([False], "false", "truth values"),
    ],
)
def test_labels_become_text_with_a_notice(tmp_path, label, text, word):
    found, told = rows_of(tmp_path / "r.jsonl", {"text": "a", "label": label})
    assert found == [("a", text, "", {})]
    assert word in told[-1]
    assert "r.jsonl" in told[-1]


def test_rows_to_predict_need_no_label_in_the_named_column(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"text": "a"}\n{"text": "b", "queue": "x"}\n')
    asked = DataFile(str(tmp_path / "q.jsonl"), columns=Columns(output="queue")).queries()
    assert [query.gold for query in asked] == [None, "x"]


@pytest.mark.parametrize("empty", [None, "", [], float("nan")])
def test_a_label_or_an_id_may_be_empty_in_every_way(tmp_path, empty):
    row = {"text": "a", "label": empty, "id": empty}
    (tmp_path / "q.jsonl").write_text(json.dumps(row) + "\n")
    [query] = DataFile(str(tmp_path / "q.jsonl")).queries()
    assert (query.gold, query.id, query.numbered) == (None, "1", True)
    with pytest.raises(DataError, match=r"'label' is (missing|empty)"):
        read(tmp_path / "q.jsonl")
