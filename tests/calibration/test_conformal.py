import numpy as np
import pytest

from ragicl.calibration.conformal import ConformalRecord, label_set
from ragicl.errors import TaskError


def simulated(rows, seed):
    """Calibrated probabilities of four labels, and the right ones drawn from them."""
    draw = np.random.default_rng(seed)
    probs = draw.dirichlet(np.full(4, 0.4), rows)
    gold = (probs.cumsum(axis=1) > draw.random((rows, 1))).argmax(axis=1)
    return probs, gold


@pytest.mark.parametrize("coverage", [0.9, 0.95])
def test_sets_hold_the_right_label_as_often_as_was_asked(coverage):
    held = []
    for seed in range(200):
        record = ConformalRecord.of(*simulated(300, seed))
        probs, gold = simulated(100, 1000 + seed)
        least = record.quantile(coverage)
        held.append((probs[np.arange(100), gold] >= least).mean())
    assert np.mean(held) == pytest.approx(coverage, abs=0.01)


def test_a_set_is_ranked_and_never_empty():
    probs = {"a": 0.2, "b": 0.5, "c": 0.3}
    assert label_set(probs, 0.25) == ("b", "c")
    assert label_set(probs, 0.9) == ("b",)


def test_so_many_are_answered():
    probs, gold = simulated(1000, 0)
    record = ConformalRecord.of(probs, gold)
    sure = probs.max(axis=1) >= record.abstention_threshold(0.8)
    assert sure.mean() == pytest.approx(0.8, abs=0.01)
    right = probs.argmax(axis=1) == gold
    assert right[sure].mean() > right[~sure].mean() + 0.1


def test_too_few_examples_are_refused():
    record = ConformalRecord.of(*simulated(10, 0))
    with pytest.raises(TaskError, match="take 19 examples"):
        record.quantile(0.95)
    with pytest.raises(TaskError, match="ragicl tune"):
        ConformalRecord().abstention_threshold(0.9)
    with pytest.raises(TaskError, match="between 0 and 1"):
        record.quantile(1.0)


def test_who_is_as_sure_as_all_examples_does_not_abstain():
    sure = 1 - 3e-7
    record = ConformalRecord.of(np.tile([sure, 1 - sure], (50, 1)), np.zeros(50, dtype=int))
    assert 0.999999 < record.abstention_threshold(0.9) <= sure
    assert record.quantile(0.9) <= sure


def test_just_enough_examples_are_enough():
    record = ConformalRecord.of(np.tile([0.6, 0.4], (9, 1)), np.zeros(9, dtype=int))
    assert record.quantile(0.9) == pytest.approx(0.6, abs=1e-9)
