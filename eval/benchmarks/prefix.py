"""Fixed demonstrations whose states are kept: the same predictions, in less time.

    python eval/benchmarks/prefix.py INDEX TEST.jsonl [--rows 1000] [--fixed 28] [--k 4]

Answers the same rows with the states kept and without (every fourth turn of 16 rows, for it takes
long), and with the nearest demonstrations alone; prints accuracy, seconds a query and how many
predictions are bit-identical.
The index and the rows are those that `main_job.py` leaves in its work folder.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import TypeVar

from common import Row, read_rows

from ragicl import Engine, Policy, Prediction
from ragicl.backends.hf.lm import HFLM
from ragicl.backends.hf.opening import open_smollm2

TURN = 16
EVERY = 4  # turns of which the slow way answers one
SLOW = "read each time"


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--fixed", type=int, default=28)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--clusters", type=int, default=1)
    options = parser.parse_args()
    rows = read_rows(options.test)[: options.rows]
    policy = Policy(k=options.k, fixed=options.fixed, clusters=options.clusters, decide="lm")
    engines = {
        "kept": Engine.open(options.index, lm=open_smollm2(), policy=policy),
        SLOW: Engine.open(options.index, lm=without_memory(), policy=policy),
        f"{options.k} nearest alone": Engine.open(
            options.index, policy=Policy(k=options.k, decide="lm")
        ),
    }
    answers, seconds = in_turns(engines, [row["text"] for row in rows])
    for name, found in answers.items():
        report(name, found, sampled(rows) if name == SLOW else rows, seconds[name])
    pairs = list(zip(sampled(answers["kept"]), answers[SLOW], strict=True))
    print(f"same answers: {sum(a.output == b.output for a, b in pairs)} of {len(pairs)}")
    print(f"bit-identical: {sum(a.probs == b.probs for a, b in pairs)} of {len(pairs)}")
    ratios = [b / a for a, b in zip(seconds["kept"][::EVERY], seconds[SLOW], strict=True)]
    print(f"speed-up by keeping: {median(ratios):.2f} (median of {len(ratios)} turns of {TURN})")


T = TypeVar("T")


def sampled(values: list[T]) -> list[T]:
    """Return the values of the turns that the slow way answers too."""
    turns = [values[start : start + TURN] for start in range(0, len(values), TURN)]
    return [value for turn in turns[::EVERY] for value in turn]


def without_memory() -> HFLM:
    """Return the packaged model, keeping no states."""
    lm = open_smollm2()
    return HFLM(lm.spec, lm.name, source=lm.description, prefix_bytes=0)


def in_turns(
    engines: dict[str, Engine], texts: list[str]
) -> tuple[dict[str, list[Prediction]], dict[str, list[float]]]:
    """Answer all texts with all engines, one after the other in turns; return seconds by turn."""
    answers: dict[str, list[Prediction]] = {name: [] for name in engines}
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        list(engine.predict_all(texts[:TURN]))  # loads and learns, and is not measured
    for start in range(0, len(texts), TURN):
        for name, engine in engines.items():
            if name == SLOW and start // TURN % EVERY:
                continue
            before = time.perf_counter()
            answers[name] += engine.predict_all(texts[start : start + TURN])
            seconds[name].append(time.perf_counter() - before)
    return answers, seconds


def report(name: str, found: list[Prediction], rows: list[Row], seconds: list[float]) -> None:
    """Print one line."""
    right = sum(p.output == row["label"] for p, row in zip(found, rows, strict=True))
    tokens = sum(p.prompt.tokens for p in found if p.prompt) / len(found)
    print(
        f"{name}: accuracy {right / len(rows):.3f} on {len(rows)} rows, {tokens:.0f} tokens, "
        f"{median(seconds) / TURN:.4f} s a query",
        flush=True,
    )


if __name__ == "__main__":
    main()
