"""Examples by their labels: as many of each, or one of each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest

from ragicl.calibration.distributions import from_votes
from ragicl.records import Neighbor
from ragicl.retrieval.nearest import Chosen, ranked


def balanced(near: Sequence[Neighbor], k: int) -> Chosen:
    """Return k candidates, equally many of each of the labels that the k nearest have.

    Within a label the nearest come first. Numbers differ by one where k does not divide evenly, in
    favour of the labels with the larger share of the vote, and by more where candidates of a label
    run out.

    :param near: candidates, nearest first
    """
    labels = dict.fromkeys(n.example.output for n in near[:k])
    votes = from_votes(near[:k], list(labels))
    likeliest = sorted(labels, key=lambda label: -votes[label])
    groups = [[n for n in near if n.example.output == label] for label in likeliest]
    turns = chain.from_iterable(zip_longest(*groups))
    dealt = [neighbor for neighbor in turns if neighbor is not None]
    return ranked(sorted(dealt[:k], key=lambda n: n.rank))


def coverage(near: Sequence[Neighbor], k: int, reach: int | None = None) -> Chosen:
    """Return the nearest candidate of each label, nearest label first, then the nearest others.

    :param near: candidates, nearest first
    :param reach: the labels to cover are those of so many nearest; None covers all candidates'
    """
    firsts: dict[str, Neighbor] = {}
    for neighbor in near[:reach]:
        firsts.setdefault(neighbor.example.output, neighbor)
    covering = {n.rank for n in firsts.values()}
    others = (n for n in near if n.rank not in covering)
    return ranked(sorted([*firsts.values(), *others][:k], key=lambda n: n.rank))
