"""Rows out of files and data sets, whatever their format; the home of pyarrow and datasets."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ragicl.errors import DataError, first_line, require

if TYPE_CHECKING:
    import datasets

STDIN = "-"
Values = Mapping[str, Any]
Row = tuple[str, Values | DataError]
"""Where a row stands (file:line), and its values or what is wrong with it."""


def open_rows(
    source: str, name: str, split: str, subset: str | None
) -> Callable[[], Iterator[Row]]:
    """Return a function that reads the rows from the beginning, each time it is called."""
    if source == STDIN:
        return _kept(sys.stdin.buffer, name)
    path = Path(source)
    if path.is_dir():
        return lambda: _dataset_rows(_load_folder(path, split), name)
    if path.exists():
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise DataError(f"{source}: unknown kind of file; known: {', '.join(READERS)}")
        return lambda: reader(path, name)
    if path.suffix.lower() in READERS or path.is_absolute() or source.startswith("."):
        raise DataError(f"{source}: no such file")
    return lambda: _dataset_rows(_load_hub(source, subset, split), name)


def _kept(stream: IO[bytes], name: str) -> Callable[[], Iterator[Row]]:
    """Copy stdin to a file, which can be read again; it goes with the function that reads it."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl", delete=False) as copy:
        path = Path(copy.name)
        read = partial(_json_lines, path, name)
        weakref.finalize(read, path.unlink)
        shutil.copyfileobj(stream, copy)
    return read


def _json_lines(path: Path, name: str) -> Iterator[Row]:
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


def _json_array(path: Path, name: str) -> Iterator[Row]:
    """Read a .json file: one array of objects, or JSON lines under that name."""
    with path.open("rb") as file:
        if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"[":
            yield from _json_lines(path, name)
            return
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not valid JSON ({error})") from error
    for number, values in enumerate(rows, 1):
        place = f"{name}: row {number}"
        yield place, values if isinstance(values, dict) else DataError(f"{place}: not an object")


def _separated(path: Path, name: str, separator: str) -> Iterator[Row]:
    header: list[str] = []
    with path.open("rb") as file:
        for place, cells in _cells(file, name, separator):
            if not header:
                if isinstance(cells, DataError):
                    raise cells
                header = cells
            elif isinstance(cells, DataError):
                yield place, cells
            elif len(cells) == len(header):
                yield place, dict(zip(header, cells, strict=True))
            else:
                wrong = f"{place}: {len(cells)} cells under {len(header)} columns"
                yield place, DataError(f"{wrong}; quote texts that hold a {separator!r}")


def _cells(
    file: IO[bytes], name: str, separator: str
) -> Iterator[tuple[str, list[str] | DataError]]:
    """Yield where each row begins, and its cells or what is wrong with them."""
    csv.field_size_limit(2**31 - 1)  # texts are longer than the module's 128 kB
    bad: set[int] = set()
    reader = csv.reader(_decoded(file, bad), delimiter=separator, strict=True)
    while True:
        first = reader.line_num + 1
        place = f"{name}:{first}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "end of data" in str(error):  # all rows up to here are in one cell
                raise DataError(f"{place}: a quote is opened and never closed") from error
            yield place, DataError(f"{place}: {error}; write a quote inside quotes as two")
            continue
        if not bad.isdisjoint(range(first, reader.line_num + 1)):
            yield place, DataError(f"{place}: not UTF-8; save the file as UTF-8")
        elif cells:
            yield place, cells


def _decoded(file: IO[bytes], bad: set[int]) -> Iterator[str]:
    """Yield lines of text; numbers of those that are not UTF-8 go into `bad`."""
    for number, line in enumerate(file, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            bad.add(number)
            yield line.decode("utf-8", "replace")


def _parquet(path: Path, name: str) -> Iterator[Row]:
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


READERS: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_array,
    ".csv": lambda path, name: _separated(path, name, ","),
    ".tsv": lambda path, name: _separated(path, name, "\t"),
    ".parquet": _parquet,
}
