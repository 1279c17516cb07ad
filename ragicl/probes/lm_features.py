"""A text's features: hidden states of the language model.

They are the mean of its tokens' states after a part of the model's blocks, :data:`DEPTH`; the text
is in the plain template, without demonstrations. The last blocks predict the next token; a state in
the middle separates labels better than the last one, and costs less. The features of an index's
examples are cached in its folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from zipfile import BadZipFile

import numpy as np

from ragicl.atomic import write_npz
from ragicl.prompting.compose import compose
from ragicl.prompting.template import plain_template
from ragicl.protocols import LM, Featuring, FloatArray, Parts, Progress, no_progress

VERSION = 4  # raise it when the same model gives other features
FOLDER = "features"
DEPTH = 0.5  # share of the blocks after which a text's features are taken
LONGEST = 256  # tokens read of a text, its prompt included; a whole one may take thousands
BATCH = 64  # texts read together
SAVED = 8  # batches that a killed process may lose


class Features:
    """Features of texts by one language model; safe to share between threads.

    The prompt is the plain template's, whatever the engine's own is.

    :param folder: of the index, where the features of its examples are cached
    """

    def __init__(self, folder: Path, lm: Featuring) -> None:
        self._template = plain_template("classify")
        rendered = "".join(self._template.render("{query}", []))
        self._file = (
            folder / FOLDER / f"{_digest(f'{VERSION}|{lm.description}|{rendered}|{LONGEST}')}.npz"
        )
        self._lm = lm
        self._lock = Lock()
        self._known: dict[str, FloatArray] | None = None

    def of(self, texts: Sequence[str]) -> FloatArray:
        """Return unit vectors of texts, shape (len(texts), width); cached texts are not read."""
        known = self._kept()
        names = [_digest(text) for text in texts]
        fresh = {n: t for n, t in zip(names, texts, strict=True) if n not in known}
        read = dict(zip(fresh, self._read(list(fresh.values())), strict=True))
        rows = [read[name] if name in read else known[name] for name in names]
        return np.stack(rows).astype(np.float32)

    def keep(self, texts: Sequence[str], progress: Progress = no_progress) -> FloatArray:
        """Return the same, and cache them; where that fails, the next process reads them again."""
        known = self._kept()
        left = list(dict.fromkeys(text for text in texts if _digest(text) not in known))
        for start in range(0, len(left), BATCH):
            some = left[start : start + BATCH]
            rows = self._read(some)
            with self._lock:
                known |= {_digest(text): row for text, row in zip(some, rows, strict=True)}
            progress("reading the examples", start + len(some), len(left))
            if start // BATCH % SAVED == SAVED - 1 or start + BATCH >= len(left):
                self._save(known)
        return self.of(texts)

    def _read(self, texts: Sequence[str]) -> FloatArray:
        if not texts:
            return np.empty((0, 0), dtype=np.float16)
        states = self._lm.states([self._prompt(text) for text in texts], (DEPTH,))[:, 0, 0]
        norms = np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-9)
        return np.asarray(states / norms, dtype=np.float16)

    def _prompt(self, text: str) -> Parts:
        lm = self._lm
        budget = min(lm.window, LONGEST)
        bare = compose(
            text, (), self._template, count=lm.count, budget=budget, reserve=0, truncate=True
        )
        return ("".join(bare.parts),)  # one part: the mean is over all of it

    def _kept(self) -> dict[str, FloatArray]:
        with self._lock:
            if self._known is None:
                self._known = {}
                with suppress(OSError, ValueError, KeyError, EOFError, BadZipFile):
                    self._known = self._loaded()
            return self._known

    def _loaded(self) -> dict[str, FloatArray]:
        with self._file.open("rb") as raw, np.load(raw) as file:
            return dict(zip(file["texts"].tolist(), file["states"], strict=True))

    def _save(self, known: dict[str, FloatArray]) -> None:
        with self._lock:
            names, states = list(known), np.stack(list(known.values()))
        with suppress(OSError):
            self._file.parent.mkdir(exist_ok=True)
            write_npz(self._file, texts=np.array(names), states=states)


def features_of(folder: Path, lm: LM | None) -> Features | None:
    """Return the features that a language model gives; None where its states cannot be seen."""
    return Features(folder, lm) if lm is not None and isinstance(lm, Featuring) else None


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
