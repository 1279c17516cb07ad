"""From the examples to their vectors' index: built, and kept in step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ragicl.index.store.sqlite import Store
from ragicl.index.vectors import faiss_index, ivf
from ragicl.index.vectors.faiss_index import Vectors
from ragicl.protocols import FloatArray, IntArray


def built(store: Store, dim: int) -> Vectors:
    """Return vectors for the store's present state: exact, or approximate for many rows."""
    count = store.count()
    if count > faiss_index.EXACT_ROWS:
        return _approximate(store, dim, count)
    exact = Vectors(dim)
    advance(exact, store)
    return exact


def advance(behind: Vectors, store: Store) -> int:
    """Bring vectors to the store's present state; return how many were added."""
    behind.remove(store.removed_since(behind.generation))
    added = 0
    for rows, chunk in store.added_since(behind.generation, behind.dim):
        behind.add(rows, chunk)
        added += len(rows)
    behind.generation = store.generation()
    return added


def nearest(store: Store, rows: IntArray, queries: FloatArray) -> list[list[tuple[float, int]]]:
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


def _approximate(store: Store, dim: int, count: int) -> Vectors:
    """Train on some rows, add all of them, and tune with some others; one pass over the store."""
    size = min(ivf.training_size(count), count - ivf.HELD_OUT)
    picked = np.random.default_rng(ivf.SEED).choice(
        store.rows(), size + ivf.HELD_OUT, replace=False
    )
    held_out = store.vectors(picked[size:], dim)
    approximate = Vectors.approximate(store.vectors(picked[:size], dim), count)

    def added() -> Iterator[FloatArray]:
        for rows, chunk in store.added_since(0, dim):
            approximate.add(rows, chunk)
            yield chunk

    approximate.tune(held_out, ivf.kth_best(held_out, added(), ivf.K + 1))
    approximate.generation = store.generation()
    return approximate
