"""What is learnt from an index's examples when first needed, and again when they have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, TypeVar

from ragicl.index import Index

T = TypeVar("T")
CHANGED = 0.1  # share of the examples that may come or go before it is learnt again


class Learnt(Generic[T]):
    """A value learnt from an index; safe to share between threads.

    :param learn: learns it, and may take a while; is given what :meth:`get` is
    :param holds: whether it is still of use after any change, such as a removal
    """

    def __init__(
        self, index: Index, learn: Callable[..., T], holds: Callable[[T], bool] = lambda _: True
    ) -> None:
        self._index = index
        self._learn = learn
        self._holds = holds
        self._lock = Lock()
        self._known: tuple[int, int, T] | None = None  # generation, examples, value

    def get(self, *given: object) -> T:
        """Return the value, learning it where there is none that fits the examples of now."""
        with self._lock:
            generation = self._index.generation
            if self._known is None or self._known[0] != generation:
                self._known = self._renewed(generation, given)
            return self._known[2]

    def _renewed(self, generation: int, given: Sequence[object]) -> tuple[int, int, T]:
        size = len(self._index)
        if self._known is not None:
            _, then, value = self._known
            if abs(size - then) <= CHANGED * then and self._holds(value):
                return generation, then, value
        return generation, size, self._learn(*given)
