"""Answers that need no language model: votes, early exits, shortlists of a single label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ragicl.calibration.distributions import from_votes, likeliest
from ragicl.calibration.exit_rule import ExitRule, learn_rule, lower_bound
from ragicl.index import Index
from ragicl.index.cached import CachedByGeneration
from ragicl.policy import Policy
from ragicl.records import Example, Prediction, Recall
from ragicl.retrieval.retriever import LEARN_FROM, RetrievalResult, Retriever
from ragicl.timing import Timings


class Cascade:
    """What a policy lets the neighbours answer; learned from the index's own examples.

    :param labels: returns the labels to choose from
    """

    def __init__(
        self,
        index: Index,
        policy: Policy,
        retriever: Retriever,
        labels: Callable[[], tuple[str, ...]],
    ) -> None:
        self._index = index
        self._policy = policy
        self._retriever = retriever
        self._labels = labels
        self._exit_rule = CachedByGeneration(index, self._learn_exit)
        self._recall = CachedByGeneration(index, self._learn_recall)

    @property
    def exit_rule(self) -> ExitRule | None:
        """The rule of the early exit; None without one."""
        return None if self._policy.decision.exit is None else self._exit_rule.get()

    @property
    def recall(self) -> Recall | None:
        """How often the shortlist holds the right label; None without a shortlist."""
        return None if self._policy.decision.shortlist is None else self._recall.get()

    def vote(
        self, found: Sequence[RetrievalResult], timings: Timings, labels: tuple[str, ...]
    ) -> list[Prediction]:
        """Return the neighbours' vote for each query.

        :param labels: of the request
        """
        k = self._policy.retrieval.k
        votes = [from_votes(own.voters[:k], labels) for own in found]
        return [
            Prediction(likeliest(probs), probs, own.voters[:k], None, timings)
            for probs, own in zip(votes, found, strict=True)
        ]

    def exits(
        self, found: Sequence[RetrievalResult], timings: Timings, labels: tuple[str, ...] | None
    ) -> dict[int, Prediction]:
        """Return the predictions, by position, that need no language model.

        :param labels: of the request; None where text is written
        """
        if self._policy.decision.exit is None and self._policy.decision.shortlist is None:
            return {}
        labels = self._labels() if labels is None else labels
        rule, exits = self.exit_rule, {}
        votes = self.vote(found, timings, labels)
        for i, (vote, own) in enumerate(zip(votes, found, strict=True)):
            if own.shortlist is not None and len(own.shortlist) == 1:
                only = own.shortlist[0]
                certain = dict.fromkeys(labels, 0.0) | {only: 1.0}
                exits[i] = replace(vote, output=only, probs=certain, exited=True)
            elif rule is not None and rule.allows(vote.probs[vote.output]):
                exits[i] = replace(vote, exited=True)
        return exits

    def _learn_exit(self) -> ExitRule:
        labels = self._labels()
        known, found = self._loo_sample(labels)
        k = self._policy.retrieval.k
        votes = [from_votes(own.voters[:k], labels) for own in found]
        right = [likeliest(v) == e.output for v, e in zip(votes, known, strict=True)]
        asked = self._policy.decision.exit or 1.0
        return learn_rule([max(v.values()) for v in votes], right, asked)

    def _learn_recall(self) -> Recall:
        known, found = self._loo_sample(self._labels())
        held = sum(e.output in (f.shortlist or ()) for e, f in zip(known, found, strict=True))
        return Recall(held / max(len(known), 1), lower_bound(held, len(known)), len(known))

    def _loo_sample(self, labels: tuple[str, ...]) -> tuple[list[Example], list[RetrievalResult]]:
        """Return a sample of the index's examples, and what is found for each without itself."""
        where = self._policy.retrieval.where
        sample, vectors = self._index.sample_with_vectors(LEARN_FROM, where=where)
        places = [i for i, example in enumerate(sample) if example.output in labels]
        known = [sample[i] for i in places]
        return known, self._retriever.find_others(known, vectors[places], demonstrations=False)
