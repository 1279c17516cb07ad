"""Rows out of files and data sets, whatever their format."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from ragicl.data.arrow import dataset_rows, load_folder, load_hub, parquet_rows
from ragicl.data.rows import Notify, Row, Values, under_names
from ragicl.data.separated import comma_rows, tab_rows
from ragicl.errors import DataError

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
        return lambda: dataset_rows(load_folder(path, split), name, notify)
    if path.exists():
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise DataError(f"{source}: unknown kind of file; known: {', '.join(READERS)}")
        return lambda: reader(path, name, notify)
    if path.suffix.lower() in READERS or path.is_absolute() or source.startswith("."):
        raise DataError(f"{source}: no such file")
    return lambda: dataset_rows(load_hub(source, subset, split), name, notify)


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
                yield place, _json_row(place, line, name, notify)


def _object(name: str, notify: Notify, pairs: list[tuple[str, Any]]) -> Values:
    """Return a JSON object; of keys that it has twice, none can be used."""
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    return under_names([key for key, _ in pairs], [value for _, value in pairs], name, notify)


def _json_row(place: str, line: bytes, name: str, notify: Notify) -> Values | DataError:
    try:
        values = json.loads(
            line.decode("utf-8-sig"), object_pairs_hook=partial(_object, name, notify)
        )
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
        text = path.read_text(encoding="utf-8-sig")
        rows = json.loads(text, object_pairs_hook=partial(_object, name, notify))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not valid JSON ({error})") from error
    for number, values in enumerate(rows, 1):
        place = f"{name}: row {number}"
        yield place, values if isinstance(values, dict) else DataError(f"{place}: not an object")


READERS: dict[str, Reader] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_array,
    ".csv": comma_rows,
    ".tsv": tab_rows,
    ".parquet": parquet_rows,
}
