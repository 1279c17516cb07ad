"""From the best candidate to a calibrated blend, and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import numpy as np

from ragicl.calibration.blend import (
    SOURCES,
    Blend,
    Evidence,
    Fitted,
    batch_offsets,
    fit_blend,
    mean_nll,
    nll,
    prior_weights,
)
from ragicl.engine import Engine
from ragicl.errors import BudgetError
from ragicl.protocols import Float64Array, FloatArray, IntArray
from ragicl.retrieval.retriever import Retriever
from ragicl.tune.held_out import HeldOut

EMPTY = ("N/A", "[MASK]")  # texts without content (Zhao et al. 2021)
QUERIES = 12  # whose demonstrations precede such texts
WORDS = 12  # in a text of random words of the domain (Fei et al. 2023)


def content_free(
    engine: Engine, held_out: HeldOut, labels: Sequence[str], seed: int
) -> dict[str, FloatArray]:
    """Return calibration offsets from the model's answers to texts without content.

    :param engine: decides by the language model alone
    :param held_out: examples of the index, whose demonstrations precede the texts
    :return: ``contextual`` and ``domain``, each of shape (labels,), where such texts fit
    """
    draw = np.random.default_rng(seed)
    some = held_out.rows[:QUERIES]
    words = [word for row in held_out.rows for word in row.input.split()]
    retriever = Retriever(engine.index, engine.policy)
    others = retriever.find_others(some, held_out.vectors[:QUERIES])
    near = [found.neighbors for found in others]
    texts = {
        "contextual": [EMPTY[i % len(EMPTY)] for i in range(len(some))],
        "domain": [" ".join(draw.choice(words, WORDS)) for _ in some],
    }
    found = {}
    for name, own in texts.items():
        try:
            answers = list(engine.predict_with(own, near))
        except BudgetError:  # in a language without spaces, a word is long
            continue
        probs = [[answer.probs[label] for label in labels] for answer in answers]
        found[name] = batch_offsets(np.log(np.maximum(probs, 1e-9)).astype(np.float32))
    return found


def fit_calibrations(
    evidence: Evidence,
    gold: IntArray,
    labels: Sequence[str],
    offsets: Mapping[str, FloatArray],
    lm_free: Mapping[str, Fitted],
) -> dict[str, Fitted]:
    """Return the blend with each calibration of the language model, on the same rows.

    :param lm_free: blends without its answers, fitted on these rows and more
    """
    assert evidence.lm is not None
    taken = {"none": None, "batch": batch_offsets(evidence.lm), **offsets}
    fit = partial(fit_blend, gold=gold, labels=labels, prior=prior_blend(lm_free, evidence))
    calibrations = {name: fit(evidence, offsets=own) for name, own in taken.items()}
    calibrations["vector"] = fit(evidence, vector=True)
    return calibrations | {name: _cut(own, gold) for name, own in lm_free.items()}


def fit_lm_free(evidence: Evidence, gold: IntArray, labels: Sequence[str]) -> dict[str, Fitted]:
    """Return blends without the language model's answers.

    ``without`` uses its states, in context where they are seen; ``bare`` those of the bare text,
    ``index`` none.

    :param evidence: of all rows, without the language model's answers
    """
    calibrations = {"without": fit_blend(in_context(evidence), gold, labels)}
    if evidence.context is not None:
        calibrations["bare"] = fit_blend(replace(evidence, context=None), gold, labels)
    if evidence.features is not None:
        bare = replace(evidence, features=None, context=None)
        calibrations["index"] = fit_blend(bare, gold, labels)
    return calibrations


def in_context(evidence: Evidence) -> Evidence:
    """Return evidence without the states of the bare text where there are those in context.

    These know what the others do: reading every text twice is not worth its time.
    """
    return evidence if evidence.context is None else replace(evidence, features=None)


def prior_blend(lm_free: Mapping[str, Fitted], evidence: Evidence) -> Blend:
    """Return the prior of a blend with the language model's answers, given those without."""
    return msgspec.structs.replace(lm_free["without"].blend, lm=prior_weights(evidence)[0])


def _cut(fitted: Fitted, gold: IntArray) -> Fitted:
    """Return a blend with its figures on the first rows alone, whose labels are given."""
    held_out = fitted.held_out[: len(gold)]
    return Fitted(fitted.blend, held_out, mean_nll(held_out, gold))


def best_calibration(
    calibrations: Mapping[str, Fitted], gold: IntArray, lm_free: Mapping[str, Fitted]
) -> str:
    """Return the calibration of the least loss; one without prompts where it is nearly as good.

    Then a prediction takes a tenth of the time or less, and its probabilities are calibrated on all
    held-out examples, not only on those that the language model had time for. Which one without
    prompts is decided by all of these too.

    :param lm_free: the blends without the language model's answers, on all rows
    """
    free = min(lm_free, key=lambda name: lm_free[name].loss)
    rivals = [name for name in calibrations if name == free or name not in lm_free]
    losses = {name: nll(calibrations[name].held_out, gold) for name in rivals}
    best = min(rivals, key=lambda name: calibrations[name].loss)
    return free if nearly(losses[free], losses[best]) else best


def nearly(losses: Float64Array, least: Float64Array) -> bool:
    """Whether losses are within one standard error of the least ones of the same rows.

    The standard error is that of the difference (Breiman et al. 1984).
    """
    worse = losses - least
    return bool(worse.mean() <= worse.std() / np.sqrt(len(worse)))


def figures(probs: Float64Array, gold: IntArray) -> dict[str, float]:
    """Return accuracy and mean negative log-likelihood, in nats."""
    right = probs.argmax(axis=1) == gold
    return {
        "accuracy": round(float(right.mean()), 4),
        "loss": round(mean_nll(probs, gold), 4),
    }


def sources(evidence: Evidence, gold: IntArray) -> dict[str, Any]:
    """Return the figures of each source by itself, uncalibrated."""
    logs = zip(SOURCES, evidence.logs(), evidence.asked, strict=True)
    return {name: figures(np.exp(own), gold) for name, own, asked in logs if asked}
