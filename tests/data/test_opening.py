"""What people bring: compressed files, UTF-16, other separators, whole JSON files."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pytest
from cli_runner import run

from ragicl.data.examples import DataFile
from ragicl.errors import DataError

ROWS = [("línea 1\nline 2, so", "a"), ('he said "hi"', "b"), ("käse; brot", "a")] * 40


def table(separator=","):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator).writerows([("text", "label"), *ROWS])
    return text.getvalue()


def objects():
    return [{"text": text, "label": label} for text, label in ROWS]


def lines():
    return "".join(json.dumps(row) + "\n" for row in objects())


CONTENTS = {".csv": table(), ".tsv": table("\t"), ".jsonl": lines(), ".json": json.dumps(objects())}


def read(path):
    told = []
    data = DataFile(str(path), notify=told.append)
    found = [(e.input, e.output) for e in data.examples()]
    assert found == [(e.input, e.output) for e in data.examples()]
    return found, [line.removeprefix(f"{path}: ") for line in told]


@pytest.mark.parametrize("suffix", CONTENTS)
@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8", []), ("utf-8-sig", []), ("utf-16", ["is UTF-16"]), ("utf-16-be", ["is UTF-16"])],
)
def test_byte_order_marks(tmp_path, suffix, encoding, said):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / f"r{suffix}").write_bytes((mark + CONTENTS[suffix]).encode(encoding))
    assert read(tmp_path / f"r{suffix}") == (ROWS, said)


@pytest.mark.parametrize("suffix", CONTENTS)
@pytest.mark.parametrize("name", ["r{}.gz", "R{}.GZ", "r{}"])
def test_gzip_is_known_by_its_content(tmp_path, suffix, name):
    path = tmp_path / name.format(suffix)
    path.write_bytes(gzip.compress(CONTENTS[suffix].encode()))
    assert read(path) == (ROWS, ["is compressed by gzip"])


@pytest.mark.parametrize("suffix", CONTENTS)
def test_zstd(tmp_path, suffix):
    path = tmp_path / f"r{suffix}.zst"
    with pa.output_stream(str(path), compression="zstd") as stream:
        stream.write(CONTENTS[suffix].encode())
    assert read(path) == (ROWS, ["is compressed by zstd"])


@pytest.mark.parametrize("cut", [3, 20, -8])
def test_a_damaged_archive_is_one_line(tmp_path, cut):
    path = tmp_path / "r.csv.gz"
    path.write_bytes(gzip.compress(table().encode())[:cut])
    with pytest.raises(DataError, match="damaged where it is compressed") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_half_a_character_of_utf_16(tmp_path, suffix):
    (tmp_path / f"r{suffix}").write_bytes(CONTENTS[suffix].encode("utf-16") + b"\x00\xd8\x41")
    with pytest.raises(DataError, match="not UTF-16 throughout"):
        read(tmp_path / f"r{suffix}")


@pytest.mark.parametrize(
    ("separator", "said"),
    [
        (";", "has ';' between its columns"),
        ("|", "has '|' between its columns"),
        ("\t", "has tabs between its columns"),
    ],
)
def test_other_separators_of_csv(tmp_path, separator, said):
    (tmp_path / "r.csv").write_text(table(separator), newline="")
    assert read(tmp_path / "r.csv") == (ROWS, [said])


def test_a_comma_comes_first_and_quoted_names_do_not_count(tmp_path):
    (tmp_path / "r.csv").write_text('text,label,"a;b"\nx;y,z,n\n')
    assert read(tmp_path / "r.csv")[0] == [("x;y", "z")]
    (tmp_path / "r.csv").write_text('text;label;"a,b"\nx,y;z;n\n')
    assert read(tmp_path / "r.csv")[0] == [("x,y", "z")]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".ndjson"])
def test_whole_json_under_any_suffix(tmp_path, suffix, indent):
    (tmp_path / f"r{suffix}").write_text(json.dumps(objects(), indent=indent))
    assert read(tmp_path / f"r{suffix}")[0] == ROWS
    around = {"version": 1, "data": objects()}
    (tmp_path / f"r{suffix}").write_text(json.dumps(around, indent=indent))
    assert read(tmp_path / f"r{suffix}")[0] == ROWS


@pytest.mark.parametrize("number", [1, 2])
def test_a_row_with_a_table_in_it_is_a_row(tmp_path, number):
    row = {"text": "a", "label": "x", "entities": [{"start": 0}]}
    (tmp_path / "r.jsonl").write_text((json.dumps(row) + "\n") * number)
    assert read(tmp_path / "r.jsonl")[0] == [("a", "x")] * number


def test_one_object_alone_is_no_table(tmp_path):
    (tmp_path / "r.json").write_text(
        json.dumps({"text": {"0": "a"}, "label": {"0": "b"}}, indent=1)
    )
    with pytest.raises(DataError, match="one JSON object; give an array"):
        read(tmp_path / "r.json")


def test_an_array_on_stdin(monkeypatch, work):
    content = json.dumps(objects())
    out = run("index", "-", "--encoder", "fake:a", "--out", "i", stdin=content)
    assert "120 examples, 2 labels" in out.stdout


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_an_audit_survives_excel_in_europe(work, things, encoding):
    run("audit", things, "--few", 100, "--out", "audit.csv")
    with (work / "audit.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    rows[1][rows[0].index("label")] = "corrected"
    with (work / "excel.csv").open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=";").writerows(rows)
    assert "1 changed, 0 removed, 19 as they were" in run("update", things, "excel.csv").stderr
