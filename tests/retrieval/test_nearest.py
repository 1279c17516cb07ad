"""Choosing demonstrations: distinct ones, the right ones, and as many as there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragicl.protocols import FloatArray
from ragicl.records import Example, Neighbor
from ragicl.retrieval.nearest import SPARE, nearest


class Ranked:
    """A search whose ranking is the same for every vector; remembers what it was asked."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.found = [Neighbor(e, 1 - i / 1000, i) for i, e in enumerate(examples)]
        self.asked: list[tuple[int, int]] = []

    def __call__(self, vectors: FloatArray, n: int) -> list[list[Neighbor]]:
        self.asked.append((len(vectors), n))
        return [self.found[:n] for _ in vectors]


def vectors(count: int = 1) -> FloatArray:
    return np.ones((count, 2), dtype=np.float32)


def examples(outputs: Sequence[str]) -> list[Example]:
    return [Example(f"text {i}", output, str(i)) for i, output in enumerate(outputs)]


def ids(neighbors: Sequence[Neighbor]) -> list[str]:
    return [n.example.id for n in neighbors]


def test_nearest_first_with_ranks_from_zero() -> None:
    (found,) = nearest(Ranked(examples("aabb")), vectors(), 3)
    assert ids(found) == ["0", "1", "2"]
    assert [n.rank for n in found] == [0, 1, 2]
    assert [n.similarity for n in found] == [1, 0.999, 0.998]


def test_same_content_counts_once_whatever_its_case_and_white_space() -> None:
    same = ["Play  music", "play music", " PLAY\tMUSIC\n", "play music!"]
    stored = [Example(text, "x", str(i)) for i, text in enumerate(same)]
    stored.append(Example("play music", "y", "4"))  # the same text with another output is another
    (found,) = nearest(Ranked(stored), vectors(), 9)
    assert ids(found) == ["0", "3", "4"]
    assert [n.rank for n in found] == [0, 1, 2]


def test_each_query_leaves_out_its_own_example() -> None:
    found = nearest(Ranked(examples("abcd")), vectors(3), 2, exclude=["0", None, "3"])
    assert [ids(f) for f in found] == [["1", "2"], ["0", "1"], ["0", "1"]]


def test_example_left_out_does_not_hide_its_duplicates() -> None:
    stored = [Example("same", "x", "mine"), Example("same", "x", "other")]
    (found,) = nearest(Ranked(stored), vectors(), 2, exclude=["mine"])
    assert ids(found) == ["other"]


def test_rare_label_is_searched_for_until_found() -> None:
    search = Ranked(examples("a" * 500 + "b" + "a" * 50 + "b" + "a" * 5000))
    (found,) = nearest(search, vectors(), 2, labels=["b"])
    assert ids(found) == ["500", "551"]
    fetched = [n for _, n in search.asked]
    assert fetched == sorted(set(fetched))
    assert fetched[0] == 2 + SPARE
    assert fetched[-1] < 5000  # stopped when found


def test_rare_label_is_searched_for_until_the_index_ends() -> None:
    search = Ranked(examples("a" * 300 + "b"))
    assert [ids(f) for f in nearest(search, vectors(), 2, labels=["b"])] == [["300"]]
    assert search.asked[-1][1] > 301
    assert nearest(search, vectors(), 2, labels=["none"]) == [()]


def test_only_queries_that_are_short_are_searched_again() -> None:
    search = Ranked(examples("a" * 15))
    stored = search.found
    duplicated = [Neighbor(Example("same", "a", str(i)), 1, i) for i in range(40)] + stored

    def mixed(queries: FloatArray, n: int) -> list[list[Neighbor]]:
        search.asked.append((len(queries), n))
        return [(duplicated if q[0] < 0 else stored)[:n] for q in queries]

    queries = np.array([[1, 0], [-1, 0], [1, 0]], dtype=np.float32)
    found = nearest(mixed, queries, 3)
    assert [len(f) for f in found] == [3, 3, 3]
    assert ids(found[1])[1:] == ["0", "1"]
    assert [count for count, _ in search.asked] == [3, 1]


def test_k_of_zero_searches_nothing() -> None:
    def never(*_: object) -> list[list[Neighbor]]:
        pytest.fail("searched for nothing")

    assert nearest(never, vectors(2), 0) == [(), ()]


def test_k_larger_than_the_index_takes_all_and_stops() -> None:
    search = Ranked(examples("abc"))
    assert [ids(f) for f in nearest(search, vectors(2), 50)] == [["0", "1", "2"]] * 2
    assert len(search.asked) == 1
    assert nearest(Ranked([]), vectors(), 3) == [()]
    assert nearest(search, vectors(0), 3) == []


def expected(
    stored: Sequence[Example], k: int, exclude: str | None, wanted: Callable[[str], bool]
) -> list[str]:
    firsts: dict[tuple[str, str], str] = {}
    for one in stored:
        if one.id != exclude and wanted(one.output):
            firsts.setdefault((one.input.lower(), one.output), one.id)
    return list(firsts.values())[:k]


@settings(max_examples=200)
@given(
    contents=st.lists(st.tuples(st.sampled_from("aAbcd"), st.sampled_from("xyz")), max_size=80),
    k=st.integers(0, 12),
    exclude=st.none() | st.integers(0, 80).map(str),
    labels=st.none() | st.sets(st.sampled_from("xyz")),
)
def test_result_is_that_of_going_through_the_whole_ranking(
    contents: list[tuple[str, str]], k: int, exclude: str | None, labels: set[str] | None
) -> None:
    stored = [Example(text, output, str(i)) for i, (text, output) in enumerate(contents)]
    (found,) = nearest(Ranked(stored), vectors(), k, exclude=[exclude], labels=labels)
    assert ids(found) == expected(stored, k, exclude, lambda x: labels is None or x in labels)
    assert [n.rank for n in found] == list(range(len(found)))
