"""Intervals that cover, paired tests that hold their level, distances that obey their axioms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ragicl.errors import TaskError
from ragicl.evaluate.metrics.bootstrap import Resampling
from ragicl.evaluate.metrics.distances import total_variation
from ragicl.evaluate.metrics.label_scores import correct, label_scores, nll, reliability

weights = arrays(np.float64, (3, 5, 4), elements=st.floats(0.001, 1))


def distributions(values):
    return values / values.sum(axis=-1, keepdims=True)


def test_total_variation_of_a_case_by_hand():
    left, right = np.array([[0.5, 0.3, 0.2]]), np.array([[0.1, 0.3, 0.6]])
    assert total_variation(left, right) == pytest.approx([0.4])
    assert total_variation(np.eye(2), np.eye(2)[::-1]) == pytest.approx([1, 1])


@given(weights)
@settings(deadline=None)
def test_total_variation_obeys_its_axioms(values):
    a, b, c = distributions(values)
    ab, ba = total_variation(a, b), total_variation(b, a)
    assert ((ab >= 0) & (ab <= 1)).all()
    np.testing.assert_allclose(ab, ba)
    np.testing.assert_allclose(total_variation(a, a), 0, atol=1e-12)
    assert (ab <= total_variation(a, c) + total_variation(c, b) + 1e-12).all()
    different = np.abs(a - b).max(axis=-1) > 1e-9
    assert (ab[different] > 0).all()


@given(weights)
@settings(deadline=None)
def test_total_variation_is_the_most_that_an_event_can_differ(values):
    a, b, _ = distributions(values)
    events = np.array([[(n >> bit) & 1 for bit in range(4)] for n in range(16)])
    greatest = np.abs((a - b) @ events.T).max(axis=1)
    np.testing.assert_allclose(total_variation(a, b), greatest, atol=1e-9)


@pytest.mark.parametrize(
    "wrong", [np.array([[0.5, 0.6]]), np.array([[-0.5, 1.5]]), np.array([[np.nan, 1]])]
)
def test_what_is_no_distribution_is_refused(wrong):
    with pytest.raises(TaskError, match="sum to 1"):
        total_variation(wrong, np.array([[0.5, 0.5]]))


def test_distributions_over_other_outcomes_are_refused():
    with pytest.raises(TaskError, match="same outcomes"):
        total_variation(np.eye(2), np.eye(3))


def test_the_interval_covers_the_true_mean():
    """Distances as they are: skewed, in [0, 1]; 300 test rows; 500 simulated evaluations."""
    draw = np.random.default_rng(0)
    covered = 0
    for case in range(500):
        values = draw.beta(0.6, 1.8, size=300).astype(np.float32)
        interval = Resampling(300, seed=case).mean(values)
        covered += interval.low <= 0.6 / 2.4 <= interval.high
    assert 0.93 * 500 <= covered <= 0.97 * 500, covered


def test_the_paired_test_holds_its_level_and_finds_differences():
    draw = np.random.default_rng(0)
    resampling = Resampling(100)
    chances = []
    for _ in range(100):
        left, right = (draw.random((2, 100)) < 0.7).astype(np.float32)
        chances.append(resampling.paired(left, right).p_value)
    assert 0 < sum(p <= 0.1 for p in chances) <= 18, "one in ten, by chance"
    better = (draw.random(100) < 0.9).astype(np.float32)
    worse = (draw.random(100) < 0.5).astype(np.float32)
    found = resampling.paired(better, worse)
    assert found.p_value < 0.01
    assert 0 < found.difference.low < found.difference.value < found.difference.high


def test_a_method_against_itself_differs_by_nothing():
    values = np.array([1, 0, 1], dtype=np.float32)
    found = Resampling(3).paired(values, values)
    assert (found.difference.value, found.p_value) == (0, 1)


def test_no_rows_are_refused():
    with pytest.raises(TaskError, match="no test rows"):
        Resampling(0)


PROBS = np.array([[0.8, 0.2, 0], [0.4, 0.5, 0.1], [0.3, 0.3, 0.4], [0.9, 0.1, 0]], dtype=np.float32)
GOLD = np.array([0, 0, 2, -1])


def test_scores_of_a_case_by_hand():
    scores = label_scores(PROBS, GOLD, Resampling(4))
    assert scores.accuracy.value == pytest.approx(0.5)
    # Label 0: said twice, right once, is there twice. Label 1: said once. Label 2: said and right.
    assert scores.macro_f1.value == pytest.approx((2 * 1 / (2 + 2) + 0 + 1) / 3)
    expected = -np.log([0.8, 0.4, 0.4, 1e-6]).mean()
    assert scores.nll.value == pytest.approx(expected, rel=1e-5)
    assert scores.ece.value == pytest.approx((0.2 + 0.5 + 0.6 + 0.9) / 4)
    for interval in (scores.accuracy, scores.macro_f1, scores.nll, scores.ece):
        assert interval.low <= interval.value <= interval.high


def test_macro_f1_is_that_of_scikit_learn():
    from sklearn.metrics import f1_score

    draw = np.random.default_rng(0)
    probs = distributions(draw.random((50, 6)) + 0.01).astype(np.float32)
    gold = draw.integers(0, 6, 50)
    scores = label_scores(probs, gold, Resampling(50))
    assert scores.macro_f1.value == pytest.approx(
        f1_score(gold, probs.argmax(axis=1), average="macro"), abs=1e-6
    )


def test_the_interval_of_the_calibration_error_holds_the_error():
    """Of calibrated probabilities, whose resamples nearly all have a greater one."""
    draw = np.random.default_rng(0)
    for _ in range(20):
        probs = distributions(draw.random((300, 3)) + 0.01).astype(np.float32)
        gold = np.array([draw.choice(3, p=distributions(row.astype(float))) for row in probs])
        ece = label_scores(probs, gold, Resampling(300)).ece
        assert 0 <= ece.low <= ece.value <= ece.high


def test_a_label_that_the_pool_lacks_is_never_right():
    assert correct(PROBS, GOLD).tolist() == [1, 0, 1, 0]
    assert nll(PROBS, GOLD)[3] == pytest.approx(-np.log(1e-6))


def test_bins_hold_every_row_and_the_surest_last():
    bins = reliability(PROBS, GOLD)
    assert sum(own.rows for own in bins) == 4
    confidences = [own.confidence for own in bins]
    assert confidences == sorted(confidences)
    assert bins[-1].accuracy == 0
