"""The nearest other examples of each example, and the near duplicates among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ragicl.curation.findings import Conflict, Copies
from ragicl.index import Index
from ragicl.protocols import FloatArray
from ragicl.records import Example, Neighbor

NEIGHBORS = 10  # that vote
DEEP = 200  # searched where all of those are near duplicates; any beyond that are ignored
CHUNK = 256  # examples searched for at once


def nearest_others(
    index: Index, examples: Sequence[Example], vectors: FloatArray, near: float
) -> Iterator[list[Neighbor]]:
    """Yield the nearest other examples of each example, nearest first.

    They are the ten nearest, or all near duplicates where there are more (up to 200).

    :param vectors: of the examples, shape (examples, dim)
    :param near: cosine from which two examples count as near duplicates
    """
    for start in range(0, len(examples), CHUNK):
        some = slice(start, start + CHUNK)
        found = index.near(vectors[some], NEIGHBORS + 1)  # itself included
        full = [i for i, own in enumerate(found) if own and own[-1].similarity >= near]
        deeper = index.near(vectors[some][full], DEEP + 1) if full else []
        for i, own in zip(full, deeper, strict=True):
            found[i] = own
        for example, own in zip(examples[some], found, strict=True):
            yield [n for n in own if n.example.id != example.id]


class NearDuplicates:
    """Collects near duplicates: groups with one label, and pairs with different labels.

    :param near: cosine from which two examples count as near duplicates
    """

    def __init__(self, near: float) -> None:
        self._near = near
        self._links: dict[str, str] = {}  # of each copy to another of its group: disjoint sets
        self._labels: dict[str, str] = {}
        self._conflicts: dict[tuple[str, str], Conflict] = {}

    def add(self, example: Example, others: Sequence[Neighbor]) -> None:
        """Add an example and its near duplicates.

        :param others: the nearest other examples, nearest first
        """
        for other in others:
            if other.similarity < self._near:
                return
            if other.example.output == example.output:
                self._join(example, other.example)
            else:
                self._oppose(example, other)

    def groups(self) -> tuple[Copies, ...]:
        """Return the groups of one label, the largest first."""
        members: dict[str, list[str]] = {}
        for identity in self._links:
            members.setdefault(self._head(identity), []).append(identity)
        groups = [Copies(self._labels[head], tuple(ids)) for head, ids in members.items()]
        return tuple(sorted(groups, key=lambda group: -len(group.ids)))

    def conflicts(self) -> tuple[Conflict, ...]:
        """Return the pairs of different labels, the most similar first."""
        return tuple(sorted(self._conflicts.values(), key=lambda pair: -pair.similarity))

    def _join(self, example: Example, other: Example) -> None:
        for one in (example, other):
            self._links.setdefault(one.id, one.id)
            self._labels[one.id] = one.output
        self._links[self._head(other.id)] = self._head(example.id)

    def _oppose(self, example: Example, other: Neighbor) -> None:
        one, two = sorted((example, other.example), key=lambda e: e.id)
        pair = Conflict((one.id, two.id), (one.output, two.output), other.similarity)
        self._conflicts.setdefault(pair.ids, pair)

    def _head(self, identity: str) -> str:
        while (above := self._links[identity]) != identity:
            self._links[identity] = self._links[above]  # path halving
            identity = above
        return identity
