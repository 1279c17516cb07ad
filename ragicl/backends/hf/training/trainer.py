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
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PrinterCallback, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from ragicl.atomic import write_whole
from ragicl.backends.hf.quiet import quiet
from ragicl.backends.hf.training.batches import InParts, Row, answer_loss, collate, dataset, longest
from ragicl.backends.hf.training.callbacks import Clock
from ragicl.backends.hf.training.methods import prepare, trainable
from ragicl.errors import BackendError
from ragicl.protocols import Progress, no_progress

RATES = {  # learning rates tried
    "full": (3e-5, 1e-4),
    "partial": (1e-4, 3e-4),
    "lora": (3e-4, 1e-3),
    "prompt-tuning": (3e-2, 1e-1),
}  # rising: one that is behind a lower one is given up
SMALL = 1000  # rows; fewer are trained on in smaller steps
BATCHES = 16, 32  # rows in a step, of few rows and of many
STEPS = 300  # tried, where PASSES allows: few rows need many passes
PASSES = 4, 24  # over the rows, at least and at most
FEWEST = 3  # passes that are chosen: held-out losses after one or two say too little to stop there
HELD_OUT = 0.2  # of the rows, but at most HELD_OUT_ROWS
HELD_OUT_ROWS = 200
SEARCH_SHARE = 0.4  # of the time, where it is limited
SHORT = 128  # tokens; up to here plain attention trains faster on a CPU than the fused one does
WEIGHTS, DONE = "trained.safetensors", "trained.json"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one training is done.

    :ivar epochs: passes over the rows; may be a fraction
    """

    method: str
    rate: float
    epochs: float
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training has done.

    :ivar epochs: passes over the rows
    :ivar losses: on held-out rows, in nats a token, by the passes done before
    :ivar complete: whether it came to its end before its time was over
    """

    seconds: float
    epochs: float
    losses: tuple[tuple[float, float], ...]
    complete: bool

    @property
    def least(self) -> tuple[float, float]:
        """The passes after which the held-out loss was least, and that loss."""
        return min(self.losses, key=lambda pair: pair[1])


@dataclass(frozen=True, slots=True)
class Chosen:
    """The recipe that did best on held-out rows.

    :ivar loss: on the held-out rows, in nats a token
    :ivar complete: whether no time ended a trial
    :ivar at_end: whether the last pass tried was the best one
    """

    recipe: Recipe
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
        """Choose a recipe on held-out rows, unless that was done, and train on all rows by it."""
        chosen = self.choose(method, rows, folder, minutes)
        recipe, left = replace(chosen.recipe, seed=seed), None
        if minutes is not None:
            left = 60 * minutes - min(chosen.seconds, 60 * minutes * SEARCH_SHARE)
            if chosen.at_end and not chosen.complete:  # it cannot say how many passes are best
                recipe = replace(recipe, epochs=passes(len(rows)))
        done = self.train(recipe, rows, folder / f"seed-{seed}", seconds=left)
        return replace(done, complete=done.complete and chosen.complete), chosen

    def choose(
        self, method: str, rows: Sequence[Row], folder: Path, minutes: float | None
    ) -> Chosen:
        """Try each learning rate on most of the rows; return the best rate and number of passes."""
        train, held = held_out(rows)
        rates = RATES[method]
        share = None if minutes is None else 60 * minutes * SEARCH_SHARE / len(rates)
        tried = [
            (Recipe(method, rate, passes(len(train))), folder / f"rate-{number}")
            for number, rate in enumerate(rates)
        ]
        results: list[Trained] = []
        for recipe, place in tried:
            rival = min(results, key=lambda done: done.least[1]).losses if results else ()
            results.append(self.train(recipe, train, place, held=held, seconds=share, rival=rival))
        losses = [done.least for done in results]
        best = int(np.argmin([loss for _, loss in losses]))
        return Chosen(
            replace(tried[best][0], epochs=max(losses[best][0], FEWEST)),
            losses[best][1],
            sum(done.seconds for done in results),
            all(done.complete for done in results),
            losses[best] == results[best].losses[-1],
        )

    def train(
        self,
        recipe: Recipe,
        rows: Sequence[Row],
        folder: Path,
        *,
        held: Sequence[Row] = (),
        seconds: float | None = None,
        rival: Sequence[tuple[float, float]] = (),
    ) -> Trained:
        """Train by a recipe; a training that was finished in this folder is not done again.

        :param held: rows to stop by, after each pass; without them the weights are kept
        :param seconds: the most to take; the rate falls with them
        :param rival: the losses of another training: it is given up where it falls behind
        """
        if (folder / DONE).exists():
            kept = json.loads((folder / DONE).read_text(encoding="utf-8"))
            return Trained(**kept | {"losses": tuple(map(tuple, kept["losses"]))})
        folder.mkdir(parents=True, exist_ok=True)
        set_seed(recipe.seed)
        model = self._prepared(recipe.method, rows)
        clock = Clock(folder, seconds, self._progress, recipe.method, rival)
        with quiet():
            trainer = InParts(
                lambda: clock.share,
                model=model,
                args=self._arguments(recipe, folder, rows, judged=bool(held)),
                train_dataset=dataset(rows),
                eval_dataset=dataset(held) if held else None,
                data_collator=collate,
                compute_loss_func=answer_loss,
                callbacks=[clock],
            )
            trainer.remove_callback(PrinterCallback)
            _drop_unfinished(folder)
            last = get_last_checkpoint(str(folder))  # type: ignore[no-untyped-call]
            trainer.train(resume_from_checkpoint=last)
        if not held:
            save_file(trainable(model, self._dtype), folder / WEIGHTS)
        losses = [
            (e["epoch"], e["eval_loss"]) for e in trainer.state.log_history if "eval_loss" in e
        ]
        done = Trained(clock.spent, trainer.state.epoch or 0.0, tuple(losses), not clock.ended)
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
        return prepare(model, method, beginning(rows), self._dtype)

    def _arguments(
        self, recipe: Recipe, folder: Path, rows: Sequence[Row], *, judged: bool
    ) -> TrainingArguments:
        step = batch(len(rows))
        return TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=recipe.epochs,
            learning_rate=recipe.rate,
            weight_decay=0.01,
            per_device_train_batch_size=step,
            per_device_eval_batch_size=step,
            train_sampling_strategy="group_by_length",
            remove_unused_columns=False,
            bf16=self._dtype == torch.bfloat16,
            use_cpu=not torch.cuda.is_available(),
            eval_strategy="epoch" if judged else "no",
            save_strategy="no",  # the clock asks for checkpoints
            save_total_limit=1,
            logging_strategy="no",
            prediction_loss_only=True,
            report_to=[],
            disable_tqdm=True,
            seed=recipe.seed,
        )


def batch(rows: int) -> int:
    """Return how many rows are in a step."""
    return BATCHES[rows >= SMALL]


def passes(rows: int) -> int:
    """Return the most passes over the rows that are tried: few rows need many."""
    least, most = PASSES
    return min(max(math.ceil(STEPS * batch(rows) / rows), least), most)


def beginning(rows: Sequence[Row]) -> list[int]:
    """Return the token ids of the different answers, one after the other."""
    return list(chain.from_iterable(sorted({row.answer for row in rows})))


def held_out(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return most of the rows, and those to judge by: the same for every method and seed."""
    order = np.random.default_rng(0).permutation(len(rows))
    number = min(max(1, round(HELD_OUT * len(rows))), HELD_OUT_ROWS)
    return [rows[i] for i in order[number:]], [rows[i] for i in order[:number]]


def _drop_unfinished(folder: Path) -> None:
    """Remove checkpoints that a kill or a full disk left half written."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not (checkpoint / "trainer_state.json").exists():  # written last
            shutil.rmtree(checkpoint)
