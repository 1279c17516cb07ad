"""A training's rows: padded into batches, and read in parts that memory holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer

TOKENS = 2048  # read at once; a step of more is taken in parts: 5 GB suffice for 135M weights
IGNORED = -100  # a token without loss
WARMUP = 0.06  # share of a training in which the learning rate rises

Batch = dict[str, Tensor]
"""Rows as the trainer takes them: each tensor has a row of them along its first axis."""


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and its answer as token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


def longest(rows: Sequence[Row]) -> int:
    """Return the tokens of the longest row, its answer included."""
    return max(len(row.prompt) + len(row.answer) for row in rows)


def dataset(rows: Sequence[Row]) -> Dataset:
    """Return rows as a data set of transformers' trainer."""
    return Dataset.from_list(
        [{**asdict(row), "length": len(row.prompt) + len(row.answer)} for row in rows]
    )


class ChunkedTrainer(Trainer):
    """A trainer that reads a step's rows in parts; its loss is the mean of all their tokens.

    :param share: returns the share of the time budget that is spent; 0 without one
    """

    def __init__(self, share: Callable[[], float], **options: Any) -> None:
        super().__init__(**options)
        self._share = share

    def create_scheduler(
        self, num_training_steps: int, optimizer: Optimizer | None = None
    ) -> LambdaLR:
        """Warm up and decay by the steps or by the time spent, whichever is further on."""
        some: Any = self.optimizer if optimizer is None else optimizer
        of = num_training_steps
        self.lr_scheduler = LambdaLR(
            some, lambda step: lr_schedule(max(step / of, self._share()), least=1 / of)
        )
        return self.lr_scheduler

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: Any = None
    ) -> Tensor:
        """Return a step's loss, its gradients added up."""
        of = answered(inputs)
        losses = [
            super(ChunkedTrainer, self).training_step(model, part, of)
            for part in parts(inputs, TOKENS)
        ]
        return torch.stack(losses).sum()

    def prediction_step(
        self,
        model: nn.Module,
        inputs: Batch,
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, None, None]:
        """Return the loss of held-out rows; nothing else is computed."""
        of = answered(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            losses: list[Any] = [
                self.compute_loss(model, self._prepare_inputs(part), num_items_in_batch=of)
                for part in parts(inputs, TOKENS)
            ]
        return torch.stack(losses).sum(), None, None


def lr_schedule(done: float, least: float = 0.0) -> float:
    """Return the learning rate as a share of its peak: linear warm-up, then linear decay to 0.

    :param done: share of the training
    :param least: share of one step, so that the first step's rate is not 0
    """
    return max(0.0, min(1.0, (done + least) / WARMUP, (1 - done) / (1 - WARMUP)))


def collate(rows: Sequence[dict[str, Any]]) -> Batch:
    """Return rows padded at the end, each answer's token at the position that predicts it."""
    size = len(rows), max(row["length"] for row in rows)
    ids = torch.zeros(size, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for number, row in enumerate(rows):
        text = [*row["prompt"], *row["answer"]]
        ids[number, : len(text)] = torch.tensor(text)
        mask[number, : len(text)] = 1
        labels[number, len(row["prompt"]) - 1 : len(text) - 1] = torch.tensor(row["answer"])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def parts(batch: Batch, tokens: int) -> Iterator[Batch]:
    """Yield a batch in parts of so many tokens at most, rows of like length together.

    A row that is longer is a part of its own.
    """
    lengths, order = batch["attention_mask"].sum(dim=1).sort()
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or (end + 1 - start) * int(lengths[end]) > tokens:
            part = {name: rows[order[start:end]] for name, rows in batch.items()}
            yield _cut(part, int(lengths[end - 1]))
            start = end


def _cut(part: Batch, length: int) -> Batch:
    """Leave out padding and, before the first answer, logits.

    Their places are counted from the end, so that a soft prompt before the text does not move them.
    """
    first = int((part["labels"] != IGNORED).any(dim=0).nonzero()[0])
    return {
        "input_ids": part["input_ids"][:, :length],
        "attention_mask": part["attention_mask"][:, :length],
        "labels": part["labels"][:, first : length - 1],
        "logits_to_keep": torch.arange(first - length, -1),
    }


def answered(batch: Batch) -> int:
    """Return the number of the answers' tokens."""
    return int((batch["labels"] != IGNORED).sum())


def answer_loss(outputs: Any, labels: Tensor, num_items_in_batch: int) -> Tensor:
    """Return the loss of the answers' tokens, in nats, over the number of those in the step."""
    total = cross_entropy(
        outputs.logits.flatten(0, 1).float(),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )
    return total / num_items_in_batch
