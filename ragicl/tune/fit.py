"""From the best way of prompting to a blend, with what it promises and how it was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ragicl.calibration.blend import (
    SOURCES,
    USUAL,
    WITH_FEATURES,
    Blend,
    Evidence,
    Fitted,
    batch_offsets,
    fit_blend,
    mean_surprise,
    surprises,
)
from ragicl.engine import Engine
from ragicl.errors import BudgetError
from ragicl.protocols import Float64Array, FloatArray, IntArray
from ragicl.records import Example
from ragicl.retrieval.retriever import Retriever

EMPTY = ("N/A", "[MASK]")  # texts without content (Zhao et al. 2021)
QUERIES = 12  # whose demonstrations are followed by such texts
WORDS = 12  # in a text of random words of the domain (Fei et al. 2023)


def content_free(
    engine: Engine, rows: Sequence[Example], labels: Sequence[str], seed: int
) -> dict[str, FloatArray]:
    """Return offsets from what the model says after texts that say nothing.

    :param engine: asks the language model alone
    :param rows: examples of the index, whose demonstrations they follow
    :return: ``contextual`` and ``domain``, each of shape (labels,), where such texts fit
    """
    draw = np.random.default_rng(seed)
    some = rows[:QUERIES]
    words = [word for row in rows for word in row.input.split()]
    near = [found.neighbors for found in Retriever(engine.index, engine.policy).find_others(some)]
    texts = {
        "contextual": [EMPTY[i % len(EMPTY)] for i in range(len(some))],
        "domain": [" ".join(draw.choice(words, WORDS)) for _ in some],
    }
    found = {}
    for name, own in texts.items():
        try:
            answers = list(engine.predict_with(own, near))
        except BudgetError:  # where words are not set apart, twelve of them are long
            continue
        said = [[answer.probs[label] for label in labels] for answer in answers]
        found[name] = batch_offsets(np.log(np.maximum(said, 1e-9)).astype(np.float32))
    return found


def fit_ways(
    evidence: Evidence,
    gold: IntArray,
    labels: Sequence[str],
    offsets: Mapping[str, FloatArray],
    silent: Mapping[str, Fitted],
) -> dict[str, Fitted]:
    """Return the blend by each way of calibrating the language model, on the same rows.

    :param silent: blends without its answers, fitted on these rows and on more
    """
    assert evidence.lm is not None
    taken = {"none": None, "batch": batch_offsets(evidence.lm), **offsets}
    fit = partial(fit_blend, gold=gold, labels=labels, start=usual(silent))
    ways = {name: fit(evidence, offsets=own) for name, own in taken.items()}
    ways["vector"] = fit(evidence, vector=True)
    return ways | {name: _cut(own, gold) for name, own in silent.items()}


def fit_silent(evidence: Evidence, gold: IntArray, labels: Sequence[str]) -> dict[str, Fitted]:
    """Return blends without what the language model says after demonstrations.

    ``without`` is asked for no more than its features, ``index`` not even for these.

    :param evidence: of all rows: what the model does not take part in is known of them
    """
    ways = {"without": fit_blend(evidence, gold, labels)}
    if evidence.features is not None:
        ways["index"] = fit_blend(replace(evidence, features=None), gold, labels)
    return ways


def usual(silent: Mapping[str, Fitted]) -> Blend:
    """Return what a blend with the language model's answers is drawn to, given one without."""
    powers = WITH_FEATURES if "index" in silent else USUAL
    return replace(silent["without"].blend, lm=powers[0])


def _cut(fitted: Fitted, gold: IntArray) -> Fitted:
    """Return a blend as it does on the first rows alone, whose labels are given."""
    held_out = fitted.held_out[: len(gold)]
    return Fitted(fitted.blend, held_out, mean_surprise(held_out, gold))


def best_way(ways: Mapping[str, Fitted], gold: IntArray) -> str:
    """Return the way with the least loss; one without demonstrations where it is as good.

    Then a prediction takes a tenth of the time or less, and all examples left out tell what its
    probabilities are worth, rather than those that there was time to ask about.
    """
    losses = {name: surprises(way.held_out, gold) for name, way in ways.items()}
    best = min(ways, key=lambda name: ways[name].loss)
    return "without" if best != "index" and nearly(losses["without"], losses[best]) else best


def nearly(losses: Float64Array, least: Float64Array) -> bool:
    """Whether losses are as good as the least ones of the same rows, as far as the rows can tell.

    That is within one standard error of the difference (Breiman et al. 1984).
    """
    worse = losses - least
    return bool(worse.mean() <= worse.std() / np.sqrt(len(worse)))


def figures(probs: Float64Array, gold: IntArray) -> dict[str, float]:
    """Return accuracy and mean negative log-likelihood, in nats."""
    right = probs.argmax(axis=1) == gold
    return {
        "accuracy": round(float(right.mean()), 4),
        "loss": round(mean_surprise(probs, gold), 4),
    }


def sources(evidence: Evidence, gold: IntArray) -> dict[str, Any]:
    """Return the figures of each source by itself, uncalibrated."""
    logs = zip(SOURCES, evidence.logs(), evidence.asked, strict=True)
    return {name: figures(np.exp(own), gold) for name, own, asked in logs if asked}
