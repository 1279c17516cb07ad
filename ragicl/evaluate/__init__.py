"""How far the engine is from fine-tuning: distances, references, bounds, curves, reports.

The names below are imported when first used: ``ragicl --help`` needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragicl.evaluate.metrics.distances import total_variation
    from ragicl.evaluate.report.serialize import load_report
    from ragicl.evaluate.report.write import write_report
    from ragicl.evaluate.results import Report, SetReport
    from ragicl.evaluate.run import evaluate
    from ragicl.evaluate.task import Reference, Task

_HOMES = {
    "Reference": "ragicl.evaluate.task",
    "Report": "ragicl.evaluate.results",
    "SetReport": "ragicl.evaluate.results",
    "Task": "ragicl.evaluate.task",
    "evaluate": "ragicl.evaluate.run",
    "load_report": "ragicl.evaluate.report.serialize",
    "total_variation": "ragicl.evaluate.metrics.distances",
    "write_report": "ragicl.evaluate.report.write",
}

__all__ = [
    "Reference",
    "Report",
    "SetReport",
    "Task",
    "evaluate",
    "load_report",
    "total_variation",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ragicl.evaluate' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
