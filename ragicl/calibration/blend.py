"""Calibration of the language model's likelihoods, and their blend with the index's evidence.

A small model's likelihoods favour some labels whatever the text. Calibration subtracts an offset
from each label's logit; the blend is a log-linear pool of the result with the neighbours' vote and
with classifiers on the stored vectors and on the language model's states, of the bare text and in
context. Offsets and weights are fitted on the index's own examples, each left out of its own
evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from ragicl.calibration.pooling import fit_weights, pooled
from ragicl.protocols import Float64Array, FloatArray, IntArray
from ragicl.records import NOTHING

SOURCES = ("lm", "vote", "vectors", "features", "context")
LARGEST = 1e6  # of a weight or an offset: with far larger ones sums are no longer finite
Weight = Annotated[float, msgspec.Meta(ge=0, le=LARGEST)]
Offset = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
Weights = tuple[float, float, float, float, float]
DEFAULT_WEIGHTS: Weights = (
    0.2,
    0.1,
    0.9,
    0.0,
    0.0,
)  # near what was fitted on several public data sets
DEFAULT_WEIGHTS_WITH_FEATURES: Weights = (0.1, 0.05, 0.5, 0.55, 0.0)
DEFAULT_WEIGHTS_IN_CONTEXT: Weights = (0.05, 0.05, 0.4, 0.0, 0.6)
SPREAD = 0.3  # standard deviation of the weights' prior
KNOWN = (
    0.1  # the same where the prior was fitted on many rows, except for the language model's weight
)
LEAST = 1e-4  # vote share that every label is given at least
FLOOR = -14.0  # log-probabilities below are as good as this: a bound, not a measurement
FOLDS = 5  # of the evidence, where a blend is judged by rows that it was not fitted on


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The distributions of each source for some texts; None for a source that is not used.

    :ivar lm: log P(label | prompt) in nats, shape (texts, labels)
    :ivar vote: the labels' shares of the vote, shape (texts, labels)
    :ivar vectors: P(label | vector) by the classifier on the stored vectors, shape (texts, labels)
    :ivar features: the same by the one on the language model's features
    :ivar context: the same by the one on its states in context
    """

    lm: FloatArray | None = None
    vote: FloatArray | None = None
    vectors: FloatArray | None = None
    features: FloatArray | None = None
    context: FloatArray | None = None

    def of(self, rows: Any) -> Evidence:
        """Return the evidence of some of the texts."""
        return Evidence(*(None if own is None else own[rows] for own in self._all))

    @property
    def _all(self) -> tuple[FloatArray | None, ...]:
        return self.lm, self.vote, self.vectors, self.features, self.context

    @property
    def asked(self) -> list[bool]:
        """Which of the sources are used."""
        return [own is not None for own in self._all]

    def logs(self) -> list[Float64Array]:
        """Return each source's normalised log-probabilities; zeros for a source that is None."""
        from scipy.special import log_softmax

        present = next(own for own in self._all if own is not None)
        zeros = np.zeros(present.shape)
        return [
            zeros if self.lm is None else log_softmax(np.maximum(self.lm, self._low()), axis=1),
            zeros if self.vote is None else np.log(_smoothed(self.vote)),
            *(
                zeros if own is None else np.log(np.maximum(own, np.exp(FLOOR)))
                for own in (self.vectors, self.features, self.context)
            ),
        ]

    def _low(self) -> Float64Array:
        assert self.lm is not None
        return np.asarray(self.lm.max(axis=1, keepdims=True).astype(np.float64) + FLOOR)


class Blend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The weights of the sources in a log-linear pool, and the labels' offsets.

    :ivar lm: weight of the language model's distribution: its inverse temperature
    :ivar vote: weight of the neighbours' vote
    :ivar vectors: weight of the classifier on the encoder's vectors
    :ivar features: weight of the classifier on the language model's features
    :ivar context: weight of the classifier on its states in context
    :ivar offsets: by label, subtracted from the pool's logits, in nats
    """

    lm: Weight = 1.0
    vote: Weight = 0.0
    vectors: Weight = 0.0
    features: Weight = 0.0
    context: Weight = 0.0
    offsets: Mapping[str, Offset] = msgspec.field(default_factory=lambda: NOTHING)

    def probs(self, evidence: Evidence, labels: Sequence[str]) -> Float64Array:
        """Return P(label | all evidence), shape (texts, labels)."""
        from scipy.special import softmax

        impossible = np.isneginf(0.0 if evidence.lm is None else evidence.lm)
        offsets = np.array([self.offsets.get(label, 0.0) for label in labels])
        values = pooled(np.array(self.weights), np.stack(evidence.logs())) - offsets
        return np.asarray(softmax(np.where(impossible, -np.inf, values), axis=1))

    def with_context(self, probs: Float64Array, old: FloatArray, new: FloatArray) -> Float64Array:
        """Return P(label | all evidence), had the states in context said something else.

        :param probs: with what they have said, shape (labels,)
        :param old: P(label | states in context) as it was, shape (labels,)
        :param new: the same as it would have been
        """
        before, after = (np.log(np.maximum(own, np.exp(FLOOR)), dtype=float) for own in (old, new))
        changed = probs * np.exp(self.context * (after - before))
        return np.asarray(changed / changed.sum())

    @property
    def weights(self) -> Weights:
        """The weights, in the order of :data:`SOURCES`."""
        return self.lm, self.vote, self.vectors, self.features, self.context


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A blend, and its cross-validated predictions.

    :ivar held_out: P(label | all evidence) of each row by a blend fitted on other rows
    :ivar loss: mean negative log-likelihood of these, in nats
    """

    blend: Blend
    held_out: Float64Array
    loss: float


def fit_blend(
    evidence: Evidence,
    gold: IntArray,
    labels: Sequence[str],
    *,
    offsets: FloatArray | None = None,
    vector: bool = False,
    prior: Blend | None = None,
    seed: int = 0,
) -> Fitted:
    """Fit the sources' weights, none below 0, and cross-validate them.

    :param evidence: of rows left out of their own evidence
    :param gold: each row's right label as a column
    :param offsets: to subtract from the language model's log-probabilities, shape (labels,)
    :param vector: also fit an offset for each label (vector scaling, Guo et al. 2017, with a
        common scale), with a prior around 0
    :param prior: whose weights are the mean of the weights' prior: fitted on more rows, without the
        language model's answers; None takes the default weights
    """
    taken = np.zeros(len(labels)) if offsets is None else np.asarray(offsets, dtype=np.float64)
    places = np.random.default_rng(seed).permutation(len(gold)) % min(FOLDS, len(gold))
    held = np.zeros((len(gold), len(labels)))
    for fold in range(places.max() + 1):
        own, others = places == fold, places != fold
        blend = _fit(evidence.of(others), gold[others], labels, taken, vector, prior)
        held[own] = blend.probs(evidence.of(own), labels)
    whole = _fit(evidence, gold, labels, taken, vector, prior)
    return Fitted(whole, held, mean_nll(held, gold))


def batch_offsets(lm: FloatArray) -> FloatArray:
    """Return the labels' log mean probabilities over texts (Zhou et al. 2024, arXiv 2309.17249).

    The same average over texts without content, or of words drawn from the domain, is contextual
    (Zhao et al. 2021) and domain-context calibration (Fei et al. 2023).

    :param lm: log P(label | prompt), shape (texts, labels)
    """
    logs = Evidence(lm=lm).logs()[0]
    mean = np.log(np.exp(logs).mean(axis=0))
    return np.asarray(mean - mean.mean(), dtype=np.float32)


def mean_nll(probs: Float64Array, gold: IntArray) -> float:
    """Return the mean negative log-probability of the right labels, in nats."""
    return float(nll(probs, gold).mean())


def nll(probs: Float64Array, gold: IntArray) -> Float64Array:
    """Return the negative log-probability of each right label, in nats, shape (rows,)."""
    own = np.maximum(probs[np.arange(len(gold)), gold], np.exp(FLOOR))
    return np.asarray(-np.log(own))


def _fit(
    evidence: Evidence,
    gold: IntArray,
    labels: Sequence[str],
    taken: Float64Array,
    vector: bool,
    prior: Blend | None,
) -> Blend:
    """Return the blend of the least regularised loss."""
    sources = np.stack(evidence.logs())
    if evidence.lm is not None:
        sources[0] -= taken
    asked = np.array(evidence.asked)
    # A source that stands alone has a prior weight of 1.
    mean = np.array(prior.weights if prior else prior_weights(evidence)) * asked
    mean = mean if asked.sum() > 1 else asked.astype(np.float64)
    spread = np.array([SPREAD, *[SPREAD if prior is None else KNOWN] * (len(SOURCES) - 1)])
    weights, added = fit_weights(sources, gold, mean, spread, offsets=vector)
    offsets = weights[0] * taken - added
    named = dict(zip(SOURCES, weights.tolist(), strict=True))
    return Blend(**named, offsets=dict(zip(labels, offsets.tolist(), strict=True)))


def prior_weights(evidence: Evidence) -> Weights:
    """Return the weights that are likely before any row is seen, by the sources there are."""
    if evidence.context is not None:
        return DEFAULT_WEIGHTS_IN_CONTEXT
    return DEFAULT_WEIGHTS_WITH_FEATURES if evidence.features is not None else DEFAULT_WEIGHTS


def _smoothed(shares: FloatArray) -> Float64Array:
    added = shares.astype(np.float64) + LEAST
    return np.asarray(added / added.sum(axis=1, keepdims=True))
