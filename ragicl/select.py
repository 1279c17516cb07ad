"""Which neighbours become demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from ragicl.protocols import FloatArray
from ragicl.records import Neighbor

Search = Callable[[FloatArray, int], list[list[Neighbor]]]
"""Finds the n nearest examples of each vector: :meth:`ragicl.index.Index.near`."""

SPARE = 8  # fetched beyond k, for duplicates


def nearest(
    search: Search,
    vectors: FloatArray,
    k: int,
    *,
    exclude: Sequence[str | None] | None = None,
    labels: Collection[str] | None = None,
) -> list[tuple[Neighbor, ...]]:
    """Return the k nearest examples of each vector, nearest first, each content once.

    Texts that differ in case or white space alone, with the same output, count as one.

    :param vectors: unit vectors of the queries, shape (queries, dim)
    :param exclude: for each query the id of an example to leave out, such as its own
    :param labels: take examples with these outputs only
    """
    left_out = exclude or [None] * len(vectors)
    chosen: list[tuple[Neighbor, ...]] = [()] * len(vectors)
    pending = list(range(len(vectors))) if k > 0 else []
    fetch = k + SPARE
    while pending:
        short = []
        for i, found in zip(pending, search(vectors[pending], fetch), strict=True):
            chosen[i] = _distinct(found, k, left_out[i], labels)
            if len(chosen[i]) < k and len(found) == fetch:
                short.append(i)
        pending, fetch = short, fetch * 4
    return chosen


def _distinct(
    found: Sequence[Neighbor], k: int, exclude: str | None, labels: Collection[str] | None
) -> tuple[Neighbor, ...]:
    seen: set[tuple[str, str]] = set()
    kept: list[Neighbor] = []
    for neighbor in found:
        example = neighbor.example
        content = " ".join(example.input.lower().split()), example.output
        if content in seen or example.id == exclude:
            continue
        if labels is not None and example.output not in labels:
            continue
        seen.add(content)
        kept.append(replace(neighbor, rank=len(kept)))
        if len(kept) == k:
            break
    return tuple(kept)
