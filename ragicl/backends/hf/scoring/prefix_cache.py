"""Key-value states of beginnings that prompts share: bounded, the least recently used go first."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

from ragicl.backends.hf.scoring.packing import States

BYTES = 2**29  # kept at most: 22 thousand tokens of SmolLM2-135M, 4 thousand of an 8B model
SHORTEST = 64  # tokens; reading fewer costs less than keeping them
REMEMBERED = 4096  # beginnings that came once

Ids = tuple[int, ...]


class Prefixes:
    """Beginnings of prompts by their token ids; a beginning is kept once it has come twice."""

    def __init__(self, limit: int = BYTES) -> None:
        self._limit = limit
        self._kept: OrderedDict[Ids, States] = OrderedDict()
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._bytes = 0
        self.hits = 0
        self.misses = 0

    def worth(self, beginnings: Sequence[Ids]) -> list[Ids]:
        """Return each beginning that came more than once, now or before; () for the others."""
        counts = Counter(beginnings)
        return [ids if self._limit and self._recurs(ids, counts[ids]) else () for ids in beginnings]

    def states(self, ids: Ids, read: Callable[[Ids], States]) -> States:
        """Return the states of a beginning, kept or read now."""
        if ids in self._kept:
            self.hits += 1
            self._kept.move_to_end(ids)
            return self._kept[ids]
        self.misses += 1
        states = read(ids)
        self._kept[ids] = states
        self._bytes += states.bytes
        while self._bytes > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.bytes
        return states

    def _recurs(self, ids: Ids, count: int) -> bool:
        if len(ids) < SHORTEST:
            return False
        key = hash(ids)
        known = key in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return known or count > 1
