"""Which examples have the metadata that a filter asks for, and the nearest among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ragicl.index.store.base import ExampleStore
from ragicl.index.vectors.base import VectorIndex
from ragicl.protocols import FloatArray, IntArray
from ragicl.records import Where, holds

FEW = 20_000  # rows whose vectors are held in memory, and compared at a time
FETCH = 2048  # nearest rows, of any metadata, that are searched for matching ones


class Matching:
    """The rows that a filter lets through; its owner makes sure that one thread uses it at a time.

    :ivar rows: their numbers, ascending
    """

    def __init__(self, where: Where, dim: int) -> None:
        self.rows: IntArray = np.empty(0, dtype=np.int64)
        self._where = where
        self._dim = dim
        self._generation = -1
        self._last = 0  # row up to which the store was read
        self._vectors: FloatArray | None = None  # of the rows, where these are few

    def catch_up(self, store: ExampleStore) -> None:
        """Bring the rows to the store's present state, reading what came since alone."""
        generation = store.generation()
        if generation == self._generation:
            return
        last = self._last
        kept = ~np.isin(self.rows, store.removed_since(self._generation))
        added = []
        for row, meta in store.metas_since(self._last):
            last = row
            if holds(meta, self._where):
                added.append(row)
        fresh = np.array(added, dtype=np.int64)
        if self._vectors is not None:
            new = store.vectors(fresh, self._dim)
            self._vectors = np.concatenate([self._vectors[kept], new])
        self.rows = np.concatenate([self.rows[kept], fresh])
        if len(self.rows) > FEW:
            self._vectors = None
        self._generation, self._last = generation, last

    def nearest(
        self, queries: FloatArray, k: int, store: ExampleStore, vectors: VectorIndex
    ) -> IntArray:
        """Return the rows nearest to each query, shape (len(queries), min(k, len(rows))).

        Few rows are all compared. Of many, those are taken that are among the nearest of the whole
        index; where they do not suffice, all are compared, too.

        :param vectors: of the whole index
        """
        k = min(k, len(self.rows))
        if len(self.rows) <= FEW:
            return self._compared(queries, k, [(self.rows, self._held(store))])
        fetch = min(FETCH, 4 * k * max(1, len(vectors) // len(self.rows)))
        _, found = vectors.search(queries, fetch)
        nearest = np.full((len(queries), k), -1, dtype=np.int64)
        short = []
        for i, (own, fits) in enumerate(zip(found, np.isin(found, self.rows), strict=True)):
            if fits.sum() < k:
                short.append(i)
            else:
                nearest[i] = own[fits][:k]
        if short:
            nearest[short] = self._compared(queries[short], k, self._chunks(store))
        return nearest

    def _held(self, store: ExampleStore) -> FloatArray:
        if self._vectors is None:
            self._vectors = store.vectors(self.rows, self._dim)
        return self._vectors

    def _chunks(self, store: ExampleStore) -> Iterator[tuple[IntArray, FloatArray]]:
        for start in range(0, len(self.rows), FEW):
            rows = self.rows[start : start + FEW]
            yield rows, store.vectors(rows, self._dim)

    def _compared(
        self, queries: FloatArray, k: int, chunks: Iterable[tuple[IntArray, FloatArray]]
    ) -> IntArray:
        """Compare all rows, and return the k nearest of each query; of equals, the lower number."""
        rows = np.empty((len(queries), 0), dtype=np.int64)
        similarities = np.empty((len(queries), 0), dtype=np.float32)
        for more, vectors in chunks:
            rows = np.concatenate([rows, np.tile(more, (len(queries), 1))], axis=1)
            similarities = np.concatenate([similarities, queries @ vectors.T], axis=1)
            order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
            rows = np.take_along_axis(rows, order, axis=1)
            similarities = np.take_along_axis(similarities, order, axis=1)
        return rows
