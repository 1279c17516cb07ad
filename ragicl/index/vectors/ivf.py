"""Approximate search for large indexes: which lists there are, and how many a search looks into."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from ragicl.index.vectors.faiss_import import faiss
from ragicl.protocols import FloatArray

RECALL = 0.98  # the share of the K nearest that must be found
K = 10
LISTS = 4.0  # times the square root of the number of rows
POINTS = 40  # vectors per list that training looks at
TRAINED = 400_000  # and at most, whatever the number of lists
ROUNDS = 6  # of k-means
HELD_OUT = 500  # stored vectors, not trained on, that recall is measured with
SEED = 20
CLOSE = 1e-4  # similarities nearer than this are equal, as half precision tells them


@dataclass(frozen=True, slots=True)
class Tuning:
    """How approximate search was set up, and what it costs in neighbours.

    :ivar rows: rows there were at the time
    :ivar lists: lists that the vectors are kept in, by the nearest of as many centres
    :ivar probes: lists that a search looks into
    :ivar recall: share of the 10 nearest found, over stored vectors that were not trained on
    """

    rows: int
    lists: int
    probes: int
    recall: float


def lists_for(rows: int) -> int:
    """Return the number of lists for a number of rows."""
    return max(1, min(rows, round(LISTS * sqrt(rows))))


def training_size(rows: int) -> int:
    """Return how many of the rows to train on."""
    return min(rows, POINTS * lists_for(rows), TRAINED)


def trained(sample: FloatArray, rows: int) -> Any:
    """Return an empty index with centres from spherical k-means over a sample, shape (n, dim).

    It holds vectors in half precision, under ids of its own: an IDMap2 around it would return
    wrong ids after a removal.
    """
    dim = sample.shape[1]
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim),
        dim,
        min(lists_for(rows), len(sample)),
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
        False,  # no residuals: they would have to be added up again in every search
    )
    index.cp.spherical = True
    index.cp.seed = SEED
    index.cp.niter = ROUNDS
    index.cp.min_points_per_centroid = 1  # else it warns on stderr
    index.cp.max_points_per_centroid = len(sample)  # it is a sample already
    index.train(sample)
    return index


def kth_best(queries: FloatArray, chunks: Iterable[FloatArray], k: int) -> FloatArray:
    """Return each query's k-th highest similarity over all chunks, exactly; shape (len(queries),).

    Only one chunk is held at a time. With fewer than k vectors, it is the lowest.
    """
    best = np.empty((len(queries), 0), np.float32)
    for chunk in chunks:
        found, _ = faiss.knn(queries, chunk, min(k, len(chunk)), faiss.METRIC_INNER_PRODUCT)
        best = np.sort(np.concatenate([best, found], axis=1), axis=1)[:, -k:]
    return best[:, 0]


def tuned(index: Any, queries: FloatArray, bar: FloatArray) -> Tuning:
    """Return the fewest probes that find RECALL of the K nearest of stored vectors.

    A neighbour counts as found by its similarity, so that copies may stand for each other.

    :param bar: of each query, the similarity of its K nearest, itself not counted
    """
    lists, probes = index.nlist, 1
    while (recall := _recall(index, queries, bar, probes)) < RECALL and probes < lists:
        probes = min(lists, max(probes + 1, round(probes * 1.3)))
    return Tuning(index.ntotal, lists, probes, round(recall, 4))


def search(index: Any, queries: FloatArray, k: int, probes: int) -> tuple[FloatArray, Any]:
    """Return similarities and ids, shape (len(queries), k); -1 where the lists held no more."""
    parameters = faiss.SearchParametersIVF(nprobe=probes)
    similarities, ids = index.search(queries, k, params=parameters)
    return similarities, ids


def _recall(index: Any, queries: FloatArray, bar: FloatArray, probes: int) -> float:
    similarities, _ = search(index, queries, K + 1, probes)  # itself included
    found = (similarities >= bar[:, None] - CLOSE).sum(axis=1) - 1
    return float(found.clip(0, K).mean() / min(K, max(1, index.ntotal - 1)))
