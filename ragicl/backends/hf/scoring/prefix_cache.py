"""Key-value states of prefixes that prompts share: bounded, the least recently used are dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from cachetools import LRUCache

from ragicl.backends.hf.scoring.packing import States

BYTES = 2**29  # kept at most: 22 thousand tokens of SmolLM2-135M, 4 thousand of an 8B model
SHORTEST = 64  # tokens; reading fewer costs less than keeping them
REMEMBERED = 4096  # prefixes that came once

Ids = tuple[int, ...]


class PrefixCache:
    """States of prompts' prefixes, by token ids; a prefix is kept once it has come twice.

    :param limit: bytes kept at most; a prefix with more is not kept; 0 keeps none
    """

    def __init__(self, limit: int = BYTES) -> None:
        self._states: LRUCache[Ids, States] = LRUCache(limit, lambda states: states.bytes)
        self._seen: LRUCache[int, bool] = LRUCache(REMEMBERED)
        self.hits = 0
        self.misses = 0

    def cacheable(self, prefixes: Sequence[Ids]) -> list[Ids]:
        """Return each prefix that came more than once, now or before; () for the others."""
        counts = Counter(prefixes)
        keeps = self._states.maxsize > 0
        return [ids if keeps and self._recurs(ids, counts[ids]) else () for ids in prefixes]

    def states(self, ids: Ids, read: Callable[[Ids], States]) -> States:
        """Return the states of a prefix, kept or read now."""
        if (known := self._states.get(ids)) is not None:
            self.hits += 1
            return known
        self.misses += 1
        states = read(ids)
        self.add(ids, states)
        return states

    def add(self, ids: Ids, states: States) -> bool:
        """Keep the states of a prefix, unless they are too large; return whether they are kept."""
        fits = states.bytes <= self._states.maxsize
        if fits:
            self._states[ids] = states
        return fits

    def _recurs(self, ids: Ids, count: int) -> bool:
        if len(ids) < SHORTEST:
            return False
        key = hash(ids)
        known = key in self._seen
        self._seen[key] = True
        return known or count > 1
