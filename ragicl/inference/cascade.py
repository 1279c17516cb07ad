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

    def vote(self, found: Sequence[RetrievalResult], timings: Timings) -> list[Prediction]:
        """Return the neighbours' vote for each query."""
        labels = self._labels()
        k = self._policy.retrieval.k
        votes = [from_votes(own.voters[:k], labels) for own in found]
        return [
            Prediction(likeliest(probs), probs, own.voters[:k], None, timings)
            for probs, own in zip(votes, found, strict=True)
        ]

    def exits(self, found: Sequence[RetrievalResult], timings: Timings) -> dict[int, Prediction]:
        """Return the predictions, by position, that need no language model."""
        if self._policy.decision.exit is None and self._policy.decision.shortlist is None:
            return {}
        rule, exits = self.exit_rule, {}
        for i, (vote, own) in enumerate(zip(self.vote(found, timings), found, strict=True)):
            if own.shortlist is not None and len(own.shortlist) == 1:
                only = own.shortlist[0]
                certain = dict.fromkeys(self._labels(), 0.0) | {only: 1.0}
                exits[i] = replace(vote, output=only, probs=certain, exited=True)
            elif rule is not None and rule.allows(vote.probs[vote.output]):
                exits[i] = replace(vote, exited=True)
        return exits

    def _learn_exit(self) -> ExitRule:
        known, found = self._loo_sample()
        k = self._policy.retrieval.k
        votes = [from_votes(own.voters[:k], self._labels()) for own in found]
        right = [likeliest(v) == e.output for v, e in zip(votes, known, strict=True)]
        asked = self._policy.decision.exit or 1.0
        return learn_rule([max(v.values()) for v in votes], right, asked)

    def _learn_recall(self) -> Recall:
        known, found = self._loo_sample()
        held = sum(e.output in (f.shortlist or ()) for e, f in zip(known, found, strict=True))
        return Recall(held / max(len(known), 1), lower_bound(held, len(known)), len(known))

    def _loo_sample(self) -> tuple[list[Example], list[RetrievalResult]]:
        """Return a sample of the index's examples, and what is found for each without itself."""
        sample = self._index.sample(LEARN_FROM, where=self._policy.retrieval.where)
        labels = self._labels()
        known = [example for example in sample if example.output in labels]
        return known, self._retriever.find_others(known, demonstrations=False)
