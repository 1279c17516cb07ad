"""Files that appear whole or not at all."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ragicl.errors import encodable

DEVICES = Path("/dev")
LONGEST, LONGEST_NAME = 4095, 255  # bytes of a path, and of a name in it, on Linux
DIGEST = "ragicl-digest"  # of the arrays, among them


def is_stream(file: Path) -> bool:
    """Return whether a path names a device, a pipe or a socket, itself or by links.

    ``/dev/stdout`` is one wherever it leads to.
    """
    beneath = DEVICES in Path(os.path.abspath(file)).parents
    return (beneath or not file.is_file()) and file.exists() and not file.is_dir()


def unnameable(path: Path) -> str | None:
    """Return why no file can have this path that libraries open, too; None where one can."""
    text = str(path)
    if not encodable(text):
        return "is not UTF-8"
    if "\0" in text:
        return "holds a zero byte"
    longest = max((len(name.encode()) for name in path.parts), default=0)
    return "is too long" if len(text.encode()) > LONGEST or longest > LONGEST_NAME else None


def write_whole(file: Path, data: bytes) -> None:
    """Write a file in one go: a crash or a power cut leaves the old one, or none, or the new one.

    A link stays, and what it points to is written. Into a device or a pipe the data are written.

    :raises OSError: where they cannot be
    """
    if is_stream(file):
        with file.open("ab", buffering=0) as stream:  # "w" would empty what `>> FILE` added to
            write_through(stream, data)
        return
    target = file.resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        put_in_place(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def put_in_place(draft: Path, target: Path) -> None:
    """Rename a file, or a folder of files, so that even a power cut leaves the old or the new.

    What it holds is on the disk before the new name, and the name before this returns.

    :raises OSError: where the disk does not take it
    """
    for inside in draft.rglob("*") if draft.is_dir() else ():
        sync(inside)
    sync(draft)
    os.replace(draft, target)
    sync(target.parent)


def make_folder(path: Path) -> None:
    """Make a folder with its parents, so that a power cut leaves none of them out."""
    missing = [own for own in (path, *path.parents) if not own.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for own in missing:
        sync(own.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_npz(file: Path, **arrays: Any) -> None:
    """Write arrays by name, for :func:`read_npz`, as :func:`write_whole` does."""
    import numpy as np

    buffer = io.BytesIO()
    named = {**arrays, DIGEST: np.array(_digest(arrays))}
    np.savez(buffer, **named)
    write_whole(file, buffer.getvalue())


def read_npz(file: Path, *, older: bool = False) -> dict[str, Any] | None:
    """Read what :func:`write_npz` wrote; None where it is missing, or is not what was written.

    :param older: also take a file of an earlier version, which has no digest
    """
    import numpy as np

    try:
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as saved:
            arrays = {name: saved[name] for name in saved.files}
    except Exception:  # a damaged file brings out errors of many libraries
        return None
    digest = arrays.pop(DIGEST, None)
    if digest is None:
        return arrays if older else None
    return arrays if str(digest) == _digest(arrays) else None


def write_through(stream: io.FileIO, data: bytes) -> None:
    """Write data that a pipe may take in pieces."""
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]


def _digest(arrays: Mapping[str, Any]) -> str:
    """Return a digest of arrays with their names, types and shapes."""
    import numpy as np

    digest = blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {np.shape(arrays[name])};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
