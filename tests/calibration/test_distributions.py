"""From likelihoods or votes to probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragicl.calibration.distributions import from_log_probs, from_votes, likeliest
from ragicl.records import Example, Neighbor

LABELS = ("a", "b", "c")


def voters(*votes: tuple[str, float]) -> list[Neighbor]:
    return [
        Neighbor(Example(f"t{i}", label, str(i)), similarity, i)
        for i, (label, similarity) in enumerate(votes)
    ]


@given(st.lists(st.floats(-1e4, 0), min_size=3, max_size=3))
def test_likelihoods_sum_to_one_and_keep_their_ratios(log_probs: list[float]) -> None:
    scores = np.array(log_probs, dtype=np.float32)
    probs = from_log_probs(scores, LABELS)
    assert tuple(probs) == LABELS
    assert sum(probs.values()) == pytest.approx(1)
    best = int(scores.argmax())
    for label, score in zip(LABELS, scores.tolist(), strict=True):
        ratio = math.exp(max(score - scores[best].item(), -700))
        assert probs[label] == pytest.approx(ratio * probs[LABELS[best]], rel=1e-5, abs=1e-300)


def test_softmax_is_stable_far_from_zero() -> None:
    near = from_log_probs(np.array([-10_000, -10_001, -10_002], dtype=np.float32), LABELS)
    usual = from_log_probs(np.array([0, -1, -2], dtype=np.float32), LABELS)
    assert near == pytest.approx(usual)
    apart = from_log_probs(np.array([-1, -10_000, -np.inf], dtype=np.float32), LABELS)
    assert apart == {"a": 1, "b": 0, "c": 0}


def test_votes_are_shares_of_similarity() -> None:
    probs = from_votes(voters(("a", 0.6), ("b", 0.3), ("a", 0.1)), LABELS)
    assert probs == pytest.approx({"a": 0.7, "b": 0.3, "c": 0})


def test_neighbours_that_point_away_have_no_weight() -> None:
    probs = from_votes(voters(("a", 0.2), ("b", -0.9), ("c", 0.0)), LABELS)
    assert probs == {"a": 1, "b": 0, "c": 0}


def test_where_none_has_weight_each_counts_the_same() -> None:
    probs = from_votes(voters(("a", -0.2), ("b", -0.9), ("a", 0.0), ("a", -1)), LABELS)
    assert probs == {"a": 0.75, "b": 0.25, "c": 0}


def test_without_neighbours_each_label_is_as_likely() -> None:
    assert from_votes([], LABELS) == pytest.approx(dict.fromkeys(LABELS, 1 / 3))


def test_neighbour_with_another_label_has_no_vote() -> None:
    """Another thread may have removed a label since the neighbours were found."""
    assert from_votes(voters(("gone", 0.9), ("b", 0.1)), LABELS) == {"a": 0, "b": 1, "c": 0}
    assert from_votes(voters(("gone", 0.9)), LABELS) == from_votes([], LABELS)


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.floats(-1, 1)), max_size=8))
def test_votes_sum_to_one(votes: list[tuple[str, float]]) -> None:
    probs = from_votes(voters(*votes), LABELS)
    assert tuple(probs) == LABELS
    assert sum(probs.values()) == pytest.approx(1)
    assert min(probs.values()) >= 0


def test_likeliest_is_the_first_of_equals() -> None:
    assert likeliest({"a": 0.2, "b": 0.4, "c": 0.4}) == "b"
