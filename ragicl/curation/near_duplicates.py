"""What lies around each example: the neighbours' vote on its label, and near copies of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ragicl.curation.findings import Conflict, Copies
from ragicl.index import Index
from ragicl.protocols import FloatArray
from ragicl.records import Example, Neighbor

NEIGHBORS = 10  # that vote
DEEP = 200  # looked through where all of those are near copies: more of them than that are cut
CHUNK = 256  # examples searched for at once


def around(
    index: Index, examples: Sequence[Example], vectors: FloatArray, near: float
) -> Iterator[list[Neighbor]]:
    """Yield the nearest others of each example: the ten nearest, or all near copies if more."""
    for start in range(0, len(examples), CHUNK):
        some = slice(start, start + CHUNK)
        found = index.near(vectors[some], NEIGHBORS + 1)  # itself included
        full = [i for i, own in enumerate(found) if own and own[-1].similarity >= near]
        deeper = index.near(vectors[some][full], DEEP + 1) if full else []
        for i, own in zip(full, deeper, strict=True):
            found[i] = own
        for example, own in zip(examples[some], found, strict=True):
            yield [n for n in own if n.example.id != example.id]


class NearCopies:
    """Collects near copies: those of one label into groups, those of different labels in pairs."""

    def __init__(self, near: float) -> None:
        self._near = near
        self._links: dict[str, str] = {}  # of each copy to another of its group: disjoint sets
        self._labels: dict[str, str] = {}
        self._conflicts: dict[tuple[str, str], Conflict] = {}

    def look(self, example: Example, others: Sequence[Neighbor]) -> None:
        """Take in an example and its nearest others."""
        for other in others:
            if other.similarity < self._near:
                return
            if other.example.output == example.output:
                self._join(example, other.example)
            else:
                self._oppose(example, other)

    def groups(self) -> tuple[Copies, ...]:
        """Return the groups, the largest first."""
        members: dict[str, list[str]] = {}
        for identity in self._links:
            members.setdefault(self._head(identity), []).append(identity)
        groups = [Copies(self._labels[head], tuple(ids)) for head, ids in members.items()]
        return tuple(sorted(groups, key=lambda group: -len(group.ids)))

    def conflicts(self) -> tuple[Conflict, ...]:
        """Return the pairs, the most similar first."""
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
            self._links[identity] = self._links[above]  # shortens the way for the next
            identity = above
        return identity
