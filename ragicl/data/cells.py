"""What a cell may hold, as text, as a label, as metadata."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from ragicl.data.rows import Notify, Unusable
from ragicl.errors import DataError, encodable, quoted


def is_empty(value: Any) -> bool:
    """Return whether a cell holds nothing: as files, tables (not a number) and lists say it."""
    return value is None or value != value or value in ("", [])


def text_of(place: str, column: str, value: Any) -> str:
    """Return a cell as text, integers as digits.

    :raises DataError: where it is anything else that is not text, or empty
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    check_text(place, column, value)
    return str(value)


def label_of(place: str, column: str, value: Any, notify: Notify) -> str:
    """Return a cell as a label, without white space around it.

    Truth values and numbers become text as JSON writes them, whole numbers without a point; a list
    of one label is that label.

    :param notify: told what becomes text
    :raises DataError: where it is nothing of that, several labels or empty
    """
    if isinstance(value, list):
        value = _only(place, column, value)
        notify(f"{quoted(column)} holds lists of one label each; they are taken out of them")
    if is_empty(value) and value != "":
        value = None
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, bool | float):
        notify(f"{quoted(column)} holds {_KINDS[type(value)]}, which become text")
        whole = isinstance(value, float) and value.is_integer()
        value = str(int(value)) if whole else json.dumps(value)
    return text_of(place, column, value).strip()


_KINDS = {bool: "truth values", float: "numbers"}


def _only(place: str, column: str, labels: list[Any]) -> Any:
    if len(labels) > 1:
        raise DataError(
            f"{place}: {quoted(column)} holds {len(labels)} labels; an index takes one label "
            "a row: keep "
            f"one, join them into one label, or make an index for each kind of label"
        )
    return labels[0] if labels else None


def check_text(place: str, column: str, value: Any) -> None:
    """Refuse what is no text.

    :raises DataError: where it is not text, is empty or not valid Unicode
    """
    if isinstance(value, Unusable):
        raise DataError(f"{place}: {quoted(column)} {value.why}")
    if not isinstance(value, str):
        raise DataError(f"{place}: {quoted(column)} is {_kind(value)}, not text")
    if not value.strip():
        raise DataError(f"{place}: {quoted(column)} is empty")
    if not encodable(value):
        raise DataError(f"{place}: {quoted(column)} holds half a character (a lone surrogate)")


def plain(value: Any) -> Any:
    """Return what JSON can hold of a value."""
    return json.loads(json.dumps(value, default=str))


def _kind(value: Any) -> str:
    return "missing" if value is None else type(value).__name__
