"""Selecting examples that are near a query and diverse."""

from __future__ import annotations

import numpy as np

from ragicl.protocols import Float64Array, FloatArray

TRADE_OFF = 0.5  # of relevance against novelty, the usual one for maximal marginal relevance
SCALE = 0.1  # of Ye et al.: how much relevance counts against diversity; smaller is more
LEAST = 1e-9  # gain below which an example adds nothing but rounding


def mmr(
    similarities: FloatArray, vectors: FloatArray, k: int, trade_off: float = TRADE_OFF
) -> list[int]:
    """Return the positions of k candidates by maximal marginal relevance, in the order chosen.

    Each time, the candidate with the highest trade_off x similarity to the query - (1 - trade_off)
    x highest similarity to one chosen before (Carbonell and Goldstein, SIGIR 1998).

    :param similarities: of the candidates to the query, shape (candidates,)
    :param vectors: unit vectors of the candidates, shape (candidates, dim)
    :param trade_off: 1 goes by similarity to the query alone
    """
    known = np.zeros(len(vectors))  # similarity to the nearest that is chosen
    free = np.ones(len(vectors), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < min(k, len(vectors)):
        worth = trade_off * similarities - (1 - trade_off) * known
        best = int(np.argmax(np.where(free, worth, -np.inf)))
        free[best] = False
        similar = vectors @ vectors[best]
        known = np.maximum(known, similar) if chosen else similar
        chosen.append(best)
    return chosen


def dpp(similarities: FloatArray, vectors: FloatArray, k: int) -> list[int]:
    """Return the positions of k candidates by a determinantal point process, in the order chosen.

    The kernel is quality x similarity x quality, with quality exp(relevance / (2 x 0.1)), and
    cosines brought to [0, 1] (Ye et al. 2023, arXiv 2302.05698, without its training). The set of
    the largest determinant is looked for greedily. Where no candidate enlarges it any more, the
    nearest of the others follow.

    :param similarities: of the candidates to the query, shape (candidates,)
    :param vectors: unit vectors of the candidates, shape (candidates, dim)
    """
    relevance = (1 + similarities.astype(np.float64)) / 2
    quality = np.exp((relevance - relevance.max(initial=0.0)) / (2 * SCALE))
    wide = vectors.astype(np.float64)
    chosen = greedy_map(quality[:, None] * (1 + wide @ wide.T) / 2 * quality, k)
    nearest = np.argsort(-similarities, kind="stable").tolist()
    return list(dict.fromkeys([*chosen, *nearest]))[:k]


def greedy_map(kernel: Float64Array, k: int) -> list[int]:
    """Return up to k positions, each the one that enlarges the set's determinant most.

    By an incremental Cholesky factor, in k² x candidates steps (Chen, Zhang and Zhou 2018, arXiv
    1709.05135).

    :param kernel: positive semidefinite, shape (candidates, candidates)
    """
    k = min(k, len(kernel))
    factor = np.zeros((k, len(kernel)))  # of the rows chosen so far
    gains = kernel.diagonal().copy()  # what each candidate would multiply the determinant by
    chosen: list[int] = []
    for step in range(k):
        best = int(np.argmax(gains))
        if gains[best] <= LEAST:
            break
        row = (kernel[best] - factor[:step, best] @ factor[:step]) / np.sqrt(gains[best])
        factor[step] = row
        gains -= row**2
        gains[best] = -np.inf
        chosen.append(best)
    return chosen
