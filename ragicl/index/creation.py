"""The files of an index: created whole or not at all, and opened."""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path

from filelock import FileLock

from ragicl.errors import StoreError
from ragicl.index.lock import LOCK, locked, made
from ragicl.index.manifest import NAME as MANIFEST
from ragicl.index.manifest import Manifest, write_manifest
from ragicl.index.store.sqlite import FILES as STORE_FILES
from ragicl.index.store.sqlite import NAME as STORE
from ragicl.index.store.sqlite import Store
from ragicl.index.vectors.faiss_index import NAME as VECTORS
from ragicl.index.vectors.faiss_index import saved_footer

UNFINISHED = {LOCK, f"{MANIFEST}.tmp", *STORE_FILES}  # what there is before there is a manifest


def create_files(path: Path, manifest: Manifest) -> None:
    """Make an empty index in a new or empty folder.

    :raises StoreError: where the folder holds something already
    """
    with locked(made(path), FileLock(path / LOCK)):
        if not UNFINISHED.issuperset(file.name for file in path.iterdir()):
            raise StoreError(f"{path} is not empty; open it, or choose another folder")
        if _has_examples(path):
            raise StoreError(
                f"{path} holds examples but no {MANIFEST}; restore it, or choose another folder"
            )
        Store.create(path, manifest.kind).close()
        write_manifest(path, manifest)


def opened_store(path: Path) -> Store:
    """Open examples.db; remove a vectors.faiss that is newer: examples.db is an older copy, then.

    Later on, when it has caught up in number, nobody could tell.
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
