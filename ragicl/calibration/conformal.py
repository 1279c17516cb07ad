"""Conformal label sets, and abstention at a given coverage.

Both are calibrated on examples of the index, each left out of its own prediction, by a blend that
was not fitted on them. They hold for queries of the same distribution; near duplicates in an index
make its own examples easier than new texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated

import msgspec
import numpy as np

from ragicl.errors import TaskError
from ragicl.protocols import Float64Array, IntArray

DIGITS = 1e9  # to which recorded probabilities are rounded
Probability = Annotated[float, msgspec.Meta(ge=0, le=1 + 1e-6)]  # 1 may be exceeded by rounding


class ConformalRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Probabilities that were predicted for held-out examples; both sorted, least first.

    :ivar right: of each example's right label
    :ivar likeliest: of each example's likeliest label
    """

    right: tuple[Probability, ...] = ()
    likeliest: tuple[Probability, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what :meth:`of` does not give.

        :raises ValueError: where the lengths differ, or the numbers are not sorted
        """
        if len(self.right) != len(self.likeliest):
            raise ValueError("`right` and `likeliest` have different lengths")
        if any(b < a for own in (self.right, self.likeliest) for a, b in pairwise(own)):
            raise ValueError("`right` or `likeliest` is not sorted")

    @classmethod
    def of(cls, probs: Float64Array, gold: IntArray) -> ConformalRecord:
        """Return the record of held-out predictions, shape (examples, labels)."""
        right = probs[np.arange(len(gold)), gold]
        return cls(_sorted(right), _sorted(probs.max(axis=1)))

    def quantile(self, coverage: float) -> float:
        """Return the conformal quantile: the least probability of a label in a label set.

        Split-conformal prediction (Vovk et al. 2005): the set of labels with at least this
        probability holds the right label of a new text with at least the coverage as probability.

        :raises TaskError: where there are too few examples for that coverage, or it is no share
        """
        _check(coverage, "set_coverage")
        place = math.floor(round((1 - coverage) * (len(self.right) + 1), 9))
        if place < 1:
            needed = math.ceil(round(1 / (1 - coverage), 9)) - 1
            raise TaskError(
                f"label sets for {coverage:g} take {needed} examples left out or more; "
                f"{len(self.right)} are known: run `ragicl tune` for longer, or ask for less"
            )
        return self.right[place - 1]

    def abstention_threshold(self, coverage: float) -> float:
        """Return the least probability of an answer that is given: below it, abstain.

        :param coverage: share of texts to answer: those with the likeliest answers
        :raises TaskError: where nothing is recorded, or the coverage is no share
        """
        _check(coverage, "coverage")
        if not self.likeliest:
            raise TaskError("abstaining goes by examples left out; run `ragicl tune` first")
        return self.likeliest[
            min(round((1 - coverage) * len(self.likeliest)), len(self.likeliest) - 1)
        ]


def label_set(probs: Mapping[str, float], threshold: float) -> tuple[str, ...]:
    """Return the labels from a probability on, likeliest first; the likeliest one in any case."""
    ranked = sorted(probs, key=probs.__getitem__, reverse=True)
    return tuple(
        label for place, label in enumerate(ranked) if not place or probs[label] >= threshold
    )


def _sorted(values: Float64Array) -> tuple[float, ...]:
    # Rounded down: a prediction as probable as the record's most probable one must not fall below.
    return tuple((np.floor(np.sort(values) * DIGITS) / DIGITS).tolist())


def _check(share: float, what: str) -> None:
    if not 0 < share < 1:
        raise TaskError(f"{what} is {share:g}; it must be between 0 and 1")
