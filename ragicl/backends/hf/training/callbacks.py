"""The time of a training: its limit, its checkpoints, its progress."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ragicl.atomic import write_whole
from ragicl.protocols import Progress

SAVE_EVERY = 180.0  # seconds between checkpoints
PATIENCE = 2  # passes that may be worse than the best one, or than another trial's
SPENT = "spent.json"


class Clock(TrainerCallback):
    """Ends a training when its time is over, or when held-out rows are predicted less well.

    :param seconds: the most to spend, a killed run's share included; None does not limit
    :param rival: another trial's passes, and its losses on held-out rows after them
    :ivar spent: seconds of training, those of a killed run up to its checkpoint included
    :ivar ended: whether time ended the training
    """

    def __init__(
        self,
        folder: Path,
        seconds: float | None,
        progress: Progress,
        name: str,
        rival: Sequence[tuple[float, float]] = (),
    ) -> None:
        self._file = folder / SPENT
        self._before = json.loads(self._file.read_text()) if self._file.exists() else 0.0
        self._limit = inf if seconds is None else seconds
        self._progress = progress
        self._name = name
        self._rival = rival
        self._start = self._saved = time.monotonic()
        self.ended = False

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return float(self._before + time.monotonic() - self._start)

    @property
    def share(self) -> float:
        """How much of the time is over; 0 where it is not limited."""
        return self.spent / self._limit

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """End the training, or ask for a checkpoint."""
        self._progress(self._name, state.global_step, state.max_steps)
        if self.spent > self._limit and state.global_step < state.max_steps:
            self.ended = control.should_training_stop = True
        elif time.monotonic() - self._saved > SAVE_EVERY and (state.epoch or 0) % 1:
            control.should_save = True  # not between a pass and the judging of it

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Note the time spent, for a run that continues from here."""
        self._saved = time.monotonic()
        write_whole(self._file, json.dumps(self.spent).encode())

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop where passes no longer help the held-out rows, or helped a rival more."""
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        since_best = len(losses) - 1 - losses.index(min(losses))
        control.should_training_stop |= since_best >= PATIENCE or self._behind(losses)

    def _behind(self, losses: Sequence[float]) -> bool:
        """Return whether each of the last passes left more loss than as many did in the rival."""
        if not PATIENCE <= len(losses) <= len(self._rival):
            return False
        pairs = list(zip(losses, self._rival, strict=False))
        return all(own > other for own, (_, other) in pairs[-PATIENCE:])
