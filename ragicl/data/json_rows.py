"""Rows out of JSON: an object a line, one array, or one object around an array."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ragicl.data.columns import INPUT
from ragicl.data.opening import opened
from ragicl.data.rows import Notify, Row, Values, under_names
from ragicl.errors import DataError

OF_A_ROW = {*INPUT.usual, *INPUT.others, "messages", "conversations", "annotations"}
"""Keys that an object around the rows has not."""


def json_rows(path: Path, name: str, notify: Notify) -> Iterator[Row]:
    """Yield the rows of a JSON file; what it begins with says which kind it is."""
    with opened(path, name, notify) as file:
        first, *more = [*islice((line for line in file if line.strip()), 2), b""]
    with opened(path, name, notify) as file:
        if _is_whole(first, alone=more == [b""]):
            yield from _whole(file, name, notify)
        else:
            yield from _lines(file, name, notify)


def _is_whole(line: bytes, alone: bool) -> bool:
    """Return whether a file with this first line is one value rather than one a line.

    :param alone: whether it is the only line
    """
    text = line.lstrip(b"\xef\xbb\xbf \t").rstrip()
    return text.startswith(b"[") or text == b"{" or (alone and _around_array(text))


def _around_array(text: bytes) -> bool:
    """Return whether a line is an object around an array of objects."""
    try:
        return _inner(json.loads(text)) is not None
    except (ValueError, RecursionError):
        return False


def _inner(value: Any) -> list[Any] | None:
    """Return the one array of objects inside objects of one key; None where there is no such."""
    while isinstance(value, dict):
        lists = [own for own in value.values() if _is_table(own)]
        if len(lists) == 1 and not OF_A_ROW & set(value):
            return list(lists[0])
        value = next(iter(value.values())) if len(value) == 1 else None
    return None


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _lines(file: IO[bytes], name: str, notify: Notify) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        if line.strip():
            place = f"{name}:{number}"
            yield place, _line(place, line, name, notify)


def _line(place: str, line: bytes, name: str, notify: Notify) -> Values | DataError:
    try:
        values = _loaded(line, name, notify)
    except UnicodeDecodeError as error:
        return DataError(f"{place}: not UTF-8 at byte {error.start}; save the file as UTF-8")
    except (ValueError, RecursionError) as error:
        return DataError(f"{place}: not valid JSON ({error}); each line holds one object")
    if not isinstance(values, dict):
        return DataError(f"{place}: not a JSON object; each line holds one, with its columns")
    return values


def _whole(file: IO[bytes], name: str, notify: Notify) -> Iterator[Row]:
    try:
        loaded = _loaded(file.read(), name, notify)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not valid JSON ({error})") from error
    rows = loaded if isinstance(loaded, list) else _inner(loaded)
    if rows is None:
        raise DataError(f"{name}: one JSON object; give an array of objects, or one a line")
    for number, values in enumerate(rows, 1):
        place = f"{name}: row {number}"
        yield place, values if isinstance(values, dict) else DataError(f"{place}: not an object")


def _loaded(text: bytes, name: str, notify: Notify) -> Any:
    hook = partial(_object, name, notify)
    return json.loads(text.decode("utf-8-sig"), object_pairs_hook=hook)


def _object(name: str, notify: Notify, pairs: list[tuple[str, Any]]) -> Values:
    """Return a JSON object; of keys that it has twice, none can be used."""
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    return under_names([key for key, _ in pairs], [value for _, value in pairs], name, notify)
