"""A classifier on vectors: a kernel regression, a discriminant and a logistic regression, pooled.

Each in a fitted share. All tell what they would say of an example had it not been there, the first
two in closed form; the shares are fitted on that. The logistic regression takes part where labels
have many examples.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ragicl.atomic import write_npz
from ragicl.calibration.pooling import fit_powers, pooled
from ragicl.probes.lda import Discriminant, fit_discriminant, telling
from ragicl.probes.logistic import PER_LABEL, Logistic, fit_logistic
from ragicl.probes.ridge import Ridge, fit_ridge
from ragicl.protocols import Float64Array, FloatArray, IntArray

VERSION = 6  # to be raised when the same examples give another classifier
PARTS: dict[str, Any] = {"ridge": Ridge, "discriminant": Discriminant, "logistic": Logistic}
SPREAD = 0.3  # of the powers, about even ones


@dataclass(frozen=True, slots=True, eq=False)
class VectorClassifier:
    """A fitted classifier.

    :ivar logistic: None where labels have few examples each
    :ivar powers: of each part's odds, shape (2 or 3,)
    """

    ridge: Ridge
    discriminant: Discriminant
    logistic: Logistic | None
    powers: Float64Array

    @property
    def left_out(self) -> FloatArray:
        """P(label | example), had the example not been there; shape (examples, labels)."""
        return likely(self.left_logits(np.arange(len(self.ridge.left_values))))

    def probs(self, vectors: FloatArray) -> FloatArray:
        """Return P(label | vector), shape (len(vectors), labels), for unit vectors."""
        return likely(self.logits(vectors))

    def logits(self, vectors: FloatArray, values: Float64Array | None = None) -> Float64Array:
        """Return the labels' log-odds, shape (len(vectors), labels), for unit vectors.

        :param values: what the kernel regression gives for them, where that is known
        """
        return pooled(self.powers, self.parts(vectors, values))

    def left_logits(self, rows: IntArray) -> Float64Array:
        """Return those of examples, had each not been there; shape (len(rows), labels)."""
        return pooled(self.powers, self.left_parts(rows))

    def parts(self, vectors: FloatArray, values: Float64Array | None = None) -> Float64Array:
        """Return each part's log-odds, shape (parts, len(vectors), labels)."""
        values = self.ridge.values(vectors) if values is None else values
        said = [self.ridge.sharpness * values, self.discriminant.logits(vectors)]
        if self.logistic is not None:
            said.append(self.logistic.logits(vectors))
        return np.stack(said)

    def left_parts(self, rows: IntArray) -> Float64Array:
        """Return those of examples, had each not been there; shape (parts, len(rows), labels)."""
        said = [self.ridge.sharpness * self.ridge.left_values[rows]]
        said.append(self.discriminant.left_logits[rows])
        if self.logistic is not None:
            said.append(self.logistic.left_logits[rows])
        return np.stack(said, dtype=float)


def likely(logits: Float64Array) -> FloatArray:
    """Return log-odds as probabilities, shape (rows, labels)."""
    from scipy.special import softmax

    return np.asarray(softmax(logits, axis=1), dtype=np.float32)


def fit_classifier(vectors: FloatArray, columns: IntArray, labels: int) -> VectorClassifier:
    """Fit the classifier.

    :param vectors: unit vectors of the examples, shape (examples, dim)
    :param columns: each example's label as a column, shape (examples,)
    :param labels: number of columns
    """
    ridge = fit_ridge(vectors, columns, labels)
    discriminant = fit_discriminant(vectors, columns, labels)
    many = len(columns) >= PER_LABEL * labels
    logistic = fit_logistic(vectors, columns, labels) if many else None
    number = 3 if many else 2
    evenly = np.full(number, 1 / number)
    fitted = VectorClassifier(ridge, discriminant, logistic, evenly)
    some = telling(columns, labels)
    if not len(some):
        return fitted
    spread = np.full(number, SPREAD)
    powers, _ = fit_powers(fitted.left_parts(some), columns[some], evenly, spread)
    return replace(fitted, powers=powers)


def content_key(vectors: FloatArray, columns: IntArray, labels: int) -> str:
    """Return what tells one classifier from another: a digest of all that it is fitted on."""
    digest = blake2b(f"{VERSION} {vectors.shape} {labels}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(vectors).tobytes())
    digest.update(columns.tobytes())
    return digest.hexdigest()


def save_classifier(file: Path, classifier: VectorClassifier, key: str) -> None:
    """Write a classifier as a whole; a disk that does not take it costs a fit, no more."""
    parts = {
        f"{part}.{name}": value
        for part in PARTS
        if (own := getattr(classifier, part)) is not None
        for name, value in asdict(own).items()
    }
    with suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        write_npz(file, key=np.array(key), powers=classifier.powers, **parts)


def load_classifier(file: Path, key: str) -> VectorClassifier | None:
    """Read a classifier; None where it was fitted on something else, or cannot be read."""
    with suppress(OSError, ValueError, KeyError, EOFError, BadZipFile):
        return _loaded(file, key)
    return None


def _loaded(file: Path, key: str) -> VectorClassifier | None:
    with file.open("rb") as raw, np.load(raw) as saved:
        if str(saved["key"]) != key:
            return None
        arrays = {name: saved[name] for name in saved.files}
    found: dict[str, Any] = {
        part: kind(**own) if (own := _part(arrays, part)) else None for part, kind in PARTS.items()
    }
    return VectorClassifier(**found, powers=arrays["powers"])


def _part(arrays: dict[str, Any], part: str) -> dict[str, Any]:
    own = {
        name.removeprefix(f"{part}."): value
        for name, value in arrays.items()
        if name.startswith(f"{part}.")
    }
    return {name: float(value) if value.ndim == 0 else value for name, value in own.items()}
