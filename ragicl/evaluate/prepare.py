"""From what the command was given to tasks: an index and its test rows, or a suite's sets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ragicl.data.examples import DataFile
from ragicl.engine import Engine
from ragicl.errors import DataError, TaskError, first_line, quoted
from ragicl.evaluate.suite import SetSpec, Suite, pool_of, rows_of
from ragicl.evaluate.task import Task
from ragicl.index.build import build, survey
from ragicl.index.manifest import read_manifest
from ragicl.protocols import Progress
from ragicl.records import Example, Query

KEPT = "kept"  # folder, beside the report, of all that can be used again

Opener = Callable[[Path, Mapping[str, Any]], Engine]
"""Opens the engine of an index, with a suite's own options."""


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Keep other evaluations out of a folder for the length of the block.

    :raises DataError: where one is running there, or the folder cannot be written to
    """
    lock = FileLock(out / KEPT / "lock")
    try:
        (out / KEPT).mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(f"another evaluation is writing to {out}; wait for it") from error
    except OSError as error:
        raise DataError(f"cannot write to {out}: {error.strerror}") from error
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write to {out}: {first_line(error)}; what was done is kept: make room, and "
            f"run the same command again"
        ) from error
    finally:
        lock.release()


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds an evaluation, and what its progress is reported to.

    :ivar rows: test rows of each set; None takes all, or as many as a suite says
    :ivar minutes: of each training; None sets no limit
    """

    rows: int | None
    minutes: float | None
    progress: Progress


def task_of(
    name: str,
    engine: Engine,
    queries: Sequence[Query],
    out: Path,
    others: Mapping[str, Sequence[Example]],
    limits: Limits,
) -> Task:
    """Return the task of one index.

    :param others: labelled examples of other sets, by name
    """
    return Task(name, engine, tuple(queries), out / KEPT, limits.minutes, others, limits.progress)


def suite_tasks(
    suite: Suite,
    data: Path,
    out: Path,
    opener: Opener,
    limits: Limits,
    *,
    only: Collection[str] = (),
) -> list[Task]:
    """Return the tasks of a suite; indexes that are missing are built.

    References trained on several sets learn from the suite's other sets of the same kind.

    :param data: the folder that the suite's files are in
    :param only: names of the sets to measure; all without one
    :raises TaskError: where the suite has no set of such a name
    """
    names = [spec.name for spec in suite.sets]
    if unknown := sorted(set(only) - set(names)):
        raise TaskError(f"the suite has no set {quoted(unknown[0])}; it has {', '.join(names)}")
    engines = [_engine(spec, suite, data, out, opener, limits.progress) for spec in suite.sets]
    pools = {
        spec.name: (engine.generates, engine.index.vectors()[0])
        for spec, engine in zip(suite.sets, engines, strict=True)
    }
    tasks = []
    for spec, engine in zip(suite.sets, engines, strict=True):
        if only and spec.name not in only:
            continue
        others = {
            name: pool
            for name, (generates, pool) in pools.items()
            if name != spec.name and generates == engine.generates
        }
        test = DataFile(str(data / spec.test)).queries()
        queries = rows_of(test, limits.rows or spec.rows, spec.seed)
        tasks.append(task_of(spec.name, engine, queries, out, others, limits))
    return tasks


def _engine(
    spec: SetSpec, suite: Suite, data: Path, out: Path, opener: Opener, progress: Progress
) -> Engine:
    folder = out / KEPT / "indexes"
    pool = pool_of(spec, data, folder)
    path = Path(pool.name).with_suffix("")
    surveyed = survey(pool)

    def embedding(what: str, done: int, total: int) -> None:
        progress(f"{spec.name}: {what}", done, total)

    if not path.exists() or not read_manifest(path).complete:
        index, _ = build(pool, path, surveyed=surveyed, progress=embedding)
        index.close()
    try:
        return opener(path, suite.engine)
    except KeyError as error:
        raise TaskError(f"the suite's [engine] has no option {error}") from error
