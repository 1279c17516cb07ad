"""The examples, in SQLite: the truth from which everything else in an index can be rebuilt."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragicl.errors import CorruptError, LockedError, NoIndexError, StoreError
from ragicl.protocols import FloatArray
from ragicl.records import Example, Kind

NAME = "examples.db"
WAIT = 5.0  # seconds to wait for another connection's commit
CHUNK = 10_000  # rows read at a time when catching up
VARIABLES = 500  # placeholders in one statement

SCHEMA = """
CREATE TABLE examples (
    row INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: also the vector's id in FAISS
    id TEXT NOT NULL UNIQUE,
    input TEXT NOT NULL,
    output TEXT NOT NULL,
    meta TEXT NOT NULL,
    vector BLOB NOT NULL,
    generation INTEGER NOT NULL             -- the transaction that wrote it
);
CREATE INDEX examples_generation ON examples (generation);
CREATE TABLE removed (row INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
CREATE INDEX removed_generation ON removed (generation);
CREATE TABLE state (generation INTEGER NOT NULL);
INSERT INTO state VALUES (0);
CREATE TRIGGER note_removal AFTER DELETE ON examples BEGIN
    INSERT INTO removed VALUES (OLD.row, (SELECT generation FROM state));
END;
"""
LABELS = """
CREATE TABLE labels (output TEXT PRIMARY KEY, count INTEGER NOT NULL);
CREATE TRIGGER count_added AFTER INSERT ON examples BEGIN
    INSERT INTO labels VALUES (NEW.output, 1)
    ON CONFLICT (output) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER count_removed AFTER DELETE ON examples BEGIN
    UPDATE labels SET count = count - 1 WHERE output = OLD.output;
    DELETE FROM labels WHERE output = OLD.output AND count = 0;
END;
"""

Rows = NDArray[np.int64]


class Store:
    """One connection to examples.db; its owner makes sure that one thread uses it at a time."""

    def __init__(self, path: Path) -> None:
        if not (path / NAME).exists():
            raise NoIndexError(f"{path / NAME} is missing; restore it, or build the index again")
        self._path = path / NAME
        with self._errors():
            self._db = sqlite3.connect(
                self._path, timeout=WAIT, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA synchronous = FULL")
            self.generation()

    @classmethod
    def create(cls, path: Path, kind: Kind) -> Store:
        """Create an empty examples.db; it appears whole or not at all."""
        draft = path / f"{NAME}.tmp"
        for leftover in path.glob(f"{NAME}*"):  # of a creation that was killed
            leftover.unlink()
        db = sqlite3.connect(draft)
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA + (LABELS if kind == "classify" else ""))
        db.close()
        draft.replace(path / NAME)
        return cls(path)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See one state of the store for the length of the block."""
        with self._transaction("BEGIN"):
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Commit everything in the block, or nothing; readers notice by the new generation."""
        with self._transaction("BEGIN IMMEDIATE"):
            self._db.execute("UPDATE state SET generation = generation + 1")
            yield

    def generation(self) -> int:
        """Return the number of the last transaction."""
        return self._one("SELECT generation FROM state")

    def count(self) -> int:
        """Return the number of examples."""
        return self._one("SELECT COUNT(*) FROM examples")

    def labels(self) -> dict[str, int]:
        """Return each label with its number of examples, sorted; empty for a generation index."""
        with self._errors():
            if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'labels'").fetchone():
                return {}
            return dict(self._db.execute("SELECT output, count FROM labels ORDER BY output"))

    def insert(self, examples: Sequence[Example], vectors: FloatArray) -> None:
        """Insert examples whose ids are new, with their vectors, shape (len(examples), dim)."""
        generation = self.generation()
        with self._errors():
            self._db.executemany(
                "INSERT INTO examples (id, input, output, meta, vector, generation) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (e.id, e.input, e.output, json.dumps(dict(e.meta)), v.tobytes(), generation)
                    for e, v in zip(examples, vectors, strict=True)
                ),
            )

    def delete(self, ids: Sequence[str]) -> None:
        """Delete examples by id."""
        with self._errors():
            self._db.executemany("DELETE FROM examples WHERE id = ?", ((i,) for i in ids))

    def by_id(self, ids: Sequence[str]) -> dict[str, Example]:
        """Return the examples with these ids, as far as there are any."""
        return {example.id: example for _, example in self._select("id", ids)}

    def by_row(self, rows: Sequence[int]) -> dict[int, Example]:
        """Return the examples with these row numbers, as far as there are any."""
        return dict(self._select("row", rows))

    def examples(self) -> Iterator[Example]:
        """Yield every example in the order in which they were added."""
        last = 0
        while True:
            with self._errors():
                found = self._db.execute(
                    "SELECT row, id, input, output, meta FROM examples WHERE row > ? "
                    "ORDER BY row LIMIT ?",
                    (last, CHUNK),
                ).fetchall()
            if not found:
                return
            yield from (_example(values) for _, *values in found)
            last = found[-1][0]

    def longest_outputs(self, number: int) -> list[str]:
        """Return the longest outputs by characters."""
        with self._errors():
            return [
                output
                for (output,) in self._db.execute(
                    "SELECT output FROM examples ORDER BY LENGTH(output) DESC LIMIT ?", (number,)
                )
            ]

    def removed_since(self, generation: int) -> Rows:
        """Return the rows that were removed after a generation."""
        with self._errors():
            found = self._db.execute(
                "SELECT row FROM removed WHERE generation > ?", (generation,)
            ).fetchall()
        return np.array(found, dtype=np.int64).reshape(-1)

    def added_since(self, generation: int) -> Iterator[tuple[Rows, FloatArray]]:
        """Yield rows and vectors written after a generation and still there, chunk by chunk."""
        last = 0
        while True:
            with self._errors():
                found = self._db.execute(
                    "SELECT row, vector FROM examples WHERE generation > ? AND row > ? "
                    "ORDER BY row LIMIT ?",
                    (generation, last, CHUNK),
                ).fetchall()
            if not found:
                return
            rows, blobs = zip(*found, strict=True)
            vectors = np.frombuffer(b"".join(blobs), dtype=np.float32).reshape(len(rows), -1)
            yield np.array(rows, dtype=np.int64), vectors
            last = rows[-1]

    def _select(self, column: str, values: Sequence[object]) -> Iterator[tuple[int, Example]]:
        for start in range(0, len(values), VARIABLES):
            some = values[start : start + VARIABLES]
            with self._errors():
                found = self._db.execute(
                    f"SELECT row, id, input, output, meta FROM examples "
                    f"WHERE {column} IN ({','.join('?' * len(some))})",
                    some,
                ).fetchall()
            yield from ((row, _example(values)) for row, *values in found)

    def _one(self, query: str) -> int:
        with self._errors():
            found = self._db.execute(query).fetchone()
            if found is None:
                raise sqlite3.DatabaseError("a table is empty that never is")
            return int(found[0])

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._errors():
            self._db.execute(begin)
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn SQLite's errors into ragicl's, with what to do next."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise LockedError(
                    f"another process is writing to {self._path}; try again when it is done"
                ) from error
            raise StoreError(
                f"cannot use {self._path}: {error}; nothing of this change was stored, "
                f"check the disk's space and the folder's permissions"
            ) from error
        except sqlite3.DatabaseError as error:
            raise CorruptError(
                f"{self._path} is damaged ({error}); restore it from a copy, or build the index again"
            ) from error


def _example(values: Sequence[str]) -> Example:
    identity, text, output, meta = values
    return Example(text, output, identity, json.loads(meta))
