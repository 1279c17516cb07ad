"""Records of tab-separated text: published data sets do not quote, csv.writer and Excel do."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

TAB = "\t"
LONGEST = 10_000  # lines of a cell; what runs on for longer is no text
Record = tuple[int, int, list[str]]
"""Numbers of its first and its last line, from 1, and its cells."""

_QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
_PLAIN = re.compile(r'[^"\t]*+')


def quotes_cells(lines: Iterable[str]) -> bool:
    """Return whether every quote of a file belongs to a pair around a whole cell.

    Then a program wrote it that quotes. Pairs that enclose nothing but lines with exactly the
    header's columns are no such pairs: each of those lines is a row.
    """
    columns = 0
    for _, record in _closed(lines):
        cells = _unquoted(_text(record))
        columns = columns or _width(cells)
        if cells is None or (len(record) > 1 and not _runs_over(record, cells, columns)):
            return False
    return True


def quoted_records(lines: Iterable[str]) -> Iterator[Record]:
    """Yield the records of a file for which :func:`quotes_cells` holds."""
    for first, record in _closed(lines):
        yield first, first + len(record) - 1, _unquoted(_text(record)) or []


def plain_records(lines: Iterable[str]) -> Iterator[Record]:
    """Yield the records of any other file: quotes are text, but where all speaks against it."""
    ahead = _Ahead(lines)
    columns = 0
    first = 1
    while (line := ahead.take()) is not None:
        number, cells = 1, _cells(_text([line]), columns)
        if line.count('"') % 2 and columns > 1:
            number, cells = _joined(line, ahead, columns) or (number, cells)
        columns = columns or len(cells)
        yield first, first + number - 1, cells
        first += number


class _Ahead:
    """Lines that can be looked at before they are taken."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._seen: deque[str] = deque()

    def take(self) -> str | None:
        """Return the next line; None after the last."""
        return self._seen.popleft() if self._seen else next(self._lines, None)

    def look(self, place: int) -> str | None:
        """Return the line after `place` others; None where there is none."""
        self._seen.extend(islice(self._lines, max(0, place + 1 - len(self._seen))))
        return self._seen[place] if place < len(self._seen) else None


def _closed(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield each record's first line number and its lines: it ends where its quotes are even."""
    record: list[str] = []
    odd = False
    for number, line in enumerate(lines, 1):
        record.append(line)
        odd ^= line.count('"') % 2 == 1
        if not odd or len(record) > LONGEST:
            yield number - len(record) + 1, record
            record, odd = [], False
    if record:
        yield number - len(record) + 1, record


def _text(record: Sequence[str]) -> str:
    """Return the lines of a record without the end of the last."""
    return "".join(record).removesuffix("\n").removesuffix("\r")


def _width(header: Sequence[str] | None) -> int:
    """Return the number of columns; 0 for an empty line, which is no header."""
    return 0 if header is None or header == [""] else len(header)


def _unquoted(text: str) -> list[str] | None:
    """Return a record's cells; None where a quote is not one of a pair around a whole cell."""
    if '"' not in text:
        return text.split(TAB)
    cells = []
    at = 0
    while True:
        found = (_QUOTED if text.startswith('"', at) else _PLAIN).match(text, at)
        if found is None:
            return None
        cell = found.group()
        cells.append(cell[1:-1].replace('""', '"') if cell.startswith('"') else cell)
        at = found.end() + 1
        if at > len(text):
            return cells
        if text[at - 1] != TAB:
            return None


def _runs_over(record: Sequence[str], cells: Sequence[str], columns: int) -> bool:
    """Return whether lines are one record rather than a row each."""
    return len(cells) == columns and any(line.count(TAB) + 1 != columns for line in record)


def _cells(line: str, columns: int) -> list[str]:
    """Return a line's cells; quotes enclose them where they are doubled inside, or around all."""
    given = line.split(TAB)
    if '"' not in line:
        return given
    unquoted = _unquoted(line)
    if unquoted is None:
        return given
    all_quoted = columns != 1 and all(cell.startswith('"') for cell in given)
    if all_quoted or len(unquoted) != len(given):
        return unquoted
    return [
        bare if not own.strip('"') or '"' in bare else own
        for own, bare in zip(given, unquoted, strict=True)
    ]


def _joined(line: str, ahead: _Ahead, columns: int) -> tuple[int, list[str]] | None:
    """Return the lines that a quoted cell runs over, and the cells; None where it does not.

    No line inside it may be a row of its own: an opening quote that is text must not take the
    rows behind it.
    """
    record = [line]
    while len(record) <= LONGEST and (following := ahead.look(len(record) - 1)) is not None:
        record.append(following)
        if following.count('"') % 2:
            break
        if following.count(TAB) + 1 == columns:
            return None
    cells = _unquoted(_text(record))
    if cells is None or not _runs_over(record, cells, columns):
        return None
    for _ in record[1:]:
        ahead.take()
    return len(record), cells
