"""Cells of a file for spreadsheets, which take a text that begins with ``=`` for a formula.

A quotation mark in front makes them show the text. One is added to a text that begins so after any
number of them, and one is taken away: what is read is exactly what was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
GUARDED = re.compile(r"'+[=+\-@\t\r\n]")
REVIEWED = ("suggested", "reasons")  # columns that tell an audit's file from others


def guarded(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula; numbers are none."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def unguarded(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row with its texts as they were before :func:`guarded`.

    Only an audit's table has guarded cells; in its JSON the reasons are a list.
    """
    if not all(isinstance(row.get(column, ""), str) and column in row for column in REVIEWED):
        return row
    return {name: _bare(value) for name, value in row.items()}


def _bare(value: Any) -> Any:
    return value[1:] if isinstance(value, str) and GUARDED.match(value) else value
