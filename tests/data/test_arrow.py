"""Parquet files and saved data sets: odd values, odd metadata, odd formats."""

import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragicl.data.columns import Columns
from ragicl.data.examples import DataFile
from ragicl.errors import DataError

DAYS = pa.array([10**7, 0], pa.int32()).cast(pa.date32())
OUT_OF_RANGE = {
    "date32": DAYS,
    "date64": pa.array([86_400_000 * 10**9, 0], pa.int64()).cast(pa.date64()),
    "timestamp[s]": pa.array([10**15, 0], pa.timestamp("s")),
    "timestamp[us]": pa.array([10**18, 0], pa.timestamp("us")),
    "timestamp with a zone": pa.array([10**18, 0], pa.timestamp("us", "Europe/Paris")),
    "duration": pa.array([10**15, 0], pa.duration("s")),
    "struct": pa.StructArray.from_arrays([DAYS], names=["day"]),
    "list": pa.ListArray.from_arrays([0, 1, 2], DAYS),
    "map": pa.MapArray.from_arrays([0, 1, 2], pa.array(["a", "b"]), DAYS),
    "text that is not UTF-8": pa.Array.from_buffers(
        pa.string(), 2, pa.array([b"\xff\xfe", b"ok"]).buffers()
    ),
}


def write(path, **columns):
    pq.write_table(pa.table({"text": ["a", "b"], "label": ["x", "y"], **columns}), path)
    return path


def read(path, **options):
    return list(DataFile(str(path), **options).examples())


@pytest.mark.parametrize("kind", OUT_OF_RANGE)
def test_values_that_python_cannot_hold_do_no_harm_elsewhere(tmp_path, kind):
    rows = read(write(tmp_path / "t.parquet", odd=OUT_OF_RANGE[kind]))
    assert [(e.input, e.output) for e in rows] == [("a", "x"), ("b", "y")]
    json.dumps([dict(e.meta) for e in rows])


def test_a_date_after_9999_is_text(tmp_path):
    first, second = read(write(tmp_path / "t.parquet", odd=DAYS))
    assert (first.meta, second.meta) == ({"odd": "29349-01-26"}, {"odd": "1970-01-01"})


def test_a_value_that_cannot_be_read_is_an_error_where_it_is_used(tmp_path):
    path = write(tmp_path / "t.parquet", odd=OUT_OF_RANGE["text that is not UTF-8"])
    with pytest.raises(DataError, match="row 1: 'odd' is a string that cannot be read"):
        read(path, columns=Columns(output="odd"))


ODD_METADATA = [
    b"not JSON",
    b"\xff\xfe",
    b"[]",
    b"null",
    b"{}",
    b'{"info": 3}',
    b'{"info": {"features": []}}',
    b'{"info": {"features": {"label": null}}}',
    b'{"info": {"features": {"label": {"_type": "ClassLabel"}}}}',
    b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": null}}}}',
    b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": [1]}}}}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("metadata", ODD_METADATA, ids=range(len(ODD_METADATA)))
def test_metadata_of_another_program_is_ignored(tmp_path, metadata):
    table = pa.table({"text": ["a"], "label": [1]}).replace_schema_metadata(
        {b"huggingface": metadata}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    assert [e.output for e in read(tmp_path / "t.parquet")] == ["1"]


@pytest.mark.parametrize("form", ["torch", "numpy", "pandas", "arrow", "python"])
@pytest.mark.parametrize("columns", [None, ["label"]], ids=["all", "one column"])
def test_a_data_set_saved_with_a_format(tmp_path, form, columns):
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["cold", "hot"]),
            "size": datasets.Value("float32"),
        }
    )
    rows = {"text": ["snow", "sun"], "label": [0, 1], "size": [1.5, 2.5]}
    saved = datasets.Dataset.from_dict(rows, features=features)
    saved.with_format(form, columns=columns).save_to_disk(tmp_path / "saved")
    assert [(e.input, e.output, e.meta) for e in read(tmp_path / "saved")] == [
        ("snow", "cold", {"size": 1.5}),
        ("sun", "hot", {"size": 2.5}),
    ]


def test_an_image_beside_the_text_is_not_opened(tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.Value("string")}
    )
    saved = datasets.Dataset.from_dict({"text": ["a"], "label": ["x"]}, features=features)
    image = {"picture": [{"bytes": b"no picture", "path": None}]}
    saved = datasets.concatenate_datasets(
        [saved, datasets.Dataset.from_dict(image).cast_column("picture", datasets.Image())], axis=1
    )
    saved.save_to_disk(tmp_path / "saved")
    assert [e.input for e in read(tmp_path / "saved")] == ["a"]
