"""Groups of similar examples: what a demonstration is read among when its states are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np

from ragicl.index import Index
from ragicl.prompt import Template
from ragicl.protocols import FloatArray
from ragicl.records import Where, holds

SIZE = 32  # examples in a group, at most
STEPS = 8  # of the power iteration: any direction that the examples spread in will do


class ExampleGroups:
    """The groups of an index's examples, as pieces of a prompt; they follow its changes.

    :param where: metadata that the examples must have
    """

    def __init__(
        self, index: Index, template: Template, size: int = SIZE, where: Where = ()
    ) -> None:
        self._index = index
        self._template = template
        self._size = size
        self._where = where
        self._generation = -1
        self._groups: dict[str, tuple[str, ...]] = {}
        self._lock = Lock()

    def __call__(self, text: str) -> Sequence[str]:
        """Return the group of a demonstration; itself alone where the index does not hold it."""
        with self._lock:
            if self._generation != (generation := self._index.generation):
                self._groups, self._generation = self._grouped(), generation
            return self._groups.get(text, (text,))

    def _grouped(self) -> dict[str, tuple[str, ...]]:
        examples, vectors = self._index.vectors()
        allowed = [i for i, e in enumerate(examples) if holds(e.meta, self._where)]
        pieces = [self._piece(examples[i].input, examples[i].output) for i in allowed]
        groups = (
            tuple(dict.fromkeys(pieces[i] for i in some))
            for some in grouped(vectors[allowed], self._size)
        )
        return {piece: group for group in groups for piece in group}

    def _piece(self, text: str, output: str) -> str:
        return self._template.render("", [(text, output)] * 2)[-2]


def grouped(vectors: FloatArray, size: int) -> Iterator[list[int]]:
    """Yield groups of at most `size` rows that are alike, by halving along the main direction.

    In each group the rows nearest its centre come last.

    :param vectors: shape (rows, dim)
    """
    parts = [np.arange(len(vectors))] if len(vectors) else []
    while parts:
        rows = parts.pop()
        own = vectors[rows]
        if len(rows) <= size:
            order = np.argsort(own @ own.mean(axis=0), kind="stable")
            yield rows[order].tolist()
        else:
            order = np.argsort(own @ _direction(own), kind="stable")
            parts += [rows[order[len(rows) // 2 :]], rows[order[: len(rows) // 2]]]


def _direction(vectors: FloatArray) -> FloatArray:
    """Return a direction in which vectors spread widely, shape (dim,); the same for the same."""
    centred = vectors - vectors.mean(axis=0)
    draw = np.random.default_rng(0).standard_normal((vectors.shape[1],))
    direction: FloatArray = draw.astype(np.float32)
    for _ in range(STEPS):
        direction = centred.T @ (centred @ direction)
        norm = max(float(np.linalg.norm(direction)), 1e-12)
        direction = np.asarray(direction / norm, dtype=np.float32)
    return direction
