"""A report as JSON, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ragicl.errors import DataError
from ragicl.evaluate.results import Number, Report

FORMAT = 2
"""Of the file. Format 1, without a number, called `ragicl` what is now `icl`."""


def to_json(report: Report) -> str:
    """Return the records as JSON; a number that is not finite becomes null."""
    plain = {"format": FORMAT, **msgspec.to_builtins(report, enc_hook=_plain)}
    finite = json.loads(json.dumps(plain), parse_constant=lambda _: None)
    return json.dumps(finite, indent=1, ensure_ascii=False) + "\n"


def load_report(path: Path) -> Report:
    """Return the report that a ``report.json`` holds; null where a number belongs becomes NaN.

    :raises DataError: where the file cannot be read, or does not hold this version's records
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(_records(found), Report, dec_hook=_number)
    except OSError as error:
        raise DataError(
            f"cannot read the report {path}: {error.strerror}; give the report.json of an "
            f"evaluation, or its folder"
        ) from error
    except ValueError as error:
        raise DataError(
            f"{path} is not the report of an evaluation, or not a report of this version of ragicl "
            f"({error}); evaluate again"
        ) from error


def _records(found: Any) -> dict[str, Any]:
    """Return what a file of this format holds.

    :raises ValueError: where the file is of another format
    """
    if not isinstance(found, dict):
        raise ValueError("it holds no records")
    number = found.pop("format", 1)
    if number == 1:
        raise ValueError("format 1, of ragicl before 0.2.0, calls `ragicl` what is now `icl`")
    if number != FORMAT:
        raise ValueError(f"its format is {number!r}, and {FORMAT} is read")
    return found


def _plain(value: Any) -> Any:
    """Return as JSON has it what a report may hold beside its records."""
    if isinstance(value, Mapping):
        return dict(value)
    return float(value) if isinstance(value, float) else str(value)


def _number(kind: type, value: Any) -> Any:
    """Return a number of JSON, where null is NaN.

    :raises TypeError: where it is none
    """
    if kind is not Number or not (value is None or type(value) in (int, float)):
        raise TypeError(f"Expected a number, got `{type(value).__name__}`")
    return Number(math.nan if value is None else value)
