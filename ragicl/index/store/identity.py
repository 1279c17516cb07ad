"""Which database a file holds: a random id of its own, and whether a path still names that file."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from ragicl.errors import NoIndexError, ReplacedError

# Beside the generation, which every transaction writes: so a log tells whose it is.
COLUMN = "ALTER TABLE state ADD COLUMN identity TEXT NOT NULL DEFAULT ''"


def give_id(db: sqlite3.Connection) -> None:
    """Give a database an id, in the transaction that is open, unless it has one."""
    if not id_of(db):
        db.execute(COLUMN)
        db.execute("UPDATE state SET identity = ?", (secrets.token_hex(16),))


def id_of(db: sqlite3.Connection) -> str:
    """Return a database's id; empty where an older version made it and nobody has written since."""
    found = db.execute("SELECT * FROM state").fetchone()
    if found is None:
        raise sqlite3.DatabaseError("its state is missing")
    return str(found[1]) if len(found) > 1 else ""


class OpenedFile:
    """The file that a connection was opened on, compared with what its path names now.

    A connection goes on with a file that was removed or moved away, and with pages that it has read
    of one that was overwritten: it does not notice either. Nor does a new one that the log beside
    a file is of the database that was there before.

    :param known: returns the id that the connection sees
    """

    def __init__(self, file: Path, known: Callable[[], str]) -> None:
        self._file = file
        self._known = known
        self._seen = self._now()

    def check(self) -> None:
        """Refuse to go on where another database took this one's place; one `stat` as a rule.

        :raises NoIndexError: where there is none any more
        :raises ReplacedError: where there is another one
        """
        now = self._now()
        if now == self._seen:
            return
        if now[:2] != self._seen[:2] or self._overwritten():
            raise ReplacedError(
                f"{self._file.parent} was replaced by another index while it was open; nothing was "
                f"written to the new one, open the index again"
            )
        self._seen = now

    def _overwritten(self) -> bool:
        """Whether another database was written over this one, in the same file."""
        try:
            # Without the log and the pages in memory, which are still of the one that was opened.
            source = f"{self._file.absolute().as_uri()}?mode=ro&immutable=1"
            with closing(sqlite3.connect(source, uri=True)) as db:
                found = id_of(db)
        except sqlite3.DatabaseError:  # somebody is writing to it: the next request looks again
            return False
        # An id that an older database has got just now is in the log at first.
        return found not in ("", self._known())

    def drop_stale_log(self) -> None:
        """Drop the log of a database that was overwritten: it would go into the other one.

        One that came along with the other database is left alone.
        """
        with suppress(OSError, NoIndexError):
            now, log = self._now(), Path(f"{self._file}-wal")
            same_file = now != self._seen and now[:2] == self._seen[:2]
            if same_file and log.stat().st_ctime_ns < now[2]:
                self.drop_foreign_log()

    def drop_foreign_log(self) -> bool:
        """Drop the log, and return True, where it is another database's than the file.

        Connections that still use it find it empty, so that none can write it to the file.
        """
        if not self._overwritten():
            return False
        with suppress(OSError):
            os.truncate(f"{self._file}-wal", 0)
            for end in ("-wal", "-shm"):
                os.unlink(f"{self._file}{end}")
        return True

    def _now(self) -> tuple[int, int, int, int]:
        try:
            own = os.stat(self._file)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoIndexError(
                f"{self._file.parent} no longer exists; build the index again, and open it again"
            ) from error
        return own.st_dev, own.st_ino, own.st_ctime_ns, own.st_size
