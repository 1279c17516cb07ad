"""Rows out of Excel workbooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragicl.data.rows import Notify, Row, under_names
from ragicl.errors import DataError, first_line, quoted, require


def workbook_rows(path: Path, name: str, notify: Notify) -> Iterator[Row]:
    """Yield the rows of a workbook's first sheet that has any, under its first row."""
    require("xlsx", f"reading the workbook {name}", "python_calamine")
    import python_calamine as calamine

    try:
        with calamine.CalamineWorkbook.from_path(str(path)) as book:
            sheets = [(own, _cells(book.get_sheet_by_name(own))) for own in book.sheet_names]
    except (calamine.CalamineError, OSError, ValueError) as error:
        raise DataError(f"{name}: not a readable workbook ({first_line(error)})") from error
    filled = [(sheet, rows) for sheet, rows in sheets if any(map(any, rows))]
    if not filled:
        return
    sheet, rows = filled[0]
    others = f"; {len(filled) - 1} more are not read" if len(filled) > 1 else ""
    notify(f"{name}: the sheet {quoted(sheet)} is read{others}")
    yield from _under_first(rows, name, notify)


def _under_first(rows: list[list[Any]], name: str, notify: Notify) -> Iterator[Row]:
    header: list[str] = []
    for number, cells in enumerate(rows, 1):
        if not any(cell not in (None, "") for cell in cells):
            continue
        if not header:
            header = [str(cell) for cell in cells]
            continue
        yield f"{name}: row {number}", under_names(header, cells, name, notify)


def _cells(sheet: Any) -> list[list[Any]]:
    return [[_cell(cell) for cell in row] for row in sheet.to_python(skip_empty_area=False)]


def _cell(value: Any) -> Any:
    """Return a cell; workbooks know no whole numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
