"""Kept states of demonstrations against exact attention: agreement, accuracy and time of scoring.

    python eval/benchmarks/blocks.py WORK_FOLDER [--rows 192] [--k 48] [--minutes 9]

For banking77 and trec6 it scores the same test rows in every way of `WAYS`, batch by batch, one way
after the other, so that a busy machine slows all of them. States are computed before a batch is
timed. Continues where it stopped; prints the table of what there is so far.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

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


class Way(NamedTuple):
    """How demonstrations are attended to.

    :ivar size: examples in a group that is read together; 0 for exact attention
    :ivar ends: last tokens of each demonstration that are read anew
    :ivar nearest: nearest demonstrations that are read anew
    """

    size: int
    ends: int = 0
    nearest: int = 0


EXACT = Way(0)
WAYS = (
    EXACT,
    *(Way(1, ends, nearest) for ends, nearest in ((0, 0), (0, 4), (3, 0))),
    *(Way(32, ends, nearest) for ends in (0, 2, 3) for nearest in (0, 4)),
    Way(32, 2, 2),
    Way(32, 4, 8),
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
    for name in SETS:
        index = options.folder / f"index-{name}"
        if not (index / "manifest.json").exists():
            ragicl("index", DATA / name / "train.jsonl", "--out", index)
        file = options.folder / f"blocks-{name}-{options.k}.jsonl"
        rows = read_rows(file) if file.exists() else []
        queries = [Query(r["text"], r["id"], r["label"]) for r in sample(name, options.rows)]
        for batch in remaining(queries, rows):
            if time.monotonic() > end:
                break
            rows += measure(index, options.k, batch)
            write_rows(file, rows)
        report(name, options.k, rows)


def remaining(queries: Sequence[Query], rows: Sequence[Row]) -> Iterator[Sequence[Query]]:
    """Yield the batches of queries that have no rows yet."""
    done = {row["id"] for row in rows}
    for start in range(0, len(queries), CHUNK):
        if queries[start].id not in done:
            yield queries[start : start + CHUNK]


@cache
def exact_lm() -> HFLM:
    """Return the packaged model, loaded once."""
    return open_smollm2()


ENGINES: dict[tuple[Path, int, int], Engine] = {}


def engine_of(index: Path, k: int, size: int) -> Engine:
    """Return the engine for a size of groups; all of an index share one model."""
    key = index, k, size
    if key not in ENGINES:
        lm, template = exact_lm(), plain_template("classify")
        opened = Index.open(index)
        if size:
            lm = lm.with_blocks(ExampleGroups(opened, template, size))
        ENGINES[key] = Engine(opened, lm, template, Policy(k=k, budget=BUDGET))
    return ENGINES[key]


def measure(index: Path, k: int, batch: Sequence[Query]) -> list[Row]:
    """Return a row for each query and way."""
    texts = [query.input for query in batch]
    rows: list[Row] = []
    warmed: set[int] = set()
    for way in WAYS:
        blocks.ENDS, blocks.NEAREST = way.ends, way.nearest
        predict = partial(engine_of(index, k, way.size).predict_all, texts)
        if way.size not in warmed:
            list(predict())
            warmed.add(way.size)
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


def report(name: str, k: int, rows: Sequence[Row]) -> None:
    """Print agreement, accuracy and speed of every way, fastest first."""
    ways = {tuple(row["way"]): [r for r in rows if r["way"] == row["way"]] for row in rows}
    exact = {row["id"]: row for row in ways.get(EXACT, [])}
    if not exact:
        return
    tokens = sum(row["tokens"] for row in exact.values()) / len(exact)
    print(f"\n{name}, k = {k}: {len(exact)} rows, {tokens:.0f} tokens\n")
    print("| group | ends | nearest | ms | speed-up | same answer | accuracy |")
    print("|---|---|---|---|---|---|---|")
    base = median(row["ms"] for row in exact.values())
    for way, some in sorted(ways.items(), key=lambda item: median(r["ms"] for r in item[1])):
        ms = median(row["ms"] for row in some)
        same = sum(row["output"] == exact[row["id"]]["output"] for row in some) / len(some)
        right = sum(row["output"] == row["gold"] for row in some) / len(some)
        shape = "exact | – | –" if way == EXACT else " | ".join(map(str, way))
        print(f"| {shape} | {ms:.0f} | {base / ms:.1f} | {same:.3f} | {right:.3f} |")


if __name__ == "__main__":
    main()
