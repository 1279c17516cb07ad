import csv
import io
import json
import random
import tempfile
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragicl.data.columns import Columns
from ragicl.data.examples import DataFile
from ragicl.errors import DataError
from ragicl.records import Example, Query

ROWS = [
    {"text": "how do I pay", "label": "billing", "id": "p1", "lang": "en"},
    {"text": "línea 1\nline 2", "label": "other", "id": "p2", "lang": "es"},
]
EXAMPLES = [
    Example("how do I pay", "billing", "p1", {"lang": "en"}),
    Example("línea 1\nline 2", "other", "p2", {"lang": "es"}),
]
FEATURES = datasets.Features(
    {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["cold", "hot"])}
)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_json(path, rows):
    path.write_text(json.dumps(rows, indent=1))


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)


WRITERS = {
    "rows.jsonl": write_jsonl,
    "rows.ndjson": write_jsonl,
    "rows.json": write_json,
    "lines.json": write_jsonl,
    "rows.csv": write_csv,
    "ROWS.CSV": write_csv,
    "rows.tsv": write_csv,
    "rows.parquet": write_parquet,
}


def read(path, **options):
    return list(DataFile(str(path), **options).examples())


def asked(path, **options):
    return list(DataFile(str(path), **options).queries())


def refused(path, *words, reader=read, **options):
    """Return the message of the one-line DataError that reading ends with."""
    with pytest.raises(DataError) as caught:
        reader(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in (Path(path).name, *words):
        assert word in message
    return message


def weather():
    rows = {"text": ["snow", "sun", "sand"], "label": [0, 1, 1]}
    return datasets.Dataset.from_dict(rows, features=FEATURES)


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_examples(tmp_path, name):
    WRITERS[name](tmp_path / name, ROWS)
    data = DataFile(str(tmp_path / name))
    assert list(data.examples()) == EXAMPLES
    assert list(data.examples()) == EXAMPLES  # it can be read again
    assert (data.skipped, data.name) == (0, str(tmp_path / name))


def test_stdin_is_json_lines_and_can_be_read_twice(monkeypatch):
    stream = io.BytesIO("".join(json.dumps(row) + "\n" for row in ROWS).encode())
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=stream))
    data = DataFile("-")
    assert list(data.examples()) == list(data.examples()) == EXAMPLES
    assert (data.name, data.source) == ("stdin", "-")


def test_the_copy_of_stdin_goes_with_its_reader(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"{}\n")))
    data = DataFile("-")
    assert len(list(tmp_path.iterdir())) == 1
    del data
    assert not list(tmp_path.iterdir())


def test_a_bad_line_of_stdin_is_named(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"text label\n")))
    refused("stdin", "stdin:1: not valid JSON", reader=lambda _: read("-"))


def test_a_saved_dataset_gives_label_names(tmp_path):
    weather().save_to_disk(tmp_path / "saved")
    assert [(e.input, e.output) for e in read(tmp_path / "saved")] == [
        ("snow", "cold"),
        ("sun", "hot"),
        ("sand", "hot"),
    ]


def test_a_saved_dataset_with_splits_is_read_by_split(tmp_path):
    splits = datasets.DatasetDict(train=weather(), test=weather().select([2]))
    splits.save_to_disk(tmp_path / "saved")
    assert len(read(tmp_path / "saved")) == 3
    assert [e.input for e in read(tmp_path / "saved", split="test")] == ["sand"]
    refused(tmp_path / "saved", "'dev'", "train, test", "--split", split="dev")


def test_a_parquet_file_of_a_dataset_gives_label_names(tmp_path):
    weather().to_parquet(tmp_path / "w.parquet")
    assert [e.output for e in read(tmp_path / "w.parquet")] == ["cold", "hot", "hot"]


def test_class_number_minus_one_is_no_label(tmp_path):
    rows = {"text": ["snow", "fog"], "label": [0, -1]}
    unlabelled = datasets.Dataset.from_dict(rows, features=FEATURES)
    unlabelled.save_to_disk(tmp_path / "saved")
    unlabelled.to_parquet(tmp_path / "w.parquet")
    for path in (tmp_path / "saved", tmp_path / "w.parquet"):
        refused(path, "row 2", "'label' is missing")
        assert [q.gold for q in asked(path)] == ["cold", None]


def test_a_dataset_of_the_hub(monkeypatch):
    calls = []

    def load_dataset(name, subset, split):
        calls.append((name, subset, split))
        return weather()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = DataFile("org/weather", subset="alps", split="test")
    assert [e.output for e in data.examples()] == ["cold", "hot", "hot"]
    assert calls == [("org/weather", "alps", "test")]
    assert data.source == "org/weather --split test --subset alps"


def test_what_the_hub_does_not_give_is_one_line(monkeypatch):
    def load_dataset(*args, **options):
        raise ConnectionError("no route\nto host\n  at all")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    refused("org/weather", "org/weather: neither a file here nor", "no route")


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "notes.txt").touch()
    refused(tmp_path, "a folder, but not one saved by the datasets library")


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
rows = st.fixed_dictionaries(
    {
        "text": texts.filter(str.strip),
        "label": texts.filter(str.strip),
        "id": st.uuids().map(str),
        "note": texts,
    }
)


@pytest.mark.parametrize("name", WRITERS)
@given(given=st.lists(rows, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_text_comes_back(name, given):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        WRITERS[name](path, given)
        examples = read(path)
    assert [(e.input, e.output, e.id, e.meta) for e in examples] == [
        (row["text"], row["label"].strip(), row["id"], {"note": row["note"]}) for row in given
    ]


@given(st.binary(max_size=80), st.sampled_from(sorted(WRITERS)), st.sampled_from(["stop", "skip"]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_rows_or_a_one_line_error(content, name, on_error):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        refused(path, on_error=on_error)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.json", "rows.jsonl"])
@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_gives_rows_or_a_one_line_error(tmp_path, name, seed):
    pick = random.Random(seed)
    path = tmp_path / name
    WRITERS[name](path, ROWS * 20)
    content = bytearray(path.read_bytes())
    for _ in range(20):
        content[pick.randrange(len(content))] = pick.randrange(256)
    path.write_bytes(content)
    try:
        assert read(path)
    except DataError:
        refused(path)


def test_other_values_are_kept_as_json_can_hold_them(tmp_path):
    row = {"text": "a", "label": 7, "when": date(1970, 1, 1), "tags": ["x", None]}
    write_parquet(tmp_path / "rows.parquet", [row])
    [example] = read(tmp_path / "rows.parquet")
    assert example == Example("a", "7", "", {"when": "1970-01-01", "tags": ["x", None]})


def test_columns_can_be_named_and_others_are_found(file):
    path = file("rows.csv", "input,output,body,queue\nA,B,C,D\n")
    assert read(path) == [Example("A", "B", "", {"body": "C", "queue": "D"})]
    [example] = read(path, columns=Columns("body", "queue"))
    assert (example.input, example.output) == ("C", "D")
    [example] = read(path, columns=Columns(output="queue"))
    assert (example.input, example.output) == ("A", "D")


def test_outputs_are_stripped_and_inputs_are_not(file):
    path = file("rows.jsonl", '{"text": " a ", "label": " b\\n", "id": 12}')
    assert read(path) == [Example(" a ", "b", "12")]


def test_texts_longer_than_csv_takes_by_itself(tmp_path):
    long = "word " * 100_000
    write_csv(tmp_path / "rows.csv", [{"text": long, "label": "x"}])
    assert read(tmp_path / "rows.csv")[0].input == long


def test_source_is_the_words_of_a_command_line(file, monkeypatch, tmp_path):
    path = file("my rows.csv", "")
    monkeypatch.chdir(tmp_path)
    assert DataFile("my rows.csv").source == f"'{path}'"
    columns = Columns("body", "the queue")
    assert DataFile("my rows.csv", columns=columns).source == (
        f"'{path}' --input-column body --output-column 'the queue'"
    )


GOOD = '{"text": "a", "label": "b"}\n'
GOOD_LINE = GOOD.encode()


@pytest.mark.parametrize("name", ["no.jsonl", "./no", "/no/such/file", "no.parquet"])
def test_a_missing_file_is_not_looked_for_on_the_hub(name, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", None)
    refused(name, "no such file")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.tsv"])
@pytest.mark.parametrize("content", ["", "\n", "\n \n\r\n\n", "\ufeff"])
def test_a_file_without_rows(file, name, content):
    path = file(name, content)
    for reader in (read, asked):
        refused(path, reader=reader)
        refused(path, reader=reader, on_error="skip")


def test_empty_tables(tmp_path, file):
    write_parquet(tmp_path / "rows.parquet", ROWS)
    pq.write_table(pq.read_table(tmp_path / "rows.parquet").slice(0, 0), tmp_path / "no.parquet")
    for path in (tmp_path / "no.parquet", file("no.json", "[]"), file("no.csv", "text,label\n")):
        refused(path, "has no rows")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("f.jsonl", GOOD + '{"body": 1, "label": "x"}', [":2:", "'body', 'label'", "input-column"]),
        ("f.jsonl", GOOD + '{"text": "x"}', [":2:", "'label' or 'output'", "--output-column"]),
        ("f.jsonl", GOOD + "{}", [":2:", "there are none"]),
        ("f.csv", "text:label\na:b\n", [":2:", "'text:label'", "--input-column"]),
        ("f.jsonl", GOOD + "\n{'a': 1}\n", [":3: not valid JSON"]),
        ("f.jsonl", GOOD + "[" * 100_000, [":2: not valid JSON"]),
        ("f.json", '[{"text": "a",\n "label"}]', ["not valid JSON", "line 2"]),
        ("f.jsonl", GOOD + "[1]\n", [":2: not a JSON object"]),
        ("f.jsonl", '"text"', [":1: not a JSON object"]),
        ("f.json", '[{"text": "a", "label": "b"}, 2]', ["row 2: not an object"]),
        ("f.jsonl", GOOD_LINE + b'{"text": "\xe9"}\n', [":2: not UTF-8 at byte 10"]),
        ("f.csv", b"text,label\n\ncaf\xe9,b\n", [":3: not UTF-8"]),
        ("f.csv", b"t\xe9xt,label\na,b\n", [":1: not UTF-8"]),
        ("f.json", b'[{"text": "\xe9"}]', ["utf-8"]),
        ("f.jsonl", '{"text": " \\n", "label": "b"}', [":1: 'text' is empty"]),
        ("f.csv", "text,label\na,\n", [":2: 'label' is empty"]),
        ("f.jsonl", GOOD + '{"text": "a", "label": null}', [":2: 'label' is missing"]),
        ("f.jsonl", '{"text": ["a"], "label": "b"}', [":1: 'text' is list, not text"]),
        ("f.jsonl", '{"text": true, "label": "b"}', [":1: 'text' is bool, not text"]),
        ("f.jsonl", '{"text": "a", "label": {}}', [":1: 'label' is dict, not text"]),
        ("f.jsonl", '{"text": "a", "label": NaN}', [":1: 'label' is missing"]),
        ("f.jsonl", '{"text": "a", "label": []}', [":1: 'label' is missing"]),
        ("f.jsonl", '{"text": "a", "label": ["b", "c"]}', [":1: 'label' holds 2 labels", "keep"]),
        ("f.jsonl", '{"text": "a", "label": "b", "id": {}}', [":1: 'id' is dict, not text"]),
        ("f.jsonl", '{"text": "\\ud800", "label": "b"}', [":1: 'text' holds half a character"]),
        ("f.csv", 'text,label\n"a\nb",c\nd,e,f\n', [":4: 3 cells under 2 columns", "','"]),
        ("f.tsv", "text\tlabel\nd\n", [":2: 1 cells under 2 columns", "'\\t'"]),
        ("f.csv", 'text,label\na,b\n"a" b,c\n', [":3:", "quote"]),
        ("f.csv", 'text,label\na,b\n"a,b\nc,d\n', [":3: a quote is opened and never closed"]),
        ("f.xls", "PK", ["unknown kind of file", ".jsonl", ".parquet"]),
        ("f.xlsx", "PK", ["not a readable workbook"]),
        ("f", GOOD, ["unknown kind of file"]),
        ("f.parquet", "not one", ["not a readable Parquet file"]),
        ("f.parquet", b"PAR1" + b"\0" * 50 + b"PAR1", ["not a readable Parquet file"]),
    ],
)
def test_errors_name_the_file_the_line_and_what_is_wrong(file, name, content, words):
    refused(file(name, content), *words)


def test_damaged_pages_of_a_parquet_file(tmp_path):
    path = tmp_path / "rows.parquet"
    write_parquet(path, [{"text": f"text {n}", "label": "x"} for n in range(1000)])
    content = bytearray(path.read_bytes())
    content[40:2000] = random.Random(0).randbytes(1960)
    path.write_bytes(content)
    refused(path, "not a readable Parquet file")


def test_a_file_that_cannot_be_read(file, monkeypatch):
    def forbidden(*args):
        raise PermissionError(13, "Permission denied")

    path = file("rows.jsonl", GOOD)
    data = DataFile(str(path))
    monkeypatch.setattr(Path, "open", forbidden)
    refused(path, "Permission denied", reader=lambda _: list(data.examples()))


@pytest.mark.parametrize(
    ("name", "content", "skipped"),
    [
        ("f.jsonl", b'%sno\n[]\n\n{"text": "\xe9"}\n{"text": ""}\n%s' % (GOOD_LINE, GOOD_LINE), 4),
        ("f.json", '[{"text": "a", "label": "b"}, 1, {}, {"text": "a", "label": "b"}]', 2),
        ("f.csv", b'text,label\na,b\nc\n\n"x" y,z\nd,\xe9\n,\na,b', 4),
    ],
)
def test_skipping_keeps_going_and_counts(file, name, content, skipped):
    path = file(name, content)
    data = DataFile(str(path), on_error="skip")
    for _ in range(2):  # counted again in each reading
        assert [(e.input, e.output) for e in data.examples()] == [("a", "b"), ("a", "b")]
        assert data.skipped == skipped
    refused(path)


def test_skipping_everything_raises_the_first_error(file):
    path = file("f.jsonl", '{"text": ""}\nno\n')
    refused(path, ":1:", "no column 'label' or 'output'", on_error="skip")
    refused(path, ":1: 'text' is empty", reader=asked, on_error="skip")


def test_skipping_does_not_pass_over_an_unclosed_quote(file):
    path = file("f.csv", 'text,label\na,b\n"c,d\ne,f\ng,h\n')
    refused(path, ":3: a quote is opened", on_error="skip")


def test_queries_have_row_numbers_and_gold_where_there_is_one(file):
    path = file(
        "q.jsonl",
        '\ufeff{"text": "a"}\n\n{"text": "b", "label": " x "}\n{"input": "c", "output": 3}\n'
        '{"text": "d", "id": "own", "label": null}\n{"text": "e", "label": "", "id": ""}\n',
    )
    assert asked(path) == [
        Query("a", "1"),
        Query("b", "2", "x"),
        Query("c", "3", "3"),
        Query("d", "own"),
        Query("e", "5"),
    ]


def test_query_numbers_count_skipped_rows(file):
    path = file("q.jsonl", '{"text": "a"}\nno\n{"text": ""}\n{"text": "d"}\n')
    data = DataFile(str(path), on_error="skip")
    assert list(data.queries()) == [Query("a", "1"), Query("d", "4")]
    assert data.skipped == 2


def test_queries_of_a_spreadsheet_export(file):
    path = file("q.csv", '\ufeff"text",queue\r\n"two\r\nlines, ""quoted""",x\r\nplain,\r\n')
    assert asked(path, columns=Columns(output="queue")) == [
        Query('two\r\nlines, "quoted"', "1", "x"),
        Query("plain", "2"),
    ]
    assert [q.gold for q in asked(path)] == [None, None]


def test_a_query_needs_a_text(file):
    path = file("q.jsonl", '{"text": "a"}\n{"label": "a"}\n')
    refused(path, ":2: no column 'text' or 'input'", "--input-column", reader=asked)
