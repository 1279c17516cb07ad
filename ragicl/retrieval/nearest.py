"""The best examples of each query, each content once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import islice

from ragicl.protocols import FloatArray
from ragicl.records import Example, Neighbor

Search = Callable[[FloatArray, int], list[list[Neighbor]]]
"""Finds the n nearest examples of each vector: :meth:`ragicl.index.Index.near`."""
Ranking = Callable[[Sequence[int], int], list[list[Neighbor]]]
"""Finds the n best examples of some queries, given by their positions; best first."""
Chosen = tuple[Neighbor, ...]

SPARE = 8  # fetched beyond k, for duplicates


def nearest(
    search: Search,
    vectors: FloatArray,
    k: int,
    *,
    exclude: Sequence[str | None] | None = None,
    labels: Collection[str] | None = None,
) -> list[Chosen]:
    """Return the k nearest examples of each vector, nearest first, each content once.

    Texts that differ in case or white space alone, with the same output, are duplicates.

    :param vectors: unit vectors of the queries, shape (queries, dim)
    :param exclude: for each query the id of an example to leave out, such as its own
    :param labels: take examples with these outputs only
    """
    left_out = exclude or [None] * len(vectors)
    return best(lambda some, n: search(vectors[some], n), k, exclude=left_out, labels=labels)


def best(
    ranking: Ranking,
    k: int,
    *,
    exclude: Sequence[str | None],
    labels: Collection[str] | None,
) -> list[Chosen]:
    """Return the k best examples of each query by a ranking, each content once.

    :param exclude: for each query the id of an example to leave out, such as its own
    :param labels: take examples with these outputs only
    """
    chosen: list[Chosen] = [()] * len(exclude)
    pending = list(range(len(exclude))) if k > 0 else []
    fetch = k + SPARE
    while pending:
        short = []
        for i, found in zip(pending, ranking(pending, fetch), strict=True):
            allowed = (
                n
                for n in found
                if n.example.id != exclude[i] and (labels is None or n.example.output in labels)
            )
            chosen[i] = distinct(allowed, k)
            if len(chosen[i]) < k and len(found) == fetch:
                short.append(i)
        pending, fetch = short, fetch * 4
    return chosen


def distinct(neighbors: Iterable[Neighbor], k: int) -> Chosen:
    """Return the first k neighbours with different contents, ranked as they come."""
    first: dict[tuple[str, str], Neighbor] = {}
    for neighbor in neighbors:
        first.setdefault(content(neighbor.example), neighbor)
        if len(first) == k:
            break
    return ranked(islice(first.values(), k))


def ranked(neighbors: Iterable[Neighbor]) -> Chosen:
    """Return neighbours with their ranks as they come, from 0."""
    return tuple(replace(neighbor, rank=rank) for rank, neighbor in enumerate(neighbors))


def content(example: Example) -> tuple[str, str]:
    """Return the content of an example: duplicates have the same."""
    return " ".join(example.input.lower().split()), example.output
