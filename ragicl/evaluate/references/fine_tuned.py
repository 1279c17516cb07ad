"""References that fine-tune the engine's own base model, on its own template.

They read prompts without demonstrations, and are trained on the answers alone, so that their
distributions live on the same outputs as the engine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from ragicl.calibration.distributions import from_log_probs
from ragicl.evaluate.task import Reference, Task, digest
from ragicl.protocols import FloatArray, Scoring

if TYPE_CHECKING:
    from ragicl.backends.hf.training.api import Pair, Tuned

VERSION = 4  # of what is trained; to be raised when trainings change


def full(task: Task, seed: int) -> Reference:
    """Train all weights."""
    return _reference(task, "full", seed)


def partial(task: Task, seed: int) -> Reference:
    """Train the last blocks."""
    return _reference(task, "partial", seed)


def lora(task: Task, seed: int) -> Reference:
    """Train adapters of low rank beside every linear layer (Hu et al. 2021)."""
    return _reference(task, "lora", seed)


def prompt_tuning(task: Task, seed: int) -> Reference:
    """Train a soft prompt before each text (Lester et al. 2021)."""
    return _reference(task, "prompt-tuning", seed)


def two_stage(task: Task, seed: int) -> Reference:
    """Train all weights on the other sets first, then on the target (Phang et al. 2018)."""
    return _reference(task, "full", seed, before=_others(task))


def multi_task(task: Task, seed: int) -> Reference:
    """Train all weights on all sets at once: the same model for each of them."""
    everything = sorted([(task.name, task.pool), *task.others.items()], key=lambda pair: pair[0])
    pairs = task.pairs_of(list(chain.from_iterable(pool for _, pool in everything)))
    return _reference(task, "full", seed, pairs=pairs)


def model_of(
    task: Task,
    method: str,
    seed: int,
    *,
    pairs: Sequence[Pair] | None = None,
    before: Sequence[Pair] = (),
) -> Tuned:
    """Return the language model tuned by a method, or read what was kept of it."""
    from ragicl.backends.hf.training.api import tune

    pairs = task.pairs if pairs is None else pairs
    content = digest(VERSION, pairs, before, task.lm.description, task.minutes)
    return tune(
        task.lm,
        method,
        pairs,
        task.folder / f"{method}-{content}",
        seed=seed,
        minutes=task.minutes,
        before=before,
        progress=lambda name, step, of: task.progress(f"{task.name}: training {name}", step, of),
    )


def _reference(
    task: Task,
    method: str,
    seed: int,
    *,
    pairs: Sequence[Pair] | None = None,
    before: Sequence[Pair] = (),
) -> Reference:
    return reference_of(task, model_of(task, method, seed, pairs=pairs, before=before))


def reference_of(task: Task, tuned: Tuned) -> Reference:
    """Return a tuned model as a classifier of the task's labels."""
    _probs(task, tuned.lm, task.texts[:1])  # the first answer finds the way to score: no row's time
    return Reference(
        task.labels,
        lambda texts: _probs(task, tuned.lm, texts),
        lambda text: tuned.soft + task.lm.count(task.bare(text)),
        tuned.seconds,
        tuned.bytes,
        tuned.settings,
    )


def _probs(task: Task, lm: Scoring, texts: Sequence[str]) -> FloatArray:
    answers = [task.engine.template.answer(label) for label in task.labels]
    scores = lm.score([task.bare(text) for text in texts], answers)
    rows = [list(from_log_probs(row, task.labels).values()) for row in scores]
    return np.array(rows, dtype=np.float32)


def _others(task: Task) -> list[Pair]:
    return task.pairs_of(list(chain.from_iterable(task.others.values())))
