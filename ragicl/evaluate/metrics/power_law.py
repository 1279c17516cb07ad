"""A power law through a measured curve, and what may be read off it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ragicl.errors import TaskError
from ragicl.evaluate.results import Interval, PowerLaw
from ragicl.protocols import Float64Array

LEAST = 4  # sizes for a law of three parameters
REACH = 10  # times the largest measured size is as far as an answer may lie
RESAMPLES = 500
EXPONENTS = np.arange(301) / 100  # tried for b; at 3 the curve has fallen to c by the second size


def fit_power_law(sizes: Sequence[int], distances: Float64Array, seed: int = 0) -> PowerLaw:
    """Return the least-squares fit of ε(n) = a·n^(-b) + c to the mean distance at each size.

    All of a, b and c are at least 0. For each b of a grid the best a and c follow in closed form,
    so that the fit is the best one there is, at the borders too: b is exactly 0 where the distance
    does not fall.

    The intervals are of a bootstrap over test rows, a row being drawn for all sizes at once. They
    do not hold what another choice of the pools' examples would change.

    :param distances: of each test row at each size, shape (sizes, rows)
    :raises TaskError: where there are fewer than four sizes
    """
    if len(set(sizes)) < LEAST:
        raise TaskError(
            f"a power law needs {LEAST} sizes or more, and this curve has {len(set(sizes))}; "
            f"measure more sizes"
        )
    rows = distances.shape[1]
    counts = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), RESAMPLES)
    best = _best(sizes, distances.mean(axis=1)[np.newaxis])[0]
    drawn = _best(sizes, counts @ distances.T / rows)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    a, b, c = (Interval(*map(float, of)) for of in zip(best, low, high, strict=True))
    # In six decimals, since a report holds them.
    draws = tuple((round(a, 6), b, round(c, 6)) for a, b, c in drawn.tolist())
    return PowerLaw(a, b, c, draws)


def examples_needed(law: PowerLaw, epsilon: float, largest: int) -> Interval:
    """Return the number of examples at which the law falls to an error of epsilon.

    The ends of the interval are those of its bootstrap; the upper one is cut at ten times the
    largest size, and means "or more" there.

    :param largest: size that the law was fitted to
    :raises TaskError: where the law does not support an answer: it does not surely fall, epsilon is
        not surely above what it falls to, or the answer is out of the measurements' reach
    """
    if not law.draws:
        raise TaskError("the fit comes without its resamples; measure the curve again")
    if law.b.low <= 0:
        raise TaskError(
            f"the distance does not surely fall with more examples (b may be 0, at most "
            f"{law.b.high:.2f}); measure more sizes, or more test rows"
        )
    if epsilon <= law.c.high:
        raise TaskError(
            f"an error of {epsilon:g} may lie below what any number of examples leaves "
            f"({law.c.value:.3f}, up to {law.c.high:.3f}); ask for more than that"
        )
    reach = REACH * largest
    value = _needed(np.array([(law.a.value, law.b.value, law.c.value)]), epsilon)[0]
    if value > reach:
        raise TaskError(
            f"an error of {epsilon:g} needs more than {reach:,} examples by the fit, ten times the "
            f"largest pool measured; measure larger pools"
        )
    drawn = np.minimum(_needed(np.array(law.draws), epsilon), reach)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(value), float(np.ceil(low)), float(np.ceil(high)))


def _needed(laws: Float64Array, epsilon: float) -> Float64Array:
    """Return the examples that each law (a, b, c) needs, at least 1; infinite where it never falls.

    :param laws: shape (laws, 3)
    """
    a, b, c = laws.T
    needed = np.full(len(laws), np.inf)
    falls = (b > 0) & (c < epsilon)
    with np.errstate(over="ignore"):
        found = (a[falls] / (epsilon - c[falls])) ** (1 / b[falls])
    needed[falls] = np.maximum(np.ceil(found), 1)
    return needed


def _best(sizes: Sequence[int], curves: Float64Array) -> Float64Array:
    """Return a, b and c of the best law through each curve, shape (curves, 3).

    :param curves: mean distances, shape (curves, sizes)
    """
    smallest = min(sizes)  # a is fitted at this size, where it is the excess over c
    shapes = (smallest / np.array(sizes, dtype=float)) ** EXPONENTS[:, np.newaxis]
    excess, level = _lines(shapes, curves)
    laws = excess[..., np.newaxis] * shapes + level[..., np.newaxis]
    squares = ((laws - curves[:, np.newaxis]) ** 2).sum(axis=2)
    # Rounded, so that of laws that are equal but for rounding errors the flattest is taken.
    chosen = np.round(squares, 12).argmin(axis=1)
    each = np.arange(len(curves))
    b = EXPONENTS[chosen]
    return np.stack([excess[each, chosen] * smallest**b, b, level[each, chosen]], axis=1)


def _lines(shapes: Float64Array, curves: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the least-squares slope and level, neither below 0, of each curve over each shape.

    :param shapes: shape (shapes, sizes)
    :return: two arrays of shape (curves, shapes)
    """
    middle, height = shapes.mean(axis=1), curves.mean(axis=1, keepdims=True)
    centred = shapes - middle[:, np.newaxis]
    spread = np.maximum((centred**2).sum(axis=1), 1e-12)  # 0 for b = 0, where the slope is 0 too
    slope = np.maximum(curves @ centred.T / spread, 0)
    level = height - slope * middle
    # Where the best level is negative, the best one allowed is 0.
    through_zero = curves @ shapes.T / (shapes**2).sum(axis=1)
    return np.where(level < 0, through_zero, slope), np.maximum(level, 0)
