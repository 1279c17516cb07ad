"""States in their own spread."""

import numpy as np
import pytest

from ragicl.probes.scaling import Scaling

DRAW = np.random.default_rng(0)


def test_a_huge_dimension_does_not_decide_what_is_near():
    states = DRAW.normal(size=(50, 8)).astype(np.float32)
    states[:, 3] = 1e4 + 1e3 * DRAW.normal(size=50)
    unit = Scaling.of(states).unit(states)
    assert np.linalg.norm(unit, axis=1) == pytest.approx(np.ones(50), abs=1e-5)
    assert np.abs(unit[:, 3]).mean() < 2 * np.abs(unit).mean()


def test_new_states_are_held_against_the_spread_of_the_old_ones():
    states = DRAW.normal(size=(50, 8)).astype(np.float32)
    scaling = Scaling.of(states)
    some = scaling.unit(states)[:5]
    np.testing.assert_allclose(scaling.unit(states[:5]), some, atol=1e-6)


@pytest.mark.parametrize("states", [np.ones((1, 4)), np.ones((3, 4)), np.eye(4)[:2]])
def test_few_or_equal_states_have_finite_units(states):
    scaling = Scaling.of(states.astype(np.float32))
    for some in (states, np.full((1, 4), 100.0)):
        assert np.isfinite(scaling.unit(some.astype(np.float32))).all()
