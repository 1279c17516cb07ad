import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragicl.calibration.exit_rule import learn_rule, lower_bound


def test_lower_bound_is_that_of_the_tables():
    assert lower_bound(0, 10) == 0
    assert lower_bound(10, 10) == pytest.approx(0.05 ** (1 / 10))
    assert lower_bound(45, 50) == pytest.approx(0.8012, abs=2e-3)  # Clopper & Pearson, one-sided


def test_votes_that_are_always_right_may_all_answer():
    rule = learn_rule([1.0] * 200 + [0.6] * 200, [True] * 400, 0.95)
    assert (rule.share, rule.coverage, rule.sample) == (0.6, 1.0, 400)
    assert rule.allows(0.6)
    assert not rule.allows(0.59)


def test_weak_votes_are_left_to_the_model():
    rule = learn_rule([1.0] * 450 + [0.5] * 450, [True] * 450 + [True, False] * 225, 0.95)
    assert (rule.share, rule.coverage) == (1.0, 0.5)
    assert rule.bound > 0.95


def test_too_few_examples_allow_nothing():
    rule = learn_rule([1.0] * 20, [True] * 20, 0.95)
    assert rule.share is None
    assert not rule.allows(1.0)


def test_no_examples_allow_nothing():
    assert learn_rule([], [], 0.9).share is None


def test_the_promise_holds_in_95_of_100_worlds():
    rng, broken = np.random.default_rng(0), 0
    for _ in range(400):
        shares = rng.choice([0.4, 0.6, 0.8, 1.0], 300)
        truth = {0.4: 0.7, 0.6: 0.85, 0.8: 0.9, 1.0: 0.97}
        right = rng.random(300) < np.vectorize(truth.get)(shares)
        rule = learn_rule(shares, right, 0.9)
        if rule.share is not None:
            covered = [share for share in truth if share >= rule.share]
            broken += np.mean([truth[share] for share in covered]) < 0.9
    assert broken / 400 <= 0.05 + 0.03


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(0.1, 1), st.booleans()), max_size=200),
    st.floats(0.5, 0.95),
)
def test_rule_describes_its_sample(votes, accuracy):
    shares, right = [s for s, _ in votes], [r for _, r in votes]
    rule = learn_rule(shares, right, accuracy)
    allowed = [r for s, r in votes if rule.allows(s)]
    assert rule.coverage * len(votes) == pytest.approx(len(allowed))
    if allowed:
        assert accuracy <= rule.bound <= np.mean(allowed)


def test_one_early_mistake_does_not_end_the_search():
    right = [False] + [True] * 999
    rule = learn_rule(np.linspace(1, 0.5, 1000), right, 0.95)
    assert rule.coverage == 1.0


def test_rounding_of_sums_does_not_split_unanimous_votes():
    assert learn_rule([0.3 + 0.3 + 0.4, 0.1 * 3 + 0.7] * 300, [True] * 600, 0.95).share == 1.0
