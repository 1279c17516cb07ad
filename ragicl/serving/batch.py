"""Many predictions at once: rows for a file, and a file that can be continued."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from ragicl.atomic import make_folder, sync, write_through, write_whole
from ragicl.data.labels import NO_LABEL
from ragicl.engine import Engine
from ragicl.errors import BudgetError, DataError, quoted, visible
from ragicl.inference.pipeline import CHUNK
from ragicl.records import Prediction, Prompt, Query
from ragicl.serving.own_examples import OwnExamples

Row = dict[str, Any]
SYNCED = 1.0  # seconds between two waits for the disk
MARKS = ("exited", "abstained", "out_of_scope")  # of a prediction; a row names those that hold


def predict_rows(
    engine: Engine,
    queries: Iterator[Query],
    *,
    skip_errors: bool = False,
    exclude_self: bool = False,
    probs: bool = False,
    prompt: bool = False,
) -> Iterator[Row]:
    """Yield a JSON-ready row for each query, in order.

    :param skip_errors: a query that does not fit becomes a row with an ``error``
    :param exclude_self: leave out the example that the query is: see :class:`OwnExamples`
    :param probs: add the whole distribution
    :param prompt: add the prompt's text
    :raises BudgetError: at a query that does not fit, unless those are skipped
    """
    own_examples = OwnExamples(engine.index)
    labels = engine.index.labels()
    while chunk := list(islice(queries, CHUNK)):
        chunk = [_without_hidden(query, labels) for query in chunk]
        own = own_examples.ids(chunk) if exclude_self else None
        answers = engine.try_all([query.input for query in chunk], exclude=own)
        for query, answer in zip(chunk, answers, strict=True):
            if isinstance(answer, Prediction):
                yield prediction_row(query, answer, probs=probs, prompt=prompt)
            elif skip_errors:
                yield _query_row(query) | {"output": None, "error": str(answer)}
            else:
                raise BudgetError(
                    f"row {query.id}: {answer}", needed=answer.needed, budget=answer.budget
                )


def prediction_row(
    query: Query, prediction: Prediction, *, probs: bool = False, prompt: bool = False
) -> Row:
    """Return a prediction as one JSON-ready row."""
    row: Row = _query_row(query) | {"output": prediction.output}
    if prediction.probs:
        row["probability"] = round(prediction.probs[prediction.output], 6)
    if probs:
        row["probs"] = {label: round(p, 6) for label, p in prediction.probs.items()}
    if prediction.known_label is not None:
        row["known_label"] = prediction.known_label
    if prediction.label_set:
        row["label_set"] = list(prediction.label_set)
    if prediction.percentile is not None:
        row["percentile"] = round(prediction.percentile, 4)
    row |= {name: True for name in MARKS if getattr(prediction, name)}
    row["neighbors"] = [
        {"id": n.example.id, "similarity": n.similarity, "output": n.example.output}
        for n in prediction.neighbors
    ]
    if prediction.prompt is not None:
        row |= prompt_row(prediction.prompt, text=prompt)
    row["ms"] = {stage: round(spent, 2) for stage, spent in prediction.timings.items()}
    row["lm"] = prediction.lm
    row["decided_by"] = prediction.decided_by
    return row


def prompt_row(prompt: Prompt, *, text: bool = True) -> Row:
    """Return a prompt as JSON-ready values; the text is left out where it is not asked for."""
    row: Row = {
        "tokens": prompt.tokens,
        "kept": len(prompt.shots),
        "dropped": prompt.dropped,
        "truncated": prompt.truncated,
    }
    return row | {"prompt": prompt.text} if text else row


class ResumableFile:
    """A JSON-lines file of rows, continued where an earlier run with the same settings stopped.

    The settings stand beside it in ``FILE.settings.json``.

    :ivar rows: the rows that are there already
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.rows: list[Row] = []
        path = path.resolve()  # a link to it is the same file, with the same settings and lock
        self._path = path
        self._notes = path.with_name(f"{path.name}.settings.json")
        self._settings = json.loads(json.dumps(settings))
        self._lock = FileLock(path.with_name(f"{path.name}.lock"))
        self._file: FileIO | None = None
        self._end = 0  # of the last whole row
        self._synced = time.monotonic()

    def __enter__(self) -> Self:
        """Read the rows that are there, and open the file for more.

        :raises DataError: where it was made with other settings, is in use, or cannot be written
        """
        try:
            make_folder(self._path.parent)
            self._lock.acquire(timeout=0)
            if self._path.exists() and self._path.stat().st_size:
                self.rows = self._read()
            else:  # written once, and before any row
                write_whole(self._notes, json.dumps(self._settings, indent=2).encode())
            self._file = self._path.open("ab", buffering=0)
            self._end = self._file.seek(0, os.SEEK_END)
            sync(self._path.parent)
        except Timeout as error:
            raise DataError(f"another process is writing to {self._path}; wait for it") from error
        except OSError as error:
            self._lock.release()
            raise DataError(f"cannot write {self._path}: {error.strerror}") from error
        except DataError:
            self._lock.release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._file is not None:
                with self._file, self._full():
                    self._sync()
        finally:
            with suppress(OSError):
                Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def remaining(self, queries: Iterator[Query]) -> Iterator[Query]:
        """Yield the queries that have no row yet.

        :raises DataError: where the rows belong to other queries
        """
        for row in self.rows:
            query = next(queries, None)
            if query is None or query.id != row["id"] or query.input != row["input"]:
                raise DataError(
                    f"{self._path} has a row {quoted(row['id'])} that this input does not "
                    "have at that "
                    f"place; choose another --out, or remove the file"
                )
        yield from queries

    def write(self, row: Row) -> None:
        """Append a row; it is in the file, whole, when this returns.

        A killed process loses none of these rows; a power cut those of the last second or so.

        :raises DataError: where the disk does not take it
        """
        assert self._file is not None
        data = visible(json.dumps(row, ensure_ascii=False)).encode() + b"\n"
        with self._full():
            write_through(self._file, data)
            self._end += len(data)
            if time.monotonic() - self._synced > SYNCED:
                self._sync()

    @contextmanager
    def _full(self) -> Iterator[None]:
        """Say that the disk does not take rows; half a row would spoil the next one."""
        try:
            yield
        except OSError as error:
            with suppress(OSError):
                os.truncate(self._path, self._end)
            raise DataError(
                f"cannot write {self._path}: {error.strerror}; the rows before are safe, make "
                f"room and run the same command again"
            ) from error

    def _sync(self) -> None:
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def _read(self) -> list[Row]:
        """Read the whole rows and cut off one that a killed run left half written."""
        self._check_settings()
        rows, end = [], 0
        with self._path.open("rb+") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    rows.append(json.loads(line))
                except ValueError as error:
                    raise DataError(
                        f"{self._path}:{number}: not a row of predictions; choose another --out"
                    ) from error
                end += len(line)
            file.truncate(end)
        return rows

    def _check_settings(self) -> None:
        try:
            before = json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self._path} exists, without the settings it was made with; choose another "
                f"--out, or remove it"
            ) from error
        if not isinstance(before, dict):
            raise DataError(f"{self._notes} holds no settings; choose another --out")
        for name in before | self._settings:
            then, now = before.get(name), self._settings.get(name)
            if then != now:
                raise DataError(
                    f"{self._path} was made with {name} {quoted(then)}, not {quoted(now)}; "
                    "run with the same "
                    f"settings, choose another --out, or remove it"
                )


def _without_hidden(query: Query, labels: Collection[str]) -> Query:
    """Return a query without what stands for a label that is hidden, unless it is a label here."""
    hidden = query.gold == NO_LABEL and labels and NO_LABEL not in labels
    return replace(query, gold=None) if hidden else query


def _query_row(query: Query) -> Row:
    row: Row = {"id": query.id, "input": query.input}
    return row if query.gold is None else row | {"gold": query.gold}
