"""The language model's log-probabilities of examples, cached in the index's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Annotated, Self

import msgspec
import numpy as np
from filelock import FileLock, Timeout

from ragicl.engine import Engine
from ragicl.errors import LockedError, StoreError, first_line
from ragicl.inference.fingerprint import fingerprint
from ragicl.protocols import FloatArray
from ragicl.tune.candidates import Candidate

NAME = "tuning.jsonl"
LogProb = Annotated[float, msgspec.Meta(le=1e-3)]  # may be rounded up; never NaN
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
FREE = (  # of candidates, or of what follows
    *Candidate().fields,
    *("voters", "decide", "exit", "set_coverage", "coverage", "ood_level", "blend"),
)


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model said with a candidate.

    :ivar seconds: that it took
    :ivar said: log-probabilities of the labels, by the example's id
    """

    candidate: str
    seconds: Seconds
    said: dict[str, list[LogProb]]


class LogProbCache:
    """Log-probabilities by candidate and example: a file of lines, so that a killed run loses one.

    A file for other examples, labels, models or settings is replaced. One process at a time has it
    open.
    """

    def __init__(self, engine: Engine) -> None:
        self._file = engine.index.path / NAME
        settings = {k: v for k, v in fingerprint(engine.pipeline).items() if k not in FREE}
        settings |= {"index": None, "labels": list(engine.labels)}
        self._head = json.loads(json.dumps(settings))
        self._log_probs: dict[str, dict[str, list[float]]] = {}
        self._spent: dict[str, float] = {}
        self._lock = FileLock(self._file.with_name(f"{NAME}.lock"))

    def __enter__(self) -> Self:
        """Lock and read the file.

        :raises LockedError: where another process is tuning
        :raises StoreError: where the folder cannot be written
        """
        folder = self._file.parent
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise LockedError(f"another process is tuning {folder}; wait for it") from error
        except OSError as error:
            raise StoreError(
                f"cannot write to {folder}: {first_line(error)}; tuning writes its results there"
            ) from error
        try:
            for line in self._lines():
                self._note(line)
        except OSError as error:
            self._lock.release()
            raise StoreError(
                f"cannot read {self._file}: {first_line(error)}; remove it, and run it again"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def __contains__(self, asked: tuple[Candidate, str]) -> bool:
        candidate, identity = asked
        return identity in self._log_probs.get(candidate.name, {})

    def first(self, candidate: Candidate, ids: Sequence[str]) -> int:
        """Return the number of the leading examples that are all cached."""
        known = self._log_probs.get(candidate.name, {})
        return next((place for place, own in enumerate(ids) if own not in known), len(ids))

    def of(self, candidate: Candidate, ids: Sequence[str]) -> FloatArray:
        """Return log P(label | prompt) in nats of the leading examples that are all cached."""
        known = self._log_probs.get(candidate.name, {})
        rows = [known[identity] for identity in ids[: self.first(candidate, ids)]]
        return np.array(rows, dtype=np.float32)

    def seconds(self, candidate: Candidate) -> float:
        """Return the mean seconds of an example."""
        return self._spent.get(candidate.name, 0.0) / max(
            len(self._log_probs.get(candidate.name, {})), 1
        )

    def add(
        self, candidate: Candidate, ids: Sequence[str], log_probs: FloatArray, seconds: float
    ) -> None:
        """Append the log-probabilities of some examples.

        :param seconds: that they took, in all
        :raises StoreError: where the file cannot be written
        """
        said = dict(zip(ids, np.round(log_probs, 4).tolist(), strict=True))
        line = Line(candidate.name, round(seconds, 4), said)
        try:
            fresh = not self._file.exists() or not self._file.stat().st_size
            with self._file.open("a", encoding="utf-8") as file:
                if fresh:
                    file.write(json.dumps(self._head) + "\n")
                file.write(json.dumps(msgspec.to_builtins(line)) + "\n")
        except OSError as error:
            raise StoreError(
                f"cannot write {self._file}: {first_line(error)}; fix that, and run it again"
            ) from error
        self._note(line)

    def _note(self, line: Line) -> None:
        self._log_probs.setdefault(line.candidate, {}).update(line.said)
        spent = self._spent.get(line.candidate, 0.0)
        self._spent[line.candidate] = spent + line.seconds

    def _lines(self) -> list[Line]:
        """Return the file's sound lines, and cut the rest off; where its settings differ, all."""
        lines: list[Line] = []
        with suppress(FileNotFoundError), self._file.open("rb+") as file:
            end = 0
            for number, text in enumerate(file):
                if not text.endswith(b"\n"):
                    break  # a killed run's last
                try:
                    if number:
                        lines.append(self._read(text))
                    elif json.loads(text) != self._head:
                        break
                except ValueError:
                    break  # damaged: the rest is scored again
                end += len(text)
            file.truncate(end)
        return lines

    def _read(self, text: bytes) -> Line:
        """Return a line that was written here.

        :raises ValueError: where it is something else
        """
        line = msgspec.convert(json.loads(text), Line)
        if any(len(own) != len(self._head["labels"]) for own in line.said.values()):
            raise ValueError("not a log-probability for each label")
        return line
