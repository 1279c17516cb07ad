"""A classifier on vectors: a log-linear pool of kernel ridge, LDA and logistic regression.

Their weights are fitted on predictions of examples that were left out: leave-one-out (LOO) in
closed form for the first two, by cross-validation for the logistic regression, which takes part
where labels have many examples.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from ragicl.atomic import read_npz, write_npz
from ragicl.calibration.pooling import fit_weights, pooled
from ragicl.probes.lda import LDA, fit_lda, loo_sample
from ragicl.probes.logistic import PER_LABEL, Logistic, fit_logistic
from ragicl.probes.ridge import Ridge, fit_ridge
from ragicl.protocols import Float64Array, FloatArray, IntArray, Progress

VERSION = 7  # raise it when the same examples give another classifier
PARTS: dict[str, Any] = {"ridge": Ridge, "lda": LDA, "logistic": Logistic}
SPREAD = 0.3  # standard deviation of the weights' prior, about equal ones


@dataclass(frozen=True, slots=True, eq=False)
class VectorClassifier:
    """A fitted classifier.

    :ivar logistic: None where labels have few examples each
    :ivar weights: of the parts in the pool, shape (2 or 3,)
    """

    ridge: Ridge
    lda: LDA
    logistic: Logistic | None
    weights: Float64Array

    @property
    def ridge_scale(self) -> float:
        """By how many nats the pool's logits rise with the ridge's values."""
        return float(self.weights[0]) * self.ridge.inverse_temperature

    @property
    def loo_probs(self) -> FloatArray:
        """Leave-one-out P(label | example), shape (examples, labels)."""
        return probabilities(self.loo_logits(np.arange(len(self.ridge.loo_values))))

    def probs(self, vectors: FloatArray) -> FloatArray:
        """Return P(label | vector), shape (len(vectors), labels), for unit vectors."""
        return probabilities(self.logits(vectors))

    def logits(self, vectors: FloatArray, values: Float64Array | None = None) -> Float64Array:
        """Return the labels' logits, shape (len(vectors), labels), for unit vectors.

        :param values: the kernel regression's values for them, where they are known
        """
        return pooled(self.weights, self.parts(vectors, values))

    def loo_logits(self, rows: IntArray) -> Float64Array:
        """Return leave-one-out logits of examples, shape (len(rows), labels)."""
        return pooled(self.weights, self.loo_parts(rows))

    def parts(self, vectors: FloatArray, values: Float64Array | None = None) -> Float64Array:
        """Return each part's logits, shape (parts, len(vectors), labels)."""
        values = self.ridge.values(vectors) if values is None else values
        logits = [self.ridge.inverse_temperature * values, self.lda.logits(vectors)]
        if self.logistic is not None:
            logits.append(self.logistic.logits(vectors))
        return np.stack(logits)

    def loo_parts(self, rows: IntArray) -> Float64Array:
        """Return each part's leave-one-out logits, shape (parts, len(rows), labels)."""
        logits = [self.ridge.inverse_temperature * self.ridge.loo_values[rows]]
        logits.append(self.lda.loo_logits[rows])
        if self.logistic is not None:
            logits.append(self.logistic.loo_logits[rows])
        return np.stack(logits, dtype=float)


def probabilities(logits: Float64Array) -> FloatArray:
    """Return the softmax of logits, shape (rows, labels)."""
    from scipy.special import softmax

    return np.asarray(softmax(logits, axis=1), dtype=np.float32)


def fit_classifier(vectors: FloatArray, columns: IntArray, labels: int) -> VectorClassifier:
    """Fit the classifier.

    :param vectors: unit vectors of the examples, shape (examples, dim)
    :param columns: each example's label as a column, shape (examples,)
    :param labels: number of columns
    """
    ridge = fit_ridge(vectors, columns, labels)
    lda = fit_lda(vectors, columns, labels)
    many = len(columns) >= PER_LABEL * labels
    logistic = fit_logistic(vectors, columns, labels) if many else None
    number = 3 if many else 2
    equal = np.full(number, 1 / number)
    fitted = VectorClassifier(ridge, lda, logistic, equal)
    sample = loo_sample(columns, labels)
    if not len(sample):
        return fitted
    spread = np.full(number, SPREAD)
    weights, _ = fit_weights(fitted.loo_parts(sample), columns[sample], equal, spread)
    return replace(fitted, weights=weights)


def fit_or_load(
    file: Path, vectors: FloatArray, columns: IntArray, labels: int, progress: Progress
) -> VectorClassifier:
    """Return the classifier that :func:`fit_classifier` gives, saved for the next process."""
    key = content_key(vectors, columns, labels)
    if (fitted := load_classifier(file, key)) is None:
        progress("fitting the classifier", 0, len(vectors))  # it takes a while
        fitted = fit_classifier(vectors, columns, labels)
        progress("fitting the classifier", len(vectors), len(vectors))
        save_classifier(file, fitted, key)
    return fitted


def over_labels(
    logits: Float64Array, columns: tuple[str, ...], labels: tuple[str, ...]
) -> Float64Array:
    """Return logits for other labels: one that is no column is as likely as the least likely.

    :param logits: shape (rows, columns)
    :return: shape (rows, labels)
    """
    if labels == columns:
        return logits
    known = dict(zip(columns, logits.T, strict=True))
    least = logits.min(axis=1)
    return np.stack([known.get(label, least) for label in labels], axis=1)


def content_key(vectors: FloatArray, columns: IntArray, labels: int) -> str:
    """Return a digest of all that a classifier is fitted on."""
    digest = blake2b(f"{VERSION} {vectors.shape} {labels}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(vectors).tobytes())
    digest.update(columns.tobytes())
    return digest.hexdigest()


def save_classifier(file: Path, classifier: VectorClassifier, key: str) -> None:
    """Write a classifier in one go; where that fails, the next process fits it again."""
    parts = {
        f"{part}.{name}": value
        for part in PARTS
        if (own := getattr(classifier, part)) is not None
        for name, value in asdict(own).items()
    }
    with suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        write_npz(file, key=np.array(key), weights=classifier.weights, **parts)


def load_classifier(file: Path, key: str) -> VectorClassifier | None:
    """Read a classifier; None where it has another key, or cannot be read."""
    arrays = read_npz(file)
    if arrays is None or str(arrays.get("key")) != key:
        return None
    with suppress(KeyError, TypeError, ValueError):  # arrays of another version
        found: dict[str, Any] = {
            part: kind(**own) if (own := _part(arrays, part)) else None
            for part, kind in PARTS.items()
        }
        return VectorClassifier(**found, weights=arrays["weights"])
    return None


def _part(arrays: dict[str, Any], part: str) -> dict[str, Any]:
    own = {
        name.removeprefix(f"{part}."): value
        for name, value in arrays.items()
        if name.startswith(f"{part}.")
    }
    return {name: float(value) if value.ndim == 0 else value for name, value in own.items()}
