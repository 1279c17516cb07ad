"""Is the tuned blend better than its parts, and than what else takes no fine-tuning: measured.

    python eval/benchmarks/accuracy.py eval/suites/accuracy.toml DATA_FOLDER OUT [--minutes 5]

Each set of the suite is indexed, tuned once by `ragicl tune` for so many minutes, and measured on
its test rows beside 1-NN, the neighbours' vote, a logistic probe, random and nearest
demonstrations, and kNN-prompting. Also: how often conformal sets hold the right label. Everything
is kept in OUT as it is made, and not done again; the table so far stands in OUT/accuracy.md.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ragicl import Engine, Policy
from ragicl.atomic import write_whole
from ragicl.calibrate import SOURCES
from ragicl.conformal import Record
from ragicl.evaluate.measures.intervals import Resampling
from ragicl.evaluate.measures.scores import label_scores
from ragicl.evaluate.prepare import Limits, suite_tasks
from ragicl.evaluate.references.table import answers
from ragicl.evaluate.results import OURS
from ragicl.evaluate.suite import read_suite
from ragicl.evaluate.task import Task
from ragicl.tune import tune
from ragicl.tuned import Tuned

COLUMNS = ("knn-1", "knn", "probe", "random-icl", OURS, "knn-prompting", "blend")
SCORES = ("accuracy", "macro_f1", "nll", "ece")
COVERAGES = (0.9, 0.95)


def main() -> None:
    """Measure set after set; print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("suite", "data", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--sets", help="names of sets, separated by commas; all without it")
    options = parser.parse_args()
    suite = read_suite(options.suite)
    wanted = options.sets.split(",") if options.sets else [spec.name for spec in suite.sets]
    found = {}
    for spec in suite.sets:
        file = options.out / f"{spec.name}.json"
        if spec.name in wanted and not file.exists():
            task = suite_tasks(
                replace(suite, sets=(spec,)),
                options.data,
                options.out,
                lambda path, own: Engine.open(
                    path, policy=Policy(decide="lm", **own), dtype=options.dtype
                ),
                Limits(None, None, lambda name, done, total: None),
            )[0]
            write_whole(file, json.dumps(measured(task, options.minutes), indent=1).encode())
            task.engine.close()
        if file.exists():
            found[spec.name] = json.loads(file.read_text())
            (options.out / "accuracy.md").write_text(table(found, options.minutes))
    print((options.out / "accuracy.md").read_text())


def measured(task: Task, minutes: float) -> dict[str, Any]:
    """Return every column's scores on a set, and what tuning found and promised."""
    index = task.engine.index
    if index.manifest.tuned is None:
        index.keep_tuned(tune(task.engine, minutes).as_json())
    tuned = Tuned.from_json(index.manifest.tuned or {})
    resampling = Resampling(len(task.test))
    scores, seconds = {}, {}
    for name in COLUMNS:
        start = time.perf_counter()
        probs = answers(task, name).probs
        scores[name] = asdict(label_scores(probs, task.gold, resampling))
        seconds[name] = round(time.perf_counter() - start, 1)
        print(task.name, name, round(scores[name]["accuracy"]["value"], 3), flush=True)
    return {
        "rows": len(task.test),
        "pool": len(task.pool),
        "scores": scores,
        "seconds": seconds,
        "sets": sets(tuned.record, answers(task, "blend").probs, task),
        "tuned": tuned.as_json() | {"record": None},
    }


def sets(record: Record, probs: Any, task: Task) -> dict[str, Any]:
    """Return how often conformal sets hold the right label, and how many labels they hold."""
    found = {}
    known = task.gold >= 0
    for coverage in COVERAGES:
        if (1 - coverage) * (len(record.right) + 1) < 1:
            continue
        least = record.least(coverage)
        held = probs >= np.minimum(least, probs.max(axis=1, keepdims=True))
        right = held[np.flatnonzero(known), task.gold[known]]
        found[str(coverage)] = {
            "covered": round(float(right.mean()), 4),
            "size": round(float(held.sum(axis=1).mean()), 2),
        }
    return found


def table(found: dict[str, Any], minutes: float) -> str:
    """Return the table of all sets measured so far."""
    lines = [f"Tuned by one run of {minutes:g} minutes.", ""]
    for score in SCORES:
        lines += [f"## {score}", "", f"| set | rows | {' | '.join(COLUMNS)} |"]
        lines.append("|---" * (len(COLUMNS) + 2) + "|")
        for name, own in found.items():
            cells = [
                "{value:.3f} ({low:.3f}–{high:.3f})".format(**own["scores"][column][score])
                for column in COLUMNS
            ]
            lines.append(f"| {name} | {own['rows']} | {' | '.join(cells)} |")
        lines.append("")
    lines += ["## what was tuned", ""]
    lines.append(
        "| set | chosen | calibration | weights lm, vote, ridge, features | examples left out |"
    )
    lines.append("|---|---|---|---|---|")
    for name, own in found.items():
        tuned = own["tuned"]
        weights = ", ".join(f"{tuned['blend'][source]:.2f}" for source in SOURCES)
        chosen = tuned["evidence"]["trials"][-1]["candidate"]
        rows = tuned["evidence"]["rows"]
        lines.append(f"| {name} | {chosen} | {tuned['calibration']} | {weights} | {rows} |")
    lines += ["", "## conformal sets", "", "| set | asked | covered | labels in a set |"]
    lines.append("|---|---|---|---|")
    for name, own in found.items():
        for asked, got in own["sets"].items():
            lines.append(f"| {name} | {asked} | {got['covered']:.3f} | {got['size']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
