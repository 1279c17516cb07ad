"""The examples that a tuning is judged by, and what is known of each without prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ragicl.calibration.blend import Blend, Evidence
from ragicl.calibration.distributions import from_votes
from ragicl.engine import Engine
from ragicl.errors import TaskError
from ragicl.inference.blender import Blender
from ragicl.probes.context import context_of
from ragicl.probes.lm_features import features_of
from ragicl.protocols import FloatArray, IntArray, Progress, no_progress
from ragicl.records import Example
from ragicl.retrieval.retriever import RetrievalResult, Retriever

MOST = 1000  # examples that the last candidate is tried on
FEWEST = 10  # examples of an index below which nothing can be judged
VOTERS = (1, 3, 5, 9, 15, 25, 40)  # numbers of voting neighbours tried


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Examples of an index in random order, each left out of its own evidence.

    :ivar vectors: theirs, shape (rows, dim)
    :ivar labels: to choose from
    :ivar gold: each row's label as a column
    :ivar voters: how many neighbours should vote
    :ivar evidence: of each row, without the language model's answers
    """

    rows: Sequence[Example]
    vectors: FloatArray
    labels: tuple[str, ...]
    gold: IntArray
    voters: int
    evidence: Evidence

    @classmethod
    def of(cls, engine: Engine, seed: int = 0, progress: Progress = no_progress) -> Self:
        """Draw them.

        :param progress: called as the language model reads examples
        :raises TaskError: where there are too few
        """
        labels = engine.labels
        rows, vectors = _drawn(engine, labels, seed)
        places = {label: place for place, label in enumerate(labels)}
        gold = np.array([places[row.output] for row in rows], dtype=np.int64)
        base = engine.policy.replace(decide="blend", voters=max(VOTERS), shortlist=None)
        found = Retriever(engine.index, base).find_others(rows, vectors, demonstrations=False)
        features = features_of(engine.index.derived, engine.lm)
        where = engine.policy.retrieval.where
        context = context_of(engine.index, engine.lm, lambda: labels, where)
        blender = Blender(engine.index, base, lambda: labels, Blend(), features, context)
        blender.load(progress)
        votes = {number: _vote(found, number, labels) for number in VOTERS}
        best = max(votes, key=lambda n: float((votes[n].argmax(axis=1) == gold).mean()))
        evidence = replace(blender.evidence(found, labels), vote=votes[best])
        return cls(rows, vectors, labels, gold, best, evidence)


def _vote(found: Sequence[RetrievalResult], number: int, labels: Sequence[str]) -> FloatArray:
    shares = [list(from_votes(own.voters[:number], labels).values()) for own in found]
    return np.array(shares, dtype=np.float32)


def _drawn(engine: Engine, labels: Sequence[str], seed: int) -> tuple[list[Example], FloatArray]:
    """Return examples to try candidates on, in random order, and their vectors.

    :raises TaskError: where there are too few
    """
    where = engine.policy.retrieval.where
    sample, vectors = engine.index.sample_with_vectors(MOST, seed, where)
    known = [row for row, example in enumerate(sample) if example.output in labels]
    if len(known) < FEWEST:
        raise TaskError(
            f"{len(known)} examples are too few to tune on; add some to {engine.index.path}, "
            f"{FEWEST} or more in all"
        )
    order = [known[i] for i in np.random.default_rng(seed).permutation(len(known))]
    return [sample[row] for row in order], vectors[order]
