"""A store and vectors in memory: stand-ins for tests, and the shortest examples of what is needed.

>>> Index(path, manifest, encoder, store=MemoryStore(), vectors=BruteForce)  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from ragicl.errors import CorruptError
from ragicl.index.store.base import ExampleStore
from ragicl.index.vectors.ivf import Tuning
from ragicl.index.vectors.sync import advance
from ragicl.protocols import FloatArray, IntArray
from ragicl.records import Example


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    example: Example
    vector: FloatArray
    generation: int


@dataclass(slots=True)
class _State:
    rows: dict[int, _Row] = field(default_factory=dict)
    removed: list[tuple[int, int]] = field(default_factory=list)  # row, generation
    last: int = 0
    generation: int = 0


class MemoryStore:
    """Examples in memory; a :class:`ragicl.index.store.base.ExampleStore` for one process."""

    def __init__(self) -> None:
        self._state = _State()

    def close(self) -> None:
        """Do nothing: what is stored stays until the store is deleted."""

    def identity(self) -> str:
        """Return an empty id: nothing is kept on disk."""
        return ""

    def check(self) -> None:
        """Do nothing: nobody else has it."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Do nothing: there is one state."""
        yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep everything done in the block, as a new generation, or nothing."""
        before = deepcopy(self._state)
        self._state.generation += 1
        try:
            yield
        except BaseException:
            self._state = before
            raise

    def generation(self) -> int:
        """Return the number of the last transaction."""
        return self._state.generation

    def count(self) -> int:
        """Return the number of examples."""
        return len(self._state.rows)

    def labels(self) -> dict[str, int]:
        """Return each output with its number of examples, sorted."""
        outputs = [own.example.output for own in self._state.rows.values()]
        return {output: outputs.count(output) for output in sorted(set(outputs))}

    def insert(self, examples: Sequence[Example], vectors: FloatArray) -> None:
        """Insert examples with their vectors, shape (len(examples), dim)."""
        state = self._state
        for example, vector in zip(examples, vectors, strict=True):
            state.last += 1
            state.rows[state.last] = _Row(example, vector, state.generation)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete examples by id."""
        state = self._state
        for row in [row for row, own in state.rows.items() if own.example.id in set(ids)]:
            del state.rows[row]
            state.removed.append((row, state.generation))

    def by_id(self, ids: Sequence[str]) -> dict[str, Example]:
        """Return the examples with these ids, as far as there are any."""
        return {e.id: e for e in self.examples() if e.id in set(ids)}

    def by_row(self, rows: Sequence[int]) -> dict[int, Example]:
        """Return the examples with these row numbers; all must be there."""
        found = self.present(rows)
        if len(found) < len(rows):
            raise CorruptError("a row is missing")
        return found

    def present(self, rows: Sequence[int]) -> dict[int, Example]:
        """Return the examples with these row numbers, as far as there are any."""
        return {row: self._state.rows[row].example for row in rows if row in self._state.rows}

    def examples(self) -> Iterator[Example]:
        """Yield every example in the order in which they were added."""
        yield from [own.example for own in self._state.rows.values()]

    def rows(self) -> IntArray:
        """Return all row numbers in use."""
        return np.array(list(self._state.rows), dtype=np.int64)

    def inputs_since(self, row: int) -> list[tuple[int, str]]:
        """Return the rows after a row number, with their inputs."""
        return [(n, own.example.input) for n, own in self._state.rows.items() if n > row]

    def metas_since(self, row: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the rows after a row number, with their metadata."""
        yield from [(n, dict(own.example.meta)) for n, own in self._state.rows.items() if n > row]

    def longest_outputs(self, number: int) -> list[str]:
        """Return the longest outputs by characters."""
        return sorted((e.output for e in self.examples()), key=len, reverse=True)[:number]

    def vectors(self, rows: IntArray, dim: int) -> FloatArray:
        """Return the vectors of these rows, shape (len(rows), dim), in their order."""
        found = [self._state.rows[row].vector for row in rows.tolist()]
        return np.array(found, dtype=np.float32).reshape(len(rows), dim)

    def vectors_by_id(self, ids: Sequence[str], dim: int) -> dict[str, FloatArray]:
        """Return the vectors, shape (dim,), of the examples with these ids."""
        rows = self._state.rows.values()
        return {own.example.id: own.vector for own in rows if own.example.id in set(ids)}

    def removed_since(self, generation: int) -> IntArray:
        """Return the rows that were removed after a generation."""
        return np.array([row for row, then in self._state.removed if then > generation], np.int64)

    def added_since(self, generation: int, dim: int) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield the rows and vectors written after a generation and still there."""
        rows = [row for row, own in self._state.rows.items() if own.generation > generation]
        if rows:
            numbers = np.array(rows, dtype=np.int64)
            yield numbers, self.vectors(numbers, dim)


class BruteForce:
    """Vectors in memory, all compared; a :class:`ragicl.index.vectors.base.VectorIndex`."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.identity = ""
        self.generation = 0
        self.tuning: Tuning | None = None
        self.fixed = False
        self._rows: IntArray = np.empty(0, dtype=np.int64)
        self._vectors: FloatArray = np.empty((0, dim), dtype=np.float32)

    @classmethod
    def mapped(cls, folder: Path, dim: int) -> Self | None:
        """Return None: nothing is kept on disk."""
        return None

    @classmethod
    def read(cls, folder: Path, dim: int) -> Self | None:
        """Return None: nothing is kept on disk."""
        return None

    @classmethod
    def built(cls, store: ExampleStore, dim: int) -> Self:
        """Return vectors for the store's present state."""
        made = cls(dim)
        advance(made, store)
        return made

    def __len__(self) -> int:
        return len(self._rows)

    def outgrown(self, count: int) -> bool:
        """Return False: it grows with the store."""
        return False

    def add(self, rows: IntArray, vectors: FloatArray) -> None:
        """Add rows, shape (n,), with their vectors, shape (n, dim)."""
        self._rows = np.concatenate([self._rows, rows])
        self._vectors = np.concatenate([self._vectors, vectors])

    def remove(self, rows: IntArray) -> None:
        """Remove rows, as far as they are there."""
        kept = ~np.isin(self._rows, rows)
        self._rows, self._vectors = self._rows[kept], self._vectors[kept]

    def search(self, queries: FloatArray, k: int) -> tuple[FloatArray, IntArray]:
        """Return similarities and row numbers, shape (len(queries), min(k, len(self)))."""
        similarities = queries @ self._vectors.T
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(similarities, order, axis=1), self._rows[order]

    def save(self, folder: Path) -> None:
        """Do nothing: it is derived."""
