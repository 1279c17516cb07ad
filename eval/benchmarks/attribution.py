"""What a tuned answer owes to the index, to reading, and to reading in context.

    python eval/benchmarks/attribution.py eval/suites/accuracy.toml DATA_FOLDER OUT FILE.json

OUT is that of `accuracy.py`, whose indexes are tuned. For each set three blends without the model's
answers are fitted on the examples, each left out: of the index alone (classifier on vectors, vote),
with the states of the bare text, and with states in context. They are judged by the examples left
out and by the test rows; "share of context" is what states in context take off the loss left out
beyond those of the bare text, of all that reading takes off. Intervals are of 2,000 resamples. The
sets measured are added to FILE, and not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ragicl import Engine, Policy
from ragicl.atomic import write_whole
from ragicl.calibration.blend import Blend, Fitted, nll
from ragicl.evaluate.metrics.bootstrap import Resampling
from ragicl.evaluate.prepare import Limits, suite_tasks
from ragicl.evaluate.suite import SetSpec, Suite, read_suite
from ragicl.evaluate.task import Task
from ragicl.inference.blender import Blender
from ragicl.probes.context import context_of
from ragicl.probes.lm_features import features_of
from ragicl.protocols import Float64Array, no_progress
from ragicl.retrieval.retriever import Retriever
from ragicl.tune.fit import fit_lm_free
from ragicl.tune.held_out import HeldOut

WAYS = {"index": "index alone", "bare": "with bare states", "without": "with states in context"}


def main() -> None:
    """Measure set after set; print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("suite", "data", "out", "file"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--sets", nargs="*")
    options = parser.parse_args()
    suite = read_suite(options.suite)
    found = json.loads(options.file.read_text()) if options.file.exists() else {}
    for spec in suite.sets:
        if spec.name in found or spec.name not in (options.sets or [spec.name]):
            continue
        task = opened(suite, spec, options.data, options.out, options.dtype)
        found[spec.name] = attributed(task)
        write_whole(options.file, json.dumps(found, indent=1).encode())
        task.engine.close()
    print(table(found))


def opened(suite: Suite, spec: SetSpec, data: Path, out: Path, dtype: str) -> Task:
    """Return a set's index and test rows."""
    engine = lambda path, own: Engine.open(path, policy=Policy(**own), dtype=dtype)  # noqa: E731
    return suite_tasks(
        replace(suite, sets=(spec,)), data, out, engine, Limits(None, None, no_progress)
    )[0]


def attributed(task: Task) -> dict[str, Any]:
    """Return each blend's figures on the examples left out and on the test rows."""
    held_out = HeldOut.of(task.engine)
    fitted = fit_lm_free(held_out.evidence, held_out.gold, held_out.labels)
    losses = {way: nll(own.held_out, held_out.gold) for way, own in fitted.items()}
    tests = tested(task, held_out, fitted)
    resampling = Resampling(len(task.test))
    scores = {
        way: {
            "accuracy": resampling.mean((probs.argmax(axis=1) == task.gold).astype(np.float32)),
            "nll": resampling.mean(nll(probs, task.gold).astype(np.float32)),
        }
        for way, probs in tests.items()
    }
    own = nll(tests["without"], task.gold).astype(np.float32)
    paired = {
        way: resampling.paired(nll(tests[way], task.gold).astype(np.float32), own)
        for way in ("index", "bare")
    }
    return {
        "examples": len(task.pool),
        "left_out": {way: float(own.mean()) for way, own in losses.items()},
        "share": msgspec.to_builtins(share(losses)),
        "test": msgspec.to_builtins(scores),
        "nll_above_context": msgspec.to_builtins(paired),
        "weights": dict(zip(("lm", "vote", "vectors", "features", "context"),
                            fitted["without"].blend.weights, strict=True)),
    }  # fmt: skip


def tested(task: Task, held_out: HeldOut, fitted: Mapping[str, Fitted]) -> dict[str, Float64Array]:
    """Return P(label | test row) by each blend, shape (rows, labels)."""
    engine, labels = task.engine, held_out.labels
    policy = engine.policy.replace(decide="blend", voters=held_out.voters, shortlist=None)
    features = features_of(engine.index.derived, task.lm)
    context = context_of(engine.index, task.lm, lambda: labels)
    blender = Blender(engine.index, policy, lambda: labels, Blend(), features, context)
    texts = [row.input for row in task.test]
    retriever = Retriever(engine.index, policy)
    found = retriever.find(texts, [None] * len(texts), {}, demonstrations=False)
    evidence = blender.evidence(found, labels)
    return {way: own.blend.probs(evidence, labels) for way, own in fitted.items()}


def share(losses: Mapping[str, Float64Array]) -> Any:
    """Return what context takes off the loss, of what all states take off, with its interval."""
    stacked = np.stack([losses[way] for way in WAYS], axis=1).astype(np.float32)
    return Resampling(len(stacked)).of(
        stacked, lambda mean: (mean[:, 1] - mean[:, 2]) / (mean[:, 0] - mean[:, 2])
    )


def table(found: Mapping[str, Any]) -> str:
    """Return a row for each set."""
    heads = ["set", "examples", *(f"left out: {way}" for way in WAYS.values()), "share of context"]
    heads += [f"test: {way}" for way in WAYS.values()] + ["bare above context, nats"]
    rows = []
    for name, own in found.items():
        left = [f"{own['left_out'][way]:.3f}" for way in WAYS]
        part = "{value:.0%} ({low:.0%}–{high:.0%})".format(**own["share"])
        tests = [
            f"{own['test'][way]['accuracy']['value']:.3f} / {own['test'][way]['nll']['value']:.3f}"
            for way in WAYS
        ]
        paired = own["nll_above_context"]["bare"]
        above = "{value:.3f} ({low:.3f}–{high:.3f})".format(**paired["difference"])
        cells = [name, str(own["examples"]), *left, part, *tests, above]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *rows])


if __name__ == "__main__":
    main()
