"""The order of demonstrations in a prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragicl.prompting.compose import compose
from ragicl.prompting.ordering import (
    ORDERS,
    Ordering,
    nearest_first,
    nearest_last,
    order_of,
)
from ragicl.prompting.template import PlainTemplate
from ragicl.records import Example, Neighbor


def neighbors_of(labels: Sequence[str]) -> list[Neighbor]:
    return [
        Neighbor(Example(f"text {i}", label, str(i)), 1 - i / 100, i)
        for i, label in enumerate(labels)
    ]


labellings = st.lists(st.sampled_from("abcd"), max_size=30)


def test_every_name_has_an_order() -> None:
    assert tuple(ORDERS) == get_args(Ordering)


@pytest.mark.parametrize("name", ORDERS)
@given(labels=labellings)
def test_every_order_is_a_permutation_and_does_not_change(name: str, labels: list[str]) -> None:
    given_ones = neighbors_of(labels)
    ordered = order_of(name, 0, "query")(given_ones)
    assert sorted(n.rank for n in ordered) == list(range(len(labels)))
    assert ordered == order_of(name, 0, "query")(given_ones)


@given(labellings)
def test_nearest_stands_last_or_first(labels: list[str]) -> None:
    near = neighbors_of(labels)
    assert [n.rank for n in nearest_last(near)] == sorted(range(len(near)), reverse=True)
    assert [n.rank for n in nearest_first(near)] == list(range(len(near)))


def test_shuffling_goes_by_seed_and_query() -> None:
    near = neighbors_of("a" * 12)
    drawn = {order_of("shuffled", seed, query)(near) for seed in range(3) for query in "xyz"}
    assert len(drawn) == 9


@pytest.mark.parametrize("name", ORDERS)
def test_what_is_dropped_is_the_farthest_whatever_the_order(name: str) -> None:
    near = neighbors_of("aabbccdd")
    template = PlainTemplate("Text: {input}\nLabel: {output}")
    prompt = compose(
        "query",
        near,
        template,
        count=lambda parts: len("".join(parts).split()),
        budget=29,
        reserve=1,
        order=order_of(name, 0, "query"),
    )
    assert prompt.dropped == 3
    assert Counter(prompt.shots) == Counter(near[:5])
    assert prompt.shots == order_of(name, 0, "query")(near[:5])
