"""Rows out of files and data sets, whatever their format."""

from __future__ import annotations

import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

from ragicl.data.arrow import dataset_rows, load_folder, load_hub, parquet_rows
from ragicl.data.json_rows import json_rows
from ragicl.data.opening import COMPRESSED, kind_of, opened
from ragicl.data.rasa import rasa_rows
from ragicl.data.rows import Notify, Row
from ragicl.data.separated import comma_rows, tab_rows
from ragicl.data.spreadsheet import workbook_rows
from ragicl.errors import DataError

STDIN = "-"
LONGEST_HEADER = 65_536  # bytes
Reader = Callable[[Path, str, Notify], Iterator[Row]]
"""Yields the rows of a file, which messages call by a name."""


def open_rows(
    source: str, name: str, split: str, subset: str | None, notify: Notify
) -> Callable[[], Iterator[Row]]:
    """Return a function that reads the rows from the beginning, each time it is called."""
    if source == STDIN:
        return _kept(sys.stdin.buffer, "", name, notify)
    path = Path(source)
    if path.is_fifo() or path.is_socket():
        with path.open("rb") as stream:
            return _kept(stream, kind_of(path), name, notify)
    if path.is_char_device() or path.is_block_device():
        raise DataError(f"{source} is a device; give a file, a pipe, or {STDIN} for stdin")
    if path.is_dir():
        return lambda: dataset_rows(load_folder(path, split), name, notify)
    if path.exists():
        reader = READERS.get(kind_of(path))
        if reader is None:
            known = f"{', '.join(READERS)}, and {', '.join(COMPRESSED)} behind these"
            raise DataError(f"{source}: unknown kind of file; known: {known}")
        return lambda: reader(path, name, notify)
    if kind_of(path) in READERS or path.is_absolute() or source.startswith("."):
        raise DataError(f"{source}: no such file")
    return lambda: dataset_rows(load_hub(source, subset, split), name, notify)


def _kept(stream: IO[bytes], kind: str, name: str, notify: Notify) -> Callable[[], Iterator[Row]]:
    """Copy a stream to a file, which can be read again; it goes with the function that reads it.

    :param kind: of the stream, where its name tells
    """
    with tempfile.NamedTemporaryFile(suffix=kind, delete=False) as copy:
        path = Path(copy.name)
        try:
            shutil.copyfileobj(stream, copy)
            copy.flush()
            reader = READERS.get(kind) or _reader_of_text(path, name, notify)
        except BaseException:
            path.unlink()
            raise
    read = partial(reader, path, name, notify)
    weakref.finalize(read, path.unlink)
    return read


def _reader_of_text(path: Path, name: str, notify: Notify) -> Reader:
    """Return what reads a text without a name: JSON, or a table by its header."""
    with opened(path, name, notify) as file:
        first = file.readline(LONGEST_HEADER).strip()
    if first.startswith((b"{", b"[")):
        return json_rows
    return tab_rows if b"\t" in first else comma_rows if set(first) & set(b",;|") else json_rows


READERS: dict[str, Reader] = {
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".json": json_rows,
    ".yml": rasa_rows,
    ".yaml": rasa_rows,
    ".csv": comma_rows,
    ".tsv": tab_rows,
    ".xlsx": workbook_rows,
    ".parquet": parquet_rows,
}
