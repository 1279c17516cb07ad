"""A power cut at any moment leaves every file old, new or absent.

The system's calls are recorded and every beginning of the record is replayed as the worst disk
would: what was not synced is lost, and a rename may have reached the disk or not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISDIR

import numpy as np
import pytest

from ragicl import Index
from ragicl.atomic import make_folder, put_in_place, write_npz, write_whole
from ragicl.backends.fake import FakeEncoder
from ragicl.index.manifest import NAME as MANIFEST
from ragicl.index.manifest import EncoderRecord, Manifest, write_manifest
from ragicl.index.store.sqlite import NAME as STORE
from ragicl.index.store.sqlite import Store
from ragicl.index.vectors.faiss_index import NAME as VECTORS
from ragicl.index.vectors.faiss_index import Vectors
from ragicl.records import Example
from ragicl.serving.batch import ResumableFile

LOST = b"lost"


class Disk:
    """Records what is synced and renamed, and tells what a power cut may leave of a file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple[str, int | str, bytes | str]] = []
        sync, replace = os.fsync, os.replace

        def synced(number: int) -> None:
            sync(number)
            if S_ISDIR(os.fstat(number).st_mode):
                self.steps.append(("names", os.readlink(f"/proc/self/fd/{number}"), ""))
            else:
                data = Path(f"/proc/self/fd/{number}").read_bytes()
                self.steps.append(("data", os.fstat(number).st_ino, data))

        def replaced(source: Path, target: Path, **options: object) -> None:
            self.steps.append(("rename", os.stat(source).st_ino, str(target)))
            replace(source, target)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "replace", replaced)
        monkeypatch.setattr(os, "rename", replaced)

    def left(self, file: Path, old: bytes | None) -> Iterator[set[bytes | None]]:
        """Yield what may be left of a file after each beginning of the record."""
        data: dict[int, bytes] = {}
        names: list[int | None] = [None]  # that the disk may have; None is the old one
        for kind, where, what in self.steps:
            if kind == "data":
                data[where] = what
            elif kind == "rename" and what == str(file):
                names.append(where)
            elif kind == "names" and where == str(file.parent):
                names = names[-1:]
            yield {old if own is None else data.get(own, LOST) for own in names}


def settings(folder: Path) -> None:
    with ResumableFile(folder / "out.jsonl", {"k": 1}):
        pass


def manifest(folder: Path) -> None:
    write_manifest(folder, Manifest("classify", EncoderRecord("a", "b", 8, "c")))


WRITERS: dict[str, Callable[[Path], object]] = {
    "some.json": lambda folder: write_whole(folder / "some.json", b"new"),
    "some.npz": lambda folder: write_npz(folder / "some.npz", values=np.ones(3)),
    MANIFEST: manifest,
    VECTORS: lambda folder: Vectors(8).save(folder),
    STORE: lambda folder: Store.create(folder, "classify").close(),
    "out.jsonl.settings.json": settings,
}


@pytest.mark.parametrize("old", [None, b"old"], ids=["absent", "old"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_old_new_or_absent(tmp_path, monkeypatch, name, old):
    file = tmp_path / name
    if old is not None:
        file.write_bytes(old)
    disk = Disk(monkeypatch)
    WRITERS[name](tmp_path)
    states = list(disk.left(file, old))
    assert len(states) >= 3
    assert set().union(*states) == {old, file.read_bytes()}
    assert states[-1] == {file.read_bytes()}, "it stays, once the call has returned"


def test_a_folder_has_all_its_files_or_is_absent(tmp_path, monkeypatch):
    draft, folder = tmp_path / "draft", tmp_path / "model"
    (draft / "inner").mkdir(parents=True)
    for name in ("a.bin", "inner/b.bin"):
        (draft / name).write_bytes(name.encode())
    disk = Disk(monkeypatch)
    put_in_place(draft, folder)
    kinds = [kind for kind, _, _ in disk.steps]
    rename = kinds.index("rename")
    synced = {what for kind, _, what in disk.steps[:rename] if kind == "data"}
    assert synced == {b"a.bin", b"inner/b.bin"}
    listed = {Path(where).name for kind, where, _ in disk.steps[:rename] if kind == "names"}
    assert listed == {"draft", "inner"}
    assert disk.steps[rename + 1 :] == [("names", str(tmp_path), "")]


def test_a_new_folder_is_listed_before_it_is_used(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    make_folder(tmp_path / "a" / "b")
    assert {where for _, where, _ in disk.steps} == {str(tmp_path), str(tmp_path / "a")}


def test_an_example_is_on_the_disk_once_it_was_added(tmp_path):
    with Index.create(tmp_path / "index", encoder=FakeEncoder()) as index:
        index.add([Example("a saw", "tool")])
        db = index._store._db
        assert db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL: the log is synced"
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_rows_are_synced_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    with ResumableFile(tmp_path / "out.jsonl", {}) as out:
        out.write({"id": "1"})
        before = len(disk.steps)
        monkeypatch.setattr("ragicl.serving.batch.SYNCED", -1.0)
        out.write({"id": "2"})
        assert disk.steps[before][2] == b'{"id": "1"}\n{"id": "2"}\n'
        out.write({"id": "3"})
    assert disk.steps[-1][2] == (tmp_path / "out.jsonl").read_bytes()
