"""Scoring that asks nothing of a model but to be causal: one sequence for each answer.

Many times slower than packed scoring; used for models whose attention cannot be packed (sliding
windows, recurrent layers, position biases), and to check that packing agrees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import torch
from transformers import PreTrainedModel

BATCH = 8


def score_unpacked(
    model: PreTrainedModel,
    prompt: Sequence[int],
    answers: Sequence[Sequence[int]],
    read: Callable[[int], object] = lambda answers: None,
) -> list[float]:
    """Return log P(answer | prompt) for each answer, from the model's own attention.

    :param read: called after each pass with the number of answers that it read
    """
    scores: list[float] = []
    for start in range(0, len(answers), BATCH):
        batch = answers[start : start + BATCH]
        scores.extend(_score_batch(model, prompt, batch))
        read(len(batch))
    return scores


def keep_logits(model: PreTrainedModel, last: int) -> dict[str, Any]:
    """Return the option that makes a model compute no logits but the last ones, where it has it.

    All logits of a long prompt and a large vocabulary would take gigabytes.
    """
    known = "logits_to_keep" in signature(model.forward).parameters
    return {"logits_to_keep": last} if known else {}


def _score_batch(
    model: PreTrainedModel, prompt: Sequence[int], answers: Sequence[Sequence[int]]
) -> list[float]:
    # Padding goes to the right, where a causal model cannot see it from the tokens that count.
    longest = max(map(len, answers))
    ids = torch.tensor([[*prompt, *a, *[0] * (longest - len(a))] for a in answers])
    mask = torch.tensor([[1] * (len(prompt) + len(a)) + [0] * (longest - len(a)) for a in answers])
    logits = model(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        use_cache=False,
        **keep_logits(model, longest + 1),
    ).logits
    rows = logits[:, -longest - 1 : -1].float().log_softmax(dim=-1)
    return [
        sum(rows[i, j, token].item() for j, token in enumerate(answer))
        for i, answer in enumerate(answers)
    ]
