"""A connection to a database, also in a folder that cannot be written to."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

WAIT = 5.0  # seconds to wait for another connection's commit
UNWRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


def connected(file: Path) -> sqlite3.Connection:
    """Open a database, also in a folder that cannot be written to, such as a container's.

    SQLite needs to write there even to read, unless the file is opened as immutable. So
    such an index is read in its state at opening.
    """
    options: Any = {"timeout": WAIT, "isolation_level": None, "check_same_thread": False}
    db: sqlite3.Connection = sqlite3.connect(file, **options)
    try:
        db.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        db.close()
        if error.sqlite_errorcode & 0xFF not in UNWRITABLE or Path(f"{file}-wal").exists():
            raise
        db = sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True, **options)
    except BaseException:
        db.close()
        raise
    return db
