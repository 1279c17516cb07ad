"""Successive halving over prompting candidates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ragicl.backends.capabilities import as_scoring
from ragicl.calibration.blend import Evidence, fit_blend, nll
from ragicl.calibration.conformal import ConformalRecord
from ragicl.engine import Engine
from ragicl.errors import TaskError
from ragicl.inference.pipeline import CHUNK
from ragicl.inference.tuned_settings import Tuned
from ragicl.protocols import Float64Array, FloatArray, IntArray, Progress, no_progress
from ragicl.records import Example, Prediction
from ragicl.tune.candidates import CANDIDATES, Candidate, possible
from ragicl.tune.fit import (
    best_calibration,
    content_free,
    figures,
    fit_calibrations,
    fit_lm_free,
    in_context,
    nearly,
    prior_blend,
    sources,
)
from ragicl.tune.held_out import HeldOut
from ragicl.tune.logprob_cache import LogProbCache

FIRST = 24  # examples that every candidate is tried on
SEARCH_SHARE = 0.6  # of the time; then the best candidate continues alone


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """The result of a candidate on some examples.

    :ivar losses: negative log-likelihood of each example in nats, by a blend not fitted on it
    :ivar seconds: of the language model, for each example
    """

    candidate: Candidate
    losses: Float64Array
    seconds: float

    @property
    def rows(self) -> int:
        """How many examples it was tried on."""
        return len(self.losses)

    @property
    def loss(self) -> float:
        """The mean loss."""
        return float(self.losses.mean())


def tune(
    engine: Engine,
    minutes: float,
    *,
    candidates: Sequence[Candidate] = CANDIDATES,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Tuned:
    """Choose how to prompt, to calibrate and to blend; the caller writes it into the manifest.

    :param engine: whose index, language model and other settings are kept
    :param minutes: when the search ends; one candidate is tried on a few examples in any case
    :raises TaskError: where text is written, no language model is there, or examples are too few
    :raises BackendError: where the language model gives no likelihoods
    :raises LockedError: where another process is tuning the index
    :raises StoreError: where the index's folder cannot be written
    """
    if engine.generates or engine.lm is None:
        raise TaskError("tuning takes labels to choose from, and a language model to choose")
    as_scoring(engine.lm)
    with LogProbCache(engine) as cache:
        return _Search(engine, engine.lm.description, cache, minutes, seed, progress).run(
            candidates
        )


class _Search:
    """One run."""

    def __init__(
        self,
        engine: Engine,
        lm: str,
        cache: LogProbCache,
        minutes: float,
        seed: int,
        progress: Progress,
    ) -> None:
        self._engine = engine
        self._lm = lm
        self._cache = cache
        self._start, self._seconds = time.monotonic(), 60 * minutes
        self._seed, self._progress = seed, progress
        self._held_out = HeldOut.of(engine, seed, progress)
        self._rows, self._gold = self._held_out.rows, self._held_out.gold
        self._labels = self._held_out.labels  # of one state with the rows
        self._ids = [row.id for row in self._rows]
        # Fitted on all examples; the language model is only asked about some of them.
        self._lm_free = fit_lm_free(self._held_out.evidence, self._gold, self._labels)
        self._trials: list[Trial] = []

    def run(self, candidates: Sequence[Candidate]) -> Tuned:
        """Halve the candidates until one is left, and try it on as many examples as time allows."""
        alive, size = possible(candidates, self._engine), min(FIRST, len(self._rows))
        while len(alive) > 1:
            trials: list[Trial] = []
            for candidate in alive:  # what time leaves no room for is not tried
                if not trials or not self._late(SEARCH_SHARE):
                    trials.append(self._try(candidate, size, SEARCH_SHARE))
            self._trials += trials
            whole = sorted((t for t in trials if t.rows == size), key=lambda t: t.loss)
            late = self._late(SEARCH_SHARE) or size == len(self._rows)
            # A trial that ran out of time saw fewer rows, and is not compared with the others.
            best = whole or trials
            number = 1 if late else max(1, len(alive) // 2)
            alive = [t.candidate for t in best[:number]] if number > 1 else [cheapest(best)]
            size = min(2 * size, len(self._rows))
        self._trials.append(self._try(alive[0], len(self._rows), 1.0))
        return self._finished(alive[0])

    def _late(self, share: float) -> bool:
        return time.monotonic() - self._start > share * self._seconds

    def _try(self, candidate: Candidate, size: int, share: float) -> Trial:
        """Score the first rows, as far as this share of the time allows."""
        engine = candidate.prompting(self._engine)
        left = [row for row in self._rows[:size] if (candidate, row.id) not in self._cache]
        ids = self._ids[:size]
        done = self._cache.first(candidate, ids)
        for start in range(0, len(left), CHUNK):
            if done >= min(FIRST, size) and self._late(share):
                break
            some = left[start : start + CHUNK]
            begun = time.monotonic()
            log_probs = _log_probs(engine, some, self._labels)
            asked = [row.id for row in some]
            self._cache.add(candidate, asked, log_probs, time.monotonic() - begun)
            done = self._cache.first(candidate, ids)
            self._progress(f"tuning: {candidate.name}", done, size)
        evidence, gold = self._evidence(candidate, size)
        prior = prior_blend(self._lm_free, evidence)
        held_out = fit_blend(evidence, gold, self._labels, prior=prior).held_out
        return Trial(candidate, nll(held_out, gold), self._cache.seconds(candidate))

    def _evidence(self, candidate: Candidate, size: int) -> tuple[Evidence, IntArray]:
        """Return the evidence for the first rows, as far as they are scored, and their labels."""
        lm = self._cache.of(candidate, self._ids[:size])
        rows = slice(len(lm))
        return replace(in_context(self._held_out.evidence.of(rows)), lm=lm), self._gold[rows]

    def _finished(self, candidate: Candidate) -> Tuned:
        """Return the candidate with its best calibration; without the language model, if better."""
        evidence, asked = self._evidence(candidate, len(self._rows))
        gold = asked
        prompting = candidate.prompting(self._engine)
        offsets = content_free(prompting, self._held_out, self._labels, self._seed)
        calibrations = fit_calibrations(evidence, gold, self._labels, offsets, self._lm_free)
        name = best_calibration(calibrations, gold, self._lm_free)
        best = calibrations[name]
        if name in self._lm_free:  # then there is evidence for all rows
            gold, best = self._gold, self._lm_free[name]
        report: dict[str, Any] = {
            "rows": len(gold),
            "seconds": round(time.monotonic() - self._start, 1),
            "examples": len(self._engine.index),
            "generation": self._engine.index.generation,
            "blend": figures(best.held_out, gold),
            "alone": sources(evidence, asked),
            "lm_free": {name: figures(f.held_out, self._gold) for name, f in self._lm_free.items()},
            "calibrations": {each: round(own.loss, 4) for each, own in calibrations.items()},
            "trials": [_row(trial) for trial in self._trials],
        }
        return Tuned(
            {**prompting.policy.tunable(), "voters": self._held_out.voters},
            candidate.template,
            self._lm,
            name,
            best.blend,
            ConformalRecord.of(best.held_out, gold),
            report,
        )


def cheapest(trials: Sequence[Trial]) -> Candidate:
    """Return the candidate that reads least among those not significantly worse than the best.

    Demonstrations are counted, not timed: so a continued run makes the same choice.
    """
    best = min(trials, key=lambda trial: trial.loss)
    as_good = [
        trial for trial in trials if nearly(trial.losses[: best.rows], best.losses[: trial.rows])
    ]
    return min(as_good, key=lambda trial: (trial.candidate.read, trial.loss)).candidate


def _log_probs(engine: Engine, rows: Sequence[Example], labels: Sequence[str]) -> FloatArray:
    """Return log P(label | prompt) in nats; uniform where a text does not fit."""
    answers = engine.try_all([row.input for row in rows], exclude=[row.id for row in rows])
    probs = [
        [answer.probs[label] for label in labels]
        if isinstance(answer, Prediction)
        else [1 / len(labels)] * len(labels)
        for answer in answers
    ]
    return np.log(np.maximum(probs, 1e-9)).astype(np.float32)


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "candidate": trial.candidate.name,
        "rows": trial.rows,
        "loss": round(trial.loss, 4),
        "seconds_a_row": round(trial.seconds, 4),
    }
