"""A report as JSON, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from ragicl.errors import DataError
from ragicl.evaluate.results import Report


def to_json(report: Report) -> str:
    """Return the records as JSON; a number that is not finite becomes null."""
    plain = _plain(report)
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def load_report(path: Path) -> Report:
    """Return the report that a ``report.json`` holds; null where a number belongs becomes NaN.

    :raises DataError: where the file cannot be read, or does not hold this version's records
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return cast(Report, _revived(Report, found, "report"))
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


def _plain(value: Any) -> Any:
    """Return a record as what JSON has."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _revived(kind: Any, value: Any, where: str) -> Any:
    """Return a value of JSON as the type that the records give it.

    :raises ValueError: where it is not of that type
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any or (origin is Literal and value in inner):
        return value
    if origin is UnionType:
        return _one_of(inner, value, where)
    if kind is float and (value is None or type(value) in (int, float)):
        return math.nan if value is None else float(value)
    if origin is tuple and isinstance(value, list):
        return tuple(_revived(inner[0], v, f"{where}[{n}]") for n, v in enumerate(value))
    if isinstance(value, dict) and origin is Mapping:
        return {name: _revived(inner[1], v, f"{where}.{name}") for name, v in value.items()}
    if isinstance(value, dict) and is_dataclass(kind):
        return _record(kind, value, where)
    if kind in (str, int) and type(value) is kind:
        return value
    raise ValueError(f"{where} is {type(value).__name__}")


def _record(kind: Any, value: dict[str, Any], where: str) -> Any:
    types = get_type_hints(kind)
    if odd := types.keys() ^ value.keys():
        raise ValueError(f"{where} lacks, or should not have, {', '.join(sorted(odd))}")
    return kind(**{name: _revived(types[name], value[name], f"{where}.{name}") for name in types})


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """Return a value as the first of the types that it fits."""
    if value is None and NoneType in kinds:
        return None
    for kind in kinds:
        names = {field.name for field in fields(kind)} if is_dataclass(kind) else None
        if isinstance(value, dict) and names == value.keys():
            return _record(kind, value, where)
    raise ValueError(f"{where} is {type(value).__name__}")
