"""What an index holds, and what it finds: everything that only reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cachetools import LRUCache

from ragicl.backends import open_encoder
from ragicl.errors import ExampleError, quoted
from ragicl.forks import OwnLock
from ragicl.index.derived import DerivedFolder
from ragicl.index.filters import Matching
from ragicl.index.ids import storable
from ragicl.index.manifest import Manifest
from ragicl.index.store.base import ExampleStore
from ragicl.index.vectors.faiss_index import saved_footer
from ragicl.index.vectors.ivf import Tuning
from ragicl.index.vectors.searcher import Searcher
from ragicl.index.vectors.sync import nearest
from ragicl.protocols import Encoder, FloatArray, IntArray
from ragicl.records import Example, Kind, Neighbor, Where

FILTERS = 8  # whose matching rows are known at a time


@dataclass(frozen=True, slots=True)
class Stats:
    """What an index holds.

    :ivar labels: label to number of examples; empty for a generation index
    :ivar bytes: size of its folder on disk
    :ivar approximation: how search is approximate; None: every search compares all vectors
    """

    examples: int
    labels: dict[str, int]
    generation: int
    bytes: int
    approximation: Tuning | None = None


class IndexReader:
    """Reads one state of an index at a time; safe to share between threads.

    :ivar path: the index's folder
    :ivar manifest: what the index is
    :param searcher: the vectors, in step with the store
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        encoder: Encoder | None,
        store: ExampleStore,
        searcher: Searcher,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self._encoder = encoder
        self._store = store
        self._searcher = searcher
        self._matching: LRUCache[Where, Matching] = LRUCache(FILTERS)
        self._reading = False
        self._lock = OwnLock()  # guards the connection, the vectors and the matching rows

    def check_process(self) -> None:
        """Refuse a process that was forked after the index was opened.

        :raises ForkError: there
        """
        self._lock.check()

    @property
    def derived(self) -> DerivedFolder:
        """The folder, for what is computed from the examples."""
        return DerivedFolder(self.path, self._identity, self.check)

    def _identity(self) -> str:
        with self._lock:
            return self._store.identity()

    def check(self) -> None:
        """Refuse to go on where another index took the place of this one.

        :raises NoIndexError: where the index's files were removed
        :raises ReplacedError: where there are others
        """
        with self._lock:
            self._store.check()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See one state of the index for the length of the block; other threads wait meanwhile.

        For reading alone. Blocks may be nested.

        :raises NoIndexError: where the index's files were removed
        :raises ReplacedError: where another index took its place since it was opened
        """
        with self._lock:
            if self._reading:
                yield
                return
            self._reading = True
            try:
                with self._store.reading():
                    yield
            finally:
                self._reading = False

    @property
    def kind(self) -> Kind:
        """Whether the index chooses a label or writes text."""
        return self.manifest.kind

    @property
    def generation(self) -> int:
        """The number of transactions so far: it changes whenever the examples do."""
        with self.snapshot():
            return self._store.generation()

    @property
    def encoder(self) -> Encoder:
        """The index's encoder, opened on first use.

        :raises EncoderError: where the same spec now stands for other weights
        """
        with self._lock:
            if self._encoder is None:
                encoder = open_encoder(self.manifest.encoder.spec)
                self.manifest.encoder.check(encoder, self.path)
                self._encoder = encoder
            return self._encoder

    def __len__(self) -> int:
        with self.snapshot():
            return self._store.count()

    def __iter__(self) -> Iterator[Example]:
        with self.snapshot():
            return iter(list(self._store.examples()))

    def labels(self) -> dict[str, int]:
        """Return each label with its number of examples; empty for a generation index."""
        with self.snapshot():
            return self._store.labels()

    def sample(self, number: int, seed: int = 0, where: Where = ()) -> list[Example]:
        """Return a random sample of examples, the same for the same state and seed.

        :param where: metadata that they must have
        """
        with self.snapshot():
            rows = self._drawn(number, seed, where)
            found = self._store.by_row(rows.tolist())
        return [found[row] for row in rows.tolist()]

    def sample_with_vectors(
        self, number: int, seed: int = 0, where: Where = ()
    ) -> tuple[list[Example], FloatArray]:
        """Return such a sample with its embeddings, shape (examples, dim), both of one state."""
        with self.snapshot():
            rows = self._drawn(number, seed, where)
            found = self._store.by_row(rows.tolist())
            vectors = self._store.vectors(rows, self.manifest.encoder.dim)
        return [found[row] for row in rows.tolist()], vectors

    def _drawn(self, number: int, seed: int, where: Where) -> IntArray:
        rows = self._matched(where).rows if where else self._store.rows()
        if len(rows) > number:
            rows = np.sort(np.random.default_rng(seed).choice(rows, number, replace=False))
        return rows

    def vectors(self) -> tuple[list[Example], FloatArray]:
        """Return all examples with their embeddings, shape (examples, dim)."""
        dim = self.manifest.encoder.dim
        with self.snapshot():
            chunks = list(self._store.added_since(-1, dim))
            rows = [row for some, _ in chunks for row in some.tolist()]
            found = self._store.by_row(rows)
        vectors = [np.empty((0, dim), dtype=np.float32), *(vectors for _, vectors in chunks)]
        return [found[row] for row in rows], np.concatenate(vectors)

    def get(self, ids: Sequence[str]) -> dict[str, Example]:
        """Return the examples with these ids, as far as there are any."""
        with self.snapshot():
            return self._store.by_id(storable(ids))

    def rows(self, where: Where = ()) -> IntArray:
        """Return the row numbers of examples, ascending; they are never used twice.

        :param where: metadata that the examples must have
        """
        with self.snapshot():
            return self._matched(where).rows

    def inputs(self) -> Iterator[tuple[int, str]]:
        """Yield each example's row number and input, as it is when it is reached."""
        last = 0
        while True:
            with self.snapshot():
                found = self._store.inputs_since(last)
            if not found:
                return
            yield from found
            last = found[-1][0]

    def known_vectors(self, ids: Sequence[str]) -> dict[str, FloatArray]:
        """Return the stored vectors, shape (dim,), of examples, as far as they are there."""
        own = storable(dict.fromkeys(ids))
        with self.snapshot():
            return self._store.vectors_by_id(own, self.manifest.encoder.dim)

    def vectors_of(self, ids: Sequence[str]) -> FloatArray:
        """Return the stored vectors of examples, shape (len(ids), dim).

        :raises ExampleError: where an id is not there
        """
        dim = self.manifest.encoder.dim
        found = self.known_vectors(ids)
        if missing := [identity for identity in ids if identity not in found]:
            raise ExampleError(f"there is no example with id {quoted(missing[0])} in {self.path}")
        vectors = [found[identity] for identity in ids]
        return np.array(vectors, dtype=np.float32).reshape(len(ids), dim)

    def longest_outputs(self, number: int = 8) -> list[str]:
        """Return the longest outputs by characters."""
        with self.snapshot():
            return self._store.longest_outputs(number)

    def stats(self) -> Stats:
        """Return what the index holds."""
        size = sum(map(_size, self.path.rglob("*")))
        with self.snapshot():
            opened = self._searcher.opened
            source = saved_footer(self.path) if opened is None else opened
            if source is not None and source.identity != self._store.identity():
                source = None
            return Stats(
                self._store.count(),
                self._store.labels(),
                self._store.generation(),
                size,
                source.tuning if source else None,
            )

    def search(self, texts: Sequence[str], k: int, where: Where = ()) -> list[list[Neighbor]]:
        """Return the k nearest examples of each text, nearest first.

        :param where: metadata that the examples must have
        """
        return self.near(self.encoder.encode(texts), k, where)

    def near(self, vectors: FloatArray, k: int, where: Where = ()) -> list[list[Neighbor]]:
        """Return the k nearest examples of each unit vector, nearest first.

        Similarities are exact to 6 digits; equal ones are ordered by when the example was added.
        In a large index a few of the nearest may be missing: see :class:`Stats`.

        :param where: metadata that the examples must have; where few have them, none is missing
        """
        with self.snapshot():
            if where:
                rows = self._matched(where).nearest(
                    vectors, k, self._store, self._searcher.caught_up()
                )
            else:
                _, rows = self._searcher.caught_up().search(vectors, k)
            ranked = nearest(self._store, rows, vectors)
            found = self._store.by_row(list({row for pairs in ranked for _, row in pairs}))
        return [
            [Neighbor(found[row], s, rank) for rank, (s, row) in enumerate(pairs)]
            for pairs in ranked
        ]

    def at(self, rows: Sequence[IntArray], vectors: FloatArray) -> list[list[Neighbor]]:
        """Return, for each vector, the examples with these row numbers, in that order.

        Those that have been removed are left out.
        """
        with self.snapshot():
            there = self._store.present(list({row for own in rows for row in own.tolist()}))
            wanted = np.array(list(there), dtype=np.int64)
            stored = self._store.vectors(wanted, self.manifest.encoder.dim)
        places = {row: place for place, row in enumerate(there)}
        found = []
        for own, vector in zip(rows, vectors, strict=True):
            known = [row for row in own.tolist() if row in there]
            similarities = np.round(stored[[places[row] for row in known]] @ vector, 6).tolist()
            pairs = enumerate(zip(known, similarities, strict=True))
            found.append([Neighbor(there[row], value, rank) for rank, (row, value) in pairs])
        return found

    def _matched(self, where: Where) -> Matching:
        """Return the rows with this metadata, as of the store's present state."""
        matching = self._matching.get(where) or Matching(where, self.manifest.encoder.dim)
        matching.catch_up(self._store)
        self._matching[where] = matching
        return matching


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # drafts come and go
        return 0
