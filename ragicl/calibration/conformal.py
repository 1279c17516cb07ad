"""What may be promised of predictions: label sets that hold the right label, and when to abstain.

Both go by examples of the index, each left out of its own prediction, by a blend that was not
fitted on them. They hold for queries that are drawn as these were; near copies in an index make
its own examples easier than new texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ragicl.errors import TaskError
from ragicl.protocols import Float64Array, IntArray

DIGITS = 1e9  # of a probability that is kept


@dataclass(frozen=True, slots=True)
class Record:
    """How probable predictions were on examples left out; both sorted, least first.

    :ivar right: of each one's right label
    :ivar likeliest: of each one's likeliest label
    """

    right: tuple[float, ...] = ()
    likeliest: tuple[float, ...] = ()

    @classmethod
    def of(cls, probs: Float64Array, gold: IntArray) -> Record:
        """Return the record of held-out predictions, shape (examples, labels)."""
        right = probs[np.arange(len(gold)), gold]
        return cls(_sorted(right), _sorted(probs.max(axis=1)))

    def least(self, coverage: float) -> float:
        """Return how probable a label must be to be in a set that holds the right one so often.

        Split-conformal (Vovk et al. 2005): with n examples, the set of labels at least this
        probable holds the right one of a new text with at least the probability asked for.

        :raises TaskError: where there are too few examples for that, or the share is none
        """
        _check(coverage, "sets")
        place = math.floor(round((1 - coverage) * (len(self.right) + 1), 9))
        if place < 1:
            needed = math.ceil(round(1 / (1 - coverage), 9)) - 1
            raise TaskError(
                f"label sets for {coverage:g} take {needed} examples left out or more; "
                f"{len(self.right)} are known: run `ragicl tune` for longer, or ask for less"
            )
        return self.right[place - 1]

    def sure(self, coverage: float) -> float:
        """Return how probable the likeliest label is, at least, in so large a share of texts.

        :raises TaskError: where nothing is known, or the share is none
        """
        _check(coverage, "answer")
        if not self.likeliest:
            raise TaskError("abstaining goes by examples left out; run `ragicl tune` first")
        return self.likeliest[
            min(round((1 - coverage) * len(self.likeliest)), len(self.likeliest) - 1)
        ]


def label_set(probs: Mapping[str, float], least: float) -> tuple[str, ...]:
    """Return the labels at least so probable, likeliest first; the likeliest one in any case."""
    ranked = sorted(probs, key=probs.__getitem__, reverse=True)
    return tuple(label for place, label in enumerate(ranked) if not place or probs[label] >= least)


def _sorted(values: Float64Array) -> tuple[float, ...]:
    # Rounded down: a prediction as sure as the surest of the record must not fall below it.
    return tuple((np.floor(np.sort(values) * DIGITS) / DIGITS).tolist())


def _check(share: float, what: str) -> None:
    if not 0 < share < 1:
        raise TaskError(f"{what} is {share:g}; it must be between 0 and 1")
