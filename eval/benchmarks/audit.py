"""How many wrong labels does an audit find? Labels of a known set are flipped, and looked for.

    python eval/benchmarks/audit.py DATA_FOLDER [--set banking77] [--flip 0.05] [--seeds 3]

The set's train rows are indexed once, with the packaged encoder, in a temporary folder. For each
seed that share of the labels is replaced in a copy of the index, each by one of the others at
random, and the copy is audited. A row that was labelled wrongly to begin with counts as a mistake
of the audit where it is flagged. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from common import ragicl

from ragicl import Index
from ragicl.curation.audit import audit


def flip(index: Index, share: float, seed: int) -> set[str]:
    """Give a share of an index's examples another label; return their ids."""
    draw = random.Random(seed)
    labels = list(index.labels())
    examples = list(index)
    chosen = draw.sample(examples, round(share * len(examples)))
    index.update(
        [replace(e, output=draw.choice([x for x in labels if x != e.output])) for e in chosen]
    )
    return {example.id for example in chosen}


def measured(path: Path, wrong: set[str]) -> tuple[str, ...]:
    """Return the cells of a row: what an audit finds of the wrong labels, and its time."""
    with Index.open(path) as index:
        start = time.perf_counter()
        found = audit(index)
        seconds = time.perf_counter() - start
    flagged = {finding.example.id for finding in found.errors}
    hits = len(flagged & wrong)
    recall = f"{hits / len(wrong):.3f}" if wrong else "–"
    precision = f"{hits / len(flagged):.3f}" if wrong and flagged else "–"
    return recall, precision, f"{len(wrong):,}", f"{len(flagged):,}", f"{seconds:.1f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", default="banking77")
    parser.add_argument("--flip", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        ragicl("index", options.data / options.set / "train.jsonl", "--out", whole)
        print("| set | flipped | seed | recall | precision | wrong | flagged | seconds |")
        print("|---|---|---|---|---|---|---|---|")
        for seed in range(options.seeds):
            copy = Path(folder) / str(seed)
            shutil.copytree(whole, copy)
            with Index.open(copy) as index:
                wrong = flip(index, options.flip, seed) if options.flip else set()
            cells = options.set, f"{options.flip:.0%}", str(seed), *measured(copy, wrong)
            print(f"| {' | '.join(cells)} |", flush=True)
            shutil.rmtree(copy)


if __name__ == "__main__":
    main()
