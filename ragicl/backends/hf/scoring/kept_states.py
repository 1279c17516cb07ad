"""Key-value states of a text as bytes, to be kept by whoever asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from transformers import PreTrainedModel

from ragicl.backends.hf.scoring.packed_scoring import read_states
from ragicl.backends.hf.scoring.packing import States

IDS = "ids"
ROUNDING = 0.05  # of a state in bf16, read alone or among others


def to_bytes(ids: Sequence[int], states: States) -> bytes:
    """Return the states of a text, with its token ids."""
    tensors = {IDS: torch.tensor(ids)}
    for number, (keys, values) in enumerate(states.layers):
        tensors |= {f"{number}.keys": keys, f"{number}.values": values}
    return save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})


def restored(model: PreTrainedModel, ids: Sequence[int], data: bytes) -> States | None:
    """Return the states that :func:`to_bytes` wrote; None where they are not of this text.

    The first token is read, and its states compared: those of other weights do not fit.
    """
    states = _from_bytes(ids, data, model.device)
    fits = states is not None and _begin_alike(states, read_states(model, ids[:1]))
    return states if fits else None


def _from_bytes(ids: Sequence[int], data: bytes, device: torch.device) -> States | None:
    try:
        tensors = {name: tensor.to(device) for name, tensor in load(data).items()}
        same = tensors.pop(IDS).tolist() == list(ids)
        numbers = range(len(tensors) // 2)
        layers = tuple((tensors[f"{n}.keys"], tensors[f"{n}.values"]) for n in numbers)
    except (SafetensorError, KeyError):
        return None
    whole = all(t.dim() == 4 and t.shape[2] == len(ids) for t in chain(*layers))
    return States(layers) if same and whole else None


def _begin_alike(states: States, first: States) -> bool:
    pairs = list(zip(chain(*states.layers), chain(*first.layers), strict=False))
    return len(states.layers) == len(first.layers) and all(
        mine.dtype == own.dtype
        and mine[:, :, :1].shape == own.shape
        and torch.allclose(mine[:, :, :1], own, rtol=ROUNDING, atol=ROUNDING)
        for mine, own in pairs
    )
