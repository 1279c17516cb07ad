"""Which stored example a row is, so that it can be left out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b

from ragicl.index import Index
from ragicl.records import Query


class OwnExamples:
    """Finds the stored example that a row is: by the row's own id, or else by text and label.

    A row's number is never taken for an id. The examples' contents are read once, when the first
    row asks for them.
    """

    def __init__(self, index: Index) -> None:
        self._index = index

    def ids(self, queries: Sequence[Query]) -> list[str | None]:
        """Return for each row the id of the example that it is; None where it is none.

        A row without a label is the first example with its text.
        """
        stored = self._index.get([query.id for query in queries if not query.numbered])
        return [
            query.id if not query.numbered and query.id in stored else self._by_content(query)
            for query in queries
        ]

    def _by_content(self, query: Query) -> str | None:
        return self._contents.get(_key(query.input, query.gold))

    @cached_property
    def _contents(self) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        for example in self._index:
            found.setdefault(_key(example.input, None), example.id)
            found.setdefault(_key(example.input, example.output), example.id)
        return found


def _key(text: str, label: str | None) -> bytes:
    content = text if label is None else f"{text}\0{label.strip()}"
    return blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()
