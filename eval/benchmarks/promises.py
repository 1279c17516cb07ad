"""Do label sets hold what they promise, on train rows outside the pool and on test rows: measured.

    python eval/benchmarks/promises.py DATA_FOLDER [--sets subj,trec6] [--pool 500] [--rows 2000]

The classifier on the encoder's vectors learns from a pool of train rows; its record is of these,
each left out. How often sets then hold the right label is counted on train rows that are not in the
pool, which are like it by construction, and on the test rows, which may not be. No language model
is asked. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ragicl.backends import open_encoder
from ragicl.calibrate import mean_surprise
from ragicl.classifier import fit_classifier
from ragicl.conformal import Record
from ragicl.data import DataFile
from ragicl.pooling import Columns, Doubles
from ragicl.protocols import Encoder

SETS = "trec6,sst2,subj,unfair_tos_type,banking77,clinc150"
COVERAGES = (0.9, 0.95)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--pool", type=int, default=500)
    parser.add_argument("--rows", type=int, default=2000)
    options = parser.parse_args()
    encoder = open_encoder("minilm")
    asked = " | ".join(f"{coverage:g} asked" for coverage in COVERAGES)
    print(f"| set | rows | number | accuracy | loss | {asked} | labels in a set |")
    print("|---" * (6 + len(COVERAGES)) + "|")
    for name in options.sets.split(","):
        for row in measured(encoder, options.data / name, options.pool, options.rows):
            print(f"| {name} | {' | '.join(row)} |", flush=True)


def measured(encoder: Encoder, folder: Path, size: int, most: int) -> Iterator[list[str]]:
    """Yield a row for the pool left out, for train rows outside it, and for the test rows."""
    train, test = drawn(folder / "train.jsonl"), drawn(folder / "test.jsonl")
    pool, fresh = train[:size], train[size : size + most]
    labels = sorted({label for _, label in pool})
    places = {label: place for place, label in enumerate(labels)}
    vectors, columns = encoder.encode([text for text, _ in pool]), gold(pool, places)
    fitted = fit_classifier(vectors, columns, len(labels))
    left_out = fitted.left_out.astype(np.float64)
    record = Record.of(left_out, columns)
    yield ["pool, left out", *figures(record, left_out, columns)]
    for kind, rows in (("train, not in the pool", fresh), ("test", test[:most])):
        known = [row for row in rows if row[1] in places]
        probs = fitted.probs(encoder.encode([text for text, _ in known])).astype(np.float64)
        yield [kind, *figures(record, probs, gold(known, places))]


def drawn(file: Path) -> list[tuple[str, str]]:
    """Return a file's texts and labels, in random order."""
    rows = [(example.input, example.output) for example in DataFile(str(file)).examples()]
    random.Random(0).shuffle(rows)
    return rows


def gold(rows: list[tuple[str, str]], places: dict[str, int]) -> Columns:
    """Return the labels as columns."""
    return np.array([places[label] for _, label in rows], dtype=np.int64)


def figures(record: Record, probs: Doubles, columns: Columns) -> list[str]:
    """Return the number of rows, accuracy, loss, how often sets hold the label, and their size."""
    own, best = probs[np.arange(len(columns)), columns], probs.max(axis=1)
    held, sizes = [], []
    for coverage in COVERAGES:
        least = np.minimum(record.least(coverage), best)
        held.append(f"{(own >= least).mean():.3f}")
        sizes.append(f"{(probs >= least[:, None]).sum(axis=1).mean():.2f}")
    right = float((probs.argmax(axis=1) == columns).mean())
    loss = mean_surprise(probs, columns)
    return [str(len(columns)), f"{right:.3f}", f"{loss:.3f}", *held, " and ".join(sizes)]


if __name__ == "__main__":
    main()
