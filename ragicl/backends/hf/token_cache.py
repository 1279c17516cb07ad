"""Token ids of texts that come back: bounded in bytes, the least recently used go first."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable
from sys import getsizeof
from threading import Lock

BYTES = 2**25  # of some 65 thousand short demonstrations
ENTRY = 128  # bytes of a dictionary's entry


class KeptIds:
    """Encodes texts, and remembers; safe to share between threads.

    :param limit: bytes of texts and ids kept at most
    :ivar bytes: of the texts and ids kept
    """

    def __init__(self, encode: Callable[[str], array[int]], limit: int = BYTES) -> None:
        self._encode = encode
        self._limit = limit
        self._kept: OrderedDict[str, array[int]] = OrderedDict()
        self._lock = Lock()
        self.bytes = 0

    def __call__(self, text: str) -> array[int]:
        """Return the token ids of a text."""
        with self._lock:
            if text in self._kept:
                self._kept.move_to_end(text)
                return self._kept[text]
        ids = self._encode(text)  # two threads may both do it
        with self._lock:
            if text not in self._kept:
                self._kept[text] = ids
                self.bytes += _size(text, ids)
            while self.bytes > self._limit:
                self.bytes -= _size(*self._kept.popitem(last=False))
        return ids


def _size(text: str, ids: array[int]) -> int:
    return getsizeof(text) + getsizeof(ids) + ENTRY
