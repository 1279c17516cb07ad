"""Kept states of demonstrations against exact attention: agreement, accuracy and time of scoring.

    python eval/benchmarks/blocks.py WORK_FOLDER [--rows 192] [--k 48] [--minutes 9]

For banking77 and trec6 it scores the same test rows in every way of `WAYS`, batch by batch, one way
after the other, so that a busy machine slows all of them. States are computed before a batch is
timed. Continues where it stopped; prints the table of what there is so far.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import NamedTuple, Self

from common import DATA, Row, ragicl, read_rows, sample, write_rows

from ragicl.backends.hf import blocks
from ragicl.backends.hf.lm import HFLM, open_smollm2
from ragicl.engine import CHUNK, Engine
from ragicl.groups import ExampleGroups
from ragicl.index import Index
from ragicl.policy import Policy
from ragicl.prompt import plain_template
from ragicl.records import Query

SETS = ("banking77", "trec6")
BUDGET = 1024
DISK = 20 * 10**9  # bytes of states, so that a continued run finds them


class Way(NamedTuple):
    """How demonstrations are attended to.

    :ivar size: examples in a group that is read together; 0 for exact attention
    :ivar ends: last tokens of each demonstration that are read anew
    :ivar nearest: nearest demonstrations that are read anew
    :ivar int8: whether states are kept in 8 bits
    :ivar temperature: of attention to kept demonstrations
    """

    size: int
    ends: int = 0
    nearest: int = 0
    int8: bool = False
    temperature: float = 0.9


EXACT = Way(0)
WAYS = (
    EXACT,
    Way(1),
    *(Way(32, temperature=t) for t in (1.0, 0.9, 0.8)),
    Way(32, int8=True),
    Way(32, nearest=4),
)


def main() -> None:
    """Measure until the minutes are over, and print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--k", type=int, default=48)
    parser.add_argument("--minutes", type=float, default=9)
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    options.folder.mkdir(parents=True, exist_ok=True)
    runs = [Run.start(options.folder, name, options.k, options.rows) for name in SETS]
    for batches in zip_longest(*(run.remaining() for run in runs)):
        for run, batch in zip(runs, batches, strict=True):
            if batch and time.monotonic() < end:
                run.rows += measure(run.index, options.k, batch)
                write_rows(run.file, run.rows)
    for run in runs:
        report(run, options.k)


@dataclass
class Run:
    """A data set, and the rows measured on it so far."""

    name: str
    index: Path
    file: Path
    queries: list[Query]
    rows: list[Row]

    @classmethod
    def start(cls, folder: Path, name: str, k: int, number: int) -> Self:
        """Build the index, unless it is there, and read what was measured before."""
        index, file = folder / f"index-{name}", folder / f"blocks-{name}-{k}.jsonl"
        if not (index / "manifest.json").exists():
            ragicl("index", DATA / name / "train.jsonl", "--out", index)
        queries = [Query(row["text"], row["id"], row["label"]) for row in sample(name, number)]
        return cls(name, index, file, queries, read_rows(file) if file.exists() else [])

    def remaining(self) -> list[Sequence[Query]]:
        """Return the batches of queries that have no rows yet."""
        done = {row["id"] for row in self.rows}
        starts = range(0, len(self.queries), CHUNK)
        return [self.queries[n : n + CHUNK] for n in starts if self.queries[n].id not in done]


@cache
def exact_lm() -> HFLM:
    """Return the packaged model, loaded once."""
    return open_smollm2()


@cache
def engine_of(index: Path, k: int, size: int, int8: bool) -> Engine:
    """Return the engine for a size of groups and a form of states; all share one model."""
    lm, template = exact_lm(), plain_template("classify")
    opened = Index.open(index)
    if size:
        groups = ExampleGroups(opened, template, size)
        lm = lm.with_blocks(groups, index.parent / "states", DISK, int8=int8)
    return Engine(opened, lm, template, Policy(k=k, budget=BUDGET, decide="lm"))


def measure(index: Path, k: int, batch: Sequence[Query]) -> list[Row]:
    """Return a row for each query and way."""
    texts = [query.input for query in batch]
    rows: list[Row] = []
    warmed: set[Engine] = set()
    for way in WAYS:
        blocks.ENDS, blocks.NEAREST, blocks.TEMPERATURE = way.ends, way.nearest, way.temperature
        engine = engine_of(index, k, way.size, way.int8)
        predict = partial(engine.predict_all, texts)
        if way.size and engine not in warmed:
            list(predict())
            warmed.add(engine)
        for query, answer in zip(batch, predict(), strict=True):
            rows.append(
                {
                    "id": query.id,
                    "way": list(way),
                    "gold": query.gold,
                    "output": answer.output,
                    "tokens": answer.prompt.tokens if answer.prompt else 0,
                    "ms": answer.timings["score"],
                }
            )
    return rows


def report(run: Run, k: int) -> None:
    """Print agreement, accuracy and speed of every way, fastest first."""
    rows = run.rows
    ways = {tuple(row["way"]): [r for r in rows if r["way"] == row["way"]] for row in rows}
    exact = {row["id"]: row for row in ways.get(EXACT, [])}
    if not exact:
        return
    tokens = sum(row["tokens"] for row in exact.values()) / len(exact)
    print(f"\n{run.name}, k = {k}: {len(exact)} rows, {tokens:.0f} tokens\n")
    print(
        "| group | ends | nearest | int8 | temperature | ms | speed-up | same answer | accuracy |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    base = median(row["ms"] for row in exact.values())
    for way, some in sorted(ways.items(), key=lambda item: median(r["ms"] for r in item[1])):
        ms = median(row["ms"] for row in some)
        same = sum(row["output"] == exact[row["id"]]["output"] for row in some) / len(some)
        right = sum(row["output"] == row["gold"] for row in some) / len(some)
        shape = "exact | – | – | – | –" if way == EXACT else " | ".join(map(str, way))
        print(f"| {shape} | {ms:.0f} | {base / ms:.1f} | {same:.3f} | {right:.3f} |")


if __name__ == "__main__":
    main()
