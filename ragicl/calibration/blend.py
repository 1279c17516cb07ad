"""From raw distributions to one that can be trusted: calibration, blending, and what follows.

A small model's likelihoods favour some labels whatever the text. Calibration takes an offset off
each label's log-odds; blending multiplies the result with what the index says by itself: the
neighbours' vote, and classifiers on the stored vectors and on the language model's features.
Offsets and weights are fitted on the index's own examples, each left out of its own evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ragicl.calibration.pooling import fit_powers, pooled
from ragicl.protocols import Float64Array, FloatArray, IntArray
from ragicl.records import NOTHING

SOURCES = ("lm", "vote", "vectors", "features")
Powers = tuple[float, float, float, float]
USUAL: Powers = (0.2, 0.1, 0.9, 0.0)  # near what was fitted on several public sets
WITH_FEATURES: Powers = (0.1, 0.05, 0.5, 0.55)
SPREAD = 0.3  # of powers about the usual ones
KNOWN = 0.1  # of those about powers that were fitted on many rows, but for the language model's
LEAST = 1e-4  # share that a label without a single vote is given
FLOOR = -14.0  # log-probabilities below are as good as this: a bound, not a measurement
FOLDS = 5  # of the evidence, where a blend is judged by rows that it was not fitted on


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What each source says of some texts; a source that was not asked is None.

    :ivar lm: log P(label | prompt) in nats, shape (texts, labels)
    :ivar vote: the labels' shares of the vote, shape (texts, labels)
    :ivar vectors: P(label | vector) by the classifier on the stored vectors, shape (texts, labels)
    :ivar features: the same by the one on the language model's features
    """

    lm: FloatArray | None = None
    vote: FloatArray | None = None
    vectors: FloatArray | None = None
    features: FloatArray | None = None

    def of(self, rows: Any) -> Evidence:
        """Return the evidence of some of the texts."""
        return Evidence(*(None if own is None else own[rows] for own in self._all))

    @property
    def _all(self) -> tuple[FloatArray | None, ...]:
        return self.lm, self.vote, self.vectors, self.features

    @property
    def asked(self) -> list[bool]:
        """Which of the sources were asked."""
        return [own is not None for own in self._all]

    def logs(self) -> list[Float64Array]:
        """Return each source's log-probabilities, its texts' labels summing to 1; 0 for None."""
        from scipy.special import log_softmax

        present = next(own for own in self._all if own is not None)
        zeros = np.zeros(present.shape)
        return [
            zeros if self.lm is None else log_softmax(np.maximum(self.lm, self._low()), axis=1),
            zeros if self.vote is None else np.log(_smoothed(self.vote)),
            *(
                zeros if own is None else np.log(np.maximum(own, np.exp(FLOOR)))
                for own in (self.vectors, self.features)
            ),
        ]

    def _low(self) -> Float64Array:
        assert self.lm is not None
        return np.asarray(self.lm.max(axis=1, keepdims=True).astype(np.float64) + FLOOR)


@dataclass(frozen=True, slots=True)
class Blend:
    """How the sources' distributions become one.

    :ivar lm: power of the language model's distribution; one over its temperature
    :ivar vote: power of the vote's
    :ivar vectors: power of that of the classifier on the encoder's vectors
    :ivar features: power of that of the one on the language model's features
    :ivar offsets: by label, taken off the log-odds that come out, in nats
    """

    lm: float = 1.0
    vote: float = 0.0
    vectors: float = 0.0
    features: float = 0.0
    offsets: Mapping[str, float] = field(default_factory=lambda: NOTHING, hash=False)

    def probs(self, evidence: Evidence, labels: Sequence[str]) -> Float64Array:
        """Return P(label | all evidence), shape (texts, labels)."""
        from scipy.special import softmax

        impossible = np.isneginf(0.0 if evidence.lm is None else evidence.lm)
        offsets = np.array([self.offsets.get(label, 0.0) for label in labels])
        values = pooled(np.array(self.powers), np.stack(evidence.logs())) - offsets
        return np.asarray(softmax(np.where(impossible, -np.inf, values), axis=1))

    @property
    def powers(self) -> Powers:
        """The sources' powers, in their order."""
        return self.lm, self.vote, self.vectors, self.features


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A blend, and how it does on rows that it was not fitted on.

    :ivar held_out: P(label | all evidence) of each row by a blend fitted on others
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
    start: Blend | None = None,
    seed: int = 0,
) -> Fitted:
    """Fit the sources' weights, none below 0; judge them by cross-validation.

    :param evidence: of rows left out of their own evidence
    :param gold: each row's right label as a column
    :param offsets: of the language model's log-probabilities, shape (labels,); None takes none off
    :param vector: learn an offset for each label beside those (vector scaling, Guo et al. 2017,
        with a common scale); drawn towards 0
    :param start: powers that the fit is drawn to, the less the more rows there are: fitted on
        more rows, without the language model's answers; None takes usual ones
    """
    taken = np.zeros(len(labels)) if offsets is None else np.asarray(offsets, dtype=np.float64)
    places = np.random.default_rng(seed).permutation(len(gold)) % min(FOLDS, len(gold))
    held = np.zeros((len(gold), len(labels)))
    for fold in range(places.max() + 1):
        own, others = places == fold, places != fold
        blend = _fit(evidence.of(others), gold[others], labels, taken, vector, start)
        held[own] = blend.probs(evidence.of(own), labels)
    whole = _fit(evidence, gold, labels, taken, vector, start)
    return Fitted(whole, held, mean_surprise(held, gold))


def batch_offsets(lm: FloatArray) -> FloatArray:
    """Return what the model gives each label on average over texts (Zhou et al. 2024, 2309.17249).

    The same average over texts without content, or of words drawn from the domain, is contextual
    (Zhao et al. 2021) and domain-context calibration (Fei et al. 2023).

    :param lm: log P(label | prompt), shape (texts, labels)
    """
    logs = Evidence(lm=lm).logs()[0]
    mean = np.log(np.exp(logs).mean(axis=0))
    return np.asarray(mean - mean.mean(), dtype=np.float32)


def mean_surprise(probs: Float64Array, gold: IntArray) -> float:
    """Return the mean negative log-probability of the right labels, in nats."""
    return float(surprises(probs, gold).mean())


def surprises(probs: Float64Array, gold: IntArray) -> Float64Array:
    """Return the negative log-probability of each right label, in nats, shape (rows,)."""
    own = np.maximum(probs[np.arange(len(gold)), gold], np.exp(FLOOR))
    return np.asarray(-np.log(own))


def _fit(
    evidence: Evidence,
    gold: IntArray,
    labels: Sequence[str],
    taken: Float64Array,
    vector: bool,
    start: Blend | None,
) -> Blend:
    """Return the weights, and offsets where wanted, under which the right labels are likeliest."""
    sources = np.stack(evidence.logs())
    if evidence.lm is not None:
        sources[0] -= taken
    asked = np.array(evidence.asked)
    usual = WITH_FEATURES if evidence.features is not None else USUAL
    # A source that stands alone is taken as it is, to begin with.
    first = np.array(start.powers if start else usual) * asked
    first = first if asked.sum() > 1 else asked.astype(np.float64)
    spread = np.array([SPREAD, *[SPREAD if start is None else KNOWN] * (len(SOURCES) - 1)])
    powers, added = fit_powers(sources, gold, first, spread, offsets=vector)
    offsets = powers[0] * taken - added
    lm, vote, vectors, features = powers.tolist()
    return Blend(lm, vote, vectors, features, dict(zip(labels, offsets.tolist(), strict=True)))


def _smoothed(shares: FloatArray) -> Float64Array:
    added = shares.astype(np.float64) + LEAST
    return np.asarray(added / added.sum(axis=1, keepdims=True))
