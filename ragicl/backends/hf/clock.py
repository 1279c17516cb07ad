"""The time of a training: its limit, its checkpoints, its progress."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SAVE_EVERY = 180.0  # seconds between checkpoints
SPENT = "spent.json"

Steps = Callable[[str, int, int], None]
"""Told of every step of a training: its name, the step, and how many there will be."""


class Clock(TrainerCallback):
    """Ends a training when its time is over, or when held-out rows are predicted less well.

    :param seconds: the most to spend, a killed run's share included; None does not limit
    :param judged: whether there are held-out rows
    :ivar spent: seconds of training, those of a killed run up to its checkpoint included
    :ivar ended: whether time ended the training
    """

    def __init__(
        self, folder: Path, seconds: float | None, steps: Steps | None, name: str, *, judged: bool
    ) -> None:
        self._file = folder / SPENT
        self._before = json.loads(self._file.read_text()) if self._file.exists() else 0.0
        self._limit = inf if seconds is None else seconds
        self._tell = steps or (lambda name, step, of: None)
        self._name = name
        self._judged = judged
        self._best = inf
        self._start = self._saved = time.monotonic()
        self.ended = False

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return float(self._before + time.monotonic() - self._start)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """End the training, or ask for a checkpoint."""
        self._tell(self._name, state.global_step, state.max_steps)
        if self.spent > self._limit and state.global_step < state.max_steps:
            self.ended = control.should_training_stop = True
            control.should_evaluate = self._judged
        elif time.monotonic() - self._saved > SAVE_EVERY:
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Note the time spent, for a run that continues from here."""
        self._saved = time.monotonic()
        self._file.write_text(json.dumps(self.spent))

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop where the held-out rows fare worse than before: more passes would only overfit."""
        loss = state.log_history[-1]["eval_loss"]
        control.should_training_stop |= loss > self._best
        self._best = min(self._best, loss)
