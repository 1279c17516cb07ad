"""The engine's evidence, gathered: the language model's, the vote's, the classifiers'."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from msgspec.structs import replace

from ragicl.calibration.blend import DEFAULT_WEIGHTS, DEFAULT_WEIGHTS_IN_CONTEXT, Blend, Evidence
from ragicl.calibration.distributions import from_votes
from ragicl.index import Index
from ragicl.policy import Policy
from ragicl.probes.context import Context
from ragicl.probes.demonstrations import Shot
from ragicl.probes.index_probe import IndexClassifier, IndexProbe
from ragicl.probes.lm_features import Features
from ragicl.protocols import LM, Featuring, Float64Array, FloatArray, Progress, Scoring, no_progress
from ragicl.records import Example
from ragicl.retrieval.retriever import RetrievalResult


def default_blend(lm: LM | None) -> Blend:
    """Return the blend where nothing was tuned, by what a language model gives.

    A model whose states are seen in context is not asked for likelihoods beside them: they add
    little, and take several times as long. One without likelihoods has no distribution to blend;
    without a model, vote and classifier on vectors remain.
    """
    if isinstance(lm, Featuring):
        return replace(Blend(*DEFAULT_WEIGHTS_IN_CONTEXT), lm=0.0)
    blend = Blend(*DEFAULT_WEIGHTS)
    return blend if isinstance(lm, Scoring) else replace(blend, lm=0.0)


class Blender:
    """Blends what is known of queries; safe to share between threads.

    Labels are passed along, since others may be taught at any time.

    :param policy: how many neighbours vote, and of which examples
    :param labels: returns the labels to choose from
    :param features: the language model's, for a classifier on these too
    :param context: classifies by the language model's states in context
    """

    def __init__(
        self,
        index: Index,
        policy: Policy,
        labels: Callable[[], tuple[str, ...]],
        blend: Blend,
        features: Features | None = None,
        context: Context | None = None,
    ) -> None:
        self.blend = blend
        self._context = context
        self._voters = policy.decision.voters
        self._index_probe = IndexProbe(index, labels, policy.retrieval.where)
        self._features = features
        where = policy.retrieval.where
        self._lm_probe = IndexProbe(index, labels, where, features) if features else None

    def load(self, progress: Progress = no_progress) -> None:
        """Fit what the first answer needs.

        :param progress: called as a language model reads the index's examples
        """
        self._index_probe.get(progress)
        if self._lm_probe is not None:
            self._lm_probe.get(progress)
        if self._context is not None:
            self._context.get(progress)

    def answers(
        self,
        found: Sequence[RetrievalResult],
        labels: tuple[str, ...],
        lm: FloatArray | None = None,
    ) -> tuple[Float64Array, Float64Array]:
        """Return P(label | all evidence), shape (queries, labels), and each query's percentile.

        Labels outside a query's shortlist get no probability.

        :param lm: log P(label | prompt), shape (queries, labels); minus infinity for labels that
            are out of the question; None where the language model has no weight
        """
        scores = _shortlisted(found, labels) if lm is None else lm
        probe = self._index_probe.get()
        by_vectors, values = _asked(probe, found, labels)
        evidence = self._evidence(found, labels, scores, by_vectors)
        return self.blend.probs(evidence, labels), _percentiles(probe, values, found)

    def evidence(self, found: Sequence[RetrievalResult], labels: tuple[str, ...]) -> Evidence:
        """Return the queries' evidence of each source but the language model's answer."""
        by_vectors, _ = _asked(self._index_probe.get(), found, labels)
        return self._evidence(found, labels, None, by_vectors)

    def contributions(
        self, found: RetrievalResult, label: str, against: str
    ) -> Iterator[tuple[str, Sequence[Example], Float64Array]]:
        """Yield the sources with a ridge: name, examples, and what each of these adds.

        It adds to the blend's log-odds of the label against the other, in nats.
        """
        assert found.vector is not None
        probe, asked = self._index_probe.get(), (found.exclude, label, against)
        added = probe.contributions(found.vector, *asked)
        yield "vectors", probe.examples, self.blend.vectors * added
        if self._lm_probe is not None and self._features is not None:
            probe = self._lm_probe.get()
            added = probe.contributions(self._features.of([found.text])[0], *asked)
            yield "features", probe.examples, self.blend.features * added
        if self._context is not None:
            known, added = self._context.contributions(found.text, *asked)
            yield "context", known, self.blend.context * added

    def without_each_shot(
        self, found: RetrievalResult, labels: tuple[str, ...], probs: Float64Array
    ) -> Iterator[tuple[Shot, Float64Array]]:
        """Yield each demonstration read before every text, and the blend's answer without it.

        :param probs: the blend's with all of them, shape (len(labels),)
        :return: the second of the same shape; without states in context there is nothing
        """
        if self._context is None:
            return
        (whole,) = self._context.probs([found.text], [None], labels)
        for shot, changed in self._context.without_each_shot(found.text, labels):
            yield shot, self.blend.with_context(probs, whole, changed)

    def percentiles(self, found: Sequence[RetrievalResult]) -> Float64Array:
        """Return the share of the examples that are less like the others than a query is.

        :return: shape (queries,); low where a text may be out of scope
        """
        probe = self._index_probe.get()
        return _percentiles(probe, _asked(probe, found, probe.labels)[1], found)

    def _evidence(
        self,
        found: Sequence[RetrievalResult],
        labels: tuple[str, ...],
        lm: FloatArray | None,
        by_vectors: FloatArray,
    ) -> Evidence:
        votes = [list(from_votes(own.voters[: self._voters], labels).values()) for own in found]
        vote = np.array(votes, dtype=np.float32).reshape(len(found), len(labels))
        texts, excluded = [own.text for own in found], [own.exclude for own in found]
        in_context = self._context.probs(texts, excluded, labels) if self._context else None
        return Evidence(lm, vote, by_vectors, self._by_features(found, labels), in_context)

    def _by_features(
        self, found: Sequence[RetrievalResult], labels: tuple[str, ...]
    ) -> FloatArray | None:
        if self._lm_probe is None or self._features is None:
            return None
        lm_probe = self._lm_probe.get()
        read = self._features.of([own.text for own in found])
        return lm_probe.answers(read, [own.exclude for own in found], labels)[0]


def _shortlisted(found: Sequence[RetrievalResult], labels: Sequence[str]) -> FloatArray | None:
    """Return what a model without weight may say: minus infinity for labels not in a shortlist."""
    if all(own.shortlist is None for own in found):
        return None
    held = [[own.shortlist is None or label in own.shortlist for label in labels] for own in found]
    return np.where(held, np.float32(0), np.float32(-np.inf))


def _asked(
    probe: IndexClassifier, found: Sequence[RetrievalResult], labels: tuple[str, ...]
) -> tuple[FloatArray, Float64Array]:
    vectors = np.stack([own.vector for own in found if own.vector is not None])
    return probe.answers(vectors, [own.exclude for own in found], labels)


def _percentiles(
    probe: IndexClassifier, values: Float64Array, found: Sequence[RetrievalResult]
) -> Float64Array:
    near = [own.voters[0].similarity if own.voters else -1.0 for own in found]
    return probe.percentiles(values, np.array(near))
