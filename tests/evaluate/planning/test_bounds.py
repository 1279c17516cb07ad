"""The bounds agree with their formulas, and reach in simulation what they promise."""

from math import ceil, e, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from ragicl import TaskError
from ragicl.evaluate.planning.bounds import (
    bounded_generation,
    fixed_context,
    generation,
    linear_classification,
)
from ragicl.evaluate.planning.plan import Figures, bounds_of

FIGURES = {
    generation: ("contexts", "vocabulary", "epsilon", "delta"),
    bounded_generation: ("length", "vocabulary", "epsilon", "delta"),
    linear_classification: ("dimension", "epsilon"),
    fixed_context: ("labels", "epsilon", "delta"),
}
SHARES = {"epsilon", "delta"}
DRAWS = np.random.SeedSequence(2506)


def test_by_hand():
    wide = generation(contexts=3, vocabulary=100, epsilon=0.1, delta=0.05)
    assert wide == 3 * ceil((5 + sqrt(log(60) / 2)) ** 2 * 100) == 12408
    long = bounded_generation(length=4, vocabulary=10, epsilon=0.1, delta=0.05)
    assert long == ceil((4 * log(10) + log(40)) * 50) == 645
    assert linear_classification(dimension=9, epsilon=0.1) == 99
    assert fixed_context(labels=2, epsilon=0.1, delta=0.05) == ceil(log(40) * 50) == 185
    six = fixed_context(labels=6, epsilon=0.1, delta=0.05)
    assert six == generation(contexts=1, vocabulary=6, epsilon=0.1, delta=0.05)


@settings(deadline=None)
@given(st.sampled_from(list(FIGURES)), st.data())
def test_more_is_asked_for_more(bound, data):
    figures = {
        name: data.draw(st.floats(1e-4, 0.99) if name in SHARES else st.integers(2, 10**5))
        for name in FIGURES[bound]
    }
    for name, value in figures.items():
        more = data.draw(st.floats(1e-4, value) if name in SHARES else st.integers(value, 10**6))
        assert bound(**{**figures, name: more}) >= bound(**figures) >= 1


@settings(deadline=None)
@given(
    m=st.integers(1, 10**4),
    v=st.integers(2, 10**5),
    length=st.integers(3, 500),
    d=st.integers(1, 10**4),
    labels=st.integers(2, 200),
    eps=st.floats(1e-3, 0.99),
    delta=st.floats(1e-6, 1 / e),
)
def test_constants_are_at_most_what_is_stated(m, v, length, d, labels, eps, delta):
    wide, long, linear, fixed = bounds_of(Figures(eps, delta, m, v, length, d, labels))
    assert wide.examples <= wide.paper + m  # each context's number is rounded up
    assert long.examples <= long.paper + 1
    assert linear.examples <= 2 * linear.paper + 1
    assert fixed.examples <= (1 if labels == 2 else labels) * fixed.paper + 1


@pytest.mark.parametrize("bound", FIGURES)
def test_figures_out_of_range_are_refused(bound):
    usual = {name: 0.1 if name in SHARES else 5 for name in FIGURES[bound]}
    for name in FIGURES[bound]:
        for wrong in (0.0, 1.0, 1e-9, float("nan")) if name in SHARES else (0, -3):
            with pytest.raises(TaskError, match=f"{name} is {wrong}; it must be"):
                bound(**{**usual, name: wrong})


def distributions(kind, contexts, size):
    """Return true distributions, shape (contexts, size)."""
    if kind == "uniform":
        return np.full((contexts, size), 1 / size)
    return np.random.default_rng(DRAWS).dirichlet(np.ones(size), contexts)


def missed(true, n, epsilon, trials=1000):
    """Return how often the empirical distribution of any context is further off than epsilon."""
    rng = np.random.default_rng(DRAWS)
    empirical = np.stack([rng.multinomial(n, p, trials) for p in true], axis=1) / n
    distance = np.abs(empirical - true).sum(axis=2) / 2
    return (distance > epsilon).any(axis=1).mean()


@pytest.mark.parametrize("kind", ["uniform", "random"])
def test_generation_is_reached(kind):
    contexts, vocabulary, epsilon, delta = 3, 20, 0.1, 0.1
    total = generation(contexts=contexts, vocabulary=vocabulary, epsilon=epsilon, delta=delta)
    true, n = distributions(kind, contexts, vocabulary), total // contexts
    assert missed(true, n, epsilon) <= delta
    assert missed(true, n // 10, epsilon) > 0.9


def test_one_outputs_probability_is_reached():
    length, vocabulary, epsilon, delta = 3, 4, 0.05, 0.1
    n = bounded_generation(length=length, vocabulary=vocabulary, epsilon=epsilon, delta=delta)
    likely = np.full(vocabulary**length, 0.5 / (vocabulary**length - 1))
    likely[0] = 0.5  # where one output's share varies most
    rng = np.random.default_rng(DRAWS)

    def furthest(n):
        return np.abs(rng.multinomial(n, likely, 1000) / n - likely).max(axis=1)

    assert (furthest(n) > epsilon).mean() <= delta
    assert (furthest(n // 10) > epsilon).mean() > delta


@pytest.mark.parametrize(("labels", "epsilon"), [(2, 0.1), (6, 0.1), (77, 0.2)])
def test_fixed_context_is_reached(labels, epsilon):
    n = fixed_context(labels=labels, epsilon=epsilon, delta=0.05)
    true = distributions("uniform", 1, labels)
    assert missed(true, n, epsilon) <= 0.05
    assert missed(true, n // 10, epsilon) > 0.05


def separator_error(dimension, n, seed):
    """Return a hard-margin separator's error on a task that a hyperplane solves."""
    rng = np.random.default_rng([2506, seed])
    normal, bias = rng.standard_normal(dimension), rng.standard_normal() / 2
    points = rng.standard_normal((n + 2000, dimension))
    right = points @ normal + bias > 0
    train, test = points[:n], points[n:]
    if len(set(right[:n])) == 1:
        return (right[n:] != right[0]).mean()
    hard = SVC(kernel="linear", C=1e6).fit(train, right[:n])
    assert (hard.predict(train) == right[:n]).all()
    return (hard.predict(test) != right[n:]).mean()


@pytest.mark.parametrize("dimension", [5, 20])
def test_linear_classification_is_reached(dimension):
    epsilon = 0.1
    n = linear_classification(dimension=dimension, epsilon=epsilon)
    assert np.mean([separator_error(dimension, n, seed) for seed in range(60)]) <= epsilon
    few = np.mean([separator_error(dimension, n // 10, seed) for seed in range(60)])
    assert few > 2 * epsilon
