"""Distances between distributions."""

from __future__ import annotations

import numpy as np

from ragicl.errors import TaskError
from ragicl.protocols import FloatArray

TOLERANCE = 1e-3  # by which a distribution may miss the sum of 1: bf16 probabilities are rounded


def total_variation(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return half the sum of absolute differences, in [0, 1], for each pair of distributions.

    It is the most by which the two differ on the probability of any event.

    :param left: shape (..., outcomes), as is `right`; each row sums to 1
    :return: shape (...)
    :raises TaskError: where the shapes differ, or a row is no distribution
    """
    if left.shape != right.shape:
        raise TaskError(
            f"distributions of shape {left.shape} and {right.shape} cannot be compared; "
            f"both need the same outcomes"
        )
    for array in (left, right):
        if (array < 0).any() or not (np.abs(array.sum(axis=-1) - 1) < TOLERANCE).all():
            raise TaskError("a row of probabilities is negative, or does not sum to 1")
    half: FloatArray = np.abs(left.astype(np.float64) - right).sum(axis=-1) / 2
    return np.minimum(half, 1.0)
