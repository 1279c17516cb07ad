"""Vectors of an index's examples that a language model took long to read, kept in its folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from threading import Lock

import numpy as np

from ragicl.index.derived import DerivedFile
from ragicl.protocols import FloatArray, Progress, no_progress

FOLDER = "features"  # in the index's folder
BATCH = 64  # texts read together
SAVED = 8  # batches that a killed process may lose
OWN = re.compile(r"[0-9a-f]{24}\.npz")  # names by `digest`
FILES = 16  # kept in the folder; the oldest are removed


class StateCache:
    """Arrays of texts, by text; safe to share between threads.

    :param file: where they are kept; a missing, damaged or foreign one is written anew
    :param read: returns the arrays of texts, in half precision, shape (len(texts), ...)
    """

    def __init__(self, file: DerivedFile, read: Callable[[Sequence[str]], FloatArray]) -> None:
        self._file = file
        self._read = read
        self._lock = Lock()
        self._known: dict[str, FloatArray] | None = None

    def of(self, texts: Sequence[str]) -> FloatArray:
        """Return the arrays of texts; cached texts are not read."""
        known = self._kept()
        names = [digest(text) for text in texts]
        fresh = {n: t for n, t in zip(names, texts, strict=True) if n not in known}
        read = dict(zip(fresh, self._read(list(fresh.values())), strict=True)) if fresh else {}
        return np.stack([read[name] if name in read else known[name] for name in names])

    def cached(self, text: str) -> FloatArray | None:
        """Return a text's array, if it was kept."""
        return self._kept().get(digest(text))

    def keep(self, texts: Sequence[str], progress: Progress = no_progress) -> FloatArray:
        """Return the same, and cache them; where that fails, the next process reads them again."""
        known = self._kept()
        left = list(dict.fromkeys(text for text in texts if digest(text) not in known))
        for start in range(0, len(left), BATCH):
            some = left[start : start + BATCH]
            rows = self._read(some)
            with self._lock:
                known |= {digest(text): row for text, row in zip(some, rows, strict=True)}
            progress("reading the examples", start + len(some), len(left))
            if start // BATCH % SAVED == SAVED - 1 or start + BATCH >= len(left):
                self._save(known)
        return self.of(texts)

    def _kept(self) -> dict[str, FloatArray]:
        with self._lock:
            if self._known is None:
                self._known = self._loaded()
            return self._known

    def _loaded(self) -> dict[str, FloatArray]:
        saved = self._file.load_arrays() or {}
        texts, states = saved.get("texts"), saved.get("states")
        if texts is None or states is None or texts.shape != states.shape[:1]:
            return {}
        return dict(zip(texts.tolist(), states, strict=True))

    def _save(self, known: dict[str, FloatArray]) -> None:
        with self._lock:
            names, states = list(known), np.stack(list(known.values()))
        if not self._file.save_arrays(texts=np.array(names), states=states):
            return
        with suppress(OSError):
            # Its own alone: anybody may keep a file there.
            files = [file for file in self._file.path.parent.iterdir() if OWN.fullmatch(file.name)]
            by_age = sorted(files, key=lambda file: file.stat().st_mtime)
            for old in by_age[:-FILES]:
                old.unlink(missing_ok=True)


def digest(text: str) -> str:
    """Return a short name of a text."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
