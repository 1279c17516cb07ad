"""Kernel ridge regression of labels on vectors.

With unit vectors the kernel exp(cosine - 1) is a Gaussian one. The labels, one-hot, are regressed
on it, with the Nyström approximation where there are many examples (Williams and Seeger 2001).
Leave-one-out (LOO) values follow in closed form (PRESS, Allen 1974), so that hyperparameters are
chosen, and whatever builds on it is fitted, without training anything twice. The regression is
linear in the labels, so that each value is a sum over examples (:func:`example_weights`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragicl.calibration.pooling import fit_inverse_temperature
from ragicl.protocols import Float64Array, FloatArray, IntArray

LANDMARKS = 1500  # examples that the kernel is approximated by
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # tried
INVERSE_TEMPERATURES = 0.5, 100.0  # least and largest factor from values to logits
TEMPERATURE_SAMPLE = 4000  # examples that the inverse temperature is chosen on, at most
JITTER = 1e-5  # keeps the kernel of near duplicates invertible
LEAST_LEFT = 1e-6  # of an example's value by the others, where it alone decides its value

AnyFloats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """A fitted regression.

    :ivar landmarks: shape (landmarks, dim)
    :ivar weights: from similarities to the landmarks to labels, shape (landmarks, labels)
    :ivar base: added to what they give, shape (labels,)
    :ivar penalty: of large weights
    :ivar inverse_temperature: factor from values to logits
    :ivar loo_values: leave-one-out values of the examples, shape (examples, labels)
    """

    landmarks: FloatArray
    weights: Float64Array
    base: Float64Array
    penalty: float
    inverse_temperature: float
    loo_values: FloatArray

    def values(self, vectors: FloatArray) -> Float64Array:
        """Return the regression's values for unit vectors: near 1 for a label that is surely right.

        Far from all examples every label has about its share of them.

        :return: shape (len(vectors), labels)
        """
        # In double precision, so that a prediction does not depend on its batch.
        values = kernel(vectors.astype(float), self.landmarks.astype(float)) @ self.weights
        return np.asarray(values + self.base)


def fit_ridge(vectors: FloatArray, columns: IntArray, labels: int) -> Ridge:
    """Fit the regression; penalty and inverse temperature are chosen by the leave-one-out loss.

    :param vectors: unit vectors of the examples, shape (examples, dim)
    :param columns: each example's label as a column, shape (examples,)
    :param labels: number of columns
    """
    from scipy.linalg import solve_triangular

    draw = np.random.default_rng(0)
    chosen = draw.permutation(len(vectors))[:LANDMARKS]
    landmarks = vectors[np.sort(chosen)]
    spread, features, middle = _nystroem(vectors, landmarks)
    targets = np.eye(labels)[columns]
    base = targets.mean(axis=0)
    some = draw.permutation(len(vectors))[:TEMPERATURE_SAMPLE]
    best, least = None, np.inf
    for penalty, own, wrong in _regressed(features, targets - base):
        left_out = targets - wrong
        inverse_temperature, loss = fit_inverse_temperature(
            left_out[some], columns[some], INVERSE_TEMPERATURES
        )
        if loss < least:
            best, least = (penalty, inverse_temperature, own, left_out.astype(np.float32)), loss
    assert best is not None
    penalty, inverse_temperature, own, kept = best
    weights = solve_triangular(spread, own, lower=True, trans="T")
    return Ridge(landmarks, weights, base - middle @ own, penalty, inverse_temperature, kept)


def example_weights(
    ridge: Ridge, vectors: FloatArray, query: FloatArray, left_out: int | None = None
) -> Float64Array:
    """Return the weight of each example in the values for a vector, shape (examples,).

    A label's value is the sum of its examples' weights: the kernel similarities to all examples
    times the inverse of the regularised kernel matrix (the equivalent kernel, Silverman 1984).
    All weights sum to 1, and some are below 0. The features of all examples are made again.

    :param vectors: that the regression was fitted on, shape (examples, dim)
    :param query: a unit vector, shape (dim,)
    :param left_out: row of the example whose vector it is: the weights are those of its
        leave-one-out values, and its own is 0
    """
    from scipy.linalg import solve, solve_triangular

    spread, features, middle = _nystroem(vectors, ridge.landmarks)
    if left_out is None:
        near = kernel(query.astype(float)[None], ridge.landmarks.astype(float))[0]
        turned = solve_triangular(spread, near, lower=True) - middle
    else:
        turned = features[left_out]
    gram = features.T @ features + ridge.penalty * np.eye(features.shape[1])
    weights = features @ solve(gram, turned, assume_a="pos") + 1 / len(features)
    if left_out is not None:
        weights /= max(1 - weights[left_out], LEAST_LEFT)
        weights[left_out] = 0.0
    return np.asarray(weights)


def kernel(vectors: AnyFloats, others: AnyFloats) -> AnyFloats:
    """Return exp(cosine - 1) of each pair of unit vectors, shape (vectors, others)."""
    return np.asarray(np.exp(vectors @ others.T - 1))


def _nystroem(
    vectors: FloatArray, landmarks: FloatArray
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return features whose dot products approximate the kernel, and how they were made.

    :return: the factor of the landmarks' kernel, shape (landmarks, landmarks); the centred features
        of the vectors, shape (len(vectors), landmarks); the mean that was subtracted
    """
    from scipy.linalg import solve_triangular

    # In double precision: the rounding of many near duplicates would outweigh the jitter.
    within = kernel(landmarks.astype(float), landmarks.astype(float))
    spread = np.asarray(np.linalg.cholesky(within + JITTER * np.eye(len(landmarks))), np.float64)
    similar = kernel(vectors, landmarks).T.astype(np.float64)
    features = solve_triangular(spread, similar, lower=True, overwrite_b=True).T
    middle = features.mean(axis=0)
    features -= middle
    return spread, features, middle


def _regressed(
    features: Float64Array, targets: Float64Array
) -> Iterator[tuple[float, Float64Array, Float64Array]]:
    """Yield each penalty, its weights, and its leave-one-out residuals.

    An example's own leverage h takes it out of its value: y - (y - f) / (1 - h).
    """
    strengths, axes = np.linalg.eigh(features.T @ features)
    turned = features @ axes
    reached = turned.T @ targets
    for penalty in PENALTIES:
        shrunk = 1 / (np.maximum(strengths, 0) + penalty)
        own = reached * shrunk[:, None]
        # The mean, too, was fitted on each example.
        leverage = np.einsum("ij,ij,j->i", turned, turned, shrunk) + 1 / len(features)
        wrong = (targets - turned @ own) / np.maximum(1 - leverage, LEAST_LEFT)[:, None]
        yield penalty, axes @ own, wrong
