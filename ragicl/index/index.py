"""An index: labelled examples on disk, found again by meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock
from msgspec.structs import replace

from ragicl.backends import open_encoder
from ragicl.data.examples import check_examples
from ragicl.errors import StoreError
from ragicl.forks import OwnLock
from ragicl.index import changes
from ragicl.index.creation import create_files, opened_store
from ragicl.index.lock import LOCK, locked
from ragicl.index.manifest import EncoderRecord, Manifest, read_manifest, write_manifest
from ragicl.index.reading import IndexReader
from ragicl.index.store.base import ExampleStore
from ragicl.index.vectors.base import VectorIndex
from ragicl.index.vectors.faiss_index import Vectors
from ragicl.index.vectors.searcher import Searcher
from ragicl.protocols import Encoder, FloatArray
from ragicl.records import Example, Kind


class Index(IndexReader):
    """Examples in a folder, with an encoder that the folder remembers.

    Safe to share between threads. Several processes may have it open: readers see what any of
    them commits at their next search; writers take turns through a lock.

    :param store: the system of record; None opens the folder's examples.db
    :param vectors: the kind of vector index that is derived from it
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        encoder: Encoder | None = None,
        *,
        store: ExampleStore | None = None,
        vectors: type[VectorIndex] = Vectors,
    ) -> None:
        self._writer = OwnLock()  # one writing thread; held while embedding, when searches go on
        self._file_lock = FileLock(path / LOCK, thread_local=False)
        own: ExampleStore = opened_store(path) if store is None else store
        searcher = Searcher(path, manifest.encoder.dim, own, vectors, self._writing_at_once)
        super().__init__(path, manifest, encoder, own, searcher)

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
        create_files(path, manifest)
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
        """Close the index; what was added is in examples.db already.

        In a process forked since, nothing happens: the index is the other one's.
        """
        if not self._lock.own:
            return
        with self._lock:
            if self._searcher.changed:
                self._searcher.save()
            self._store.close()

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
            named = [e if e.id else changes.named(e, self.get) for e in examples]
            if fresh := changes.fresh(named, self.get([e.id for e in named]), self.path):
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
        gone = [*(e.id for e in examples), *remove]
        with self.writing():
            changes.check_present(gone, self.get(gone), self.path)
            vectors = self._encoded(examples)
            with self._lock, self._store.writing():
                self._store.delete(gone)
                self._store.insert(examples, vectors)

    def remove(self, ids: Sequence[str]) -> None:
        """Remove examples in one transaction.

        :raises ExampleError: where an id is not there, or is given twice
        """
        with self.writing():
            changes.check_present(ids, self.get(ids), self.path)
            with self._lock, self._store.writing():
                self._store.delete(ids)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other writers out for the length of the block.

        :raises LockedError: where another process does not finish in time
        :raises NoIndexError: where the index's files were removed
        :raises ReplacedError: where another index took its place since it was opened
        """
        with self._writer:
            self.check()  # first: the lock is a file, too
            with locked(self.path, self._file_lock):
                self.check()
                yield

    def mark(self, *, complete: bool, source: str | None = None) -> None:
        """Record whether every row of its source is stored, and where that is by now."""
        moved = {} if source is None else {"source": source}
        self._note(complete=complete, **moved)

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
        with self.snapshot():
            self._searcher.caught_up()
            self._searcher.save()

    def _encoded(self, examples: Sequence[Example]) -> FloatArray:
        return changes.encoded(examples, self.encoder, self.manifest.encoder.dim)

    @contextmanager
    def _writing_at_once(self) -> Iterator[bool]:
        """Keep other writers out, where there is none; yield whether that is so.

        It is not where another index took the place of this one.
        """
        if not self._writer.acquire(blocking=False):
            yield False
            return
        try:
            if self._replaced():
                yield False
                return
            with self._file_lock.acquire(timeout=0):
                yield not self._replaced()
        finally:
            self._writer.release()

    def _replaced(self) -> bool:
        try:
            self.check()
        except StoreError:
            return True
        return False
