"""Fits of known laws recover them; nothing is read off a fit that does not support it."""

import numpy as np
import pytest
from power_laws import SIZES, law_of, rows_of

from ragicl import TaskError
from ragicl.evaluate.metrics.power_law import RESAMPLES, examples_needed, fit_power_law
from ragicl.evaluate.results import Interval, PowerLaw


def holds(interval, value):
    return interval.low <= value <= interval.high


def test_a_law_without_noise_is_found_exactly():
    law = fit_power_law(SIZES, np.repeat(law_of(0.9, 0.5, 0.05)[:, np.newaxis], 10, axis=1))
    assert law.a.value == pytest.approx(0.9, abs=1e-4)
    assert law.b == Interval(0.5, 0.5, 0.5)
    assert law.c.value == pytest.approx(0.05, abs=1e-5)
    assert examples_needed(law, 0.1, 512).value == 324  # (0.9 / 0.05)²
    assert len(law.draws) == RESAMPLES


@pytest.mark.parametrize("true", [(0.9, 0.5, 0.05), (1.5, 0.8, 0.1), (0.6, 0.3, 0.0)])
def test_known_laws_lie_in_the_intervals(true):
    fits = [fit_power_law(SIZES, rows_of(law_of(*true), seed=seed)) for seed in range(40)]
    for name, value in zip("abc", true, strict=True):
        assert sum(holds(getattr(law, name), value) for law in fits) >= 34
        assert any(getattr(law, name).low < getattr(law, name).high for law in fits)


def test_the_examples_needed_lie_in_their_interval():
    found = [
        examples_needed(fit_power_law(SIZES, rows_of(law_of(0.9, 0.5, 0.05), seed=seed)), 0.15, 512)
        for seed in range(40)
    ]
    assert sum(holds(interval, 81) for interval in found) >= 34  # (0.9 / 0.1)²
    assert all(1 <= i.low <= i.value <= i.high < 5120 for i in found)
    assert np.median([i.high / i.low for i in found]) < 1.5


def test_the_upper_end_is_cut_where_measurements_do_not_reach():
    law = fit_power_law(SIZES, rows_of(law_of(0.9, 0.3, 0.0)))
    needed = examples_needed(law, 0.08, 512)
    assert needed.low < needed.value < needed.high == 5120


def test_the_best_fit_is_as_good_as_scipys():
    from scipy.optimize import least_squares

    means = rows_of(law_of(0.9, 0.43, 0.07), rows=50).mean(axis=1)
    law = fit_power_law(SIZES, np.repeat(means[:, np.newaxis], 5, axis=1))

    def left(p):
        return p[0] * np.array(SIZES, dtype=float) ** -p[1] + p[2] - means

    scipys = least_squares(left, [1.0, 0.5, 0.1], bounds=(0, [np.inf, 3, 1]), x_scale=0.1).cost
    ours = (left([law.a.value, law.b.value, law.c.value]) ** 2).sum() / 2
    assert ours <= scipys * 1.02 + 1e-9


def test_a_flat_curve_is_refused():
    flat = fit_power_law(SIZES, np.full((6, 20), 0.3))
    assert (flat.a.value, flat.b.value) == (0, 0)
    assert flat.c.value == pytest.approx(0.3)
    with pytest.raises(TaskError, match="does not surely fall"):
        examples_needed(flat, 0.4, 512)
    refused = 0
    for seed in range(40):
        law = fit_power_law(SIZES, rows_of(np.full(6, 0.3), seed=seed))
        refused += law.b.low == 0
    assert refused >= 34


def test_a_rising_curve_is_refused():
    law = fit_power_law(SIZES, rows_of(np.linspace(0.1, 0.3, 6)))
    assert law.b.high == 0
    with pytest.raises(TaskError, match="does not surely fall"):
        examples_needed(law, 0.2, 512)


def test_too_few_sizes_are_refused():
    with pytest.raises(TaskError, match="4 sizes or more, and this curve has 3"):
        fit_power_law((16, 32, 64), rows_of(law_of(0.9, 0.5, 0.05, (16, 32, 64))))
    with pytest.raises(TaskError, match="this curve has 2"):
        fit_power_law((16, 16, 64, 64), rows_of([0.3, 0.3, 0.2, 0.2]))


def test_what_the_floor_does_not_allow_is_refused():
    law = fit_power_law(SIZES, rows_of(law_of(0.9, 0.5, 0.05)))
    assert law.c.high > law.c.value
    for epsilon in (0.01, law.c.value, law.c.high):
        with pytest.raises(TaskError, match="ask for more than that"):
            examples_needed(law, epsilon, 512)


def test_an_extrapolation_is_refused():
    law = fit_power_law(SIZES, np.repeat(law_of(0.9, 0.3, 0.0)[:, np.newaxis], 5, axis=1))
    assert examples_needed(law, 0.08, 512).value == pytest.approx(
        (0.9 / 0.08) ** (1 / 0.3), rel=0.01
    )
    with pytest.raises(TaskError, match="more than 5,120 examples by the fit"):
        examples_needed(law, 0.06, 512)


def test_a_law_without_its_resamples_is_refused():
    one = Interval(1.0, 0.9, 1.1)
    with pytest.raises(TaskError, match="without its resamples"):
        examples_needed(PowerLaw(one, one, Interval(0.0, 0.0, 0.0)), 0.1, 512)
