import numpy as np
import pytest
from scipy.special import softmax

from ragicl.probes.ridge import JITTER, example_weights, fit_ridge, kernel


def left_out(ridge):
    return softmax(ridge.inverse_temperature * ridge.loo_values.astype(float), axis=1)


def probs_of(ridge, vectors):
    return softmax(ridge.inverse_temperature * ridge.values(vectors), axis=1)


@pytest.fixture
def groups():
    """Three groups of unit vectors, a little mixed up."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(3, 8))
    columns = np.arange(60) % 3
    vectors = centres[columns] + draw.normal(size=(60, 8)) * 1.2
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32), columns.astype(np.int64)


def test_what_is_left_out_is_what_a_regression_without_it_says(groups):
    vectors, columns = groups
    ridge = fit_ridge(vectors, columns, 3)
    within = kernel(ridge.landmarks, ridge.landmarks).astype(float)
    spread = np.linalg.cholesky(within + JITTER * np.eye(len(within)))
    features = np.linalg.solve(spread, kernel(vectors, ridge.landmarks).T.astype(float)).T
    targets = np.eye(3)[columns]
    for i in (0, 7, 59):
        rest = np.delete(np.arange(60), i)
        middle, base = features[rest].mean(0), targets[rest].mean(0)
        own, wanted = features[rest] - middle, targets[rest] - base
        weights = np.linalg.solve(
            own.T @ own + ridge.penalty * np.eye(own.shape[1]), own.T @ wanted
        )
        value = (features[i] - middle) @ weights + base
        expected = softmax(ridge.inverse_temperature * value[None], axis=1)[0]
        assert left_out(ridge)[i] == pytest.approx(expected, abs=1e-3)


def test_probabilities_find_the_groups(groups):
    vectors, columns = groups
    ridge = fit_ridge(vectors, columns, 3)
    probs = probs_of(ridge, vectors)
    assert probs.sum(axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    assert (probs.argmax(axis=1) == columns).mean() > 0.9
    assert (left_out(ridge).argmax(axis=1) == columns).mean() > 0.6


def test_noise_is_answered_by_the_labels_shares():
    draw = np.random.default_rng(1)
    vectors = draw.normal(size=(400, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = (draw.random(400) < 0.25).astype(np.int64)
    ridge = fit_ridge(vectors.astype(np.float32), columns, 2)
    loss = -np.log(left_out(ridge)[np.arange(400), columns]).mean()
    share = columns.mean()
    of_shares = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert loss < of_shares + 0.1


def test_many_examples_share_landmarks(groups, monkeypatch):
    vectors, columns = groups
    monkeypatch.setattr("ragicl.probes.ridge.LANDMARKS", 20)
    ridge = fit_ridge(vectors, columns, 3)
    assert ridge.landmarks.shape == (20, 8)
    assert (probs_of(ridge, vectors).argmax(axis=1) == columns).mean() > 0.8


def test_copies_and_a_label_seen_once_do_no_harm():
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 1, 2]]
    ridge = fit_ridge(vectors, np.array([0, 0, 0, 1, 1, 2]), 3)
    assert probs_of(ridge, vectors).argmax(axis=1).tolist() == [0, 0, 0, 1, 1, 2]
    assert np.isfinite(left_out(ridge)).all()


@pytest.mark.parametrize("apart", [0, 1e-7, 1e-4])
def test_many_near_duplicates_are_no_trouble(apart):
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=64) + apart * draw.normal(size=(1500, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ridge = fit_ridge(vectors.astype(np.float32), np.arange(1500) % 2, 2)
    assert left_out(ridge) == pytest.approx(np.full((1500, 2), 0.5), abs=0.2)


def by_label(weights, columns):
    return np.bincount(columns, weights=weights, minlength=3)


@pytest.mark.parametrize("landmarks", [1500, 20])
def test_values_are_sums_of_the_examples_weights(groups, monkeypatch, landmarks):
    monkeypatch.setattr("ragicl.probes.ridge.LANDMARKS", landmarks)
    vectors, columns = groups
    ridge = fit_ridge(vectors, columns, 3)
    query = -vectors[0]
    weights = example_weights(ridge, vectors, query)
    assert weights.sum() == pytest.approx(1)
    assert by_label(weights, columns) == pytest.approx(ridge.values(query[None])[0])


@pytest.mark.parametrize("landmarks", [1500, 20])
def test_each_weight_is_the_value_of_a_label_that_the_example_alone_has(
    groups, monkeypatch, landmarks
):
    monkeypatch.setattr("ragicl.probes.ridge.LANDMARKS", landmarks)
    vectors, columns = groups
    ridge = fit_ridge(vectors, columns, 3)
    monkeypatch.setattr("ragicl.probes.ridge.PENALTIES", (ridge.penalty,))
    alone = fit_ridge(vectors, np.arange(60), 60)
    query = (vectors[3] + vectors[4]) / np.linalg.norm(vectors[3] + vectors[4])
    expected = alone.values(query[None])[0]
    assert example_weights(ridge, vectors, query) == pytest.approx(expected)


@pytest.mark.parametrize("landmarks", [1500, 20])
def test_an_example_left_out_has_no_weight(groups, monkeypatch, landmarks):
    monkeypatch.setattr("ragicl.probes.ridge.LANDMARKS", landmarks)
    vectors, columns = groups
    ridge = fit_ridge(vectors, columns, 3)
    for row in (0, 7, 59):
        weights = example_weights(ridge, vectors, vectors[row], left_out=row)
        assert weights[row] == 0
        assert weights.sum() == pytest.approx(1)
        assert by_label(weights, columns) == pytest.approx(ridge.loo_values[row], abs=1e-5)
