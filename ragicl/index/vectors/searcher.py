"""The vectors of an index, in step with its example store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from ragicl.index.store.base import ExampleStore
from ragicl.index.vectors.base import VectorIndex
from ragicl.index.vectors.sync import advance

BACKLOG = 1000  # rows to catch up on before it pays to write the file again

Alone = Callable[[], AbstractContextManager[bool]]
"""Keeps writers out for the length of a block, and yields whether it could without waiting."""


class Searcher:
    """Gives the vectors as of the store's present state; its owner lets one thread use it.

    :param kind: of vector index
    :param alone: keeps writers out while the file is written
    """

    def __init__(
        self, folder: Path, dim: int, store: ExampleStore, kind: type[VectorIndex], alone: Alone
    ) -> None:
        self._folder = folder
        self._dim = dim
        self._store = store
        self._kind = kind
        self._alone = alone
        self._vectors: VectorIndex | None = None
        self._saved = -1  # generation of the file on disk, as far as this process knows

    @property
    def opened(self) -> VectorIndex | None:
        """The vectors, of whatever state; None before the first search."""
        return self._vectors

    @property
    def changed(self) -> bool:
        """Whether the vectors are of another state than their file."""
        return self._vectors is not None and self._vectors.generation != self._saved

    def caught_up(self) -> VectorIndex:
        """Return the vectors as of the store's present state."""
        vectors, backlog = self._vectors, 0
        if vectors is None:
            vectors = self._loaded(self._kind.mapped)
        self._vectors = None  # half caught up is of no use, should this be interrupted
        if vectors.generation != self._store.generation():
            vectors, backlog = self._advanced(vectors)
        vectors.identity = self._store.identity()
        self._vectors = vectors
        if backlog > max(BACKLOG, len(vectors) // 10):
            self.save()
        return vectors

    def save(self) -> None:
        """Write the file, unless somebody writes or the disk does not let us.

        It is derived: without it the next opening takes longer, and nothing is lost.
        """
        vectors = self._vectors
        if vectors is None:
            return
        with suppress(OSError, RuntimeError), self._alone() as alone:
            if alone:
                vectors.save(self._folder)
                self._saved = vectors.generation

    def _advanced(self, vectors: VectorIndex) -> tuple[VectorIndex, int]:
        """Return the vectors brought up to date, or built again, and how many rows that took."""
        count = self._store.count()
        if vectors.fixed or vectors.outgrown(count):  # another process may have built them already
            vectors = self._loaded(self._kind.read)
        if vectors.outgrown(count):
            return self._kind.built(self._store, self._dim), count
        return vectors, advance(vectors, self._store)

    def _loaded(self, load: Callable[[Path, int], VectorIndex | None]) -> VectorIndex:
        """Return the vectors of the file, or none, where it is of no use."""
        loaded = load(self._folder, self._dim)
        if loaded is None or not self._belongs(loaded):
            self._saved, loaded = -1, self._kind(self._dim)
        else:
            self._saved = loaded.generation
        return loaded

    def _belongs(self, loaded: VectorIndex) -> bool:
        """Whether vectors are of this store, in a state that it has been in."""
        store = self._store
        return loaded.identity == store.identity() and loaded.generation <= store.generation()
