import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from test_ensemble import drawn, loss

from ragicl.probes import logistic
from ragicl.probes.ensemble import fit_classifier
from ragicl.probes.logistic import FOLDS, PER_LABEL, STEPS, Trial, choose_strength, fit_logistic


def folds(rows):
    return np.array_split(np.random.default_rng(0).permutation(rows), FOLDS)


@pytest.mark.parametrize("labels", [2, 3])
def test_what_is_left_out_is_what_a_fit_without_the_fold_says(labels):
    vectors, columns = drawn(labels, 60, 8, 1.2)
    fitted = fit_logistic(vectors, columns, labels)
    own = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    for fold in folds(len(columns)):
        rest = np.delete(np.arange(len(columns)), fold)
        model = LogisticRegression(C=fitted.strength, max_iter=STEPS).fit(own[rest], columns[rest])
        expected = model.predict_log_proba(own[fold])
        assert fitted.loo_logits[fold] == pytest.approx(expected, abs=1e-3)
    model = LogisticRegression(C=fitted.strength, max_iter=STEPS).fit(own, columns)
    assert softmax(fitted.logits(vectors), axis=1) == pytest.approx(
        model.predict_proba(own), abs=1e-3
    )


def test_the_strength_is_that_of_the_least_loss_left_out(monkeypatch):
    vectors, columns = drawn(3, 60, 8, 1.2)
    found = {}
    for strength in logistic.STRENGTHS:
        monkeypatch.setattr(logistic, "STRENGTHS", (strength,))
        left = fit_logistic(vectors, columns, 3).loo_logits
        found[strength] = loss(softmax(left.astype(float), axis=1), columns)
    monkeypatch.undo()
    monkeypatch.setattr(logistic, "JUDGED", len(columns))
    assert fit_logistic(vectors, columns, 3).strength == min(found, key=found.__getitem__)
    assert max(found.values()) > min(found.values()) + 0.01


def test_labels_that_a_fold_or_all_examples_lack_are_unlikely_not_impossible():
    vectors, columns = drawn(2, 60, 8, 1.2)
    columns[-1] = 2  # the only one of its label
    fitted = fit_logistic(vectors, columns, 4)
    probs = softmax(fitted.logits(vectors), axis=1)
    assert np.isfinite(fitted.loo_logits).all()
    assert probs.sum(axis=1) == pytest.approx(1)
    assert probs[:, 3] == pytest.approx(0.5 / 120, rel=0.02)
    assert softmax(fitted.loo_logits.astype(float), axis=1)[-1, 2] == pytest.approx(
        0.5 / 120, rel=0.02
    )
    assert probs[-1, 2] > 3 * 0.5 / 120


def test_one_label_and_equal_vectors_are_no_error():
    vectors, _ = drawn(1, 60, 8, 1.2)
    for columns in (np.zeros(60, np.int64), np.arange(60) % 2):
        for some in (vectors, np.repeat(vectors[:1], 60, axis=0)):
            fitted = fit_logistic(some, columns, 2)
            assert np.isfinite(fitted.logits(some)).all()
    assert softmax(fitted.logits(some), axis=1) == pytest.approx(0.5, abs=0.05), (
        "nothing tells them apart"
    )


def test_it_takes_part_where_labels_have_many_examples():
    few, many = (fit_classifier(*drawn(3, each, 8, 1.2), 3) for each in (PER_LABEL - 1, PER_LABEL))
    assert few.logistic is None
    assert many.logistic is not None
    assert (len(few.weights), len(many.weights)) == (2, 3)
    vectors, columns = drawn(12, 110, 24, 1.3)
    fitted = fit_classifier(vectors, columns, 12)
    assert fitted.logistic is not None
    alone = softmax(fitted.logistic.loo_logits.astype(float), axis=1)
    assert loss(fitted.loo_probs, columns) < loss(alone, columns) + 0.01


def test_an_answer_does_not_depend_on_its_batch():
    vectors, columns = drawn(3, 60, 8, 1.2)
    fitted = fit_logistic(vectors, columns, 3)
    one = np.concatenate([fitted.logits(vectors[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(one, fitted.logits(vectors)[:20], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("stop_early", "chosen", "run"), [(True, 2.0, 3), (False, 4.0, 4)])
def test_the_search_ends_early_only_where_asked(stop_early, chosen, run):
    tried = []

    def trials():
        for strength, own in ((1.0, 0.5), (2.0, 0.4), (3.0, 0.4), (4.0, 0.3)):
            tried.append(strength)
            yield Trial(strength, own, None)

    assert choose_strength(trials(), stop_early=stop_early).strength == chosen
    assert len(tried) == run
