"""A whole evaluation: all sets, the recommendation, what it was run on."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec.structs import replace

from ragicl.errors import TaskError, quoted
from ragicl.evaluate.curves import OVER
from ragicl.evaluate.label_study import study_labels
from ragicl.evaluate.references.registry import check, chosen
from ragicl.evaluate.report.recommendation import recommend
from ragicl.evaluate.results import Report, SetReport
from ragicl.evaluate.task import Task
from ragicl.evaluate.text_study import study_texts

PACKAGES = ("ragicl", "torch", "transformers", "peft", "sentence-transformers", "faiss-cpu",
            "scikit-learn")  # fmt: skip


def evaluate(
    tasks: Sequence[Task],
    references: Sequence[str] | None,
    *,
    seeds: int = 2,
    curves: Sequence[str] = (),
    command: str = "",
    so_far: Callable[[Report], object] | None = None,
) -> Report:
    """Measure what ``ragicl predict`` answers to each task beside the references named.

    Everything is kept in the tasks' folder as it is made: a killed evaluation, run again, repeats
    nothing that was done.

    :param references: by name; None takes the usual ones
    :param seeds: of references with randomness; two or more give each its noise floor
    :param curves: ``pool``, ``k`` or ``budget``, of labels alone
    :param so_far: is given the report after each set
    :raises TaskError: for an unknown reference or curve
    """
    if seeds < 1:
        raise TaskError(f"seeds is {seeds}; it must be 1 or more")
    if unknown := [over for over in curves if over not in OVER]:
        raise TaskError(f"unknown curve {quoted(unknown[0])}; known: {', '.join(OVER)}")
    named = [chosen(references, task.kind) for task in tasks]
    for task, names in zip(tasks, named, strict=True):
        check(task, names)  # errors come first
    report = Report((), command, _now(), _machine(), _versions())
    for task, names in zip(tasks, named, strict=True):
        own = _study(task, names, seeds, curves)
        report = replace(
            report, sets=(*report.sets, replace(own, recommendation=recommend(own))), date=_now()
        )
        if so_far is not None:
            so_far(report)
    return report


def _study(task: Task, names: Sequence[str], seeds: int, curves: Sequence[str]) -> SetReport:
    if task.kind == "generate":
        return study_texts(task, names, seeds)
    return study_labels(task, names, seeds, curves)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    return {name: found for name in PACKAGES if (found := _version(name))}


def _machine() -> str:
    from ragicl.backends.hf.loading import accelerator

    return f"{_processor()}, {os.cpu_count()} cores, {accelerator() or 'no GPU'}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
