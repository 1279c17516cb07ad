"""Do distances say what they should? A reference against itself, and against shuffled labels.

    python eval/benchmarks/sanity.py SUITE.toml DATA_FOLDER OUT [--reference lora]

Of the suite's first set: the reference's distance to itself (nothing), to the engine, and the
engine's distance to the same kind of reference trained on labels that were shuffled among the
examples (far). OUT is the folder of `ragicl evaluate`: what it has trained is used again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from ragicl import Engine, Policy
from ragicl.evaluate.metrics.bootstrap import Resampling
from ragicl.evaluate.metrics.distances import total_variation
from ragicl.evaluate.prepare import Limits, suite_tasks
from ragicl.evaluate.references.fine_tuned import model_of, reference_of
from ragicl.evaluate.references.registry import answers
from ragicl.evaluate.results import ICL
from ragicl.evaluate.suite import read_suite
from ragicl.protocols import no_progress


def main() -> None:
    """Print the distances."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("suite", "data", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--reference", default="lora", choices=["lora", "full", "partial"])
    options = parser.parse_args()
    suite = read_suite(options.suite)
    task = suite_tasks(
        replace(suite, sets=suite.sets[:1]),
        options.data,
        options.out,
        lambda path, own: Engine.open(path, policy=Policy(decide="lm", **own)),
        Limits(None, None, no_progress),
    )[0]
    outputs = np.random.default_rng(0).permutation([e.output for e in task.pool])
    shuffled = [replace(e, output=str(o)) for e, o in zip(task.pool, outputs, strict=True)]
    strange = model_of(task, options.reference, 0, pairs=task.pairs_of(shuffled))
    alone = answers(task, ICL).probs
    usual = answers(task, options.reference).probs
    probs = reference_of(task, strange).probs(task.texts)
    resampling = Resampling(len(task.test))
    for name, left, right in (
        (f"{options.reference} to itself", usual, usual),
        (f"{ICL} to {options.reference}", alone, usual),
        (f"{ICL} to {options.reference} of shuffled labels", alone, probs),
        (f"{options.reference} to {options.reference} of shuffled labels", usual, probs),
    ):
        found = resampling.mean(total_variation(left, right))
        print(f"{name}: {found.value:.3f} ({found.low:.3f} to {found.high:.3f})")
    print(f"accuracy after shuffling: {(probs.argmax(axis=1) == task.gold).mean():.3f}")


if __name__ == "__main__":
    main()
