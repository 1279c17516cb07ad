"""The engine's evidence, gathered: the language model's, the vote's, the regression's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ragicl.calibrate import Blend, Evidence
from ragicl.decide import from_votes
from ragicl.index import Index
from ragicl.prior import Prior
from ragicl.protocols import FloatArray
from ragicl.retrieve import Found
from ragicl.ridge import Doubles

UNTUNED = Blend(lm=0.2, vote=0.1, ridge=0.9)
"""Where nothing was tuned: near what was fitted on several public data sets."""


class Blender:
    """Blends what is known of queries; safe to share between threads.

    :param labels: returns the labels to choose from
    """

    def __init__(self, index: Index, labels: Callable[[], tuple[str, ...]], blend: Blend) -> None:
        self.blend = blend
        self._labels = labels
        self._prior = Prior(index, labels)

    def probs(self, found: Sequence[Found], lm: FloatArray | None = None) -> Doubles:
        """Return P(label | all evidence), shape (queries, labels).

        :param lm: log P(label | prompt), shape (queries, labels); minus infinity for labels that
            are out of the question; None where the language model has no weight
        """
        return self.blend.probs(self.evidence(found, lm), self._labels())

    def evidence(self, found: Sequence[Found], lm: FloatArray | None = None) -> Evidence:
        """Return what each source says of the queries."""
        labels = self._labels()
        prior = self._prior.get()
        votes = [list(from_votes(own.voters, labels).values()) for own in found]
        vectors = np.stack([own.vector for own in found if own.vector is not None])
        return Evidence(
            lm,
            np.array(votes, dtype=np.float32),
            prior.probs(vectors, [own.exclude for own in found]),
        )
