"""One writer at a time, whichever process it is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ragicl.atomic import make_folder, unnameable
from ragicl.errors import LockedError, NoIndexError, StoreError, first_line, quoted

LOCK = "writer.lock"
WAIT = 5.0  # seconds to wait for another process that writes


def made(path: Path) -> Path:
    """Return a folder that is made where it is missing."""
    check_name(path)
    try:
        make_folder(path)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path}: {first_line(error)}") from error
    return path


def check_name(path: Path) -> None:
    """Refuse a folder that cannot be named, or not by libraries.

    :raises StoreError: where the path is too long, or its bytes are not UTF-8
    """
    if why := unnameable(path):
        raise StoreError(f"the path {quoted(str(path))} {why}; choose another folder")


@contextmanager
def locked(path: Path, lock: FileLock) -> Iterator[None]:
    """Hold the writer's lock of a folder.

    :raises NoIndexError: where the folder no longer exists
    :raises LockedError: where another process does not finish in time
    """
    if not path.is_dir():  # the lock would make it again, and an index that was deleted with it
        raise NoIndexError(f"{path} no longer exists; build the index again")
    try:
        lock.acquire(timeout=WAIT)
    except Timeout as error:
        raise LockedError(
            f"another process is writing to {path}; try again when it is done"
        ) from error
    except OSError as error:
        raise StoreError(f"cannot write to {path}: {first_line(error)}") from error
    try:
        yield
    finally:
        lock.release()
