"""In which order demonstrations stand in a prompt.

The answer leans to what stands last (Zhao et al. 2021, arXiv 2102.09690), so by default the nearest
stands there. For the same reason no order groups demonstrations by label.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

from ragicl.records import Neighbor

Ordering = Literal["nearest-last", "nearest-first", "interleaved", "shuffled"]
ORDERINGS: tuple[Ordering, ...] = get_args(Ordering)
Order = Callable[[Sequence[Neighbor]], tuple[Neighbor, ...]]
"""Puts demonstrations, nearest first, into the order of the prompt."""


def nearest_last(neighbors: Sequence[Neighbor], key: str = "") -> tuple[Neighbor, ...]:
    """Return the farthest first."""
    return tuple(reversed(neighbors))


def nearest_first(neighbors: Sequence[Neighbor], key: str = "") -> tuple[Neighbor, ...]:
    """Return them as they come."""
    return tuple(neighbors)


def interleaved(neighbors: Sequence[Neighbor], key: str = "") -> tuple[Neighbor, ...]:
    """Return the nearest last and, before it, the others from far to near, but with labels in turn.

    Equal labels stand side by side only where there is no other way to keep the nearest last.
    """
    left = list(neighbors)
    counts = Counter(n.example.output for n in left)
    backwards: list[Neighbor] = []
    while left:
        previous = backwards[-1].example.output if backwards else None
        chosen = left.pop(_apart(left, counts, previous))
        counts[chosen.example.output] -= 1
        backwards.append(chosen)
    return tuple(reversed(backwards))


def shuffled(neighbors: Sequence[Neighbor], key: str = "") -> tuple[Neighbor, ...]:
    """Return a random order, the same for the same key."""
    return tuple(random.Random(key).sample(list(neighbors), len(neighbors)))


ORDERS: Mapping[Ordering, Callable[[Sequence[Neighbor], str], tuple[Neighbor, ...]]] = {
    "nearest-last": nearest_last,
    "nearest-first": nearest_first,
    "interleaved": interleaved,
    "shuffled": shuffled,
}
"""Each takes demonstrations, nearest first, and what a random order goes by."""


def order_of(name: Ordering, seed: int, query: str) -> Order:
    """Return an order by name; a random one depends on seed and query alone."""
    return lambda neighbors: ORDERS[name](neighbors, f"{seed} {query}")


def _apart(left: Sequence[Neighbor], counts: Counter[str], previous: str | None) -> int:
    """Return the position of the nearest whose label is not the previous one.

    A label that more than half of the rest have goes first, or its last ones would stand together.
    """
    if previous is None:
        return 0
    others = [i for i, n in enumerate(left) if n.example.output != previous]
    crowded = (i for i in others if 2 * counts[left[i].example.output] > len(left))
    return next(crowded, others[0] if others else 0)
