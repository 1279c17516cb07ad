"""Which rows of an unlabelled pool to label first: those that stand for many others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragicl.backends import open_encoder
from ragicl.errors import TaskError
from ragicl.index import Index
from ragicl.protocols import Encoder, FloatArray, IntArray, Progress, no_progress
from ragicl.records import Query

NEIGHBORS = 150  # of each row in the graph, as in the paper
SHARE = 20  # but no more than one of this many rows of the pool
FEWEST = 10  # unless that is fewer than this
DISCOUNT = 10.0  # a row's vote is divided by this for each of its neighbours that is chosen
TOGETHER = 1024  # rows embedded between two reports of progress
CELLS = 2**25  # similarities held at once: 128 MB


@dataclass(frozen=True, slots=True)
class Choice:
    """A row of the pool that was chosen.

    :ivar row: its position in the pool
    :ivar stands_for: rows of the pool that have it among their nearest
    :ivar new: those of them that had nothing labelled or chosen among their nearest
    """

    row: int
    stands_for: int
    new: int


def suggest(
    pool: Sequence[Query],
    number: int,
    *,
    index: str | Path | None = None,
    encoder: str | None = None,
    progress: Progress = no_progress,
) -> list[Choice]:
    """Choose which rows of a pool to label, best first: see :func:`vote_k`.

    :param pool: unlabelled texts
    :param number: how many to choose; all rows where there are fewer
    :param index: its examples count as already labelled, and its encoder is used
    :param encoder: ``minilm``, ``st:NAME``; None takes the index's, or ``minilm``
    :param progress: called after each batch of embedded rows
    :raises TaskError: where both an index and an encoder are given
    :raises StoreError: where the index cannot be opened
    :raises BackendError: where the encoder cannot be opened
    """
    texts = [query.input for query in pool]
    if index is None:
        own = open_encoder(encoder or "minilm")
        return vote_k(embedded(own, texts, progress), np.empty((0, own.dim), np.float32), number)
    if encoder is not None:
        raise TaskError(
            f"{index} has an encoder of its own; leave out --encoder, or leave out --index"
        )
    with Index.open(index) as opened:
        vectors = embedded(opened.encoder, texts, progress)
        _, labelled = opened.vectors()
    return vote_k(vectors, labelled, number)


def vote_k(pool: FloatArray, labelled: FloatArray, number: int) -> list[Choice]:
    """Choose rows by fast vote-k (Su et al. 2022, arXiv 2209.01975), best first.

    Each row votes for its nearest rows; its vote is divided by ten for each of these that is
    chosen. The row with the most votes is chosen next. Labelled rows, which count as
    chosen from the beginning, take part in the graph. Takes time in proportion to
    ``len(pool) * (len(pool) + len(labelled))``, and little memory.

    :param pool: unit vectors of the rows to choose from, shape (rows, dim)
    :param labelled: unit vectors of the rows that are labelled already, shape (n, dim)
    :param number: how many to choose; all rows where there are fewer
    """
    rows = len(pool)
    edges = nearest_rows(pool, np.concatenate([pool, labelled]), neighbors_for(rows))
    known = (edges >= rows).sum(axis=1)  # chosen neighbours of each row
    targets = np.where(edges >= rows, rows, edges)  # all labelled rows are one, in a last column
    free = np.ones(rows, dtype=bool)
    chosen = []
    for _ in range(min(number, rows)):
        votes = np.where(free, DISCOUNT**-known, 0.0)
        weights = np.repeat(votes, targets.shape[1])
        scores = np.bincount(targets.ravel(), weights, rows + 1)[:rows]
        best = int(np.where(free, scores, -1.0).argmax())
        voters = (targets == best).any(axis=1)
        chosen.append(Choice(best, int(voters.sum()), int((voters & free & (known == 0)).sum())))
        known = known + voters
        free[best] = False
    return chosen


def neighbors_for(rows: int) -> int:
    """Return how many nearest each row of a pool votes for."""
    return max(0, min(NEIGHBORS, max(FEWEST, rows // SHARE), rows - 1))


def nearest_rows(vectors: FloatArray, candidates: FloatArray, k: int) -> IntArray:
    """Return the k nearest of each vector, itself left out, in no order; shape (len(vectors), k).

    :param candidates: the vectors themselves, and possibly others after them
    """
    edges = np.empty((len(vectors), k), dtype=np.int64)
    step = max(1, CELLS // max(len(candidates), 1))
    for start in range(0, len(vectors) if k else 0, step):
        similarities = vectors[start : start + step] @ candidates.T
        own = np.arange(len(similarities))
        similarities[own, start + own] = -np.inf
        edges[start : start + step] = np.argpartition(-similarities, k - 1, axis=1)[:, :k]
    return edges


def embedded(
    encoder: Encoder, texts: Sequence[str], progress: Progress = no_progress
) -> FloatArray:
    """Return unit vectors of texts, shape (len(texts), dim).

    :param progress: called after each batch
    """
    vectors = np.empty((len(texts), encoder.dim), dtype=np.float32)
    for start in range(0, len(texts), TOGETHER):
        some = texts[start : start + TOGETHER]
        vectors[start : start + len(some)] = encoder.encode(some)
        progress("embedding", start + len(some), len(texts))
    return vectors


def suggestion_row(query: Query, choice: Choice) -> dict[str, Any]:
    """Return a chosen row as a JSON-ready object; with an id where the pool has one."""
    why = f"near {choice.stands_for} rows; {choice.new} of them had nothing labelled or chosen near"
    row = {"text": query.input, "why": why}
    return {"id": query.id, **row} if query.id else row
