"""Metadata filters: the same examples as going through all of them, however many match."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragicl.backends.fake import FakeEncoder
from ragicl.errors import CorruptError
from ragicl.index import Index
from ragicl.index import filters as matching
from ragicl.records import Example, holds

WORDS = ["red", "white", "green", "wine", "bread", "salt", "oil", "rice"]
QUERIES = ["red wine", "white bread and salt", "nothing of the kind", "salt"]


def many(number, start=0):
    pick = random.Random(start)
    return [
        Example(
            " ".join(pick.choices(WORDS, k=4)) + f" {n}",
            f"label {n % 3}",
            f"id{n}",
            {"parity": "odd" if n % 2 else "even", "tens": n // 10, "rare": n == 7},
        )
        for n in range(start, start + number)
    ]


@pytest.fixture
def index(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder=encoder) as opened:
        opened.add(many(120))
        yield opened


def brute(index, where, k):
    """The nearest by going through all."""
    everything = index.near(FakeEncoder().encode(QUERIES), len(index))
    kept = [[n for n in found if holds(n.example.meta, where)][:k] for found in everything]
    return [[(n.example.id, n.similarity) for n in found] for found in kept]


def filtered(index, where, k):
    found = index.near(FakeEncoder().encode(QUERIES), k, where)
    assert all([n.rank for n in own] == list(range(len(own))) for own in found)
    return [[(n.example.id, n.similarity) for n in own] for own in found]


FILTERS = [
    (("parity", "odd"),),
    (("tens", "4"),),
    (("rare", "True"),),
    (("parity", "even"), ("tens", "11")),
    (("parity", "neither"),),
    (("nowhere", "x"),),
]


@pytest.mark.parametrize("few", [20_000, 25, 3])
@pytest.mark.parametrize("fetch", [2048, 10])
@pytest.mark.parametrize("where", FILTERS)
def test_filtered_search_finds_what_going_through_all_finds(index, monkeypatch, few, fetch, where):
    monkeypatch.setattr(matching, "FEW", few)
    monkeypatch.setattr(matching, "FETCH", fetch)
    for k in (1, 5, 200):
        assert filtered(index, where, k) == brute(index, where, k)


def test_filter_follows_what_is_added_changed_and_removed(index, monkeypatch):
    monkeypatch.setattr(matching, "FEW", 62)  # from few to many and back
    where = (("parity", "odd"),)
    assert filtered(index, where, 5) == brute(index, where, 5)
    index.add(many(20, start=200))
    assert filtered(index, where, 100) == brute(index, where, 100)
    index.remove([f"id{n}" for n in range(1, 60, 2)])
    index.update([Example("red wine", "label 0", "id2", {"parity": "odd"})])
    assert filtered(index, where, 100) == brute(index, where, 100)
    assert filtered(index, where, 1)[0] == [("id2", 1.0)]
    index.update([Example("red wine", "label 0", "id2", {"parity": "even"})])
    assert filtered(index, where, 100) == brute(index, where, 100)


def test_filter_reads_new_rows_alone(index, monkeypatch):
    where = (("parity", "odd"),)
    index.rows(where)
    index.add(many(4, start=300))
    seen = []
    monkeypatch.setattr(matching, "holds", lambda meta, where: seen.append(meta) or True)
    assert len(index.rows(where)) == 64
    assert len(seen) == 4


def test_filters_known_at_a_time_are_limited(index):
    for tens in range(20):
        index.rows((("tens", str(tens)),))
    assert len(index._matching) == 8
    assert set(index._matching) == {(("tens", str(tens)),) for tens in range(12, 20)}


def test_sample_and_rows_go_by_the_filter(index):
    where = (("tens", "4"),)
    assert len(index.rows(where)) == 10
    assert {e.id for e in index.sample(50, where=where)} == {f"id{n}" for n in range(40, 50)}
    assert len(index.sample(3, where=where)) == 3
    assert len(index.rows()) == 120


def test_examples_at_rows_leave_out_what_was_removed(index, encoder):
    rows = index.rows((("tens", "4"),))
    index.remove(["id41"])
    vectors = encoder.encode(["red wine", "salt"])
    first, second = index.at([rows[::-1], rows[:1]], vectors)
    assert [n.example.id for n in first] == [f"id{n}" for n in range(49, 39, -1) if n != 41]
    assert [n.rank for n in first] == list(range(9))
    assert second[0].similarity == pytest.approx(
        float(encoder.encode([second[0].example.input])[0] @ vectors[1]), abs=1e-6
    )
    assert index.at([np.empty(0, dtype=np.int64)], vectors[:1]) == [[]]


def test_damaged_metadata_are_named(index):
    index._store._db.execute("UPDATE examples SET meta = '{' WHERE id = 'id3'")
    with pytest.raises(CorruptError, match="row 4 is not whole"):
        index.rows((("parity", "odd"),))


@given(st.dictionaries(st.text(max_size=3), st.none() | st.booleans() | st.integers() | st.text()))
def test_metadata_hold_their_own_values_as_text(meta):
    own = tuple((key, str(value)) for key, value in meta.items())
    assert holds(meta, own)
    assert not holds(meta, (*own, ("another key", "x")))
    assert not any(holds(meta, ((key, value + "x"),)) for key, value in own)


@pytest.mark.parametrize(
    ("value", "same", "other"),
    [
        (True, ["true", "True"], ["1", "1.0", "false", '"true"', "yes"]),
        (False, ["false"], ["0", "null", ""]),
        (None, ["null"], ["0", "false", "", '""']),
        (1, ["1", "1.0", "1e0"], ["true", "01", "one"]),
        (2.5, ["2.5", "2.50"], ["2", "2,5"]),
        ("1", ["1"], ["1.0", '"1"']),
        ("true", ["true"], ["True", "1"]),
        (["a", 1], ['["a", 1]', '["a",1.0]'], ["a", '["a"]']),
        ({"k": None}, ['{"k": null}'], ["{}", "{"]),
    ],
)
def test_values_compare_as_json(value, same, other):
    assert all(holds({"key": value}, (("key", text),)) for text in same)
    assert not any(holds({"key": value}, (("key", text),)) for text in other)
