import numpy as np
import pytest
from scipy.special import softmax

from ragicl.index.derived import DerivedFolder
from ragicl.probes.ensemble import (
    content_key,
    fit_classifier,
    load_classifier,
    save_classifier,
)
from ragicl.probes.lda import fit_lda
from ragicl.probes.logistic import PER_LABEL
from ragicl.probes.ridge import fit_ridge


def drawn(labels, each, dim, noise, seed=0):
    """Unit vectors of groups, a little mixed up."""
    draw = np.random.default_rng(seed)
    columns = np.arange(labels * each) % labels
    vectors = draw.normal(size=(labels, dim))[columns]
    vectors += noise * draw.normal(size=(labels * each, dim))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32), columns.astype(np.int64)


@pytest.fixture
def groups():
    return drawn(3, 20, 8, 1.2)


def loss(probs, columns):
    return -np.log(probs[np.arange(len(columns)), columns]).mean()


def test_it_is_as_good_as_the_better_of_its_two():
    for labels, each in ((2, 150), (40, 8)):
        vectors, columns = drawn(labels, each, 16, 1.0)
        both = loss(fit_classifier(vectors, columns, labels).loo_probs, columns)
        ridge = fit_ridge(vectors, columns, labels)
        one = loss(
            softmax(ridge.inverse_temperature * ridge.loo_values.astype(float), axis=1), columns
        )
        other = fit_lda(vectors, columns, labels).loo_logits.astype(float)
        assert both < min(one, loss(softmax(other, axis=1), columns)) + 0.01


@pytest.mark.parametrize("each", [10, 60])  # without and with the logistic regression
def test_probabilities_are_the_product_of_the_powers(each):
    vectors, columns = drawn(3, each, 8, 1.2)
    fitted = fit_classifier(vectors, columns, 3)
    said = [fitted.ridge.inverse_temperature * fitted.ridge.values(vectors)]
    said += [p.logits(vectors) for p in (fitted.lda, fitted.logistic) if p is not None]
    assert len(said) == len(fitted.weights) == 2 + (each >= PER_LABEL)
    expected = np.prod(
        [softmax(o, axis=1) ** p for o, p in zip(said, fitted.weights, strict=True)], axis=0
    )
    expected /= expected.sum(axis=1, keepdims=True)
    assert fitted.probs(vectors) == pytest.approx(expected, abs=1e-5)


def test_a_label_without_examples_is_never_the_likeliest(groups):
    vectors, columns = groups
    fitted = fit_classifier(vectors, columns, 4)
    strange = drawn(1, 50, 8, 1.0, seed=9)[0]
    for some in (vectors, strange):
        assert (fitted.probs(some).argmin(axis=1) == 3).mean() > 0.9
    assert (fitted.loo_probs.argmin(axis=1) == 3).mean() > 0.9


def test_noise_whose_labels_are_seen_once_is_not_known_when_left_out():
    vectors, _ = drawn(60, 1, 16, 1.0)
    fitted = fit_classifier(vectors, np.arange(60), 60)
    assert fitted.loo_probs[np.arange(60), np.arange(60)].max() <= 1 / 60 + 1e-3
    assert fitted.probs(vectors).argmax(axis=1).tolist() == list(range(60))


def test_examples_alone_with_their_label_do_not_decide_how_sure_it_is():
    vectors, columns = drawn(20, 8, 16, 0.8)
    alone = drawn(20, 1, 16, 0.8, seed=5)[0]
    both = np.concatenate([vectors, alone]), np.concatenate([columns, np.arange(20, 40)])
    fitted = fit_lda(*both, 40)
    assert fitted.inverse_temperature > 0.5 * fit_lda(vectors, columns, 20).inverse_temperature


@pytest.mark.parametrize("each", [10, 60])  # without and with the logistic regression
def test_what_is_saved_is_read_back_for_the_same_examples_alone(each, tmp_path):
    vectors, columns = drawn(3, each, 8, 1.2)
    file = DerivedFolder(tmp_path).file("folder", "vectors.npz")
    key = content_key(vectors, columns, 3)
    assert load_classifier(file, key) is None
    fitted = fit_classifier(vectors, columns, 3)
    save_classifier(file, fitted, key)
    again = load_classifier(file, key)
    assert again.probs(vectors).tolist() == fitted.probs(vectors).tolist()
    assert again.loo_probs.tolist() == fitted.loo_probs.tolist()
    assert again.ridge.penalty == fitted.ridge.penalty
    assert again.lda.shrinkage == fitted.lda.shrinkage
    assert (again.logistic is None) == (fitted.logistic is None) == (each < PER_LABEL)
    changed = columns.copy()
    changed[0] = 2
    assert load_classifier(file, content_key(vectors, changed, 3)) is None
    file.path.write_bytes(file.path.read_bytes()[:50])
    assert load_classifier(file, key) is None
