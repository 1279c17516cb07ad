"""The classifier on vectors: what its parts are worth, and whether label sets hold: measured.

    python eval/benchmarks/promises.py DATA_FOLDER [--sets subj,trec6] [--pool 500] [--rows 1000]

It learns from a pool of train rows; what label sets go by is told by these, each left out. How
often sets then hold the right label is counted on train rows that are not in the pool, which are
like it by construction, and on the test rows, which may not be. Rows of labels that the pool has
not are left out. No language model is asked. Prints a Markdown table; losses are in nats.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import columns, drawn
from scipy.special import softmax

from ragicl.backends import open_encoder
from ragicl.calibration.blend import mean_nll
from ragicl.calibration.conformal import ConformalRecord
from ragicl.probes.ensemble import fit_classifier
from ragicl.protocols import Encoder, Float64Array, FloatArray, IntArray

SETS = "trec6,sst2,subj,unfair_tos_type,banking77,clinc150"
COVERAGES = (0.9, 0.95)
HEADS = (
    *("set", "rows", "number", "accuracy", "loss"),
    *("kernel regression alone", "discriminant alone", "logistic regression alone"),
    *(f"{coverage:g} asked" for coverage in COVERAGES),
    "labels in a set",
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--pool", type=int, default=500)
    parser.add_argument("--rows", type=int, default=1000)
    options = parser.parse_args()
    encoder = open_encoder("minilm")
    print(f"| {' | '.join(HEADS)} |\n{'|---' * len(HEADS)}|")
    for name in options.sets.split(","):
        for row in measured(encoder, options.data / name, options.pool, options.rows):
            print(f"| {name} | {' | '.join(row)} |", flush=True)


def measured(encoder: Encoder, folder: Path, size: int, most: int) -> Iterator[list[str]]:
    """Yield a row for the pool left out, for train rows outside it, and for the test rows."""
    texts, outputs = drawn(folder / "train.jsonl", size + most)
    labels = sorted(set(outputs[:size]))
    places = {label: place for place, label in enumerate(labels)}
    gold = columns(places, outputs[:size])
    fitted = fit_classifier(encoder.encode(texts[:size]), gold, len(labels))
    left_out, parts = fitted.loo_probs, fitted.loo_parts(np.arange(size))
    record = ConformalRecord.of(left_out.astype(np.float64), gold)
    yield ["pool, left out", *figures(record, left_out, parts, gold)]
    others = {
        "train, not in the pool": (texts[size:], outputs[size:]),
        "test": drawn(folder / "test.jsonl", most),
    }
    for kind, rows in others.items():
        known = [(text, label) for text, label in zip(*rows, strict=True) if label in places]
        vectors = encoder.encode([text for text, _ in known])
        gold = columns(places, [label for _, label in known])
        yield [kind, *figures(record, fitted.probs(vectors), fitted.parts(vectors), gold)]


def figures(
    record: ConformalRecord, whole: FloatArray, parts: Float64Array, gold: IntArray
) -> list[str]:
    """Return the number of rows, accuracy, losses, how often sets hold the label, and their size.

    :param whole: probabilities by the whole classifier
    :param parts: log-odds by its parts, the third of which need not be there
    """
    probs = whole.astype(np.float64)
    own, best = probs[np.arange(len(gold)), gold], probs.max(axis=1)
    held, sizes = [], []
    for coverage in COVERAGES:
        least = np.minimum(record.quantile(coverage), best)
        held.append(f"{(own >= least).mean():.3f}")
        sizes.append(f"{(probs >= least[:, None]).sum(axis=1).mean():.2f}")
    right = float((probs.argmax(axis=1) == gold).mean())
    losses = [f"{mean_nll(each, gold):.3f}" for each in (probs, *softmax(parts, axis=2))]
    losses += ["–"] * (4 - len(losses))
    return [str(len(gold)), f"{right:.3f}", *losses, *held, " and ".join(sizes)]


if __name__ == "__main__":
    main()
