"""Maximal marginal relevance and determinantal point processes against their definitions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ragicl.protocols import FloatArray
from ragicl.retrieval.diverse import SCALE, dpp, greedy_map, mmr


def candidates(seed: int, number: int, dim: int = 4) -> tuple[FloatArray, FloatArray]:
    """Return similarities, highest first, and unit vectors."""
    draw = np.random.default_rng(seed)
    vectors = draw.standard_normal((number, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors.mean(axis=0)
    similarities = vectors @ (query / np.linalg.norm(query))
    order = np.argsort(-similarities)
    return similarities[order], vectors[order]


seeds = st.integers(0, 10_000)


@given(seeds, st.integers(0, 12), st.integers(0, 15))
def test_mmr_that_trades_nothing_is_nearest(seed: int, number: int, k: int) -> None:
    similarities, vectors = candidates(seed, number) if number else (np.empty(0), np.empty((0, 4)))
    assert mmr(similarities, vectors, k, trade_off=1.0) == list(range(min(k, number)))


@given(seeds, st.integers(2, 8), st.floats(0, 1))
def test_mmr_takes_what_its_formula_says(seed: int, k: int, trade_off: float) -> None:
    similarities, vectors = candidates(seed, 10)
    chosen = mmr(similarities, vectors, k, trade_off)
    assert len(set(chosen)) == k
    for step, place in enumerate(chosen):
        worth = {
            i: trade_off * similarities[i]
            - (1 - trade_off)
            * max((float(vectors[i] @ vectors[j]) for j in chosen[:step]), default=0)
            for i in range(10)
            if i not in chosen[:step]
        }
        assert worth[place] >= max(worth.values()) - 1e-5


def test_mmr_passes_over_a_copy() -> None:
    vectors = np.array([[1, 0], [1, 0], [0.8, 0.6]], dtype=np.float32)
    similarities = np.array([0.9, 0.9, 0.85], dtype=np.float32)
    assert mmr(similarities, vectors, 2) == [0, 2]


@settings(max_examples=60)
@given(seeds, st.integers(3, 7), st.integers(1, 4))
def test_greedy_map_takes_the_largest_gain_each_time(seed: int, number: int, k: int) -> None:
    parts = np.random.default_rng(seed).standard_normal((number, number + 2))
    kernel = parts @ parts.T
    chosen = greedy_map(kernel, k)
    assert len(chosen) == min(k, number)
    for step in range(len(chosen)):
        volumes = {
            i: np.linalg.det(kernel[np.ix_([*chosen[:step], i], [*chosen[:step], i])])
            for i in range(number)
            if i not in chosen[:step]
        }
        assert np.isclose(volumes[chosen[step]], max(volumes.values()), rtol=1e-6)


@settings(max_examples=60)
@given(seeds, st.integers(2, 7), st.integers(1, 4))
def test_greedy_map_is_near_the_best_set(seed: int, number: int, k: int) -> None:
    # log det(I + L) is monotone and submodular: greedily 1 - 1/e of the best at least.
    parts = np.random.default_rng(seed).standard_normal((number, number))
    kernel = np.eye(number) + parts @ parts.T
    chosen = greedy_map(kernel, k)
    best = max(
        np.linalg.slogdet(kernel[np.ix_(some, some)])[1]
        for some in combinations(range(number), min(k, number))
    )
    assert np.linalg.slogdet(kernel[np.ix_(chosen, chosen)])[1] >= (1 - 1 / np.e) * best - 1e-9


@given(seeds)
def test_pair_of_a_dpp_is_the_nearest_and_the_best_beside_it(seed: int) -> None:
    similarities, vectors = candidates(seed, 8, dim=6)
    quality = np.exp(similarities.astype(np.float64) / (4 * SCALE))
    kernel = quality[:, None] * (1 + vectors.astype(np.float64) @ vectors.T) / 2 * quality
    volumes = [np.linalg.det(kernel[np.ix_([0, i], [0, i])]) for i in range(1, 8)]
    first, second = dpp(similarities, vectors, 2)
    assert first == 0
    assert np.isclose(volumes[second - 1], max(volumes), rtol=1e-4)


def test_dpp_fills_up_with_the_nearest_where_nothing_new_is_left() -> None:
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    similarities = np.array([0.9, 0.9, 0.9, 0.1], dtype=np.float32)
    assert dpp(similarities, vectors, 3) == [0, 3, 1]
    assert dpp(similarities, vectors, 9) == [0, 3, 1, 2]
    assert dpp(similarities[:0], vectors[:0], 2) == []
