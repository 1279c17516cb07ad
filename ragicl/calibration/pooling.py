"""Log-linear pools: several distributions multiplied, each to its power (Genest and Zidek 1986)."""

from __future__ import annotations

import numpy as np

from ragicl.protocols import Float64Array, IntArray

BINDING = 0.5  # of the offsets' penalty, in nats for all rows together


def smoothed(columns: IntArray, labels: int) -> Float64Array:
    """Return labels one-hot, but that each may be any label once in so many examples and one.

    A few examples that all turned out right do not make the next one certain.

    :return: shape (examples, labels)
    """
    doubt = 1 / (len(columns) + 1)
    return np.asarray(np.eye(labels)[columns] * (1 - doubt) + doubt / labels)


def cross_entropy(logits: Float64Array, targets: Float64Array) -> float:
    """Return the mean cross-entropy of rows, in nats.

    :param logits: log-odds, shape (rows, labels)
    :param targets: the right labels' shares, of the same shape
    """
    below = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(below).sum(axis=1)) - (below * targets).sum(axis=1)).mean())


def sharpened(
    values: Float64Array,
    columns: IntArray,
    within: tuple[float, float],
    base: Float64Array | float = 0.0,
) -> tuple[float, float]:
    """Return the factor of values under which the right labels are likeliest, and their loss.

    The loss is convex in the factor, so that a search by sections finds it.

    :param values: shape (rows, labels)
    :param columns: each row's right label
    :param within: the least and the largest factor
    :param base: log-odds that are added to the values
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


def pooled(powers: Float64Array, sources: Float64Array) -> Float64Array:
    """Return the sources' log-odds, each to its power, as those of the pool.

    :param powers: shape (sources,)
    :param sources: shape (sources, rows, labels)
    :return: shape (rows, labels)
    """
    return np.asarray(np.tensordot(powers, sources, axes=1))


def fit_powers(
    sources: Float64Array,
    gold: IntArray,
    usual: Float64Array,
    spread: Float64Array,
    *,
    offsets: bool = False,
) -> tuple[Float64Array, Float64Array]:
    """Return the powers, none below 0, under which the right labels are likeliest.

    :param sources: log-odds, shape (sources, rows, labels)
    :param gold: each row's right label as a column
    :param usual: powers that the fit is drawn to, the less the more rows there are; a source
        that is 0 throughout keeps its own
    :param spread: how far from these each may well be: the standard deviation of a prior
    :param offsets: also learn what to add to each label, drawn towards 0
    :return: the powers and what is added, shapes (sources,) and (labels,)
    """
    from scipy.optimize import minimize

    number, rows, labels = sources.shape
    free = labels if offsets else 0
    targets = smoothed(gold, labels)
    stiff, bound = 1 / (2 * spread**2 * rows), BINDING / rows

    def loss(values: Float64Array) -> tuple[float, Float64Array]:
        powers, added = values[:number], values[number:]
        logits = pooled(powers, sources)
        if free:
            logits = logits + added
        logits -= logits.max(axis=1, keepdims=True)
        total = np.exp(logits).sum(axis=1, keepdims=True)
        wrong = (np.exp(logits) / total - targets) / rows
        far = powers - usual
        value = float((np.log(total[:, 0]) - (logits * targets).sum(axis=1)).mean())
        value += float(stiff @ far**2) + bound * float(added @ added)
        slope = np.tensordot(sources, wrong, axes=([1, 2], [0, 1])) + 2 * stiff * far
        if not free:
            return value, slope
        return value, np.concatenate([slope, wrong.sum(axis=0) + 2 * bound * added])

    bounds = [(0.0, None)] * number + [(None, None)] * free
    start = np.concatenate([usual, np.zeros(free)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found[:number], found[number:] if free else np.zeros(labels)
