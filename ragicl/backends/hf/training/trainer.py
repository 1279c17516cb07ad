"""Fine-tuning on prompts and their answers: all weights, some, an adapter, or a soft prompt.

The loss is that of the answer's tokens alone. The learning rate and the number of epochs are chosen
on a held-out slice of the rows; then the model is trained on all of them. Training continues where
a killed run left a checkpoint. Weights are trained in float32, under bf16 autocast where the frozen
model runs in bf16.
"""

from __future__ import annotations

import gc
import json
import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PrinterCallback, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from ragicl.atomic import sync, write_whole
from ragicl.backends.hf.quiet import quiet
from ragicl.backends.hf.training.batches import (
    ChunkedTrainer,
    Row,
    answer_loss,
    collate,
    dataset,
    longest,
)
from ragicl.backends.hf.training.callbacks import TimeBudgetCallback
from ragicl.backends.hf.training.methods import prepare, trainable
from ragicl.errors import BackendError
from ragicl.protocols import Progress, no_progress

RATES = {  # learning rates tried
    "full": (3e-5, 1e-4),
    "partial": (1e-4, 3e-4),
    "lora": (3e-4, 1e-3),
    "prompt-tuning": (3e-2, 1e-1),
}  # rising: one that falls behind a lower one is stopped
SMALL = 1000  # rows; fewer are trained on in smaller steps
BATCHES = 16, 32  # rows in a step, of few rows and of many
STEPS = 300  # tried, where EPOCHS allows: few rows need many epochs
EPOCHS = 4, 24  # over the rows, at least and at most
FEWEST_EPOCHS = 3  # chosen at least: held-out losses after one or two say too little to stop there
HELD_OUT = 0.2  # of the rows, but at most HELD_OUT_ROWS
HELD_OUT_ROWS = 200
SEARCH_SHARE = 0.4  # of the time, where it is limited
SHORT = 128  # tokens; up to here plain attention trains faster on a CPU than the fused one does
WEIGHTS, DONE = "trained.safetensors", "trained.json"


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How one training is done.

    :ivar epochs: may be a fraction
    """

    method: str
    rate: float
    epochs: float
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training has done.

    :ivar losses: on held-out rows, in nats a token: (epochs done, loss) of each evaluation
    :ivar complete: whether it came to its end before its time was over
    """

    seconds: float
    epochs: float
    losses: tuple[tuple[float, float], ...]
    complete: bool

    @property
    def least(self) -> tuple[float, float]:
        """The epochs after which the held-out loss was least, and that loss."""
        return min(self.losses, key=lambda pair: pair[1])


@dataclass(frozen=True, slots=True)
class Chosen:
    """The configuration that did best on held-out rows.

    :ivar loss: on the held-out rows, in nats a token
    :ivar complete: whether no time ended a trial
    :ivar at_end: whether the last epoch tried was the best one
    """

    config: TrainConfig
    loss: float
    seconds: float
    complete: bool
    at_end: bool


class Tuner:
    """Trains copies of one base model, each in a folder of its own.

    :param load: gives a fresh float32 copy of the base model
    :param dtype: of the frozen model: with bf16, training runs under its autocast
    :param progress: called after every step
    """

    def __init__(
        self,
        load: Callable[[], PreTrainedModel],
        *,
        dtype: torch.dtype = torch.float32,
        progress: Progress = no_progress,
    ) -> None:
        self._load = load
        self._dtype = dtype
        self._progress = progress

    def tune(
        self, method: str, rows: Sequence[Row], folder: Path, seed: int, minutes: float | None
    ) -> tuple[Trained, Chosen]:
        """Choose a configuration on held-out rows, unless that was done, and train on all rows."""
        chosen = self.choose(method, rows, folder, minutes)
        config, left = replace(chosen.config, seed=seed), None
        if minutes is not None:
            left = 60 * minutes - min(chosen.seconds, 60 * minutes * SEARCH_SHARE)
            if chosen.at_end and not chosen.complete:  # it cannot say how many epochs are best
                config = replace(config, epochs=most_epochs(len(rows)))
        done = self.train(config, rows, folder / f"seed-{seed}", seconds=left)
        return replace(done, complete=done.complete and chosen.complete), chosen

    def choose(
        self, method: str, rows: Sequence[Row], folder: Path, minutes: float | None
    ) -> Chosen:
        """Try each learning rate on most of the rows; return the best rate and epochs."""
        train, held = held_out(rows)
        rates = RATES[method]
        share = None if minutes is None else 60 * minutes * SEARCH_SHARE / len(rates)
        tried = [
            (TrainConfig(method, rate, most_epochs(len(train))), folder / f"rate-{number}")
            for number, rate in enumerate(rates)
        ]
        results: list[Trained] = []
        for config, place in tried:
            best_trial = min(results, key=lambda done: done.least[1]).losses if results else ()
            results.append(
                self.train(config, train, place, held=held, seconds=share, best_trial=best_trial)
            )
        losses = [done.least for done in results]
        best = int(np.argmin([loss for _, loss in losses]))
        return Chosen(
            replace(tried[best][0], epochs=max(losses[best][0], FEWEST_EPOCHS)),
            losses[best][1],
            sum(done.seconds for done in results),
            all(done.complete for done in results),
            losses[best] == results[best].losses[-1],
        )

    def train(
        self,
        config: TrainConfig,
        rows: Sequence[Row],
        folder: Path,
        *,
        held: Sequence[Row] = (),
        seconds: float | None = None,
        best_trial: Sequence[tuple[float, float]] = (),
    ) -> Trained:
        """Train once; a training that was finished in this folder is not done again.

        :param held: rows to evaluate on after each epoch; without them the weights are kept
        :param seconds: the most to take; the rate falls with them
        :param best_trial: losses of the best trial so far; this one stops where it falls behind
        """
        if (before := _read(folder / DONE)) is not None:
            return before
        folder.mkdir(parents=True, exist_ok=True)
        set_seed(config.seed)
        model = self._prepared(config.method, rows)
        budget = TimeBudgetCallback(folder, seconds, self._progress, config.method, best_trial)
        with quiet():
            trainer = ChunkedTrainer(
                lambda: budget.share,
                model=model,
                args=self._arguments(config, folder, rows, evaluated=bool(held)),
                train_dataset=dataset(rows),
                eval_dataset=dataset(held) if held else None,
                data_collator=collate,
                compute_loss_func=answer_loss,
                callbacks=[budget],
            )
            trainer.remove_callback(PrinterCallback)
            _drop_unfinished(folder)
            last = get_last_checkpoint(str(folder))  # type: ignore[no-untyped-call]
            trainer.train(resume_from_checkpoint=last)
        if not held:
            save_file(trainable(model, self._dtype), folder / WEIGHTS)
            sync(folder / WEIGHTS)  # before DONE says that they are there
        losses = [
            (e["epoch"], e["eval_loss"]) for e in trainer.state.log_history if "eval_loss" in e
        ]
        done = Trained(budget.spent, trainer.state.epoch or 0.0, tuple(losses), not budget.ended)
        write_whole(folder / DONE, json.dumps(asdict(done)).encode())
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
        del trainer, model
        gc.collect()  # they hold each other, and would stay beside the next model
        return done

    def tuned(self, method: str, folder: Path, seed: int) -> PreTrainedModel:
        """Return the model as it was trained, in float32."""
        set_seed(seed)
        model = prepare(self._load(), method, [0])
        file = folder / f"seed-{seed}" / WEIGHTS
        if strange := model.load_state_dict(load_file(file), strict=False).unexpected_keys:
            raise BackendError(
                f"{file} holds weights of another version ({strange[0]}); remove {folder}"
            )
        return model

    def _prepared(self, method: str, rows: Sequence[Row]) -> PreTrainedModel:
        model = self._load()
        if not torch.cuda.is_available() and longest(rows) <= SHORT:
            model.set_attn_implementation("eager")
        return prepare(model, method, soft_init(rows), self._dtype)

    def _arguments(
        self, config: TrainConfig, folder: Path, rows: Sequence[Row], *, evaluated: bool
    ) -> TrainingArguments:
        step = batch(len(rows))
        return TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=config.epochs,
            learning_rate=config.rate,
            weight_decay=0.01,
            per_device_train_batch_size=step,
            per_device_eval_batch_size=step,
            train_sampling_strategy="group_by_length",
            remove_unused_columns=False,
            bf16=self._dtype == torch.bfloat16,
            use_cpu=not torch.cuda.is_available(),
            eval_strategy="epoch" if evaluated else "no",
            save_strategy="no",  # the time budget's callback asks for checkpoints
            save_total_limit=1,
            logging_strategy="no",
            prediction_loss_only=True,
            report_to=[],
            disable_tqdm=True,
            seed=config.seed,
        )


def batch(rows: int) -> int:
    """Return how many rows are in a step."""
    return BATCHES[rows >= SMALL]


def most_epochs(rows: int) -> int:
    """Return the most epochs that are tried: few rows need many."""
    least, most = EPOCHS
    return min(max(math.ceil(STEPS * batch(rows) / rows), least), most)


def soft_init(rows: Sequence[Row]) -> list[int]:
    """Return the token ids of the different answers, one after the other."""
    return list(chain.from_iterable(sorted({row.answer for row in rows})))


def held_out(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return most of the rows, and those to evaluate on: the same for every method and seed."""
    order = np.random.default_rng(0).permutation(len(rows))
    number = min(max(1, round(HELD_OUT * len(rows))), HELD_OUT_ROWS)
    return [rows[i] for i in order[number:]], [rows[i] for i in order[:number]]


def _read(file: Path) -> Trained | None:
    """Return what was trained; None where nothing was, or the file is damaged."""
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(file.read_bytes(), type=Trained)
    return None


def _drop_unfinished(folder: Path) -> None:
    """Remove checkpoints that a kill or a full disk left half written."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not (checkpoint / "trainer_state.json").exists():  # written last
            shutil.rmtree(checkpoint)
