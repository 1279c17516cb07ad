"""Token ids of texts that come again: bounded in bytes, the least recently used are dropped."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from sys import getsizeof
from threading import Lock
from typing import TypeAlias

from cachetools import LRUCache

BYTES = 2**25  # of some 65 thousand short demonstrations
ENTRY = 128  # bytes of a dictionary's entry

Entry: TypeAlias = "tuple[str, array[int]]"


class TokenCache:
    """Encodes texts, and remembers; safe to share between threads.

    :param limit: bytes of texts and ids kept at most; an entry that is larger is not kept
    """

    def __init__(self, encode: Callable[[str], array[int]], limit: int = BYTES) -> None:
        self._encode = encode
        self._entries: LRUCache[str, Entry] = LRUCache(limit, _size)
        self._lock = Lock()

    def __call__(self, text: str) -> array[int]:
        """Return the token ids of a text."""
        with self._lock:
            if (known := self._entries.get(text)) is not None:
                return known[1]
        entry = text, self._encode(text)  # two threads may both do it
        with self._lock:
            if _size(entry) <= self._entries.maxsize:
                self._entries[text] = entry
        return entry[1]

    @property
    def bytes(self) -> int:
        """Size of the texts and ids kept."""
        return int(self._entries.currsize)


def _size(entry: Entry) -> int:
    text, ids = entry
    return getsizeof(text) + getsizeof(ids) + ENTRY
