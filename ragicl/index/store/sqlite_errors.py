"""What SQLite and the disk report, as ragicl's errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragicl.errors import CorruptError, LockedError, StoreError, first_line

BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
UNUSABLE = {  # the disk's or the folder's fault, not the file's
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_TOOBIG,
}


@contextmanager
def translated(file: Path) -> Iterator[None]:
    """Turn what SQLite and the system say into ragicl's errors, with what to do next."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        raise StoreError(f"{file} is closed ({error}); open the index again") from error
    except sqlite3.DatabaseError as error:
        raise _problem(file, error) from error
    except OSError as error:
        raise _unusable(file, error) from error


def _problem(file: Path, error: sqlite3.DatabaseError) -> StoreError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the rest is detail
    if code in BUSY:
        return LockedError(f"another process is writing to {file}; try again when it is done")
    if code in UNUSABLE:
        return _unusable(file, error)
    return damaged(file, first_line(error)[:80])  # it may quote a whole text


def _unusable(file: Path, error: Exception) -> StoreError:
    return StoreError(
        f"cannot use {file}: {first_line(error)}; nothing of this change was stored, "
        f"check the disk's space and the folder's permissions"
    )


def damaged(file: Path, what: str) -> CorruptError:
    """Return the error of a database that is not what it was written as."""
    return CorruptError(
        f"{file} is damaged ({what}); restore it from a copy, or build the index again"
    )
