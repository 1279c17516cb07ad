"""How few passes are too few? References trained with a lower and a higher least number of them.

    python eval/benchmarks/passes.py eval/suites/tables.toml DATA_FOLDER OUT --only sst2 \
      --reference full --fewest 1 3 4 6 --minutes 5 --dtype bfloat16

For each least number of passes, two trainings: passes, accuracy and NLL on the test rows, and the
distance of the two. One search for settings serves them all; what OUT holds is not done again.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from ragicl import Engine, Policy
from ragicl.backends.hf.training import trainer
from ragicl.evaluate.answer_cache import Answers
from ragicl.evaluate.metrics.bootstrap import Resampling
from ragicl.evaluate.metrics.distances import total_variation
from ragicl.evaluate.metrics.label_scores import label_scores
from ragicl.evaluate.prepare import Limits, suite_tasks
from ragicl.evaluate.references.registry import answers
from ragicl.evaluate.suite import read_suite
from ragicl.evaluate.task import Task
from ragicl.protocols import no_progress


def main() -> None:
    """Print a row for each least number of passes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("suite", "data", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--only", required=True, help="a set of the suite")
    parser.add_argument("--reference", default="full", choices=["full", "lora", "partial"])
    parser.add_argument("--fewest", type=int, nargs="+", default=[1, 3, 4, 6])
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    task = suite_tasks(
        read_suite(options.suite),
        options.data,
        options.out,
        lambda path, own: Engine.open(path, policy=Policy(decide="lm", **own), dtype=options.dtype),
        Limits(None, options.minutes, no_progress),
        only=[options.only],
    )[0]
    print("| least passes | passes | accuracy | NLL | distance of the two |\n|---|---|---|---|---|")
    first = None
    for fewest in options.fewest:
        own = replace(task, folder=task.folder / f"fewest-{fewest}")
        if first is not None:
            _share(first.folder, own.folder, options.reference)
        first = first or own
        trainer.FEWEST_EPOCHS = fewest
        found = [answers(own, options.reference, seed) for seed in (0, 1)]
        print(f"| {fewest} | {_row(task, found)} |", flush=True)


def _share(source: Path, target: Path, reference: str) -> None:
    """Let a search that was done serve another folder's trainings."""
    for rate in source.glob(f"{reference}-*/rate-*"):
        shutil.copytree(rate, target / rate.relative_to(source), dirs_exist_ok=True)


def _row(task: Task, found: list[Answers]) -> str:
    scores = [label_scores(own.probs, task.gold, Resampling(len(task.test))) for own in found]
    apart = total_variation(found[0].probs, found[1].probs).mean()
    columns = (
        [f"{own.settings['epochs']:g}" for own in found],
        [f"{own.accuracy.value:.3f}" for own in scores],
        [f"{own.nll.value:.2f}" for own in scores],
        [f"{apart:.3f}"],
    )
    return " | ".join(map(", ".join, columns))


if __name__ == "__main__":
    main()
