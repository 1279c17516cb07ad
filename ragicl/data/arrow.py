"""Rows out of Parquet files and data sets of the datasets library; the home of these libraries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from ragicl.data.rows import Notify, Row, Unusable, Values, under_names
from ragicl.errors import DataError, first_line, quoted, require

if TYPE_CHECKING:
    import datasets
    import pyarrow

BATCH = 1000  # rows


def parquet_rows(path: Path, name: str, notify: Notify) -> Iterator[Row]:
    """Yield the rows of a Parquet file."""
    require("parquet", f"reading the Parquet file {name}", "pyarrow")
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = _class_names(_features(file.schema_arrow.metadata or {}))
            yield from _rows(file.iter_batches(), name, names, notify)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{name}: not a readable Parquet file ({first_line(error)})") from error


def dataset_rows(dataset: datasets.Dataset, name: str, notify: Notify) -> Iterator[Row]:
    """Yield the rows of a data set, whatever format it was saved with."""
    names = _class_names(dataset.features.to_dict())
    batches = dataset.with_format("arrow").iter(batch_size=BATCH)
    return _rows(batches, name, names, notify)


def zstd_stream(path: Path, name: str) -> IO[bytes]:
    """Return what a file holds that zstd compressed."""
    require("parquet", f"reading {name}, which zstd compressed,", "pyarrow")
    import pyarrow

    return cast("IO[bytes]", pyarrow.input_stream(str(path), compression="zstd"))


def load_folder(path: Path, split: str) -> datasets.Dataset:
    """Return a data set that the datasets library saved.

    :raises DataError: where the folder holds none, or none of that split
    """
    require("hub", f"reading the data set {path}", "datasets")
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: a folder, but not one saved by the datasets library; give a file"
        ) from error
    if isinstance(loaded, datasets.Dataset):
        return loaded
    if split not in loaded:
        raise DataError(
            f"{path}: no split {quoted(split)}; there are {', '.join(loaded)}; use --split"
        )
    return loaded[split]


def load_hub(name: str, subset: str | None, split: str) -> datasets.Dataset:
    """Return a data set of the hub.

    :raises DataError: where the hub does not give it
    """
    require("hub", f"{name} is no file here; reading it as a data set of the hub", "datasets")
    import datasets

    try:
        return datasets.load_dataset(name, subset, split=split)
    except Exception as error:  # datasets raises a dozen kinds, of several libraries
        raise DataError(
            f"{name}: neither a file here nor a data set that the hub gave ({first_line(error)})"
        ) from error


def _rows(
    batches: Iterable[pyarrow.RecordBatch | pyarrow.Table],
    name: str,
    names: Mapping[str, Sequence[str]],
    notify: Notify,
) -> Iterator[Row]:
    number = 0
    for batch in batches:
        columns = [_values(column) for column in batch.columns]
        for cells in zip(*columns, strict=True):
            number += 1
            place = f"{name}: row {number}"
            yield place, _named(under_names(batch.schema.names, cells, name, notify), names)


def _values(column: Iterable[pyarrow.Scalar]) -> list[Any]:
    """Return a column as Python's values; what these cannot represent, as text where it has one."""
    import pyarrow

    try:
        return list(column.to_pylist())  # type: ignore[attr-defined]  # of both kinds of columns
    except (OverflowError, ValueError, pyarrow.ArrowException):
        return [_value(scalar) for scalar in column]


def _value(scalar: pyarrow.Scalar) -> Any:
    import pyarrow

    try:
        return scalar.as_py()
    except (OverflowError, ValueError, pyarrow.ArrowException):
        if isinstance(scalar, pyarrow.StructScalar):
            return {name: _value(part) for name, part in scalar.items()}
        if isinstance(scalar, pyarrow.ListScalar):
            return [_value(part) for part in scalar.values]
    try:
        return scalar.cast(pyarrow.string()).as_py()
    except (ValueError, pyarrow.ArrowException):
        return Unusable(f"is a {scalar.type} that cannot be read")


def _features(metadata: Mapping[bytes, bytes]) -> Any:
    """Return what the datasets library writes of the columns into a Parquet file's header."""
    try:
        return json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, LookupError, TypeError, RecursionError):  # missing, or by another program
        return {}


def _class_names(features: Any) -> dict[str, list[str]]:
    """Return the label names of columns that hold class numbers, or lists of these."""
    found = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        while isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
            feature = feature["feature"]
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            names = feature.get("names")
            if isinstance(names, list) and all(isinstance(own, str) for own in names):
                found[column] = names
    return found


def _named(values: Values, names: Mapping[str, Sequence[str]]) -> Values:
    """Put names in place of class numbers; -1, "no label" by convention, becomes None."""
    if not names:
        return values
    return {
        column: _name(value, names[column]) if column in names else value
        for column, value in values.items()
    }


def _name(value: Any, labels: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_name(part, labels) for part in value]
    if isinstance(value, int):
        return labels[value] if 0 <= value < len(labels) else None
    return value
