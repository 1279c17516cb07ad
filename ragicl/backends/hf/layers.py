"""A model's backbone: its stack of blocks, and the backbone cut off after the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import cast

from torch import nn
from transformers import PreTrainedModel


def blocks_of(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Return the stack of blocks, and its name within the backbone.

    The longest list that is in no other one: the experts of a block may be more than the blocks.
    """
    lists: dict[str, nn.ModuleList] = {}
    for name, module in model.base_model.named_modules():
        within = any(name.startswith(f"{other}.") for other in lists)
        if isinstance(module, nn.ModuleList) and not within:
            lists[name] = module
    return max(lists.items(), key=lambda pair: len(pair[1]))


def depth_of(model: PreTrainedModel, share: float) -> int:
    """Return the number of blocks that a share of them is, 1 at least."""
    return max(1, round(share * len(blocks_of(model)[1])))


def truncated_backbone(model: PreTrainedModel, depth: int) -> nn.Module:
    """Return the backbone with its first blocks alone, sharing weights; the model stays whole.

    What follows the blocks, such as the last norm, follows these.

    :param depth: number of blocks
    """
    name, blocks = blocks_of(model)
    return _with(model.base_model, name.split("."), nn.ModuleList(blocks[:depth]))


def _with(module: nn.Module, path: Sequence[str], new: nn.Module) -> nn.Module:
    """Return a module with another one in a place within; all else is shared."""
    twin = copy(module)
    twin._modules = dict(module._modules)
    name, *rest = path
    inner = cast(nn.Module, module._modules[name])
    twin._modules[name] = _with(inner, rest, new) if rest else new
    return twin
