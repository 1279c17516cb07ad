"""The engine's evidence, gathered: the language model's, the vote's, the regression's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ragicl.calibrate import Blend, Evidence
from ragicl.decide import from_votes
from ragicl.index import Index
from ragicl.policy import Policy
from ragicl.prior import IndexRidge, Prior
from ragicl.protocols import FloatArray
from ragicl.retrieve import Found
from ragicl.ridge import Doubles

UNTUNED = Blend(lm=0.2, vote=0.1, ridge=0.9)
"""Where nothing was tuned: near what was fitted on several public data sets."""


class Blender:
    """Blends what is known of queries; safe to share between threads.

    Labels are passed along, since others may be taught at any time.

    :param policy: how many neighbours vote, and of which examples
    :param labels: returns the labels to choose from
    """

    def __init__(
        self, index: Index, policy: Policy, labels: Callable[[], tuple[str, ...]], blend: Blend
    ) -> None:
        self.blend = blend
        self._voters = policy.voters
        self._prior = Prior(index, labels, policy.where)

    def load(self) -> None:
        """Fit what the first answer needs."""
        self._prior.get()

    def probs(
        self, found: Sequence[Found], labels: tuple[str, ...], lm: FloatArray | None = None
    ) -> Doubles:
        """Return P(label | all evidence), shape (queries, labels).

        Labels outside a query's shortlist get no probability.

        :param lm: log P(label | prompt), shape (queries, labels); minus infinity for labels that
            are out of the question; None where the language model has no weight
        """
        said = _shortlisted(found, labels) if lm is None else lm
        return self.blend.probs(self.evidence(found, labels, said), labels)

    def evidence(
        self, found: Sequence[Found], labels: tuple[str, ...], lm: FloatArray | None = None
    ) -> Evidence:
        """Return what each source says of the queries."""
        votes = [list(from_votes(own.voters[: self._voters], labels).values()) for own in found]
        prior = self._prior.get()
        return Evidence(
            lm,
            np.array(votes, dtype=np.float32).reshape(len(found), len(labels)),
            prior.likely(_values(prior, found), labels),
        )

    def familiarity(self, found: Sequence[Found]) -> Doubles:
        """Return the share of the examples that are less like the others than a query is.

        :return: shape (queries,); low where a text may be out of scope
        """
        prior = self._prior.get()
        near = [own.voters[0].similarity if own.voters else -1.0 for own in found]
        return prior.familiarity(_values(prior, found), np.array(near))


def _shortlisted(found: Sequence[Found], labels: Sequence[str]) -> FloatArray | None:
    """Return what a model without weight may say: minus infinity for labels not in a shortlist."""
    if all(own.shortlist is None for own in found):
        return None
    held = [[own.shortlist is None or label in own.shortlist for label in labels] for own in found]
    return np.where(held, np.float32(0), np.float32(-np.inf))


def _values(prior: IndexRidge, found: Sequence[Found]) -> Doubles:
    vectors = np.stack([own.vector for own in found if own.vector is not None])
    return prior.values(vectors, [own.exclude for own in found])
