"""Confidence intervals and paired tests, by resampling test rows.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 (percentile interval)
and 15 (permutation test).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from ragicl.errors import TaskError
from ragicl.evaluate.results import Interval, Paired
from ragicl.protocols import FloatArray

DRAWS = 2000  # resamples of an interval
SWAPS = 10_000  # of a permutation test
BATCH = 1000  # of them at once
CONFIDENCE = 0.95


class Resampling:
    """The same resamples of test rows for every method, so that rows stay paired.

    :param rows: number of test rows
    """

    def __init__(self, rows: int, seed: int = 0) -> None:
        if rows < 1:
            raise TaskError("there are no test rows to estimate anything from")
        self._rows = rows
        self._seed = seed

    @cached_property
    def _weights(self) -> FloatArray:
        """How often each row is in each resample, as shares, shape (draws, rows)."""
        draw = np.random.default_rng(self._seed)
        counts = draw.multinomial(self._rows, np.full(self._rows, 1 / self._rows), DRAWS)
        shares: FloatArray = (counts / self._rows).astype(np.float32)
        return shares

    def mean(self, values: FloatArray) -> Interval:
        """Return the mean of one value a row, with its interval."""
        return self.of(values[:, None], lambda means: means[:, 0])

    def of(
        self,
        values: FloatArray,
        statistic: Callable[[FloatArray], FloatArray],
        *,
        biased: bool = False,
    ) -> Interval:
        """Return a statistic of means, with its interval.

        :param values: shape (rows, values)
        :param statistic: from means over rows, shape (n, values), to shape (n,)
        :param biased: whether resamples have it greater than the rows themselves, as an absolute
            error; the interval is then turned about the value (the basic interval), and ends at 0
        """
        values = values.astype(np.float32)
        own = statistic(values.mean(axis=0, keepdims=True, dtype=np.float64))
        low, high = np.quantile(
            statistic(self._weights @ values), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
        )
        if biased:
            low, high = max(2 * own[0] - high, 0), 2 * own[0] - low
        return Interval(float(own[0]), float(low), float(max(high, own[0])))

    def paired(self, reference: FloatArray, system: FloatArray) -> Paired:
        """Return how much a reference scores above the system on the same rows, with a test."""
        difference: FloatArray = reference.astype(np.float32) - system
        draw = np.random.default_rng(self._seed + 1)
        batches = range(0, SWAPS, BATCH)
        swapped = np.concatenate(
            [draw.choice((-1.0, 1.0), size=(BATCH, self._rows)) @ difference for _ in batches]
        )
        # As great as observed, but for rounding; the observed order is one of those counted.
        as_great = np.abs(swapped) >= abs(difference.sum()) - 1e-9
        return Paired(self.mean(difference), float((1 + as_great.sum()) / (1 + SWAPS)))
