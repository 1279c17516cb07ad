"""An index: labelled examples on disk, found again by meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Self

import numpy as np
from filelock import FileLock

from ragicl.backends import open_encoder
from ragicl.data.examples import check_examples
from ragicl.errors import BackendError, ExampleError, StoreError
from ragicl.index.filters import Matching
from ragicl.index.ids import content_id, same_content
from ragicl.index.lock import LOCK, locked, made
from ragicl.index.manifest import NAME as MANIFEST
from ragicl.index.manifest import EncoderRecord, Manifest, read_manifest, write_manifest
from ragicl.index.store.sqlite import NAME as STORE
from ragicl.index.store.sqlite import Store
from ragicl.index.vectors.faiss_index import NAME as VECTORS
from ragicl.index.vectors.faiss_index import Vectors, saved_footer
from ragicl.index.vectors.ivf import Tuning
from ragicl.index.vectors.sync import advance, built, nearest
from ragicl.protocols import Encoder, FloatArray, IntArray
from ragicl.records import Example, Kind, Neighbor, Where

UNFINISHED = (LOCK, STORE, f"{MANIFEST}.tmp")  # how names begin before there is a manifest
FILTERS = 8  # whose matching rows are known at a time
BACKLOG = 1000  # rows to catch up on before it pays to write vectors.faiss again


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


class Index:
    """Examples in a folder, with an encoder that the folder remembers.

    Safe to share between threads. Several processes may have it open: readers see what any of
    them commits at their next search; writers take turns through a lock.
    """

    def __init__(self, path: Path, manifest: Manifest, encoder: Encoder | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self._encoder = encoder
        self._store = _opened_store(path)
        self._vectors: Vectors | None = None
        self._saved = -1  # generation of the vectors.faiss on disk, as far as this process knows
        self._matching: dict[Where, Matching] = {}  # by filter, the last used last
        self._lock = RLock()  # guards the connection, the vectors and the matching rows
        self._writer = RLock()  # one writing thread; held while embedding, when searches go on
        self._file_lock = FileLock(path / LOCK, thread_local=False)

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        encoder: str | Encoder = "minilm",
        kind: Kind = "classify",
        source: str | None = None,
    ) -> Self:
        """Create an empty index in a new or empty folder.

        :param source: the data that will fill it; the index is unfinished until :meth:`mark`
        :raises StoreError: where the folder holds something already
        :raises BackendError: where the encoder cannot be opened
        """
        path = Path(path)
        opened = open_encoder(encoder) if isinstance(encoder, str) else encoder
        manifest = Manifest(kind, EncoderRecord.of(opened), source, complete=source is None)
        with locked(made(path), FileLock(path / LOCK)):
            if not all(file.name.startswith(UNFINISHED) for file in path.iterdir()):
                raise StoreError(f"{path} is not empty; open it, or choose another folder")
            if _has_examples(path):
                raise StoreError(
                    f"{path} holds examples but no {MANIFEST}; restore it, or choose another folder"
                )
            Store.create(path, kind).close()
            write_manifest(path, manifest)
        return cls(path, manifest, opened)

    @classmethod
    def open(cls, path: str | Path, *, encoder: Encoder | None = None) -> Self:
        """Open an index; its own encoder is loaded when first needed, unless one is given.

        :raises NoIndexError: where there is no index
        :raises FormatError: where its format is newer than this version
        :raises CorruptError: where its examples are damaged
        :raises EncoderError: where the encoder given is not the one it was built with
        """
        path = Path(path)
        manifest = read_manifest(path)
        if encoder is not None:
            manifest.encoder.check(encoder, path)
        return cls(path, manifest, encoder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the index; what was added is in examples.db already."""
        with self._lock:
            if self._vectors is not None and self._vectors.generation != self._saved:
                self._save_vectors()
            self._store.close()

    @property
    def kind(self) -> Kind:
        """Whether the index chooses a label or writes text."""
        return self.manifest.kind

    @property
    def generation(self) -> int:
        """The number of transactions so far: it changes whenever the examples do."""
        with self._lock:
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
        with self._lock:
            return self._store.count()

    def __iter__(self) -> Iterator[Example]:
        with self._lock, self._store.reading():
            return iter(list(self._store.examples()))

    def labels(self) -> dict[str, int]:
        """Return each label with its number of examples; empty for a generation index."""
        with self._lock:
            return self._store.labels()

    def sample(self, number: int, seed: int = 0, where: Where = ()) -> list[Example]:
        """Return a random sample of examples, the same for the same state and seed.

        :param where: metadata that they must have
        """
        with self._lock, self._store.reading():
            rows = self._matched(where).rows if where else self._store.rows()
            if len(rows) > number:
                rows = np.sort(np.random.default_rng(seed).choice(rows, number, replace=False))
            found = self._store.by_row(rows.tolist())
        return [found[row] for row in rows.tolist()]

    def vectors(self) -> tuple[list[Example], FloatArray]:
        """Return all examples with their embeddings, shape (examples, dim)."""
        dim = self.manifest.encoder.dim
        with self._lock, self._store.reading():
            chunks = list(self._store.added_since(-1, dim))
            rows = [row for some, _ in chunks for row in some.tolist()]
            found = self._store.by_row(rows)
        vectors = [np.empty((0, dim), dtype=np.float32), *(vectors for _, vectors in chunks)]
        return [found[row] for row in rows], np.concatenate(vectors)

    def get(self, ids: Sequence[str]) -> dict[str, Example]:
        """Return the examples with these ids, as far as there are any."""
        with self._lock:
            return self._store.by_id(ids)

    def rows(self, where: Where = ()) -> IntArray:
        """Return the row numbers of examples, ascending; they are never used twice.

        :param where: metadata that the examples must have
        """
        with self._lock, self._store.reading():
            return self._matched(where).rows

    def inputs(self) -> Iterator[tuple[int, str]]:
        """Yield each example's row number and input, in its state when it is reached."""
        last = 0
        while True:
            with self._lock:
                found = self._store.inputs_since(last)
            if not found:
                return
            yield from found
            last = found[-1][0]

    def known_vectors(self, ids: Sequence[str]) -> dict[str, FloatArray]:
        """Return the stored vectors, shape (dim,), of examples, as far as they are there."""
        with self._lock:
            return self._store.vectors_by_id(list(dict.fromkeys(ids)), self.manifest.encoder.dim)

    def vectors_of(self, ids: Sequence[str]) -> FloatArray:
        """Return the stored vectors of examples, shape (len(ids), dim).

        :raises ExampleError: where an id is not there
        """
        dim = self.manifest.encoder.dim
        found = self.known_vectors(ids)
        if missing := [identity for identity in ids if identity not in found]:
            raise ExampleError(f"there is no example with id {missing[0]!r} in {self.path}")
        vectors = [found[identity] for identity in ids]
        return np.array(vectors, dtype=np.float32).reshape(len(ids), dim)

    def longest_outputs(self, number: int = 8) -> list[str]:
        """Return the longest outputs by characters."""
        with self._lock:
            return self._store.longest_outputs(number)

    def stats(self) -> Stats:
        """Return what the index holds."""
        size = sum(map(_size, self.path.rglob("*")))
        with self._lock, self._store.reading():
            source = self._vectors or saved_footer(self.path)
            return Stats(
                self._store.count(),
                self._store.labels(),
                self._store.generation(),
                size,
                source.tuning if source else None,
            )

    def add(self, examples: Sequence[Example]) -> list[str]:
        """Add examples in one transaction and return their ids.

        An example without an id gets one from its content, so that adding it twice stores it once;
        where that id has been given other content since, it gets the next one.

        :raises DataError: where an input or an output is empty or not text
        :raises ExampleError: where an id is taken by other content
        :raises LockedError: where another process keeps writing
        """
        check_examples(examples)
        with self.writing():
            named = [e if e.id else self._named(e) for e in examples]
            if fresh := self._fresh(named):
                vectors = self._encoded(fresh)
                with self._lock, self._store.writing():
                    self._store.insert(fresh, vectors)
        return [e.id for e in named]

    def update(self, examples: Sequence[Example], *, remove: Sequence[str] = ()) -> None:
        """Replace the examples that have these ids, in one transaction.

        :param remove: ids of examples to remove in the same transaction
        :raises DataError: where an input or an output is empty or not text
        :raises ExampleError: where an id is not there, or is given twice
        """
        check_examples(examples)
        replaced = [*(e.id for e in examples), *remove]
        with self.writing():
            self._check_present(replaced)
            vectors = self._encoded(examples)
            with self._lock, self._store.writing():
                self._store.delete(replaced)
                self._store.insert(examples, vectors)

    def remove(self, ids: Sequence[str]) -> None:
        """Remove examples in one transaction.

        :raises ExampleError: where an id is not there, or is given twice
        """
        with self.writing():
            self._check_present(ids)
            with self._lock, self._store.writing():
                self._store.delete(ids)

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
        with self._lock, self._store.reading():
            if where:
                rows = self._matched(where).nearest(vectors, k, self._store, self._caught_up())
            else:
                _, rows = self._caught_up().search(vectors, k)
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
        with self._lock, self._store.reading():
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

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other writers out for the length of the block.

        :raises LockedError: where another process does not finish in time
        """
        with self._writer, locked(self.path, self._file_lock):
            yield

    def mark(self, *, complete: bool) -> None:
        """Record whether every row of its source is stored."""
        self._note(complete=complete)

    def keep_tuned(self, tuned: dict[str, Any] | None) -> None:
        """Record what tuning found, as JSON can hold it; None forgets it."""
        self._note(tuned=tuned)

    def _note(self, **changes: Any) -> None:
        """Change the manifest; what other processes have written of it since stays."""
        with self.writing():
            manifest = replace(read_manifest(self.path), **changes)
            write_manifest(self.path, manifest)
            self.manifest = manifest

    def save_vectors(self) -> None:
        """Bring vectors.faiss up to date, so that opening the index is quick."""
        with self._lock, self._store.reading():
            self._caught_up()
            self._save_vectors()

    def _encoded(self, examples: Sequence[Example]) -> FloatArray:
        """Return vectors that are fit to be stored."""
        vectors = np.asarray(self.encoder.encode([e.input for e in examples]), dtype=np.float32)
        shape = (len(examples), self.manifest.encoder.dim)
        if vectors.shape != shape or not np.isfinite(vectors).all():
            raise BackendError(
                f"the encoder {self.encoder.spec!r} gave vectors of shape {vectors.shape}, or not "
                f"finite, in place of {shape}; nothing was stored, use another encoder"
            )
        return vectors

    def _named(self, example: Example) -> Example:
        """Return the example with the first content id that is free, or is its own."""
        for occurrence in count(1):
            identity = content_id(example, occurrence)
            other = self.get([identity]).get(identity)
            if other is None or same_content(other, example):
                return replace(example, id=identity)
        raise AssertionError("count() never ends")

    def _fresh(self, examples: Sequence[Example]) -> list[Example]:
        """Return the examples that are not stored yet, each once."""
        known = self.get([e.id for e in examples])
        fresh = []
        for example in examples:
            other = known.get(example.id)
            if other is None:
                known[example.id] = example
                fresh.append(example)
            elif not same_content(other, example):
                raise ExampleError(
                    f"id {example.id!r} is taken by another example in {self.path}; "
                    f"use another id, or update it"
                )
        return fresh

    def _check_present(self, ids: Sequence[str]) -> None:
        known = self.get(ids)
        missing = [i for i in ids if i not in known]
        if missing:
            raise ExampleError(f"there is no example with id {missing[0]!r} in {self.path}")
        if len(known) < len(ids):
            raise ExampleError("an id is given twice; give each example once")

    def _matched(self, where: Where) -> Matching:
        """Return the rows with this metadata, as of the store's present state."""
        matching = self._matching.pop(where, None) or Matching(where, self.manifest.encoder.dim)
        matching.catch_up(self._store)
        self._matching[where] = matching
        if len(self._matching) > FILTERS:
            del self._matching[next(iter(self._matching))]
        return matching

    def _caught_up(self) -> Vectors:
        """Return the vectors as of the store's present state."""
        vectors, backlog = self._vectors or self._loaded(Vectors.mapped), 0
        self._vectors = None  # half caught up is of no use, should this be interrupted
        if vectors.generation != self._store.generation():
            vectors, backlog = self._advanced(vectors)
        self._vectors = vectors
        if backlog > max(BACKLOG, len(vectors) // 10):
            self._save_vectors()
        return vectors

    def _advanced(self, vectors: Vectors) -> tuple[Vectors, int]:
        """Return the vectors brought up to date, or rebuilt, and how many rows that took."""
        count = self._store.count()
        if vectors.fixed or vectors.outgrown(count):  # another process may have built them already
            vectors = self._loaded(Vectors.read)
        if vectors.outgrown(count):
            return built(self._store, vectors.dim), count
        return vectors, advance(vectors, self._store)

    def _loaded(self, load: Callable[[Path, int], Vectors | None]) -> Vectors:
        """Return the vectors of vectors.faiss, or none, where it is of no use."""
        dim = self.manifest.encoder.dim
        loaded = load(self.path, dim)
        if loaded is None or loaded.generation > self._store.generation():
            self._saved, loaded = -1, Vectors(dim)
        else:
            self._saved = loaded.generation
        return loaded

    def _save_vectors(self) -> None:
        """Write vectors.faiss, unless somebody writes or the disk does not let us.

        It is derived: without it the next opening takes longer, and nothing is lost.
        """
        if self._vectors is None or not self._writer.acquire(blocking=False):
            return
        try:
            with suppress(OSError, RuntimeError), self._file_lock.acquire(timeout=0):
                self._vectors.save(self.path)
                self._saved = self._vectors.generation
        finally:
            self._writer.release()


def _opened_store(path: Path) -> Store:
    """Open examples.db; remove a vectors.faiss that is newer: examples.db is an older copy, then.

    Later on, when it has caught up in number, the two could not be told apart.
    """
    saved = saved_footer(path)  # before the store is read, which only moves on
    store = Store(path)
    if saved is not None and saved.generation > store.generation():
        with suppress(OSError):
            (path / VECTORS).unlink(missing_ok=True)
    return store


def _has_examples(path: Path) -> bool:
    """Tell an index that lost its manifest from a creation that was killed."""
    if not (path / STORE).exists():
        return False
    with closing(Store(path)) as store:
        return store.generation() > 0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # drafts come and go
        return 0
