"""Logistic regression of labels on vectors.

Where labels have many examples each it does better than the classifiers of closed form, the more so
the more labels there are; with few examples it adds nothing. Its held-out predictions have no
closed form: they come from cross-validation.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from ragicl.calibration.pooling import cross_entropy, smoothed
from ragicl.protocols import Float64Array, FloatArray, IntArray

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

T = TypeVar("T")

PER_LABEL = 20  # examples a label, on average, from which it is used
STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # tried, rising: inverse penalties, scikit-learn's C
FOLDS = 5
JUDGED = 200  # held-out examples that are enough to choose the strength by
STEPS = 300  # of the solver, at most
FLAT = 1e-6  # share of the largest standard deviation: less is rounding
UNSEEN = 0.5  # pseudo-count of a label without examples


@dataclass(frozen=True, slots=True, eq=False)
class Logistic:
    """A fitted regression.

    :ivar weights: shape (dim, labels)
    :ivar base: shape (labels,); -inf for a label without examples
    :ivar unseen: log-probability of such a label
    :ivar strength: inverse penalty of large weights, C
    :ivar loo_logits: log P(label | example) in nats by fits without the example's fold, the
        counterpart of the other classifiers' leave-one-out logits; shape (examples, labels)
    """

    weights: Float64Array
    base: Float64Array
    unseen: float
    strength: float
    loo_logits: FloatArray

    def logits(self, vectors: FloatArray) -> Float64Array:
        """Return log P(label | vector) in nats, shape (len(vectors), labels).

        Computed in double precision, so that a prediction does not depend on its batch.
        """
        odds = vectors.astype(np.float64) @ self.weights + self.base
        return _log_probs(odds, self.unseen)


def fit_logistic(vectors: FloatArray, columns: IntArray, labels: int) -> Logistic:
    """Fit the regression; its strength is chosen by the loss on held-out examples.

    :param vectors: of the examples, shape (examples, dim)
    :param columns: each example's label as a column, shape (examples,)
    :param labels: number of columns
    """
    centre, scale = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    scale = np.where(scale > FLAT * scale.max(), scale, np.inf)  # a constant dimension is of no use
    data = _Data(((vectors - centre) / scale).astype(np.float32), columns, labels)
    folds = np.array_split(np.random.default_rng(0).permutation(len(columns)), FOLDS)
    strength, left = _chosen(data, folds[: math.ceil(FOLDS * JUDGED / len(columns))])
    left += [data.held_out(fold, strength) for fold in folds[len(left) :]]
    loo_logits = np.empty((len(columns), labels), dtype=np.float32)
    loo_logits[np.concatenate(folds)] = np.concatenate(left)
    weights, base = data.solved(np.arange(len(columns)), strength)
    weights = weights / scale[:, None]
    return Logistic(weights, base - centre @ weights, data.unseen, strength, loo_logits)


@dataclass(frozen=True, slots=True, eq=False)
class Trial(Generic[T]):
    """How fits of one strength do on held-out examples.

    :ivar strength: inverse penalty of large weights, C
    :ivar loss: mean negative log-likelihood, in nats
    :ivar held_out: what the fits predict for the examples they were not fitted on
    """

    strength: float
    loss: float
    held_out: T


def choose_strength(trials: Iterable[Trial[T]], *, stop_early: bool) -> Trial[T]:
    """Return the trial of least loss, the first of equals.

    :param trials: by rising strength, one or more; each is only run when it is asked for
    :param stop_early: end at the first trial that is no better than the best so far
    """
    remaining = iter(trials)
    best = next(remaining)
    for trial in remaining:
        if trial.loss < best.loss:
            best = trial
        elif stop_early:
            break
    return best


def fit_regression(
    vectors: FloatArray, columns: IntArray, strength: float, steps: int
) -> LogisticRegression:
    """Fit scikit-learn's regression; where it has not converged, held-out examples judge it.

    :param strength: inverse penalty of large weights, C
    :param steps: of the solver, at most
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    model = LogisticRegression(C=strength, max_iter=steps)
    # Thousands of small products: threads that wait for each other take ten times as long as one.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(vectors, columns)


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """Examples to fit on: standardised vectors, shape (examples, dim), and their labels."""

    vectors: FloatArray
    columns: IntArray
    labels: int

    @property
    def unseen(self) -> float:
        """Log-probability of a label without examples."""
        return float(np.log(UNSEEN / (len(self.columns) + UNSEEN)))

    def held_out(self, fold: IntArray, strength: float) -> Float64Array:
        """Return log P(label | example) for a fold's examples by a fit on all others."""
        others = np.setdiff1d(np.arange(len(self.columns)), fold)
        weights, base = self.solved(others, strength)
        return _log_probs(self.vectors[fold] @ weights + base, self.unseen)

    def solved(self, rows: IntArray, strength: float) -> tuple[Float64Array, Float64Array]:
        """Return weights, shape (dim, labels), and base, shape (labels,), of a fit on some rows."""
        weights = np.zeros((self.vectors.shape[1], self.labels))
        base = np.full(self.labels, -np.inf)
        seen = np.unique(self.columns[rows])
        base[seen] = 0.0
        if len(seen) > 1:
            model = fit_regression(self.vectors[rows], self.columns[rows], strength, STEPS)
            own = seen[-1:] if len(seen) == 2 else seen  # of two, the first one's odds are 1
            weights[:, own], base[own] = model.coef_.T, model.intercept_
        return weights, base


def _chosen(data: _Data, folds: list[IntArray]) -> tuple[float, list[Float64Array]]:
    """Return the strength under which the labels of the folds' examples are likeliest.

    :return: and the predictions for each fold by a fit of that strength without it
    """
    targets = smoothed(data.columns[np.concatenate(folds)], data.labels)

    def trials() -> Iterator[Trial[list[Float64Array]]]:
        for strength in STRENGTHS:
            left = [data.held_out(fold, strength) for fold in folds]
            yield Trial(strength, cross_entropy(np.concatenate(left), targets), left)

    best = choose_strength(trials(), stop_early=True)
    return best.strength, best.held_out


def _log_probs(odds: Float64Array, unseen: float) -> Float64Array:
    from scipy.special import log_softmax

    found = log_softmax(odds, axis=1)
    return np.asarray(np.where(np.isneginf(odds), unseen, found), dtype=np.float64)
