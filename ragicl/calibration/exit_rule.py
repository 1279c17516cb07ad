"""Early exit: where the neighbours agree enough, their vote answers without the language model.

The threshold is learned from a sample of the index's examples, each left out of its own search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95  # of the bound on the vote's accuracy
MISTAKES = 20  # that the target accuracy must allow in the smallest sample that is tried


@dataclass(frozen=True, slots=True)
class ExitRule:
    """When the vote answers by itself.

    :ivar accuracy: the target accuracy
    :ivar share: the vote answers where its label has at least this share; None where it never does
    :ivar coverage: share of the sample that the vote would have answered
    :ivar bound: lower confidence bound of the vote's accuracy on those
    :ivar sample: number of examples it was learned from
    """

    accuracy: float
    share: float | None
    coverage: float
    bound: float | None
    sample: int

    def allows(self, share: float) -> bool:
        """Return whether a vote with this share answers by itself."""
        return self.share is not None and round(share, 6) >= self.share


def learn_rule(shares: Sequence[float], right: Sequence[bool], accuracy: float) -> ExitRule:
    """Return the rule of most coverage that has the target accuracy with 95 % confidence.

    Shares are tried from the highest down, and the first that fails ends the search: so tested, the
    bound holds for the share that is chosen, however many were tried (fixed-sequence testing,
    Angelopoulos et al. 2021, arXiv 2110.01052). Each bound is Clopper and Pearson's. Trying begins
    where enough votes are in to afford a few mistakes.

    :param shares: the winning label's share of each vote
    :param right: whether that label was the right one
    """
    values = np.round(np.asarray(shares, dtype=float), 6)  # so that all unanimous votes are equal
    order = np.argsort(-values, kind="stable")
    values, hits = values[order], np.cumsum(np.asarray(right)[order])
    ends = [i for i in range(len(values)) if i + 1 == len(values) or values[i] > values[i + 1]]
    rule = ExitRule(accuracy, None, 0.0, None, len(values))
    for end in ends:
        size = end + 1
        if size * (1 - accuracy) < MISTAKES - 1e-9:
            continue  # decided by the size alone, whatever the answers: no test is spent
        bound = lower_bound(int(hits[end]), size)
        if bound < accuracy:
            break
        rule = ExitRule(accuracy, float(values[end]), size / len(values), bound, len(values))
    return rule


def lower_bound(hits: int, size: int) -> float:
    """Return the one-sided Clopper-Pearson lower bound of a share, hits of size."""
    from scipy.stats import beta

    return float(beta.ppf(1 - CONFIDENCE, hits, size - hits + 1)) if hits else 0.0
