"""In which order demonstrations stand in a prompt.

The answer leans to what stands last (Zhao et al. 2021, arXiv 2102.09690), so by default the nearest
stands there. For the same reason no order groups demonstrations by label.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from ragicl.records import Neighbor

Ordering = Literal["nearest-last", "nearest-first", "shuffled"]
Order = Callable[[Sequence[Neighbor]], tuple[Neighbor, ...]]
"""Puts demonstrations, nearest first, into the order of the prompt."""


def nearest_last(neighbors: Sequence[Neighbor], key: str = "") -> tuple[Neighbor, ...]:
    """Return the farthest first."""
    return tuple(reversed(neighbors))


def nearest_first(neighbors: Sequence[Neighbor], key: str = "") -> tuple[Neighbor, ...]:
    """Return them as they come."""
    return tuple(neighbors)


def shuffled(neighbors: Sequence[Neighbor], key: str = "") -> tuple[Neighbor, ...]:
    """Return a random order, the same for the same key."""
    return tuple(random.Random(key).sample(list(neighbors), len(neighbors)))


ORDERS: Mapping[Ordering, Callable[[Sequence[Neighbor], str], tuple[Neighbor, ...]]] = {
    "nearest-last": nearest_last,
    "nearest-first": nearest_first,
    "shuffled": shuffled,
}
"""Each takes demonstrations, nearest first, and what a random order goes by."""


def order_of(name: Ordering, seed: int, query: str) -> Order:
    """Return an order by name; a random one depends on seed and query alone."""
    return lambda neighbors: ORDERS[name](neighbors, f"{seed} {query}")
