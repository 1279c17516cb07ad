"""Distance and accuracy against the pool's size, the demonstrations, or the token budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np

from ragicl.engine import Engine
from ragicl.errors import RagiclError, TaskError, quoted
from ragicl.evaluate.answer_cache import answers_of
from ragicl.evaluate.metrics.bootstrap import Resampling
from ragicl.evaluate.metrics.distances import total_variation
from ragicl.evaluate.metrics.label_scores import correct
from ragicl.evaluate.metrics.power_law import fit_power_law
from ragicl.evaluate.references.baselines import alone, answering
from ragicl.evaluate.results import Curve, Point, PowerLaw
from ragicl.evaluate.task import Task, digest
from ragicl.index import Index
from ragicl.protocols import Encoder, FloatArray

Over = Literal["pool", "k", "budget"]
OVER = ("pool", "k", "budget")
SMALLEST = 8  # examples in a pool
HALVINGS = 6
SHOTS = (0, 1, 2, 4, 8, 16)
BUDGETS = (64, 128, 256, 512, 1024)


def curve(
    task: Task, over: str, reference: str, fixed: FloatArray, resampling: Resampling
) -> Curve:
    """Measure the language model alone with one setting changed, against a reference that does not.

    :param over: ``pool``, ``k`` or ``budget``
    :param fixed: the reference's probabilities, shape (rows, labels)
    """
    if over not in OVER:
        raise TaskError(f"unknown curve {quoted(over)}; known: {', '.join(OVER)}")
    points, rows, notes = [], [], []
    for size in _sizes(task, over):
        try:
            probs = _answers(task, over, size)
        except RagiclError as error:  # too small a part may have one label, or fit no text
            notes.append(f"{size}: {error}")
            continue
        rows.append(total_variation(probs, fixed))
        right = resampling.mean(correct(probs, task.gold))
        points.append(Point(size, resampling.mean(rows[-1]), right))
    fit = None
    if over == "pool":
        fit, note = _fitted([point.size for point in points], rows)
        notes.append(note)
    return Curve(cast(Over, over), reference, tuple(points), fit, "; ".join(filter(None, notes)))


def _fitted(sizes: Sequence[int], rows: Sequence[FloatArray]) -> tuple[PowerLaw | None, str]:
    try:
        return fit_power_law(sizes, np.array(rows)), ""
    except TaskError as error:
        return None, str(error)


def _sizes(task: Task, over: str) -> list[int]:
    if over == "pool":
        halved = (len(task.pool) >> times for times in range(HALVINGS, -1, -1))
        return [size for size in halved if size >= SMALLEST]
    if over == "k":
        return [k for k in SHOTS if k <= len(task.pool)]
    return [budget for budget in BUDGETS if budget <= task.lm.window]


def _answers(task: Task, over: str, size: int) -> FloatArray:
    engine = alone(task.engine)
    policy = engine.policy
    if over == "k":
        policy = policy.replace(k=size)
    if over == "budget":
        policy = policy.replace(k=max(SHOTS), budget=size, truncate=True)
    index = _subset(task, size) if over == "pool" else engine.index
    changed = Engine(index, engine.lm, engine.template, policy)
    try:
        found = answers_of(
            task,
            f"{over}-{size}",
            lambda: answering(task, changed),
            depends=(policy.as_dict(), size if over == "pool" else None),
        )
    finally:
        if index is not engine.index:
            index.close()
    return found.probs


def _subset(task: Task, size: int) -> Index:
    """Return an index of some of the pool; a smaller one is part of each larger one."""
    order = np.random.default_rng(0).permutation(len(task.pool))[:size]
    examples = [task.pool[i] for i in sorted(order.tolist())]
    path = task.folder / f"pool-{size}-{digest(task.identity)}"
    encoder = _Recalling(task)
    if (path / "manifest.json").exists():
        index = Index.open(path, encoder=encoder)
    else:
        index = Index.create(path, encoder=encoder, source="a part of the pool")
    if len(index) < size:
        index.add(examples)
    if not index.manifest.complete:
        index.mark(complete=True)
    return index


class _Recalling:
    """The index's encoder, with the pool's vectors at hand."""

    def __init__(self, task: Task) -> None:
        self._encoder: Encoder = task.engine.index.encoder
        self.spec, self.dim = self._encoder.spec, self._encoder.dim
        self.fingerprint, self.description = self._encoder.fingerprint, self._encoder.description
        self._known = {e.input: v for e, v in zip(task.pool, task.vectors, strict=True)}

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return unit-length embeddings, shape (texts, dim)."""
        if new := [text for text in texts if text not in self._known]:
            fresh = dict(zip(new, self._encoder.encode(new), strict=True))
            return np.stack([fresh[t] if t in fresh else self._known[t] for t in texts])
        return np.stack([self._known[text] for text in texts])
