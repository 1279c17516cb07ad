"""Answers that are kept as they are made: a killed evaluation repeats none of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragicl.evaluate.results import Cost
from ragicl.evaluate.task import Reference, Task, digest
from ragicl.protocols import FloatArray

ROWS = 64  # test rows answered and kept together
FACTS = "facts.json"


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a method answers to a task's test rows, and at what cost.

    :ivar probs: shape (rows, labels)
    """

    probs: FloatArray
    cost: Cost
    settings: dict[str, Any]


def answers_of(
    task: Task, name: str, fit: Callable[[], Reference], *, depends: object = None
) -> Answers:
    """Return a method's answers; it is fitted only where some of them are not kept.

    :param name: of the method with its seed
    :param depends: what the answers depend on besides the task's identity and its test rows
    """
    folder = task.folder / f"{name}-{digest(task.identity, task.texts, depends)}"
    if not (folder / FACTS).exists():
        reference = fit()
        folder.mkdir(parents=True, exist_ok=True)
        seconds = _ask(task, name, reference, folder)
        cost = Cost(
            reference.seconds,
            reference.bytes,
            seconds / len(task.texts),
            float(np.mean([reference.read(text) for text in task.texts])),
        )
        facts = {"cost": asdict(cost), "settings": dict(reference.settings)}
        write_whole(folder / FACTS, json.dumps(facts, indent=2).encode())
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    probs = np.concatenate([_load(folder, start)[0] for start in _starts(task.texts)])
    return Answers(probs, Cost(**facts["cost"]), facts["settings"])


def write_whole(file: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(file)


def _ask(task: Task, name: str, reference: Reference, folder: Path) -> float:
    """Answer and keep what is not kept yet; return the seconds that all of it took."""
    total = 0.0
    for start in _starts(task.texts):
        if not _place(folder, start).exists():
            begin = time.perf_counter()
            probs = reference.probs(task.texts[start : start + ROWS])
            _save(folder, start, probs, time.perf_counter() - begin)
        total += _load(folder, start)[1]
        task.steps(f"{task.name}: {name}", min(start + ROWS, len(task.texts)), len(task.texts))
    return total


def _starts(texts: Sequence[str]) -> range:
    return range(0, len(texts), ROWS)


def _place(folder: Path, start: int) -> Path:
    return folder / f"rows-{start:06}.npy"


def _save(folder: Path, start: int, probs: FloatArray, seconds: float) -> None:
    """Keep some rows' answers; the seconds stand in one more row."""
    place = _place(folder, start)
    beside = place.with_name(f".{place.stem}.{os.getpid()}.npy")
    np.save(beside, np.vstack([probs, np.full(probs.shape[1], seconds)]).astype(np.float32))
    beside.replace(place)


def _load(folder: Path, start: int) -> tuple[FloatArray, float]:
    array = np.load(_place(folder, start))
    return array[:-1], float(array[-1, 0])
