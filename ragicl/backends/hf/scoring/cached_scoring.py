"""Scoring that reads a prompt once, and each answer on a copy of what the model remembers of it.

It asks of a model only what generating asks: whatever its cache holds (key-value states, windows of
them, states of recurrent layers) is copied once for each answer of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from ragicl.backends.hf.scoring.reference_scoring import keep_logits

CACHE_BYTES = 2**29  # of the copies held at once
LOGITS = 2**26  # held at once: 128 MB in bf16
LOGIT_ROWS = 64  # turned to float32 at once


def score_expanded(
    model: PreTrainedModel,
    prompt: Sequence[int],
    answers: Sequence[Sequence[int]],
    read: Callable[[int], object] = lambda answers: None,
) -> list[float]:
    """Return log P(answer | prompt) for each answer; a batch of answers is read in one pass.

    :param read: called after each batch with the number of its answers
    """
    return _score(model, prompt, answers, max(map(len, answers)), read)


def score_stepped(
    model: PreTrainedModel,
    prompt: Sequence[int],
    answers: Sequence[Sequence[int]],
    read: Callable[[int], object] = lambda answers: None,
) -> list[float]:
    """Return log P(answer | prompt) for each answer; a batch is read one token of each at a time.

    Some recurrent layers forget what they have read when given more than one token.

    :param read: called after each batch with the number of its answers
    """
    return _score(model, prompt, answers, 1, read)


def _score(
    model: PreTrainedModel,
    prompt: Sequence[int],
    answers: Sequence[Sequence[int]],
    stride: int,
    read: Callable[[int], object],
) -> list[float]:
    logits, cache = _read(model, [prompt], 0, None, **keep_logits(model, 1))
    firsts = torch.tensor([answer[0] for answer in answers], device=model.device)
    scores = logits[0, -1].float().log_softmax(dim=-1)[firsts]
    for batch in _batches(answers, _nbytes(vars(cache)), logits.shape[-1], stride):
        copies = deepcopy(cache)
        copies.reorder_cache(torch.zeros(len(batch), dtype=torch.long, device=model.device))
        rest = _score_rest(model, len(prompt), copies, [answers[i] for i in batch], stride)
        scores[torch.tensor(batch, device=scores.device)] += rest
        read(len(batch))
    return scores.tolist()


def _score_rest(
    model: PreTrainedModel,
    prompt: int,
    cache: Cache,
    answers: Sequence[Sequence[int]],
    stride: int,
) -> Tensor:
    """Return the log-probability of all but each answer's first token, shape (answers,)."""
    # Padding goes to the right, where a causal model cannot see it from the tokens that count.
    longest = max(map(len, answers))
    padded = torch.tensor([[*a, *[0] * (longest - len(a))] for a in answers], device=model.device)
    counts = torch.tensor([len(a) for a in answers], device=model.device)
    totals = torch.zeros(len(answers), device=model.device)
    for start in range(0, longest - 1, stride):
        stop = min(start + stride, longest - 1)
        logits, cache = _read(model, padded[:, start:stop], prompt + start, cache)
        targets = padded[:, start + 1 : stop + 1]
        positions = torch.arange(start + 1, stop + 1, device=model.device)
        log_probs = _log_probs(logits.flatten(0, 1), targets.flatten()).view_as(targets)
        totals += (log_probs * (positions < counts[:, None])).sum(dim=1)
    return totals


def _read(
    model: PreTrainedModel, ids: Any, start: int, cache: Cache | None, **options: Any
) -> tuple[Tensor, Any]:
    """Read rows of tokens from position `start` on; return the logits and the cache."""
    known = signature(model.forward).parameters
    name = "cache_params" if "cache_params" in known else "past_key_values"
    rows = torch.as_tensor(ids, device=model.device)
    if "position_ids" in known:  # not every model takes them from its cache
        options["position_ids"] = torch.arange(start, start + rows.shape[1], device=model.device)[
            None
        ].expand(rows.shape)
    output = model(input_ids=rows, use_cache=True, **{name: cache}, **options)
    return output.logits, output[name]


def _log_probs(logits: Tensor, targets: Tensor) -> Tensor:
    """Return each row's log-probability of its target, in float32, few rows at a time."""
    pairs = zip(torch.split(logits, LOGIT_ROWS), torch.split(targets, LOGIT_ROWS), strict=True)
    return torch.cat(
        [rows.float().log_softmax(dim=-1).gather(1, ids[:, None])[:, 0] for rows, ids in pairs]
    )


def _batches(
    answers: Sequence[Sequence[int]], nbytes: int, vocabulary: int, stride: int
) -> Iterator[list[int]]:
    """Yield positions of answers that are longer than a token, of similar length, within bounds."""
    batch: list[int] = []
    longer = [i for i, answer in enumerate(answers) if len(answer) > 1]
    for i in sorted(longer, key=lambda i: len(answers[i])):
        rows = len(batch) + 1
        width = min(stride, len(answers[i]) - 1)  # the widest yet: answers come by length
        if batch and (rows * nbytes > CACHE_BYTES or rows * width * vocabulary > LOGITS):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _nbytes(held: Any) -> int:
    """Return the bytes of all tensors in a cache's layers, their lists and their dictionaries."""
    if isinstance(held, Tensor):
        return held.nbytes
    if isinstance(held, dict):
        return sum(map(_nbytes, held.values()))
    if isinstance(held, list | tuple):
        return sum(map(_nbytes, held))
    return sum(map(_nbytes, vars(held).values())) if hasattr(held, "__dict__") else 0
