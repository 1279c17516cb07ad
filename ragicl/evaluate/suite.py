"""Suites: several data sets to evaluate at once, named in a TOML file."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ragicl.atomic import write_whole
from ragicl.data.examples import DataFile
from ragicl.errors import DataError, TaskError, quoted
from ragicl.evaluate.task import digest
from ragicl.records import NOTHING, Example, Query


@dataclass(frozen=True, slots=True)
class SetSpec:
    """One data set of a suite.

    :ivar train: file of examples, relative to the data folder; as is `test`
    :ivar pool: examples drawn from it for the index; None takes all
    :ivar per_class: examples drawn of each label instead
    :ivar rows: test rows drawn; None takes all
    """

    name: str
    train: str
    test: str
    pool: int | None = None
    per_class: int | None = None
    rows: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Suite:
    """Data sets, references and curves to measure, the engine's options as the command has them.

    :ivar references: by name; None takes the usual ones
    """

    sets: tuple[SetSpec, ...] = ()
    references: tuple[str, ...] | None = None
    curves: tuple[str, ...] = ()
    engine: Mapping[str, Any] = field(default_factory=lambda: NOTHING)


def read_suite(path: Path) -> Suite:
    """Read a suite.

    :raises DataError: where the file cannot be read
    :raises TaskError: where it holds something that a suite does not have
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the suite {path}: {error}") from error
    sets = content.pop("set", [])
    if not sets:
        raise TaskError(f"{path} names no data set; add a [[set]] with name, train and test")
    specs = tuple(SetSpec(**_known(SetSpec, own, f"a [[set]] of {path}")) for own in sets)
    if len({spec.name for spec in specs}) < len(specs):
        raise TaskError(f"{path} has two sets of the same name; results are kept by name")
    known = dict(_known(Suite, {"sets": specs, **content}, str(path)))
    listed: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in known.items()}
    return Suite(**listed)


def pool_of(spec: SetSpec, data: Path, folder: Path) -> DataFile:
    """Return the examples drawn for a set's index, written to a file in a folder.

    :raises DataError: where the training file cannot be read
    """
    examples = list(DataFile(str(data / spec.train)).examples())
    random.Random(spec.seed).shuffle(examples)
    if spec.per_class is not None:
        examples = _of_each(examples, spec.per_class)
    chosen = examples[: spec.pool]
    lines = [json.dumps({"input": e.input, "output": e.output}, ensure_ascii=False) for e in chosen]
    file = folder / f"{spec.name}-{digest(lines)}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(file, ("\n".join(lines) + "\n").encode())
    return DataFile(str(file))


def rows_of(queries: Iterable[Query], number: int | None, seed: int = 0) -> tuple[Query, ...]:
    """Return test rows, drawn at random where only some are asked for, in their own order.

    :raises TaskError: where a row has no right output
    """
    rows = list(queries)
    if missing := [row.id for row in rows if row.gold is None]:
        raise TaskError(
            f"test row {missing[0]} has no right output; an evaluation needs one in every row"
        )
    if number is None or number >= len(rows):
        return tuple(rows)
    return tuple(rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), number)))


def _of_each(examples: Sequence[Example], number: int) -> list[Example]:
    """Return the first examples of each output."""
    seen: dict[str, int] = {}
    chosen = []
    for example in examples:
        seen[example.output] = seen.get(example.output, 0) + 1
        if seen[example.output] <= number:
            chosen.append(example)
    return chosen


def _known(record: type, values: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    names = {item.name for item in fields(record)}
    if unknown := sorted(set(values) - names):
        raise TaskError(f"{where} has {quoted(unknown[0])}; known: {', '.join(sorted(names))}")
    if record is SetSpec and (missing := sorted({"name", "train", "test"} - set(values))):
        raise TaskError(f"{where} has no {quoted(missing[0])}")
    return values
