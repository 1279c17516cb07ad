"""Seconds a query of an answer from states in context, beside label scoring with k = 8 and untuned.

    python eval/benchmarks/context_cost.py INDEX TEXTS.jsonl [--queries 96] [--dtype bfloat16]

The index is one that `ragicl tune` gave a weight on states in context. The three answer the same
texts in turns, so that what else the machine does meets all of them; the figures are medians.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from common import read_rows

from ragicl import Engine, Policy
from ragicl.protocols import no_progress

BATCHES = (1, 16)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--queries", type=int, default=96)
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    tuned = Engine.open(options.index, dtype=options.dtype)
    if tuned.tuned is None or not tuned.tuned.blend.context:
        parser.error(f"{options.index} was not tuned, or without states in context")
    ways = {
        "tuned, states in context": tuned,
        "label scoring, k = 8": Engine(
            tuned.index, tuned.lm, tuned.template, Policy(decide="lm", k=8)
        ),
        "untuned blend": Engine(tuned.index, tuned.lm, tuned.template, Policy()),
    }
    rows = [str(row["text"]) for row in read_rows(options.texts)[: options.queries]]
    for engine in ways.values():
        engine.load(no_progress)
        list(engine.predict_all(rows[:2]))
    print(
        "| batch | way | median seconds a query | times as long as in context |\n"
        + "|---" * 4
        + "|"
    )
    for size in BATCHES:
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for start in range(0, len(rows) - size + 1, size):
            for name, engine in ways.items():
                begun = time.perf_counter()
                list(engine.predict_all(rows[start : start + size]))
                spent[name].append((time.perf_counter() - begun) / size)
        least = float(np.median(spent["tuned, states in context"]))
        for name, seconds in spent.items():
            median = float(np.median(seconds))
            print(f"| {size} | {name} | {median:.4f} | {median / least:.1f} |", flush=True)


if __name__ == "__main__":
    main()
