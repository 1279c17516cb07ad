"""Confident learning: which labels are contradicted by predictions from all other examples.

Northcutt, Jiang and Chuang 2021 (arXiv 1911.00068). How many of a label's examples are wrong is
estimated by those that are confidently another's, where confident means: as likely as the examples
of that other label are on average. The label's examples that are least likely to be right are then
taken, that many ("prune by class"): so a label that is hard to predict, or rare, does not lose all
of its examples, as it would under one threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragicl.protocols import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The given labels, judged by predictions.

    :ivar predicted: column of the likeliest label, shape (rows,)
    :ivar own: P(given label), shape (rows,)
    :ivar doubted: whether the given label is likely wrong, shape (rows,)
    """

    predicted: IntArray
    own: FloatArray
    doubted: NDArray[np.bool_]


def judge(probs: FloatArray, columns: IntArray) -> Judged:
    """Judge the given labels by predictions that were made without them.

    :param probs: leave-one-out P(label | row), shape (rows, labels)
    :param columns: each row's given label as a column, shape (rows,)
    """
    predicted = probs.argmax(axis=1)
    own = probs[np.arange(len(probs)), columns]
    wrong = _wrong_per_label(probs, columns, own)
    doubted = np.zeros(len(probs), dtype=bool)
    for label in np.flatnonzero(wrong):
        against = np.flatnonzero((columns == label) & (predicted != label))
        doubted[against[np.argsort(own[against], kind="stable")[: wrong[label]]]] = True
    return Judged(predicted, own, doubted)


def _wrong_per_label(probs: FloatArray, columns: IntArray, own: FloatArray) -> IntArray:
    """Return how many rows of each label are confidently another's, shape (labels,)."""
    labels = probs.shape[1]
    rows = np.bincount(columns, minlength=labels)
    usual = np.bincount(columns, own, labels) / np.maximum(rows, 1)
    usual[rows == 0] = np.inf
    confident = np.where(probs >= usual, probs, -1)
    counted = confident.argmax(axis=1)
    elsewhere = (confident.max(axis=1) >= 0) & (counted != columns)
    found: IntArray = np.bincount(columns[elsewhere], minlength=labels)
    return found
