"""Rows out of CSV and TSV files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from ragicl.data import tabs
from ragicl.data.opening import opened
from ragicl.data.rows import Notify, Row, under_names
from ragicl.errors import DataError, quoted

SEPARATORS = (",", tabs.TAB, ";", "|")  # a semicolon is Excel's where a comma is a point
SAID_TO_EXCEL = "sep="  # a first line that only says what separates columns
MANY = 3  # places that a notice names
Cells = tuple[str, list[str] | DataError]
"""Where a row begins, and its cells or what is wrong with them."""


def comma_rows(path: Path, name: str, notify: Notify) -> Iterator[Row]:
    """Yield the rows of a CSV file, whichever of SEPARATORS its header shows."""
    with opened(path, name, notify) as file:
        separator = _separator(next((line for line in file if line.strip()), b""))
    if separator == tabs.TAB:
        notify(f"{name}: has tabs between its columns")
        yield from tab_rows(path, name, notify)
        return
    if separator != ",":
        notify(f"{name}: has {quoted(separator)} between its columns")
    with opened(path, name, notify) as file:
        cells = _csv_cells(file, name, separator, notify)
        yield from _under_header(cells, separator, name, notify)


def tab_rows(path: Path, name: str, notify: Notify) -> Iterator[Row]:
    """Yield the rows of a TSV file, whether or not its writer quoted cells."""
    with opened(path, name, notify) as file:
        quoted = tabs.quotes_cells(_decoded(file, set()))
    with opened(path, name, notify) as file:
        yield from _under_header(_tab_cells(file, name, quoted), tabs.TAB, name, notify)


def _under_header(
    rows: Iterator[Cells], separator: str, name: str, notify: Notify
) -> Iterator[Row]:
    header: list[str] = []
    for place, cells in rows:
        if not header:
            if isinstance(cells, DataError):
                raise cells
            header = [] if cells == [SAID_TO_EXCEL, ""] else cells
        elif isinstance(cells, DataError):
            yield place, cells
        elif len(cells) == len(header):
            yield place, under_names(header, cells, name, notify)
        else:
            wrong = f"{place}: {len(cells)} cells under {len(header)} columns"
            yield place, DataError(f"{wrong}; quote texts that hold a {quoted(separator)}")


def _tab_cells(file: Iterator[bytes], name: str, quoted: bool) -> Iterator[Cells]:
    bad: set[int] = set()
    records = tabs.quoted_records if quoted else tabs.plain_records
    for first, last, cells in records(_decoded(file, bad)):
        place = f"{name}:{first}"
        if not bad.isdisjoint(range(first, last + 1)):
            yield place, _not_utf8(place)
        elif cells != [""]:
            yield place, cells


def _csv_cells(file: Iterator[bytes], name: str, separator: str, notify: Notify) -> Iterator[Cells]:
    csv.field_size_limit(2**31 - 1)  # texts are longer than the module's 128 kB
    bad: set[int] = set()
    swallowed = _Swallowed(name, separator)
    reader = csv.reader(swallowed.watch(_decoded(file, bad)), delimiter=separator, strict=True)
    while True:
        first = reader.line_num + 1
        place = f"{name}:{first}"
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if "end of data" in str(error):  # all rows up to here are in one cell
                raise DataError(f"{place}: a quote is opened and never closed") from error
            yield place, DataError(f"{place}: {error}; write a quote inside quotes as two")
            continue
        finally:
            lines = swallowed.record()
        swallowed.check(first, lines, cells)
        if not bad.isdisjoint(range(first, reader.line_num + 1)):
            yield place, _not_utf8(place)
        elif cells:
            yield place, cells
    if swallowed.places:
        notify(swallowed.notice())


def _separator(header: bytes) -> str:
    """Return what stands between the columns of a header: the likeliest that it holds at all."""
    bare = re.sub(rb'"[^"]*"', b"", header)
    return next((own for own in SEPARATORS if own.encode() in bare), ",")


class _Swallowed:
    """Records of several lines each of which could be a row of its own."""

    def __init__(self, name: str, separator: str) -> None:
        self.places: list[int] = []
        self._name = name
        self._separator = separator
        self._columns = 0
        self._lines: list[str] = []

    def watch(self, lines: Iterator[str]) -> Iterator[str]:
        """Yield lines, and keep those of the present record."""
        for line in lines:
            self._lines.append(line)
            yield line

    def record(self) -> list[str]:
        """Return the lines since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def check(self, first: int, lines: list[str], cells: list[str]) -> None:
        """Note a record; the first one is the header."""
        self._columns = self._columns or len(cells)
        if len(lines) > 1 and all(
            line.count(self._separator) + 1 == self._columns for line in lines
        ):
            self.places.append(first)

    def notice(self) -> str:
        """Return a line that says where the records are, the first few of them."""
        more = f" and {len(self.places) - MANY} more" if len(self.places) > MANY else ""
        places = ", ".join(f"{self._name}:{number}" for number in self.places[:MANY])
        return (
            f"{places}{more}: a quoted cell runs over lines that each have {self._columns} "
            f"columns; if they are rows, write that quote as two, inside quotes"
        )


def _not_utf8(place: str) -> DataError:
    return DataError(f"{place}: not UTF-8; save the file as UTF-8")


def _decoded(file: Iterator[bytes], bad: set[int]) -> Iterator[str]:
    """Yield lines of text; numbers of those that are not UTF-8 go into `bad`."""
    for number, line in enumerate(file, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            bad.add(number)
            yield line.decode("utf-8", "replace")
