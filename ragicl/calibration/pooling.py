"""Log-linear pools: weighted geometric means of distributions (Genest and Zidek 1986)."""

from __future__ import annotations

import numpy as np

from ragicl.protocols import Float64Array, IntArray

BINDING = 0.5  # of the offsets' penalty, in nats for all rows together


def smoothed(columns: IntArray, labels: int) -> Float64Array:
    """Return one-hot labels, smoothed: of n examples, one in n + 1 may have any label.

    So a few examples that all turn out right do not make the next one certain.

    :return: shape (examples, labels)
    """
    doubt = 1 / (len(columns) + 1)
    return np.asarray(np.eye(labels)[columns] * (1 - doubt) + doubt / labels)


def cross_entropy(logits: Float64Array, targets: Float64Array) -> float:
    """Return the mean cross-entropy of rows, in nats.

    :param logits: shape (rows, labels)
    :param targets: the labels' target probabilities, of the same shape
    """
    below = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(below).sum(axis=1)) - (below * targets).sum(axis=1)).mean())


def fit_inverse_temperature(
    values: Float64Array,
    columns: IntArray,
    within: tuple[float, float],
    base: Float64Array | float = 0.0,
) -> tuple[float, float]:
    """Return the factor of values with the least cross-entropy, and that cross-entropy.

    The loss is convex in the factor, so that a bounded scalar search finds it.

    :param values: shape (rows, labels)
    :param columns: each row's right label
    :param within: the least and the largest factor
    :param base: logits that are added to the scaled values
    """
    from scipy.optimize import minimize_scalar

    targets = smoothed(columns, values.shape[1])
    found = minimize_scalar(
        lambda log: cross_entropy(np.exp(log) * values + base, targets),
        bounds=np.log(within),
        method="bounded",
        options={"xatol": 0.02},
    )
    return float(np.exp(found.x)), float(found.fun)


def pooled(weights: Float64Array, sources: Float64Array) -> Float64Array:
    """Return the pool's logits: the weighted sum of the sources'.

    :param weights: shape (sources,)
    :param sources: shape (sources, rows, labels)
    :return: shape (rows, labels)
    """
    return np.asarray(np.tensordot(weights, sources, axes=1))


def fit_weights(
    sources: Float64Array,
    gold: IntArray,
    prior: Float64Array,
    spread: Float64Array,
    *,
    offsets: bool = False,
) -> tuple[Float64Array, Float64Array]:
    """Return the non-negative weights of the least cross-entropy, regularised by a Gaussian prior.

    :param sources: logits, shape (sources, rows, labels)
    :param gold: each row's right label as a column
    :param prior: mean of the weights' prior, which counts the less the more rows there are; the
        weight of a source that is 0 throughout stays at its mean
    :param spread: standard deviation of the weights' prior
    :param offsets: also fit an offset for each label, with a prior around 0
    :return: the weights and the offsets, shapes (sources,) and (labels,)
    """
    from scipy.optimize import minimize

    number, rows, labels = sources.shape
    free = labels if offsets else 0
    targets = smoothed(gold, labels)
    stiff, bound = 1 / (2 * spread**2 * rows), BINDING / rows

    def loss(values: Float64Array) -> tuple[float, Float64Array]:
        weights, added = values[:number], values[number:]
        logits = pooled(weights, sources)
        if free:
            logits = logits + added
        logits -= logits.max(axis=1, keepdims=True)
        total = np.exp(logits).sum(axis=1, keepdims=True)
        wrong = (np.exp(logits) / total - targets) / rows
        far = weights - prior
        value = float((np.log(total[:, 0]) - (logits * targets).sum(axis=1)).mean())
        value += float(stiff @ far**2) + bound * float(added @ added)
        slope = np.tensordot(sources, wrong, axes=([1, 2], [0, 1])) + 2 * stiff * far
        if not free:
            return value, slope
        return value, np.concatenate([slope, wrong.sum(axis=0) + 2 * bound * added])

    bounds = [(0.0, None)] * number + [(None, None)] * free
    start = np.concatenate([prior, np.zeros(free)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found[:number], found[number:] if free else np.zeros(labels)
