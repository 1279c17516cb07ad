"""The engine's evidence, gathered: the language model's, the vote's, the classifiers'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ragicl.calibration.blend import USUAL, WITH_FEATURES, Blend, Evidence
from ragicl.calibration.distributions import from_votes
from ragicl.index import Index
from ragicl.policy import Policy
from ragicl.probes.index_probe import IndexClassifier, Prior
from ragicl.probes.lm_features import Features
from ragicl.protocols import LM, Featuring, Float64Array, FloatArray, Progress, Scoring, no_progress
from ragicl.retrieval.retriever import Found


def default_blend(lm: LM | None) -> Blend:
    """Return the blend where nothing was tuned, by what a language model gives.

    A model without likelihoods has no distribution to blend; without a model, vote and classifier
    on vectors remain.
    """
    blend = Blend(*(WITH_FEATURES if isinstance(lm, Featuring) else USUAL))
    return blend if isinstance(lm, Scoring) else replace(blend, lm=0.0)


class Blender:
    """Blends what is known of queries; safe to share between threads.

    Labels are passed along, since others may be taught at any time.

    :param policy: how many neighbours vote, and of which examples
    :param labels: returns the labels to choose from
    :param features: the language model's, for a classifier on these too
    """

    def __init__(
        self,
        index: Index,
        policy: Policy,
        labels: Callable[[], tuple[str, ...]],
        blend: Blend,
        features: Features | None = None,
    ) -> None:
        self.blend = blend
        self._voters = policy.decision.voters
        self._prior = Prior(index, labels, policy.retrieval.where)
        self._features = features
        self._deep = Prior(index, labels, policy.retrieval.where, features) if features else None

    def load(self, progress: Progress = no_progress) -> None:
        """Fit what the first answer needs.

        :param progress: called as a language model reads the index's examples
        """
        for prior in filter(None, (self._prior, self._deep)):
            prior.get(progress)

    def answers(
        self, found: Sequence[Found], labels: tuple[str, ...], lm: FloatArray | None = None
    ) -> tuple[Float64Array, Float64Array]:
        """Return P(label | all evidence), shape (queries, labels), and each query's familiarity.

        Labels outside a query's shortlist get no probability.

        :param lm: log P(label | prompt), shape (queries, labels); minus infinity for labels that
            are out of the question; None where the language model has no weight
        """
        said = _shortlisted(found, labels) if lm is None else lm
        prior = self._prior.get()
        by_vectors, values = _asked(prior, found, labels)
        evidence = self._said(found, labels, said, by_vectors)
        return self.blend.probs(evidence, labels), _familiarity(prior, values, found)

    def evidence(self, found: Sequence[Found], labels: tuple[str, ...]) -> Evidence:
        """Return what each source but the language model's answer says of the queries."""
        by_vectors, _ = _asked(self._prior.get(), found, labels)
        return self._said(found, labels, None, by_vectors)

    def familiarity(self, found: Sequence[Found]) -> Float64Array:
        """Return the share of the examples that are less like the others than a query is.

        :return: shape (queries,); low where a text may be out of scope
        """
        prior = self._prior.get()
        return _familiarity(prior, _asked(prior, found, prior.labels)[1], found)

    def _said(
        self,
        found: Sequence[Found],
        labels: tuple[str, ...],
        lm: FloatArray | None,
        by_vectors: FloatArray,
    ) -> Evidence:
        votes = [list(from_votes(own.voters[: self._voters], labels).values()) for own in found]
        vote = np.array(votes, dtype=np.float32).reshape(len(found), len(labels))
        return Evidence(lm, vote, by_vectors, self._by_features(found, labels))

    def _by_features(self, found: Sequence[Found], labels: tuple[str, ...]) -> FloatArray | None:
        if self._deep is None or self._features is None:
            return None
        deep = self._deep.get()
        read = self._features.of([own.text for own in found])
        return deep.answers(read, [own.exclude for own in found], labels)[0]


def _shortlisted(found: Sequence[Found], labels: Sequence[str]) -> FloatArray | None:
    """Return what a model without weight may say: minus infinity for labels not in a shortlist."""
    if all(own.shortlist is None for own in found):
        return None
    held = [[own.shortlist is None or label in own.shortlist for label in labels] for own in found]
    return np.where(held, np.float32(0), np.float32(-np.inf))


def _asked(
    prior: IndexClassifier, found: Sequence[Found], labels: tuple[str, ...]
) -> tuple[FloatArray, Float64Array]:
    vectors = np.stack([own.vector for own in found if own.vector is not None])
    return prior.answers(vectors, [own.exclude for own in found], labels)


def _familiarity(
    prior: IndexClassifier, values: Float64Array, found: Sequence[Found]
) -> Float64Array:
    near = [own.voters[0].similarity if own.voters else -1.0 for own in found]
    return prior.familiarity(values, np.array(near))
