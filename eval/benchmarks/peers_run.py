"""Runs the scorers side by side: each in a process of its own, in turns, every answer kept."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import Row, read_rows, write_rows
from peers_setup import LIBRARIES, Scorer, SetupError, model_for, python_of

PROGRAM = Path(__file__).with_name("peers_worker.py")
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
BUSY = 0.8  # of one core: an answer that got less of it was disturbed, and is not kept


class PeerError(Exception):
    """A scorer failed."""


class Worker:
    """A scorer's process.

    :ivar facts: the versions that it runs on
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("w") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env={**os.environ, **OFFLINE},
            )
        self.facts = self._hear()

    def ask(self, query: int) -> Row:
        """Return the answer to a query.

        :raises PeerError: where the scorer failed
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{query}\n")
            self._process.stdin.flush()
        except OSError as error:
            raise PeerError(f"it ended; see {self._log.name}") from error
        return self._hear()

    def end(self) -> None:
        """Let the process end."""
        self._process.communicate()  # closes its input

    def _hear(self) -> Row:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        heard: Row = json.loads(line) if line else {"error": f"it ended; see {self._log.name}"}
        if "error" in heard:
            self.end()
            raise PeerError(heard["error"])
        return heard


Start = Callable[[Scorer], Worker]


def starter(task: Path, model: Path) -> Start:
    """Return what starts a scorer's process, its library installed first."""
    folder = task.parent

    def start(scorer: Scorer) -> Worker:
        library = LIBRARIES[scorer.library]
        python = python_of(scorer.library, folder)
        files = [str(task), str(model_for(scorer.library, model, folder))]
        arguments = [scorer.library, library.distribution, *files, scorer.dtype]
        log = folder / "logs" / f"{task.stem}-{scorer.name}.log"
        log.parent.mkdir(exist_ok=True)
        return Worker([str(python), str(PROGRAM), *arguments], log)

    return start


class Results:
    """Answers by scorer and query, each kept in a file as soon as it is there.

    :ivar errors: why a scorer failed last, by its name
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = read_rows(path) if path.exists() else []
        self.errors: dict[str, str] = {}

    def of(self, scorer: Scorer) -> dict[int, Row]:
        """Return a scorer's answers by the query's number."""
        return {row["query"]: row for row in self._rows if row["scorer"] == scorer.name}

    def add(self, row: Row) -> None:
        """Keep one answer."""
        self._rows.append(row)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def forget(self, scorers: Iterable[Scorer]) -> None:
        """Drop the answers of some scorers."""
        names = {scorer.name for scorer in scorers}
        self._rows = [row for row in self._rows if row["scorer"] not in names]
        write_rows(self._path, self._rows)


@dataclass(frozen=True)
class Limits:
    """How long to go on.

    :ivar least: queries that each scorer answers, however long they take
    :ivar seconds: time after which a scorer that has answered those gets no more
    :ivar end: monotonic time at which this run should be over
    """

    least: int
    seconds: float
    end: float

    def allow(self, answers: dict[int, Row], query: int) -> bool:
        """Return whether a scorer with these answers takes this query now."""
        spent = [row["seconds"] for row in answers.values()]
        in_time = time.monotonic() + max(spent, default=0.0) < self.end
        return (
            query not in answers and in_time and (query < self.least or sum(spent) < self.seconds)
        )


def run(
    queries: Iterable[int],
    scorers: Sequence[Scorer],
    results: Results,
    limits: Limits,
    start: Start,
) -> None:
    """Let every scorer answer query after query; one that fails leaves the others alone."""
    workers: dict[Scorer, Worker] = {}
    for query in queries:
        for scorer in scorers:
            if scorer.name in results.errors or not limits.allow(results.of(scorer), query):
                continue
            try:
                if scorer not in workers:
                    workers[scorer] = start(scorer)
                answered = {**workers[scorer].ask(query), **workers[scorer].facts}
            except (PeerError, SetupError) as error:
                results.errors[scorer.name] = str(error)
                workers.pop(scorer, None)
                print(f"{scorer.name} failed: {error}", flush=True)
                continue
            kept = answered["cpu"] > BUSY * answered["seconds"]
            if kept:
                results.add({"scorer": scorer.name, "query": query, **answered})
            note = "" if kept else ", disturbed: run again"
            print(f"{query} {scorer.name} {answered['seconds']:.2f} s{note}", flush=True)
    for worker in workers.values():
        worker.end()
