"""From queries to what is found for them: demonstrations, fixed ones, a shortlist of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragicl.data import check_query
from ragicl.fixed import FixedSets, learn_fixed
from ragicl.index import Index
from ragicl.learnt import Learnt
from ragicl.policy import Policy
from ragicl.protocols import FloatArray
from ragicl.records import Example, Neighbor
from ragicl.select import nearest
from ragicl.timing import Timings, timed

LEARN_FROM = 4000  # examples that anything is learnt from


@dataclass(frozen=True, slots=True)
class Found:
    """What retrieval found for one query.

    :ivar neighbors: the demonstrations, nearest first
    :ivar fixed: demonstrations that its prompt begins with, in prompt order
    :ivar shortlist: the labels to choose from, nearest first; None where all are
    """

    neighbors: tuple[Neighbor, ...]
    fixed: tuple[Neighbor, ...] = ()
    shortlist: tuple[str, ...] | None = None


class Retriever:
    """Finds what a policy asks for; safe to share between threads."""

    def __init__(self, index: Index, policy: Policy) -> None:
        self._index = index
        self._policy = policy
        self._fixed = Learnt(index, self._learn_fixed, self._all_there)

    def find(
        self, texts: Sequence[str], excluded: Sequence[str | None], timings: Timings
    ) -> list[Found]:
        """Return what is found for texts, each without the example of the id given.

        :raises DataError: where a text is empty
        """
        for text in texts:
            check_query(text)
        if not self._needed:
            return [Found(())] * len(texts)
        encoder = self._index.encoder  # loading it is no query's time
        with timed(timings, "embed"):
            vectors = encoder.encode(texts)
        with timed(timings, "search"):
            return self._near(vectors, excluded)

    def find_others(self, examples: Sequence[Example]) -> list[Found]:
        """Return what is found for the index's own examples, each left out of its own search."""
        ids = [example.id for example in examples]
        return self._near(self._index.vectors_of(ids), ids)

    @property
    def _needed(self) -> int:
        return max(self._policy.k, self._policy.shortlist or 0, min(self._policy.fixed, 1))

    def _near(self, vectors: FloatArray, excluded: Sequence[str | None]) -> list[Found]:
        policy = self._policy
        sets = self._fixed.get() if policy.fixed else None
        near = nearest(
            self._index.near, vectors, self._needed, exclude=excluded, labels=policy.labels
        )
        return [
            Found(
                some[: policy.k],
                sets.of(vector, own) if sets else (),
                _labels(some[: policy.shortlist]) if policy.shortlist else None,
            )
            for some, vector, own in zip(near, vectors, excluded, strict=True)
        ]

    def _learn_fixed(self) -> FixedSets:
        policy = self._policy
        sample = self._index.sample(LEARN_FROM)
        known = [e for e in sample if policy.labels is None or e.output in policy.labels]
        vectors = self._index.vectors_of([e.id for e in known])
        return learn_fixed(known, vectors, policy.fixed, policy.clusters)

    def _all_there(self, sets: FixedSets) -> bool:
        stored = self._index.get(list(sets.ids))
        chosen = (example for fixed in sets.sets for example in fixed.examples)
        return all(stored.get(example.id) == example for example in chosen)


def _labels(neighbors: Sequence[Neighbor]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(neighbor.example.output for neighbor in neighbors))
