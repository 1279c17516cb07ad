"""Values computed from an index's examples on demand, and again when the examples have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, TypeVar

from ragicl.index import Index

T = TypeVar("T")
CHANGED = 0.1  # share of the examples that may be added or removed before a value is computed again


class CachedByGeneration(Generic[T]):
    """A value computed from an index, cached by its generation; safe to share between threads.

    :param compute: computes the value, which may take a while; it gets the arguments of :meth:`get`
    :param is_valid: whether a value may still be used after a change of the index
    """

    def __init__(
        self,
        index: Index,
        compute: Callable[..., T],
        is_valid: Callable[[T], bool] = lambda _: True,
    ) -> None:
        self._index = index
        self._compute = compute
        self._is_valid = is_valid
        self._lock = Lock()
        self._cached: tuple[int, int, T] | None = None  # generation, examples, value

    def get(self, *arguments: object) -> T:
        """Return the value, computing it where none is cached for the current examples.

        :raises ForkError: in a process forked after the index was opened
        """
        self._index.check_process()  # first: a thread that the fork left behind may have the lock
        with self._lock:
            generation = self._index.generation
            if self._cached is None or self._cached[0] != generation:
                self._cached = self._renewed(generation, arguments)
            return self._cached[2]

    def _renewed(self, generation: int, arguments: Sequence[object]) -> tuple[int, int, T]:
        size = len(self._index)
        if self._cached is not None:
            _, then, value = self._cached
            if abs(size - then) <= CHANGED * then and self._is_valid(value):
                return generation, then, value
        return generation, size, self._compute(*arguments)
