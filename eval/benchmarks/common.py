"""What the benchmark scripts share: where the data is, seeded samples, running the command."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragicl.data.examples import DataFile
from ragicl.protocols import IntArray

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("RAGICL_DATA", ROOT.parent / "shared" / "data"))
Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a JSON-lines file."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def sample(data_set: str, number: int, seed: int = 0) -> list[Row]:
    """Return a seeded random sample of a set's test rows, numbered: test files are sorted."""
    rows = read_rows(DATA / data_set / "test.jsonl")
    chosen = random.Random(seed).sample(rows, min(number, len(rows)))
    return [{"id": str(n), **row} for n, row in enumerate(chosen, 1)]


def drawn(file: Path, number: int) -> tuple[list[str], list[str]]:
    """Return a random sample of a file's texts and labels."""
    examples = list(DataFile(str(file)).examples())
    chosen = np.random.default_rng(0).permutation(len(examples))[:number]
    return [examples[i].input for i in chosen], [examples[i].output for i in chosen]


def columns(places: dict[str, int], outputs: Sequence[str]) -> IntArray:
    """Return labels as columns."""
    return np.array([places[output] for output in outputs], dtype=np.int64)


def ragicl(*arguments: object) -> float:
    """Run the command, its messages passed on, and return the seconds it took."""
    command = [sys.executable, "-m", "ragicl", *map(str, arguments)]
    print("$ ragicl", *map(str, arguments), flush=True)
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def accuracy(rows: Sequence[Row]) -> float:
    """Return the share of rows whose output is the right one."""
    return sum(bool(row["output"] == row["gold"]) for row in rows) / len(rows)
