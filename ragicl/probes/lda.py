"""Linear discriminant analysis (LDA) on vectors: one Gaussian per label, with a shared covariance.

The covariance about the labels' means is shrunk towards a multiple of the identity (Friedman 1989),
so that it can be used with fewer examples than dimensions. Leave-one-out (LOO) predictions follow
in closed form: one example changes its label's mean, and the covariance by a matrix of rank one
(Sherman and Morrison 1950). With many labels of a few examples each, its probabilities are better
than those of a ridge regression on one-hot labels; with few labels it is the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ragicl.calibration.pooling import fit_inverse_temperature
from ragicl.protocols import BoolArray, Float64Array, FloatArray, IntArray

SHRINKAGE = (0.03, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)  # tried: weights of the shrinkage target
INVERSE_TEMPERATURES = 0.01, 2.0  # least and largest factor of the squared distances
CHOSEN_ON = 4000  # examples that a classifier's hyperparameters are chosen on, at most
ROUNDING = 1e-9  # of the variance about the mean of all: less counts as none
UNSEEN = 0.5  # pseudo-count of a label without examples


@dataclass(frozen=True, slots=True, eq=False)
class LDA:
    """A fitted linear discriminant analysis.

    :ivar centre: mean of all examples, shape (dim,)
    :ivar weights: shape (dim, labels)
    :ivar base: shape (labels,)
    :ivar shrinkage: weight of the shrinkage target in the covariance
    :ivar inverse_temperature: factor of the squared distances
    :ivar loo_logits: leave-one-out logits of the examples, shape (examples, labels)
    :ivar seen: which labels have examples, shape (labels,)
    """

    centre: Float64Array
    weights: Float64Array
    base: Float64Array
    shrinkage: float
    inverse_temperature: float
    loo_logits: FloatArray
    seen: BoolArray

    def logits(self, vectors: FloatArray) -> Float64Array:
        """Return the labels' logits, shape (len(vectors), labels).

        A label without examples is as far from every text as the farthest of the others. Computed
        in double precision, so that a prediction does not depend on the rest of its batch.
        """
        logits = (vectors.astype(np.float64) - self.centre) @ self.weights + self.base
        if not self.seen.all():
            least = logits[:, self.seen].min(axis=1, keepdims=True)
            logits[:, ~self.seen] = least + np.log(UNSEEN)
        return np.asarray(logits)


@dataclass(frozen=True, slots=True, eq=False)
class _Gaussians:
    """The examples in the eigenbasis of their covariance about the labels' means.

    :ivar own: deviations from the mean of all, shape (examples, dim)
    :ivar apart: deviations from their label's mean, shape (examples, dim)
    :ivar centres: means of the labels, shape (labels, dim); 0, the mean of all, without examples
    :ivar strengths: variances along the axes
    :ivar target: variance of the shrinkage target, the same along every axis
    :ivar counts: examples of each label, shape (labels,)
    :ivar columns: each example's label, shape (examples,)
    """

    own: Float64Array
    apart: Float64Array
    centres: Float64Array
    strengths: Float64Array
    target: float
    counts: Float64Array
    columns: IntArray

    def spreads(self, shrinkage: float) -> Float64Array:
        """Return the variances along the axes, shrunk; shape (dim,)."""
        return np.asarray((1 - shrinkage) * self.strengths + shrinkage * self.target)

    def loo_neg_mahalanobis(self, shrinkage: float, rows: IntArray) -> Float64Array:
        """Return leave-one-out negative Mahalanobis distances: half of the squared distances.

        They are relative to the distance from the mean of all. Without its only example a label is
        as far off as the farthest of the others.

        :return: shape (rows, labels)
        """
        scale = np.sqrt(self.spreads(shrinkage))
        own, apart, centres = self.own[rows] / scale, self.apart[rows] / scale, self.centres / scale
        columns = self.columns[rows]
        left, own_cells = self.loo_counts(rows), (np.arange(len(rows)), columns)
        others = left[own_cells]
        # Without the example its mean is further off, and the Gaussian narrower in its direction.
        further = np.where(others > 0, (others + 1) / np.maximum(others, 1), 0.0)
        length = (apart**2).sum(axis=1)
        narrowed = (1 - shrinkage) * further / len(self.own)
        steeper = narrowed / np.maximum(1 - narrowed * length, 1e-9)
        along = (own * apart).sum(axis=1)
        far = (own**2).sum(axis=1) + steeper * along**2
        distance = (own**2).sum(axis=1)[:, None] - 2 * own @ centres.T + (centres**2).sum(axis=1)
        distance += steeper[:, None] * (along[:, None] - apart @ centres.T) ** 2
        distance[own_cells] = further**2 * (length + steeper * length**2)
        farthest = np.where(left > 0, distance, 0.0).max(axis=1, keepdims=True)
        return np.asarray((far[:, None] - np.where(left > 0, distance, farthest)) / 2)

    def loo_counts(self, rows: IntArray) -> Float64Array:
        """Return the leave-one-out numbers of examples of the labels, shape (rows, labels)."""
        counts = np.tile(self.counts, (len(rows), 1))
        counts[np.arange(len(rows)), self.columns[rows]] -= 1
        return counts

    def loo_log_prior(self, rows: IntArray) -> Float64Array:
        """Return leave-one-out log priors, shape (rows, labels)."""
        return log_prior(self.loo_counts(rows))


def log_prior(counts: Float64Array) -> Float64Array:
    """Return the labels' unnormalised log priors: the logarithms of their numbers of examples."""
    return np.asarray(np.log(np.maximum(counts, UNSEEN)))


def fit_lda(vectors: FloatArray, columns: IntArray, labels: int) -> LDA:
    """Fit the model; shrinkage and inverse temperature are chosen by the leave-one-out loss.

    :param vectors: of the examples, shape (examples, dim)
    :param columns: each example's label as a column, shape (examples,)
    :param labels: number of columns
    """
    centre = vectors.mean(axis=0, dtype=np.float64)
    gaussians, axes = _fit_gaussians(vectors - centre, columns, labels)
    shrinkage, inverse_temperature = _chosen(gaussians, loo_sample(columns, labels))
    every = np.arange(len(vectors))
    distances = gaussians.loo_neg_mahalanobis(shrinkage, every)
    loo_logits = inverse_temperature * distances + gaussians.loo_log_prior(every)
    scaled = gaussians.centres / gaussians.spreads(shrinkage)
    halves = inverse_temperature * (scaled * gaussians.centres).sum(axis=1) / 2
    return LDA(
        centre,
        inverse_temperature * axes @ scaled.T,
        log_prior(gaussians.counts) - halves,
        shrinkage,
        inverse_temperature,
        loo_logits.astype(np.float32),
        gaussians.counts > 0,
    )


def loo_sample(columns: IntArray, labels: int) -> IntArray:
    """Return a random sample of examples to judge leave-one-out predictions by.

    The only example of a label is not among them: without it nothing is known of the label.

    :return: their rows, possibly none
    """
    order = np.random.default_rng(0).permutation(len(columns))
    counts = np.bincount(columns, minlength=labels)
    return np.asarray(order[counts[columns[order]] > 1][:CHOSEN_ON])


def _fit_gaussians(
    vectors: Float64Array, columns: IntArray, labels: int
) -> tuple[_Gaussians, Float64Array]:
    """Return the examples in their covariance's eigenbasis, and that basis, shape (dim, dim)."""
    counts = np.bincount(columns, minlength=labels).astype(np.float64)
    sums = np.zeros((labels, vectors.shape[1]))
    np.add.at(sums, columns, vectors)
    centres = sums / np.maximum(counts, 1)[:, None]
    apart = vectors - centres[columns]
    strengths, axes = np.linalg.eigh(apart.T @ apart / len(vectors))
    strengths = np.maximum(strengths, 0)
    target, widest = float(strengths.mean()), float((vectors**2).mean())
    if target <= ROUNDING * widest:  # no label has two different examples
        target = widest or 1.0
    gaussians = _Gaussians(
        vectors @ axes, apart @ axes, centres @ axes, strengths, target, counts, columns
    )
    return gaussians, axes


def _chosen(gaussians: _Gaussians, rows: IntArray) -> tuple[float, float]:
    """Return the shrinkage and the inverse temperature of the least leave-one-out loss.

    Without rows, the most cautious ones.
    """
    if not len(rows):
        return SHRINKAGE[-1], INVERSE_TEMPERATURES[0]
    columns, prior = gaussians.columns[rows], gaussians.loo_log_prior(rows)
    best, least = (SHRINKAGE[0], INVERSE_TEMPERATURES[0]), np.inf
    for shrinkage in SHRINKAGE:
        neg_mahalanobis = gaussians.loo_neg_mahalanobis(shrinkage, rows)
        inverse_temperature, loss = fit_inverse_temperature(
            neg_mahalanobis, columns, INVERSE_TEMPERATURES, prior
        )
        if loss < least:
            best, least = (shrinkage, inverse_temperature), loss
    return best
