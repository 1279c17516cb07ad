import numpy as np
import pytest

from ragicl.calibration.blend import Blend, Evidence, batch_offsets, fit_blend, mean_nll

LABELS = ("a", "b", "c")


def drawn(rows=400, *, bias=(0.0, 0.0, 0.0), noise=1.0, seed=0):
    """Log-probabilities that hold a signal for the right label, a bias and noise."""
    draw = np.random.default_rng(seed)
    gold = draw.integers(0, 3, rows)
    values = 2 * np.eye(3)[gold] + noise * draw.normal(size=(rows, 3)) + np.array(bias)
    logs = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
    return logs.astype(np.float32), gold


def test_a_blend_multiplies_powers():
    lm = np.log([[0.7, 0.2, 0.1]]).astype(np.float32)
    vectors = np.array([[0.1, 0.6, 0.3]], dtype=np.float32)
    probs = Blend(2.0, 0.0, 1.0, offsets={"b": np.log(2)}).probs(
        Evidence(lm, None, vectors), LABELS
    )
    by_hand = np.array([0.7**2 * 0.1, 0.2**2 * 0.6 / 2, 0.1**2 * 0.3])
    assert probs[0] == pytest.approx(by_hand / by_hand.sum(), abs=1e-5)


def test_other_states_in_context_move_only_their_own_factor():
    vectors, old, new = (
        np.array([own], dtype=np.float32)
        for own in ([0.1, 0.6, 0.3], [0.2, 0.3, 0.5], [0.9, 0.1, 1e-9])
    )
    blend = Blend(0.0, 0.0, 0.4, 0.0, 0.7, {"b": 0.3})
    before, after = (
        blend.probs(Evidence(vectors=vectors, context=own), LABELS)[0] for own in (old, new)
    )
    assert blend.with_context(before, old[0], new[0]) == pytest.approx(after)
    assert blend.with_context(np.array([0.0, 0.5, 0.5]), old[0], new[0])[0] == 0


def test_a_label_that_is_out_of_the_question_stays_out():
    lm = np.array([[0.0, -np.inf, -1.0]], dtype=np.float32)
    vectors = np.array([[0.1, 0.8, 0.1]], dtype=np.float32)
    probs = Blend(0.2, 0.0, 1.0).probs(Evidence(lm, None, vectors), LABELS)
    assert probs[0, 1] == 0
    assert probs[0].sum() == pytest.approx(1)


def test_the_better_source_gets_the_weight():
    good, gold = drawn(noise=0.5)
    noise = np.random.default_rng(5).dirichlet(np.ones(3), len(gold)).astype(np.float32)
    fitted = fit_blend(Evidence(good, None, noise), gold, LABELS)
    assert fitted.blend.lm > 5 * fitted.blend.vectors
    reverse = fit_blend(Evidence(np.log(noise), None, np.exp(good)), gold, LABELS)
    assert reverse.blend.vectors > 5 * reverse.blend.lm


def test_two_sources_are_better_than_each():
    one, gold = drawn(seed=1)
    draw = np.random.default_rng(2)
    values = 2 * np.eye(3)[gold] + draw.normal(size=(len(gold), 3))
    two = (np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)).astype(np.float32)
    both = fit_blend(Evidence(one, None, two), gold, LABELS).loss
    assert both < fit_blend(Evidence(one), gold, LABELS).loss - 0.05
    assert both < fit_blend(Evidence(None, None, two), gold, LABELS).loss - 0.05


def test_offsets_take_a_bias_off():
    biased, gold = drawn(bias=(3.0, 0.0, 0.0))
    raw = fit_blend(Evidence(biased), gold, LABELS)
    batch = fit_blend(Evidence(biased), gold, LABELS, offsets=batch_offsets(biased))
    vector = fit_blend(Evidence(biased), gold, LABELS, vector=True)
    assert batch.loss < raw.loss - 0.1
    assert vector.loss < raw.loss - 0.2
    # Wrongly likely by 3 nats, and the scale is taken into account.
    offsets = np.array([vector.blend.offsets[label] for label in LABELS]) / vector.blend.lm
    assert offsets[0] - offsets[1:].mean() == pytest.approx(3, abs=0.5)


def test_temperature_softens_what_is_too_sure():
    logs, gold = drawn(noise=1.5)
    sure = 4 * logs
    fitted = fit_blend(Evidence(sure), gold, LABELS)
    assert 0.1 < fitted.blend.lm < 0.5
    assert fitted.loss < mean_nll(np.exp(Evidence(sure).logs()[0]), gold) - 0.3


def test_held_out_rows_are_judged_by_blends_fitted_on_others():
    # Pure noise: a blend that had seen the rows would look better than the labels' shares.
    draw = np.random.default_rng(0)
    noise = np.log(draw.dirichlet(np.ones(3), 60)).astype(np.float32)
    gold = draw.integers(0, 3, 60)
    fitted = fit_blend(Evidence(noise), gold, LABELS, vector=True)
    seen = mean_nll(fitted.blend.probs(Evidence(noise), LABELS), gold)
    assert fitted.loss > seen
    assert fitted.loss > np.log(3) - 0.05


def test_a_label_taught_since_has_no_offset():
    lm = np.log([[0.5, 0.3, 0.1, 0.1]]).astype(np.float32)
    probs = Blend(1.0, offsets={"a": 1.0}).probs(Evidence(lm), (*LABELS, "new"))
    assert probs.sum() == pytest.approx(1)
    assert probs[0, 3] > 0.1
