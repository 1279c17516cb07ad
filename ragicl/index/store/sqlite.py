"""The examples, in SQLite: the truth from which everything else in an index can be rebuilt."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ragicl.atomic import put_in_place
from ragicl.errors import NoIndexError, StoreError
from ragicl.index.store.connection import connected
from ragicl.index.store.identity import OpenedFile, give_id, id_of
from ragicl.index.store.sqlite_errors import damaged, translated
from ragicl.protocols import FloatArray, IntArray
from ragicl.records import Example, Kind

NAME = "examples.db"
DRAFT = f"{NAME}.tmp"
FILES = tuple(f"{own}{end}" for own in (NAME, DRAFT) for end in ("", "-wal", "-shm", "-journal"))
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


class Store:
    """One connection to examples.db; its owner makes sure that one thread uses it at a time."""

    def __init__(self, path: Path) -> None:
        if not (path / NAME).exists():
            raise NoIndexError(f"{path / NAME} is missing; restore it, or build the index again")
        self._path = path / NAME
        self._identity = ""
        with self._errors():
            self._file = OpenedFile(self._path, self.identity)  # before it is read, which is safe
            self._db = connected(self._path)
        try:
            with self._errors():
                if self._file.drop_foreign_log():
                    self._db.close()
                    self._db = connected(self._path)
                self._db.execute("PRAGMA synchronous = FULL")
            self.generation()
            self._identity = self.identity()
        except StoreError:
            self._db.close()
            raise

    @classmethod
    def create(cls, path: Path, kind: Kind) -> Store:
        """Create an empty examples.db; it appears whole or not at all."""
        draft = path / DRAFT
        with translated(path / NAME):
            for leftover in FILES:  # of a creation that was killed
                (path / leftover).unlink(missing_ok=True)
            with closing(sqlite3.connect(draft)) as db:
                db.execute("PRAGMA journal_mode = WAL")
                db.executescript(SCHEMA + (LABELS if kind == "classify" else ""))
                give_id(db)
                db.commit()
            put_in_place(draft, path / NAME)
        return cls(path)

    def close(self) -> None:
        """Close the connection; nothing of it goes into another database in its file."""
        with suppress(StoreError), self._errors():
            self._file.drop_stale_log()
        self._db.close()

    def identity(self) -> str:
        """Return the database's random id; empty where an older version made it."""
        with self._errors():
            return self._identity or id_of(self._db)

    def check(self) -> None:
        """Refuse to go on where another database took this one's place.

        :raises NoIndexError: where the file is gone
        :raises ReplacedError: where there is another one
        """
        with self._errors():
            self._file.check()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See one state of the store for the length of the block."""
        self.check()
        with self._transaction("BEGIN"):
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Commit everything in the block, or nothing; readers notice by the new generation."""
        self.check()
        with self._transaction("BEGIN IMMEDIATE"):
            give_id(self._db)
            self._db.execute("UPDATE state SET generation = generation + 1")
            yield
            self._file.check()  # what is committed to a file that is gone would be lost
        self._identity = self.identity()

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
        """Return the examples with these row numbers."""
        found = self.present(rows)
        if len(found) < len(rows):
            raise damaged(self._path, "a row is missing")
        return found

    def present(self, rows: Sequence[int]) -> dict[int, Example]:
        """Return the examples with these row numbers, as far as there are any."""
        return dict(self._select("row", rows))

    def vectors_by_id(self, ids: Sequence[str], dim: int) -> dict[str, FloatArray]:
        """Return the vectors, shape (dim,), of the examples with these ids."""
        rows = self._among("id, vector", "id", ids)
        return {identity: self._floats([blob], dim)[0] for identity, blob in rows}

    def examples(self) -> Iterator[Example]:
        """Yield every example in the order in which they were added."""
        for _, *values in self._rows_since("id, input, output, meta", 0):
            yield self._example(values)

    def inputs_since(self, row: int) -> list[tuple[int, str]]:
        """Return the first CHUNK rows after a row number, with their inputs."""
        return list(islice(self._rows_since("input", row), CHUNK))

    def metas_since(self, row: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the rows after a row number, with their metadata."""
        for number, meta in self._rows_since("meta", row):
            try:
                yield number, dict(json.loads(meta))
            except (TypeError, ValueError) as error:
                raise damaged(self._path, f"row {number} is not whole") from error

    def longest_outputs(self, number: int) -> list[str]:
        """Return the longest outputs by characters."""
        with self._errors():
            return [
                output
                for (output,) in self._db.execute(
                    "SELECT output FROM examples ORDER BY LENGTH(output) DESC LIMIT ?", (number,)
                )
            ]

    def rows(self) -> IntArray:
        """Return all row numbers in use."""
        with self._errors():
            # In the order of rows, too; read from an index, where "ORDER BY row" reads every page.
            found = self._db.execute("SELECT row FROM examples ORDER BY generation, row")
            return np.fromiter((row for (row,) in found), dtype=np.int64)  # no list of tuples

    def vectors(self, rows: IntArray, dim: int) -> FloatArray:
        """Return the vectors of these rows, shape (len(rows), dim), in their order."""
        vectors = np.empty((len(rows), dim), dtype=np.float32)
        places = {row: place for place, row in enumerate(rows.tolist())}
        for row, blob in self._among("row, vector", "row", list(places)):
            vectors[places.pop(row)] = self._floats([blob], dim)[0]
        if places:
            raise damaged(self._path, "a row is missing")
        return vectors

    def removed_since(self, generation: int) -> IntArray:
        """Return the rows that were removed after a generation."""
        with self._errors():
            found = self._db.execute(
                "SELECT row FROM removed WHERE generation > ?", (generation,)
            ).fetchall()
        return np.array(found, dtype=np.int64).reshape(-1)

    def added_since(self, generation: int, dim: int) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield rows and vectors written after a generation and still there, chunk by chunk."""
        last = self._last_before(generation)
        while True:
            with self._errors():
                found = self._db.execute(
                    "SELECT row, vector FROM examples WHERE row > ? ORDER BY row LIMIT ?",
                    (last, CHUNK),
                ).fetchall()
            if not found:
                return
            rows, blobs = zip(*found, strict=True)
            yield np.array(rows, dtype=np.int64), self._floats(blobs, dim)
            last = rows[-1]

    def _last_before(self, generation: int) -> int:
        """Return a row number after which all rows are younger than a generation.

        Row numbers rise with generations; asked for both at once, SQLite would go through all rows.
        """
        with self._errors():
            first = self._db.execute(
                "SELECT row FROM examples WHERE generation > ? ORDER BY generation, row LIMIT 1",
                (generation,),
            ).fetchone()
            if first is not None:
                return int(first[0]) - 1
            newest = self._db.execute("SELECT MAX(row) FROM examples").fetchone()
            return newest[0] or 0

    def _floats(self, blobs: Sequence[object], dim: int) -> FloatArray:
        size = dim * np.dtype(np.float32).itemsize
        whole = [blob for blob in blobs if isinstance(blob, bytes) and len(blob) == size]
        if len(whole) < len(blobs):
            raise damaged(self._path, "a vector is not whole")
        return np.frombuffer(b"".join(whole), dtype=np.float32).reshape(len(whole), dim)

    def _rows_since(self, columns: str, last: int) -> Iterator[Any]:
        """Yield row numbers and columns of all rows after one, in their order."""
        while True:
            with self._errors():
                found = self._db.execute(
                    f"SELECT row, {columns} FROM examples WHERE row > ? ORDER BY row LIMIT ?",
                    (last, CHUNK),
                ).fetchall()
            if not found:
                return
            yield from found
            last = found[-1][0]

    def _select(self, column: str, values: Sequence[object]) -> Iterator[tuple[int, Example]]:
        found = self._among("row, id, input, output, meta", column, values)
        yield from ((row, self._example(values)) for row, *values in found)

    def _among(self, columns: str, column: str, values: Sequence[object]) -> Iterator[Any]:
        """Yield columns of the examples whose column has one of these values."""
        for start in range(0, len(values), VARIABLES):
            some = values[start : start + VARIABLES]
            with self._errors():
                found = self._db.execute(
                    f"SELECT {columns} FROM examples "
                    f"WHERE {column} IN ({','.join('?' * len(some))})",
                    some,
                ).fetchall()
            yield from found

    def _one(self, query: str) -> int:
        with self._errors():
            found = self._db.execute(query).fetchone()
        if found is None or not isinstance(found[0], int):
            raise damaged(self._path, "a number is missing")
        return found[0]

    def _example(self, values: Sequence[str]) -> Example:
        identity, text, output, meta = values
        try:
            if all(isinstance(value, str) for value in values):
                return Example(text, output, identity, json.loads(meta))
        except ValueError:
            pass
        raise damaged(self._path, f"example {identity!r} is not whole")

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

    def _errors(self) -> AbstractContextManager[None]:
        return translated(self._path)
