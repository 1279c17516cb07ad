"""Rows out of files and data sets, whatever their format; the home of pyarrow and datasets."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ragicl.data.rows import Notify, Row, Values
from ragicl.data.separated import comma_rows, tab_rows
from ragicl.errors import DataError, first_line, require

if TYPE_CHECKING:
    import datasets

STDIN = "-"
Reader = Callable[[Path, str, Notify], Iterator[Row]]
"""Yields the rows of a file, which messages call by a name."""


def open_rows(
    source: str, name: str, split: str, subset: str | None, notify: Notify
) -> Callable[[], Iterator[Row]]:
    """Return a function that reads the rows from the beginning, each time it is called."""
    if source == STDIN:
        return _kept(sys.stdin.buffer, name, notify)
    path = Path(source)
    if path.is_dir():
        return lambda: _dataset_rows(_load_folder(path, split), name)
    if path.exists():
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise DataError(f"{source}: unknown kind of file; known: {', '.join(READERS)}")
        return lambda: reader(path, name, notify)
    if path.suffix.lower() in READERS or path.is_absolute() or source.startswith("."):
        raise DataError(f"{source}: no such file")
    return lambda: _dataset_rows(_load_hub(source, subset, split), name)


def _kept(stream: IO[bytes], name: str, notify: Notify) -> Callable[[], Iterator[Row]]:
    """Copy stdin to a file, which can be read again; it goes with the function that reads it."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl", delete=False) as copy:
        path = Path(copy.name)
        read = partial(_json_lines, path, name, notify)
        weakref.finalize(read, path.unlink)
        shutil.copyfileobj(stream, copy)
    return read


def _json_lines(path: Path, name: str, notify: Notify) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                place = f"{name}:{number}"
                yield place, _json_row(place, line)


def _json_row(place: str, line: bytes) -> Values | DataError:
    try:
        values = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return DataError(f"{place}: not UTF-8 at byte {error.start}; save the file as UTF-8")
    except (ValueError, RecursionError) as error:
        return DataError(f"{place}: not valid JSON ({error}); each line holds one object")
    if not isinstance(values, dict):
        return DataError(f"{place}: not a JSON object; each line holds one, with its columns")
    return values


def _json_array(path: Path, name: str, notify: Notify) -> Iterator[Row]:
    """Read a .json file: one array of objects, or JSON lines under that name."""
    with path.open("rb") as file:
        if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"[":
            yield from _json_lines(path, name, notify)
            return
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not valid JSON ({error})") from error
    for number, values in enumerate(rows, 1):
        place = f"{name}: row {number}"
        yield place, values if isinstance(values, dict) else DataError(f"{place}: not an object")


def _parquet(path: Path, name: str, notify: Notify) -> Iterator[Row]:
    require("parquet", f"reading the Parquet file {name}", "pyarrow")
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = _class_names(file.schema_arrow.metadata or {})
            for batch in file.iter_batches():
                for values in batch.to_pylist():
                    number += 1
                    yield f"{name}: row {number}", _named(values, names)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{name}: not a readable Parquet file ({first_line(error)})") from error


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return the label names that the datasets library writes into a Parquet file's header."""
    info = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {})
    return {
        column: feature["names"]
        for column, feature in info.get("features", {}).items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def _named(values: Values, names: Mapping[str, Sequence[str]]) -> Values:
    """Put names in place of class numbers; -1, "no label" by convention, becomes None."""
    named = dict(values)
    for column, labels in names.items():
        if isinstance(number := named.get(column), int):
            named[column] = labels[number] if 0 <= number < len(labels) else None
    return named


def _load_folder(path: Path, split: str) -> datasets.Dataset:
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
        raise DataError(f"{path}: no split {split!r}; there are {', '.join(loaded)}; use --split")
    return loaded[split]


def _load_hub(name: str, subset: str | None, split: str) -> datasets.Dataset:
    require("hub", f"{name} is no file here; reading it as a data set of the hub", "datasets")
    import datasets

    try:
        return datasets.load_dataset(name, subset, split=split)
    except Exception as error:  # datasets raises a dozen kinds, of several libraries
        raise DataError(
            f"{name}: neither a file here nor a data set that the hub gave ({first_line(error)})"
        ) from error


def _dataset_rows(dataset: datasets.Dataset, name: str) -> Iterator[Row]:
    names = {
        column: feature.names
        for column, feature in dataset.features.items()
        if hasattr(feature, "int2str")
    }
    for number, values in enumerate(dataset, 1):
        yield f"{name}: row {number}", _named(values, names)


READERS: dict[str, Reader] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_array,
    ".csv": comma_rows,
    ".tsv": tab_rows,
    ".parquet": _parquet,
}
