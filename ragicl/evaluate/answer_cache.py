"""Answers that are kept as they are made: a killed evaluation repeats none of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ragicl.atomic import read_npz, write_npz, write_whole
from ragicl.evaluate.results import Cost, Number
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


class Facts(msgspec.Struct, frozen=True):
    """What a method cost, and how it was set."""

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
    facts = _read_facts(folder / FACTS)
    probs = _all_values(folder, task) if facts is not None else None
    if facts is None or probs is None:
        reference = fit()
        rows = kept_rows(task, name, task.texts, reference.probs, folder, reference.read)
        number = len(task.texts)
        cost = Cost(reference.seconds, reference.bytes, rows.seconds / number, rows.tokens / number)
        facts, probs = Facts(cost, dict(reference.settings)), rows.values
        plain = msgspec.to_builtins(facts, enc_hook=float)
        write_whole(folder / FACTS, json.dumps(plain, indent=2).encode())
    return Answers(probs, facts.cost, facts.settings)


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
        if (rows := _load(folder, start, len(some))) is None:
            begin = time.perf_counter()
            values = make(some)
            spent = time.perf_counter() - begin
            rows = Rows(values, spent, sum(map(read, some)))
            _save(folder, start, rows)
        chunks.append(rows)
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


def _load(folder: Path, start: int, number: int) -> Rows | None:
    """Return what is kept of that many texts; None where it is missing or damaged."""
    arrays = read_npz(_place(folder, start), older=True) or {}
    values, spent = arrays.get("values"), arrays.get("spent")
    if values is None or values.ndim != 2 or len(values) != number or not np.isfinite(values).all():
        return None
    if spent is None or spent.shape != (2,) or not (spent >= 0).all():
        return None
    return Rows(values, *spent.tolist())


def _all_values(folder: Path, task: Task) -> FloatArray | None:
    """Return the kept rows of all texts; None where some are missing or damaged."""
    starts = range(0, len(task.texts), ROWS)
    chunks = [_load(folder, start, min(ROWS, len(task.texts) - start)) for start in starts]
    found = [chunk.values for chunk in chunks if chunk is not None]
    if len(found) < len(chunks) or len({values.shape[1] for values in found}) != 1:
        return None
    return np.concatenate(found)


def _read_facts(file: Path) -> Facts | None:
    with suppress(OSError, ValueError):
        plain = json.loads(file.read_text(encoding="utf-8"))
        return msgspec.convert(plain, Facts, dec_hook=_number)
    return None


def _number(kind: type, value: Any) -> Any:
    """Return a figure of a cost.

    :raises TypeError: where it is none
    """
    if kind is not Number or type(value) not in (int, float) or not 0 <= value < inf:
        raise TypeError(f"{value!r} is no cost")
    return Number(value)
