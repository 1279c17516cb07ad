"""What a tuned answer owes to the index, to reading, and to reading in context.

For a set three blends without the model's answers are fitted on the examples, each left out: of the
index alone (classifier on vectors, vote), with the states of the bare text, and with states in
context. They are judged by the examples left out and by the test rows; "share of context" is what
states in context take off the loss left out beyond those of the bare text, of all that reading
takes off. Intervals are of 2,000 resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from ragicl.calibration.blend import Blend, Fitted, nll
from ragicl.evaluate.metrics.bootstrap import Resampling
from ragicl.evaluate.task import Task
from ragicl.inference.blender import Blender
from ragicl.probes.context import context_of
from ragicl.probes.lm_features import features_of
from ragicl.protocols import Float64Array
from ragicl.retrieval.retriever import Retriever
from ragicl.tune.fit import fit_lm_free
from ragicl.tune.held_out import HeldOut

WAYS = {"index": "index alone", "bare": "with bare states", "without": "with states in context"}


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


def table(found: Mapping[str, Any]) -> list[str]:
    """Return a table of sets by name, each a row: on the examples left out, and paired tests."""
    heads = ["set", "examples", *(f"left out: {way}" for way in WAYS.values()), "share of context"]
    heads += [f"test NLL above context: {WAYS[way]}" for way in ("index", "bare")]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, own in found.items():
        left = [f"{own['left_out'][way]:.3f}" for way in WAYS]
        part = "{value:.0%} ({low:.0%}–{high:.0%})".format(**own["share"])
        paired = [
            "{value:.3f} ({low:.3f}–{high:.3f}), ".format(**test["difference"])
            + ("p < 0.001" if test["p_value"] < 0.001 else f"p = {test['p_value']:.3f}")
            for test in (own["nll_above_context"][way] for way in ("index", "bare"))
        ]
        rows.append(f"| {' | '.join([name, str(own['examples']), *left, part, *paired])} |")
    return rows
