"""Answers that are kept as they are made: a killed evaluation repeats none of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ragicl.atomic import write_npz, write_whole
from ragicl.evaluate.results import Cost
from ragicl.evaluate.task import Reference, Task, digest
from ragicl.protocols import FloatArray

ROWS = 64  # texts answered and kept together
FACTS = "facts.json"


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a method answers to a task's test rows, and at what cost.

    :ivar probs: shape (rows, labels)
    """

    probs: FloatArray
    cost: Cost
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Something computed for each text.

    :ivar values: shape (texts, width)
    :ivar seconds: that all of it took
    :ivar tokens: that the language model read for all of it
    """

    values: FloatArray
    seconds: float
    tokens: float


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
        rows = kept_rows(task, name, task.texts, reference.probs, folder, reference.read)
        number = len(task.texts)
        cost = Cost(reference.seconds, reference.bytes, rows.seconds / number, rows.tokens / number)
        facts = {"cost": msgspec.to_builtins(cost), "settings": dict(reference.settings)}
        write_whole(folder / FACTS, json.dumps(facts, indent=2).encode())
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    chunks = [_load(folder, start) for start in range(0, len(task.texts), ROWS)]
    probs = np.concatenate([chunk.values for chunk in chunks])
    return Answers(probs, Cost(**facts["cost"]), facts["settings"])


def kept_rows(
    task: Task,
    name: str,
    texts: Sequence[str],
    make: Callable[[Sequence[str]], FloatArray],
    folder: Path,
    read: Callable[[str], int] = lambda text: 0,
) -> Rows:
    """Return a row for each text; those that are kept in the folder are not made again.

    :param make: from texts to shape (texts, width)
    :param read: how many tokens the language model has read for a text
    """
    folder.mkdir(parents=True, exist_ok=True)
    chunks = []
    for start in range(0, len(texts), ROWS):
        some = texts[start : start + ROWS]
        if not _place(folder, start).exists():
            begin = time.perf_counter()
            values = make(some)
            spent = time.perf_counter() - begin
            _save(folder, start, Rows(values, spent, sum(map(read, some))))
        chunks.append(_load(folder, start))
        task.progress(f"{task.name}: {name}", start + len(some), len(texts))
    return Rows(
        np.concatenate([chunk.values for chunk in chunks]),
        sum(chunk.seconds for chunk in chunks),
        sum(chunk.tokens for chunk in chunks),
    )


def _place(folder: Path, start: int) -> Path:
    return folder / f"rows-{start:06}.npz"


def _save(folder: Path, start: int, rows: Rows) -> None:
    spent = np.array([rows.seconds, rows.tokens])
    write_npz(_place(folder, start), values=rows.values, spent=spent)


def _load(folder: Path, start: int) -> Rows:
    with np.load(_place(folder, start)) as file:
        return Rows(file["values"], *file["spent"].tolist())
