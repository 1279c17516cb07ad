"""How good distributions over labels are: accuracy, macro-F1, likelihood, calibration."""

from __future__ import annotations

import numpy as np

from ragicl.evaluate.metrics.bootstrap import Resampling
from ragicl.evaluate.results import Bin, LabelScores
from ragicl.protocols import FloatArray, IntArray

LEAST = 1e-6  # what a smaller probability counts as
BINS = 15  # of equal width, for the calibration error (Guo et al. 2017)
SHOWN_BINS = 10  # of a reliability diagram


def label_scores(probs: FloatArray, gold: IntArray, resampling: Resampling) -> LabelScores:
    """Return the scores of one method with their intervals.

    :param probs: shape (rows, labels)
    :param gold: each row's right label by its column; -1 for one that has none
    """
    predicted = probs.argmax(axis=1)
    return LabelScores(
        accuracy=resampling.mean(correct(probs, gold)),
        macro_f1=resampling.of(_f1_parts(predicted, gold, probs.shape[1]), _macro_f1),
        nll=resampling.mean(nll(probs, gold)),
        ece=resampling.of(_calibration_parts(probs, gold), _calibration_error, biased=True),
    )


def correct(probs: FloatArray, gold: IntArray) -> FloatArray:
    """Return 1 where the likeliest label is the right one, else 0, shape (rows,)."""
    return np.asarray(probs.argmax(axis=1) == gold, dtype=np.float32)


def nll(probs: FloatArray, gold: IntArray) -> FloatArray:
    """Return the negative log-likelihood of each right label in nats, shape (rows,)."""
    own = probs[np.arange(len(gold)), gold] * (gold >= 0)
    return np.asarray(-np.log(np.maximum(own, LEAST)), dtype=np.float32)


def reliability(probs: FloatArray, gold: IntArray) -> tuple[Bin, ...]:
    """Return the bins of a reliability diagram that hold rows, surest last."""
    sure, right = probs.max(axis=1), correct(probs, gold)
    bins = _bin(sure, SHOWN_BINS)
    return tuple(
        Bin(int(own.sum()), float(sure[own].mean()), float(right[own].mean()))
        for own in (bins == number for number in np.unique(bins))
    )


def _bin(sure: FloatArray, number: int) -> IntArray:
    return np.minimum((sure * number).astype(np.int64), number - 1)


def _f1_parts(predicted: IntArray, gold: IntArray, labels: int) -> FloatArray:
    """Return, for each row, which label it hits, says and is: shape (rows, 3 * labels)."""
    columns = np.arange(labels)
    says, owns = predicted[:, None] == columns, gold[:, None] == columns
    return np.concatenate([says & owns, says, owns], axis=1).astype(np.float32)


def _macro_f1(means: FloatArray) -> FloatArray:
    """Return the mean F1 of the labels that occur, predicted or right."""
    hits, says, owns = np.split(means, 3, axis=1)
    occurs = (says + owns) > 0
    f1 = 2 * hits / np.where(occurs, says + owns, 1)
    total: FloatArray = f1.sum(axis=1) / np.maximum(occurs.sum(axis=1), 1)
    return total


def _calibration_parts(probs: FloatArray, gold: IntArray) -> FloatArray:
    """Return each row's overconfidence in the column of its bin, shape (rows, bins)."""
    sure = probs.max(axis=1)
    columns = _bin(sure, BINS)[:, None] == np.arange(BINS)
    return np.asarray(columns * (sure - correct(probs, gold))[:, None], dtype=np.float32)


def _calibration_error(means: FloatArray) -> FloatArray:
    """Return the expected calibration error: bins weigh as much as they have rows."""
    error: FloatArray = np.abs(means).sum(axis=1)
    return error
