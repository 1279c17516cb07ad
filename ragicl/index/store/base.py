"""What an index needs of an example store: as narrow as what it calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ragicl.protocols import FloatArray, IntArray
from ragicl.records import Example


class ExampleStore(Protocol):
    """Examples with their vectors, by row numbers that rise and are never used twice.

    The system of record: all else in an index can be rebuilt from it. Its owner makes sure that one
    thread uses it at a time. Errors are :class:`ragicl.errors.StoreError`; rows that are not what
    was stored, :class:`ragicl.errors.CorruptError`.
    """

    def close(self) -> None:
        """Close the connection."""

    def identity(self) -> str:
        """Return a random id of the store's own, which what is derived from it carries."""

    def check(self) -> None:
        """Refuse to go on where another store took the place of the one that is open."""

    def reading(self) -> AbstractContextManager[None]:
        """See one state of the store for the length of the block."""

    def writing(self) -> AbstractContextManager[None]:
        """Commit everything in the block, as a new generation, or nothing."""

    def generation(self) -> int:
        """Return the number of the last transaction."""

    def count(self) -> int:
        """Return the number of examples."""

    def labels(self) -> dict[str, int]:
        """Return each label with its number of examples, sorted; empty for a generation index."""

    def insert(self, examples: Sequence[Example], vectors: FloatArray) -> None:
        """Insert examples whose ids are new, with their vectors, shape (len(examples), dim)."""

    def delete(self, ids: Sequence[str]) -> None:
        """Delete examples by id."""

    def by_id(self, ids: Sequence[str]) -> dict[str, Example]:
        """Return the examples with these ids, as far as there are any."""

    def by_row(self, rows: Sequence[int]) -> dict[int, Example]:
        """Return the examples with these row numbers; all must be there."""

    def present(self, rows: Sequence[int]) -> dict[int, Example]:
        """Return the examples with these row numbers, as far as there are any."""

    def examples(self) -> Iterator[Example]:
        """Yield every example in the order in which they were added."""

    def rows(self) -> IntArray:
        """Return all row numbers in use."""

    def inputs_since(self, row: int) -> list[tuple[int, str]]:
        """Return some of the first rows after a row number, with their inputs; empty at the end."""

    def metas_since(self, row: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the rows after a row number, with their metadata."""

    def longest_outputs(self, number: int) -> list[str]:
        """Return the longest outputs by characters."""

    def vectors(self, rows: IntArray, dim: int) -> FloatArray:
        """Return the vectors of these rows, shape (len(rows), dim), in their order."""

    def vectors_by_id(self, ids: Sequence[str], dim: int) -> dict[str, FloatArray]:
        """Return the vectors, shape (dim,), of the examples with these ids."""

    def removed_since(self, generation: int) -> IntArray:
        """Return the rows that were removed after a generation."""

    def added_since(self, generation: int, dim: int) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield rows and vectors written after a generation and still there, in chunks."""
