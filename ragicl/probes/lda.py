"""Linear discriminant analysis on vectors: classes as clouds of one shape about their own centres.

The shape is the examples' covariance about the centres, shrunk towards a ball (Friedman 1989), so
that it is of use with fewer examples than dimensions. What it would say of each example had it not
been there follows in closed form: one example changes its own centre, and the covariance by a
matrix of rank one (Sherman and Morrison 1950). With many labels of a few examples each its
probabilities are better than a regression's on the labels one-hot; with few labels the other is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ragicl.calibration.pooling import sharpened
from ragicl.protocols import BoolArray, Float64Array, FloatArray, IntArray

SHRINKAGE = (0.03, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)  # tried: shares of the ball
SHARPNESS = 0.01, 2.0  # least and largest factor of the distances
CHOSEN_ON = 4000  # examples that a classifier's settings are chosen on, at most
ROUNDING = 1e-9  # of the variance about the centre of all: less is none
UNSEEN = 0.5  # examples that a label without any counts as


@dataclass(frozen=True, slots=True, eq=False)
class Discriminant:
    """A fitted discriminant.

    :ivar centre: of all examples, shape (dim,)
    :ivar weights: shape (dim, labels)
    :ivar base: shape (labels,)
    :ivar shrinkage: share of the ball in the covariance
    :ivar sharpness: factor of the distances
    :ivar left_logits: its log-odds for each example, had that one not been there; shape
        (examples, labels)
    :ivar seen: which labels have examples, shape (labels,)
    """

    centre: Float64Array
    weights: Float64Array
    base: Float64Array
    shrinkage: float
    sharpness: float
    left_logits: FloatArray
    seen: BoolArray

    def logits(self, vectors: FloatArray) -> Float64Array:
        """Return the labels' log-odds, shape (len(vectors), labels).

        A label without examples is as far from every text as the farthest of the others. In double
        precision, so that an answer does not depend on the batch it is in.
        """
        logits = (vectors.astype(np.float64) - self.centre) @ self.weights + self.base
        if not self.seen.all():
            least = logits[:, self.seen].min(axis=1, keepdims=True)
            logits[:, ~self.seen] = least + np.log(UNSEEN)
        return np.asarray(logits)


@dataclass(frozen=True, slots=True, eq=False)
class _Clouds:
    """The examples along the axes of their covariance about the labels' centres.

    :ivar own: about the centre of all, shape (examples, dim); as is `apart`, about their label's
    :ivar centres: of the labels, shape (labels, dim); 0, the centre of all, without examples
    :ivar strengths: variances along the axes
    :ivar level: of the ball
    :ivar counts: examples of each label, shape (labels,)
    :ivar columns: each example's label, shape (examples,)
    """

    own: Float64Array
    apart: Float64Array
    centres: Float64Array
    strengths: Float64Array
    level: float
    counts: Float64Array
    columns: IntArray

    def spreads(self, shrinkage: float) -> Float64Array:
        """Return the variances along the axes, shrunk; shape (dim,)."""
        return np.asarray((1 - shrinkage) * self.strengths + shrinkage * self.level)

    def left_closeness(self, shrinkage: float, rows: IntArray) -> Float64Array:
        """Return how much closer examples are to the labels than to the centre of all, left out.

        Without its only example a label is as far off as the farthest of the others.

        :return: in halves of squared distances, shape (rows, labels)
        """
        scale = np.sqrt(self.spreads(shrinkage))
        own, apart, centres = self.own[rows] / scale, self.apart[rows] / scale, self.centres / scale
        columns = self.columns[rows]
        left, own_cells = self.left_counts(rows), (np.arange(len(rows)), columns)
        others = left[own_cells]
        # Without the example its centre is further off, and the cloud narrower in its direction.
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

    def left_counts(self, rows: IntArray) -> Float64Array:
        """Return the labels' numbers of examples without each row, shape (rows, labels)."""
        counts = np.tile(self.counts, (len(rows), 1))
        counts[np.arange(len(rows)), self.columns[rows]] -= 1
        return counts

    def left_prior(self, rows: IntArray) -> Float64Array:
        """Return log-odds by these numbers."""
        return by_number(self.left_counts(rows))


def by_number(counts: Float64Array) -> Float64Array:
    """Return labels' log-odds by their numbers of examples alone."""
    return np.asarray(np.log(np.maximum(counts, UNSEEN)))


def fit_discriminant(vectors: FloatArray, columns: IntArray, labels: int) -> Discriminant:
    """Fit the discriminant; its shrinkage and sharpness by what it says of examples left out.

    :param vectors: of the examples, shape (examples, dim)
    :param columns: each example's label as a column, shape (examples,)
    :param labels: number of columns
    """
    centre = vectors.mean(axis=0, dtype=np.float64)
    clouds, axes = _clouds(vectors - centre, columns, labels)
    shrinkage, sharpness = _chosen(clouds, telling(columns, labels))
    every = np.arange(len(vectors))
    left = sharpness * clouds.left_closeness(shrinkage, every) + clouds.left_prior(every)
    spread = clouds.spreads(shrinkage)
    reached = clouds.centres / spread
    base = by_number(clouds.counts) - sharpness * (reached * clouds.centres).sum(axis=1) / 2
    weights = sharpness * axes @ reached.T
    left_logits, seen = left.astype(np.float32), clouds.counts > 0
    return Discriminant(centre, weights, base, shrinkage, sharpness, left_logits, seen)


def telling(columns: IntArray, labels: int) -> IntArray:
    """Return some examples that tell how good a classifier is without them, drawn at random.

    One that is alone with its label does not: without it nothing can know of the label.

    :return: their rows, maybe none
    """
    order = np.random.default_rng(0).permutation(len(columns))
    counts = np.bincount(columns, minlength=labels)
    return np.asarray(order[counts[columns[order]] > 1][:CHOSEN_ON])


def _clouds(vectors: Float64Array, columns: IntArray, labels: int) -> tuple[_Clouds, Float64Array]:
    """Return the examples along their covariance's axes, and these, shape (dim, dim)."""
    counts = np.bincount(columns, minlength=labels).astype(np.float64)
    sums = np.zeros((labels, vectors.shape[1]))
    np.add.at(sums, columns, vectors)
    centres = sums / np.maximum(counts, 1)[:, None]
    apart = vectors - centres[columns]
    strengths, axes = np.linalg.eigh(apart.T @ apart / len(vectors))
    strengths = np.maximum(strengths, 0)
    level, widest = float(strengths.mean()), float((vectors**2).mean())
    if level <= ROUNDING * widest:  # no label has two different examples: all tell as much
        level = widest or 1.0
    clouds = _Clouds(
        vectors @ axes, apart @ axes, centres @ axes, strengths, level, counts, columns
    )
    return clouds, axes


def _chosen(clouds: _Clouds, rows: IntArray) -> tuple[float, float]:
    """Return the shrinkage and the sharpness under which the right labels are likeliest.

    Where no example can tell, the most cautious ones.
    """
    if not len(rows):
        return SHRINKAGE[-1], SHARPNESS[0]
    columns, prior = clouds.columns[rows], clouds.left_prior(rows)
    best, least = (SHRINKAGE[0], SHARPNESS[0]), np.inf
    for shrinkage in SHRINKAGE:
        closeness = clouds.left_closeness(shrinkage, rows)
        sharpness, loss = sharpened(closeness, columns, SHARPNESS, prior)
        if loss < least:
            best, least = (shrinkage, sharpness), loss
    return best
