"""Rotary positions: keys of a text that was read once, turned to where the text stands now."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ragicl.backends.hf.scoring import read_states
from ragicl.errors import BackendError

SHIFT = 7  # positions, for the trial
AGREE = {torch.float32: 1e-4, torch.bfloat16: 0.05}  # as a share of the largest key or value


def turn(keys: Tensor, by: Tensor, frequencies: Tensor, factors: Tensor | float = 1.0) -> Tensor:
    """Return keys as if their tokens stood further on.

    :param keys: shape (layers, ..., tokens, dim)
    :param by: positions to move each token, shape (tokens,); may be negative
    :param frequencies: radians by which one position turns each pair, shape (dim / 2,)
    :param factors: to multiply each token's key by, shape (tokens,)
    """
    angles = torch.outer(by.float(), frequencies)
    scale = torch.as_tensor(factors, device=keys.device).float().reshape(-1, 1)
    cos, sin = angles.cos() * scale, angles.sin() * scale
    turned = torch.empty_like(keys)
    for layer, out in zip(keys, turned, strict=True):  # float32 of one layer at a time
        left, right = layer.float().chunk(2, dim=-1)
        out_left, out_right = out.chunk(2, dim=-1)
        out_left.copy_(torch.addcmul(left * cos, right, sin, value=-1))
        out_right.copy_(torch.addcmul(right * cos, left, sin))
    return turned


def frequencies_of(model: PreTrainedModel) -> Tensor:
    """Return the frequencies of a model whose keys can be turned; a trial says whether they can.

    :raises BackendError: where they cannot
    """
    with suppress(Exception):  # another model may keep its positions anywhere, or not have any
        rotary: Any = model.base_model.rotary_emb
        frequencies: Tensor = rotary.inv_freq.float()
        if _turns(model, frequencies):
            return frequencies
    raise BackendError(
        f"{type(model).__name__} does not keep positions in its keys as Llama does (Llama, Qwen "
        f"and Mistral without a sliding window do); use --attention exact"
    )


@torch.inference_mode()
def _turns(model: PreTrainedModel, frequencies: Tensor) -> bool:
    """Return whether reading a made-up text further on gives the turned keys and same values."""
    ids = [(7 * i) % (model.config.get_text_config().vocab_size - 1) + 1 for i in range(12)]
    by = torch.full((len(ids),), SHIFT, device=model.device)
    pairs = zip(read_states(model, ids).layers, read_states(model, ids, SHIFT).layers, strict=True)
    return all(
        _close(turn(key, by, frequencies), moved_key) and _close(value, moved_value)
        for (key, value), (moved_key, moved_value) in pairs
    )


def _close(left: Tensor, right: Tensor) -> bool:
    difference = (left.float() - right.float()).abs().max()
    return bool(difference <= AGREE[left.dtype] * right.float().abs().max())
