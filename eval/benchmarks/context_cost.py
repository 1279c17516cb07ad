"""What an answer from states in context costs, to prepare and a query, beside two others.

    python eval/benchmarks/context_cost.py TRAIN.jsonl TEXTS.jsonl [--examples 200] [--queries 96]

"in context" is the untuned default; the others are label scoring by the language model alone after
eight retrieved examples, and the default of 0.2.0, which blends such scores with the vote, the
classifier on vectors and the one on states of the bare text. An index of some examples is made for
each, and prepared; then the three answer the same texts in turns, so that what else the machine
does meets all of them. The seconds a query are medians.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import drawn, read_rows

from ragicl import Engine, Index, Policy
from ragicl.backends.hf.opening import open_smollm2
from ragicl.calibration.blend import DEFAULT_WEIGHTS_WITH_FEATURES, Blend
from ragicl.calibration.conformal import ConformalRecord
from ragicl.inference.tuned_settings import Tuned
from ragicl.prompting.template import plain_template
from ragicl.protocols import LM, no_progress
from ragicl.records import Example

BATCHES = (1, 16)
CONTEXT = "in context"


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--queries", type=int, default=96)
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    lm = open_smollm2(dtype=options.dtype)
    rows = [str(row["text"]) for row in read_rows(options.texts)[: options.queries]]
    with tempfile.TemporaryDirectory() as folder:
        ways = opened(Path(folder), lm, options.train, options.examples)
        prepare(ways)
        ask(ways, rows)


def opened(folder: Path, lm: LM, train: Path, number: int) -> dict[str, Engine]:
    """Return an engine for each way, each with an index of its own."""
    texts, outputs = drawn(train, number)
    examples = [Example(*both) for both in zip(texts, outputs, strict=True)]
    nothing = ConformalRecord.of(np.full((2, 2), 0.5), np.array([0, 1]))
    bare = Tuned({}, None, lm.description, "none", Blend(*DEFAULT_WEIGHTS_WITH_FEATURES), nothing)
    settings = {
        CONTEXT: (Policy(), None),
        "label scoring, k = 8": (Policy(decide="lm", k=8), None),
        "default of 0.2.0": (Policy(k=8), bare),
    }
    ways = {}
    for place, (name, (policy, tuned)) in enumerate(settings.items()):
        index = Index.create(folder / str(place))
        index.add(examples)
        ways[name] = Engine(index, lm, plain_template("classify"), policy, tuned)
    return ways


def prepare(ways: dict[str, Engine]) -> None:
    """Prepare each; print the seconds that it took, and the bytes that it keeps."""
    heads = "| way | examples | seconds to prepare | KiB kept beside the index |\n"
    print(heads + "|---" * 4 + "|")
    for name, engine in ways.items():
        before = size(engine.index.path)
        begun = time.perf_counter()
        engine.load(no_progress)
        seconds = time.perf_counter() - begun
        kept = (size(engine.index.path) - before) / 1024
        print(f"| {name} | {len(engine.index)} | {seconds:.1f} | {kept:.0f} |", flush=True)
    print()


def size(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def ask(ways: dict[str, Engine], rows: list[str]) -> None:
    """Answer the texts by each way in turns; print the seconds a query."""
    heads = "| batch | way | median seconds a query | times as long as in context |\n"
    print(heads + "|---" * 4 + "|")
    for engine in ways.values():
        list(engine.predict_all(rows[:2]))
    for batch in BATCHES:
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for start in range(0, len(rows) - batch + 1, batch):
            for name, engine in ways.items():
                begun = time.perf_counter()
                list(engine.predict_all(rows[start : start + batch]))
                spent[name].append((time.perf_counter() - begun) / batch)
        least = float(np.median(spent[CONTEXT]))
        for name, seconds in spent.items():
            median = float(np.median(seconds))
            print(f"| {batch} | {name} | {median:.4f} | {median / least:.1f} |", flush=True)


if __name__ == "__main__":
    main()
