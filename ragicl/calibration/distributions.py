"""From evidence to a distribution over labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ragicl.protocols import FloatArray
from ragicl.records import Neighbor


def from_log_probs(log_probs: FloatArray, labels: Sequence[str]) -> dict[str, float]:
    """Return the labels' probabilities: their likelihoods, made to sum to 1.

    :param log_probs: log P(label | prompt) in nats, shape (labels,)
    """
    from scipy.special import softmax

    return dict(zip(labels, softmax(log_probs.astype(np.float64)).tolist(), strict=True))


def from_votes(neighbors: Sequence[Neighbor], labels: Sequence[str]) -> dict[str, float]:
    """Return each label's share of the neighbours' votes, weighted by similarity.

    A neighbour that points away from the query (a negative cosine) has no weight; where none has
    any, each counts the same. Neighbours with other labels have no vote; where nobody has one,
    each label is as likely.
    """
    voters = [n for n in neighbors if n.example.output in labels]
    if not voters:
        return dict.fromkeys(labels, 1 / len(labels))
    weights = np.array([max(n.similarity, 0.0) for n in voters])
    if not weights.any():
        weights = np.ones(len(voters))
    votes = dict.fromkeys(labels, 0.0)
    for voter, weight in zip(voters, weights / weights.sum(), strict=True):
        votes[voter.example.output] += float(weight)
    return votes


def likeliest(probs: dict[str, float]) -> str:
    """Return the label with the highest probability; the first of equals."""
    return max(probs, key=probs.__getitem__)
