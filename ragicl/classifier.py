"""A classifier on vectors that needs no training: a regression and a discriminant, pooled.

Each in a fitted share. Both tell in closed form what they would say of an example had it not been
there; the shares are fitted on that.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ragicl.atomic import write_whole
from ragicl.discriminant import Discriminant, fit_discriminant, telling
from ragicl.pooling import Columns, Doubles, fit_powers, pooled, softmax
from ragicl.protocols import FloatArray
from ragicl.ridge import Ridge, fit_ridge

VERSION = 5  # to be raised when the same examples give another classifier
EVENLY = np.array([0.5, 0.5])  # powers that the fit is drawn to
SPREAD = np.array([0.3, 0.3])  # about these


@dataclass(frozen=True, slots=True, eq=False)
class VectorClassifier:
    """A fitted classifier.

    :ivar powers: of the regression's and the discriminant's odds, shape (2,)
    """

    ridge: Ridge
    discriminant: Discriminant
    powers: Doubles

    @property
    def left_out(self) -> FloatArray:
        """P(label | example), had the example not been there; shape (examples, labels)."""
        return likely(self.left_logits(np.arange(len(self.ridge.left_values))))

    def probs(self, vectors: FloatArray) -> FloatArray:
        """Return P(label | vector), shape (len(vectors), labels), for unit vectors."""
        return likely(self.logits(vectors))

    def logits(self, vectors: FloatArray, values: Doubles | None = None) -> Doubles:
        """Return the labels' log-odds, shape (len(vectors), labels), for unit vectors.

        :param values: what the regression gives for them, where that is known
        """
        values = self.ridge.values(vectors) if values is None else values
        return self._pooled(values, self.discriminant.logits(vectors))

    def left_logits(self, rows: Columns) -> Doubles:
        """Return those of examples, had each not been there; shape (len(rows), labels)."""
        return self._pooled(self.ridge.left_values[rows], self.discriminant.left_logits[rows])

    def _pooled(self, values: Doubles | FloatArray, logits: Doubles | FloatArray) -> Doubles:
        return pooled(self.powers, np.stack([self.ridge.sharpness * values, logits]))


def likely(logits: Doubles) -> FloatArray:
    """Return log-odds as probabilities, shape (rows, labels)."""
    return softmax(logits).astype(np.float32)


def fit_classifier(vectors: FloatArray, columns: Columns, labels: int) -> VectorClassifier:
    """Fit the classifier.

    :param vectors: unit vectors of the examples, shape (examples, dim)
    :param columns: each example's label as a column, shape (examples,)
    :param labels: number of columns
    """
    ridge = fit_ridge(vectors, columns, labels)
    discriminant = fit_discriminant(vectors, columns, labels)
    some = telling(columns, labels)
    left_out = np.stack(
        [ridge.sharpness * ridge.left_values[some], discriminant.left_logits[some]], dtype=float
    )
    powers = fit_powers(left_out, columns[some], EVENLY, SPREAD)[0] if len(some) else EVENLY
    return VectorClassifier(ridge, discriminant, powers)


def content_key(vectors: FloatArray, columns: Columns, labels: int) -> str:
    """Return what tells one classifier from another: a digest of all that it is fitted on."""
    digest = blake2b(f"{VERSION} {vectors.shape} {labels}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(vectors).tobytes())
    digest.update(columns.tobytes())
    return digest.hexdigest()


def save_classifier(file: Path, classifier: VectorClassifier, key: str) -> None:
    """Write a classifier as a whole; a disk that does not take it costs a fit, no more."""
    buffer = io.BytesIO()
    parts = {
        f"{part}.{name}": value
        for part, own in (("ridge", classifier.ridge), ("discriminant", classifier.discriminant))
        for name, value in asdict(own).items()
    }
    np.savez(buffer, key=np.array(key), powers=classifier.powers, **parts)
    with suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        write_whole(file, buffer.getvalue())


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
    return VectorClassifier(
        Ridge(**_part(arrays, "ridge")),
        Discriminant(**_part(arrays, "discriminant")),
        arrays["powers"],
    )


def _part(arrays: dict[str, Any], part: str) -> dict[str, Any]:
    own = {
        name.removeprefix(f"{part}."): value
        for name, value in arrays.items()
        if name.startswith(f"{part}.")
    }
    return {name: float(value) if value.ndim == 0 else value for name, value in own.items()}
