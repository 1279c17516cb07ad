"""Is ragicl, tuned, better than its parts, and than what else takes no fine-tuning: measured.

    python eval/benchmarks/accuracy.py eval/suites/accuracy.toml DATA_FOLDER OUT [--minutes 0.5]

Each set of the suite is indexed, tuned once by `ragicl tune` for so many minutes, and measured on
its test rows beside 1-NN, the neighbours' vote, a logistic probe, random and nearest
demonstrations, kNN-prompting, and blends that lack a source (attribution.py). Also: how often
conformal sets hold the right label. Everything is kept in OUT as it is made; a set's figures in
eval/results/accuracy. What is there is not done again: --cells FOLDER measures everything again.
The tables are printed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from attribution import WAYS, attributed, table
from common import ROOT

from ragicl import Engine, Policy
from ragicl.atomic import write_whole
from ragicl.calibration.blend import SOURCES
from ragicl.calibration.conformal import ConformalRecord
from ragicl.evaluate.metrics.bootstrap import Resampling
from ragicl.evaluate.metrics.label_scores import label_scores
from ragicl.evaluate.prepare import Limits, suite_tasks
from ragicl.evaluate.references.registry import answers
from ragicl.evaluate.results import ICL, SYSTEM
from ragicl.evaluate.suite import SetSpec, Suite, read_suite
from ragicl.evaluate.task import Task
from ragicl.inference.tuned_settings import Tuned
from ragicl.protocols import no_progress
from ragicl.tune import tune

COLUMNS = ("knn-1", "knn", "probe", "random-icl", ICL, "knn-prompting", SYSTEM)
SCORES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro-F1",
    "nll": "Negative log-likelihood, nats",
    "ece": "Expected calibration error",
}
COVERAGES = (0.9, 0.95)


def main() -> None:
    """Measure set after set; print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("suite", "data", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--sets", help="names of sets, separated by commas; all without it")
    parser.add_argument("--columns", default=",".join(COLUMNS), help="measured, of these")
    parser.add_argument("--cells", type=Path, default=ROOT / "eval" / "results" / "accuracy")
    options = parser.parse_args()
    suite = read_suite(options.suite)
    wanted = options.sets.split(",") if options.sets else [spec.name for spec in suite.sets]
    found = {}
    for spec in suite.sets:
        file = options.cells / f"{spec.name}.json"
        cell = json.loads(file.read_text()) if file.exists() else {}
        columns = [
            name for name in options.columns.split(",") if name not in cell.get("scores", {})
        ]
        if spec.name in wanted and columns:
            task = opened(suite, spec, options)
            cell = completed(cell, task, options.minutes, options.dtype, columns)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(cell, indent=1).encode())
            task.engine.close()
        if SYSTEM in cell.get("scores", {}):
            found[spec.name] = cell
    print(tables(found))


def opened(suite: Suite, spec: SetSpec, options: argparse.Namespace) -> Task:
    """Return a set's index and test rows."""
    engine = lambda path, own: Engine.open(  # noqa: E731
        path, policy=Policy(decide="lm", **own), dtype=options.dtype
    )
    own = replace(suite, sets=(spec,))
    return suite_tasks(own, options.data, options.out, engine, Limits(None, None, no_progress))[0]


def completed(
    cell: dict[str, Any], task: Task, minutes: float, dtype: str, columns: Sequence[str]
) -> dict[str, Any]:
    """Return a set's figures, with those of some columns added."""
    index = task.engine.index
    if index.manifest.tuned is None:
        index.keep_tuned(tune(task.engine, minutes).as_json())
    resampling = Resampling(len(task.test))
    scores, seconds = dict(cell.get("scores", {})), dict(cell.get("seconds", {}))
    for name in columns:
        start = time.perf_counter()
        probs = answers(task, name).probs
        found = msgspec.structs.asdict(label_scores(probs, task.gold, resampling))
        scores[name] = msgspec.to_builtins(found)
        seconds[name] = round(time.perf_counter() - start, 1)
        print(task.name, name, round(scores[name]["accuracy"]["value"], 3), flush=True)
    dtypes = cell.get("dtypes", {}) | dict.fromkeys(columns, dtype)
    cell |= {"rows": len(task.test), "pool": len(task.pool)}
    return (
        cell
        | {"scores": scores, "seconds": seconds, "dtypes": dtypes}
        | (of_system(task, minutes) if SYSTEM in columns else {})
    )


def of_system(task: Task, minutes: float) -> dict[str, Any]:
    """Return what tuning found and promised, and what the answers owe to each source."""
    tuned = Tuned.from_json(task.engine.index.manifest.tuned or {}, task.engine.index.path)
    return {
        "minutes": minutes,
        "sets": sets(tuned.record, answers(task, SYSTEM).probs, task),
        "tuned": tuned.as_json() | {"record": None},
        "attribution": attributed(task),
    }


def sets(record: ConformalRecord, probs: Any, task: Task) -> dict[str, Any]:
    """Return how often conformal sets hold the right label, and how many labels they hold."""
    found = {}
    known = task.gold >= 0
    for coverage in COVERAGES:
        if (1 - coverage) * (len(record.right) + 1) < 1:
            continue
        least = record.quantile(coverage)
        held = probs >= np.minimum(least, probs.max(axis=1, keepdims=True))
        right = held[np.flatnonzero(known), task.gold[known]]
        found[str(coverage)] = {
            "covered": round(float(right.mean()), 4),
            "size": round(float(held.sum(axis=1).mean()), 2),
        }
    return found


def tables(found: dict[str, Any]) -> str:
    """Return the tables of all sets measured so far."""
    parts = [summary(found), *(scores_table(found, score) for score in SCORES)]
    owed = {name: own["attribution"] for name, own in found.items() if "attribution" in own}
    parts.append("\n".join(["## What an answer owes to reading in context", "", *table(owed)]))
    return "\n\n".join([*parts, tuned_table(found), sets_table(found)])


def summary(found: dict[str, Any]) -> str:
    """Return what ragicl answers beside the best other column of each set."""
    rows, good = [], {"accuracy": 0, "nll": 0, "ece": 0}
    for name, own in found.items():
        scores = own["scores"]
        system = {score: scores[SYSTEM][score]["value"] for score in SCORES}
        others = [column for column in scores if column != SYSTEM]
        best = max(others, key=lambda column: scores[column]["accuracy"]["value"])
        surest = min(others, key=lambda column: scores[column]["nll"]["value"])
        accuracy, nll = scores[best]["accuracy"]["value"], scores[surest]["nll"]["value"]
        good["accuracy"] += system["accuracy"] >= accuracy
        good["nll"] += system["nll"] < nll
        good["ece"] += system["ece"] < 0.05
        rows.append(
            f"| {name} | {own['pool']} | {system['accuracy']:.3f} | {accuracy:.3f} ({best}) | "
            f"{system['nll']:.3f} | {nll:.3f} ({surest}) | {system['ece']:.3f} |"
        )
    heads = ("set", "examples", "accuracy", "best other", "NLL", "best other", "ECE")
    summary = (
        f"Of {len(found)}: at least as accurate as every other column on {good['accuracy']}, "
        f"lowest NLL on {good['nll']}, calibration error below 0.05 on {good['ece']}."
    )
    return "\n".join(
        [f"## {SYSTEM} beside the best other column", "", *head(heads), *rows, "", summary]
    )


def scores_table(found: dict[str, Any], score: str) -> str:
    """Return a score of every column, with intervals; where the blends that lack a source have it.

    A cell of ragicl's that was measured before there were states in context has a dagger.
    """
    ways = WAYS if score in ("accuracy", "nll") else {}
    rows = []
    for name, own in found.items():
        blends = own.get("attribution", {}).get("test", {})
        cells = [interval(own["scores"].get(column, {}).get(score)) for column in COLUMNS[:-1]]
        cells += [interval(blends.get(way, {}).get(score)) for way in ways]
        cells.append(interval(own["scores"][SYSTEM][score]) + (" †" if not blends else ""))
        rows.append(f"| {name} | {own['rows']} | {' | '.join(cells)} |")
    heads = ("set", "rows", *COLUMNS[:-1], *ways.values(), SYSTEM)
    return "\n".join([f"## {SCORES[score]}", "", *head(heads), *rows])


def interval(found: dict[str, float] | None) -> str:
    """Return a figure with its interval; a dash where it was not measured."""
    return "{value:.3f} ({low:.3f}–{high:.3f})".format(**found) if found else "–"


def tuned_table(found: dict[str, Any]) -> str:
    """Return what tuning chose."""
    rows = []
    for name, own in found.items():
        tuned = own["tuned"]
        weights = ", ".join(f"{tuned['blend'].get(source, 0):.2f}" for source in SOURCES)
        prompted = tuned["blend"]["lm"] > 0
        chosen = tuned["evidence"]["trials"][-1]["candidate"] if prompted else "–"
        rows.append(
            f"| {name} | {own['minutes']:g} | {chosen} | "
            f"{tuned['calibration']} | {weights} | {tuned['evidence']['rows']} |"
        )
    heads = ("set", "minutes", "demonstrations", "calibration",
             f"weights of {', '.join(SOURCES)}", "examples left out")  # fmt: skip
    return "\n".join(["## What was tuned", "", *head(heads), *rows])


def sets_table(found: dict[str, Any]) -> str:
    """Return how often conformal sets hold the right label."""
    rows = [
        f"| {name} | {asked} | {got['covered']:.3f} | {got['size']} |"
        for name, own in found.items()
        for asked, got in own["sets"].items()
    ]
    heads = ("set", "asked", "covered", "labels in a set")
    return "\n".join(["## Conformal sets", "", *head(heads), *rows])


def head(columns: Sequence[str]) -> list[str]:
    """Return the head of a Markdown table."""
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


if __name__ == "__main__":
    main()
