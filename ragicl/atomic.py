"""Files that appear whole or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

DEVICES = Path("/dev")


def is_stream(file: Path) -> bool:
    """Return whether a path names a device, a pipe or a socket, itself or by links.

    ``/dev/stdout`` is one wherever it leads to.
    """
    beneath = DEVICES in Path(os.path.abspath(file)).parents
    return (beneath or not file.is_file()) and file.exists() and not file.is_dir()


def write_whole(file: Path, data: bytes) -> None:
    """Write a file in one go: a crash leaves the old one, or none, or the new one.

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
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def write_npz(file: Path, **arrays: Any) -> None:
    """Write arrays by name, for ``numpy.load``, as :func:`write_whole` does."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(file, buffer.getvalue())


def write_through(stream: io.FileIO, data: bytes) -> None:
    """Write data that a pipe may take in pieces."""
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]
