"""What an index needs of a vector index: as narrow as what it calls."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self

from ragicl.index.store.base import ExampleStore
from ragicl.index.vectors.ivf import Tuning
from ragicl.protocols import FloatArray, IntArray


class VectorIndex(Protocol):
    """Inner-product search over unit vectors by row number; derived from the example store.

    Its owner makes sure that one thread uses it at a time. It can be rebuilt at any time, so a file
    of it that is missing, damaged or of no use is None, never an error.

    :ivar dim: length of a vector
    :ivar identity: the store's, whose vectors these are
    :ivar generation: the state of the store that these vectors reflect
    :ivar tuning: how search is approximate; None: it is exact
    :ivar fixed: whether it can only be searched, as it is read straight from its file
    """

    dim: int
    identity: str
    generation: int
    tuning: Tuning | None
    fixed: bool

    def __init__(self, dim: int) -> None: ...

    @classmethod
    def mapped(cls, folder: Path, dim: int) -> Self | None:
        """Return the vectors of the file in a folder, at once, for searching only."""

    @classmethod
    def read(cls, folder: Path, dim: int) -> Self | None:
        """Return the vectors of the file in a folder, verified, to be changed."""

    @classmethod
    def built(cls, store: ExampleStore, dim: int) -> Self:
        """Return vectors for the store's present state, built from all of it."""

    def __len__(self) -> int: ...

    def outgrown(self, count: int) -> bool:
        """Return whether so many rows call for building them again."""

    def add(self, rows: IntArray, vectors: FloatArray) -> None:
        """Add rows, shape (n,), with their vectors, shape (n, dim)."""

    def remove(self, rows: IntArray) -> None:
        """Remove rows, as far as they are there."""

    def search(self, queries: FloatArray, k: int) -> tuple[FloatArray, IntArray]:
        """Return similarities and row numbers, each of shape (len(queries), k), best first.

        A row number of -1 stands for none.
        """

    def save(self, folder: Path) -> None:
        """Replace the file in a folder as a whole."""
