"""Vectors kept in step with the example store, and exact similarities from it."""

from __future__ import annotations

import numpy as np

from ragicl.index.store.base import ExampleStore
from ragicl.index.vectors.base import VectorIndex
from ragicl.protocols import FloatArray, IntArray


def advance(behind: VectorIndex, store: ExampleStore) -> int:
    """Bring vectors to the store's present state; return how many were added."""
    behind.remove(store.removed_since(behind.generation))
    added = 0
    for rows, chunk in store.added_since(behind.generation, behind.dim):
        behind.add(rows, chunk)
        added += len(rows)
    behind.generation = store.generation()
    return added


def nearest(
    store: ExampleStore, rows: IntArray, queries: FloatArray
) -> list[list[tuple[float, int]]]:
    """Return exact similarities with their row numbers, best first; equal ones by row number.

    :param rows: candidates of each query, shape (len(queries), k); negative ones are none
    """
    wanted = np.unique(rows[rows >= 0])
    stored = store.vectors(wanted, queries.shape[1])
    ranked = []
    for query, candidates in zip(queries, rows, strict=True):
        own = candidates[candidates >= 0]
        similarities = stored[np.searchsorted(wanted, own)] @ query
        pairs = zip(similarities.tolist(), own.tolist(), strict=True)
        ranked.append(sorted(((round(s, 6), r) for s, r in pairs), key=lambda p: (-p[0], p[1])))
    return ranked
