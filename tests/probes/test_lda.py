import numpy as np
import pytest
from scipy.special import softmax

from ragicl.probes.lda import UNSEEN, fit_lda


@pytest.fixture
def clouds():
    """Four clouds of one narrow shape, which the nearest centre would not tell apart."""
    draw = np.random.default_rng(0)
    columns = np.arange(80) % 4
    vectors = draw.normal(size=(4, 6))[columns] * 0.5 + draw.normal(size=(80, 6)) * (
        np.array([3.0, 0.3, 0.3, 1.0, 1.0, 0.3])
    )
    return vectors.astype(np.float32), columns.astype(np.int64)


def test_what_is_left_out_is_what_a_discriminant_without_it_says(clouds):
    vectors, columns = clouds
    columns[-1] = 3
    fitted = fit_lda(vectors, columns, 5)  # one of the labels has no example
    x = vectors.astype(float) - vectors.mean(0, dtype=float)
    centres = np.stack([x[columns == c].mean(0) for c in range(4)])
    level = ((x - centres[columns]) ** 2).mean()
    for i in (0, 7, 79):
        rest = np.delete(np.arange(80), i)
        own, labels = x[rest], columns[rest]
        means = np.stack([*(own[labels == c].mean(0) for c in range(4)), np.zeros(6)])
        apart = own - means[labels]
        shape = (1 - fitted.shrinkage) * apart.T @ apart / 80 + fitted.shrinkage * level * np.eye(6)
        off = x[i] - means
        distances = (off @ np.linalg.inv(shape) * off).sum(1)
        counts = np.maximum(np.bincount(labels, minlength=5), UNSEEN)
        middle, distances[4] = distances[4], distances[:4].max()
        expected = (middle - distances) * fitted.inverse_temperature / 2 + np.log(counts)
        assert fitted.loo_logits[i] == pytest.approx(expected, abs=1e-4)


def test_the_log_odds_are_those_of_distances_to_the_centres(clouds):
    vectors, columns = clouds
    fitted = fit_lda(vectors, columns, 5)
    x = vectors.astype(float) - vectors.mean(0, dtype=float)
    means = np.stack([*(x[columns == c].mean(0) for c in range(4)), np.zeros(6)])
    apart = x - means[columns]
    ball = (apart**2).mean() * np.eye(6)
    shape = (1 - fitted.shrinkage) * apart.T @ apart / 80 + fitted.shrinkage * ball
    texts = x[:3] + 0.5
    off = texts[:, None] - means
    distances = np.einsum("tlc,cd,tld->tl", off, np.linalg.inv(shape), off)
    counts = np.array([20, 20, 20, 20, UNSEEN])
    expected = (distances[:, 4:] - distances) * fitted.inverse_temperature / 2 + np.log(counts)
    expected[:, 4] = expected[:, :4].min(axis=1) + np.log(UNSEEN)
    assert fitted.logits(vectors[:3] + 0.5) == pytest.approx(expected, abs=1e-4)


def test_the_shape_of_the_clouds_counts(clouds):
    vectors, columns = clouds
    right = (fit_lda(vectors, columns, 4).loo_logits.argmax(1) == columns).mean()
    centres = np.stack([vectors[columns == c].mean(0) for c in range(4)])
    by_centre = ((vectors[:, None] - centres) ** 2).sum(2).argmin(1)
    assert right > (by_centre == columns).mean() + 0.1


@pytest.mark.parametrize("apart", [0, 1e-7, 1e-3])
def test_many_near_duplicates_are_no_trouble(apart):
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=64) + apart * draw.normal(size=(600, 64))
    fitted = fit_lda(vectors.astype(np.float32), np.arange(600) % 2, 2)
    assert softmax(fitted.loo_logits.astype(float), axis=1) == pytest.approx(
        np.full((600, 2), 0.5), abs=0.2
    )
    assert np.isfinite(fitted.logits(vectors.astype(np.float32))).all()


def test_labels_whose_examples_are_all_the_same_do_no_harm():
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(5, 8)).astype(np.float32)[np.arange(15) % 5]
    fitted = fit_lda(vectors, np.arange(15) % 5, 5)
    assert fitted.loo_logits.argmax(axis=1).tolist() == (np.arange(15) % 5).tolist()
    assert np.abs(fitted.logits(vectors + 0.1)).max() < 1e3


def test_labels_seen_once_and_a_single_label_do_no_harm():
    vectors = np.eye(6, dtype=np.float32)
    fitted = fit_lda(vectors, np.arange(6), 6)
    assert fitted.logits(vectors).argmax(axis=1).tolist() == list(range(6))
    assert np.isfinite(fitted.loo_logits).all()
    alone = fit_lda(vectors, np.zeros(6, dtype=np.int64), 1)
    assert np.isfinite(alone.logits(vectors)).all()
