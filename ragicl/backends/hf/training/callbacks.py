"""A training's time budget, its checkpoints, its progress."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ragicl.atomic import write_whole
from ragicl.protocols import Progress

SAVE_EVERY = 180.0  # seconds between checkpoints
PATIENCE = 2  # epochs that may be worse than the best one, or than the best trial's
SPENT = "spent.json"


class TimeBudgetCallback(TrainerCallback):
    """Ends a training when its time budget is spent, or when the held-out loss no longer falls.

    :param seconds: the most to spend, a killed run's share included; None does not limit
    :param best_trial: the best trial so far: (epochs done, held-out loss) of each evaluation
    :ivar spent: seconds of training, those of a killed run up to its checkpoint included
    :ivar ended: whether time ended the training
    """

    def __init__(
        self,
        folder: Path,
        seconds: float | None,
        progress: Progress,
        name: str,
        best_trial: Sequence[tuple[float, float]] = (),
    ) -> None:
        self._file = folder / SPENT
        self._before = _seconds(self._file)
        self._limit = inf if seconds is None else seconds
        self._progress = progress
        self._name = name
        self._best_trial = best_trial
        self._start = self._saved = time.monotonic()
        self.ended = False

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return float(self._before + time.monotonic() - self._start)

    @property
    def share(self) -> float:
        """The share of the time budget that is spent; 0 without one."""
        return self.spent / self._limit

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """End the training, or ask for a checkpoint."""
        self._progress(self._name, state.global_step, state.max_steps)
        if self.spent > self._limit and state.global_step < state.max_steps:
            self.ended = control.should_training_stop = True
        elif time.monotonic() - self._saved > SAVE_EVERY and (state.epoch or 0) % 1:
            control.should_save = True  # not between an epoch and its evaluation

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Note the time spent, for a run that continues from here."""
        self._saved = time.monotonic()
        write_whole(self._file, json.dumps(self.spent).encode())

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop where epochs no longer reduce the held-out loss, or the best trial is ahead."""
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        since_best = len(losses) - 1 - losses.index(min(losses))
        control.should_training_stop |= since_best >= PATIENCE or self._behind(losses)

    def _behind(self, losses: Sequence[float]) -> bool:
        """Return whether each of the last epochs ended with more loss than in the best trial."""
        if not PATIENCE <= len(losses) <= len(self._best_trial):
            return False
        pairs = list(zip(losses, self._best_trial, strict=False))
        return all(own > other for own, (_, other) in pairs[-PATIENCE:])


def _seconds(file: Path) -> float:
    """Return what a killed run has spent; 0 where nobody noted it, or the note is damaged."""
    with suppress(OSError, ValueError):
        spent = json.loads(file.read_text(encoding="utf-8"))
        return float(spent) if isinstance(spent, int | float) and 0 <= spent < inf else 0.0
    return 0.0
