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


class Stack:
    """A model's stack of blocks, found once: looking for it takes a millisecond."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._backbone = model.base_model
        self._name, self.blocks = blocks_of(model)

    def depth(self, share: float) -> int:
        """Return the number of blocks that a share of them is, 1 at least."""
        return max(1, round(share * len(self.blocks)))

    def truncated(self, depth: int) -> nn.Module:
        """Return the backbone with its first blocks alone, sharing weights; the model stays whole.

        What follows the blocks, such as the last norm, follows these.

        :param depth: number of blocks
        """
        first = nn.ModuleList(self.blocks[:depth])
        return _with(self._backbone, self._name.split("."), first)


def _with(module: nn.Module, path: Sequence[str], new: nn.Module) -> nn.Module:
    """Return a module with another one in a place within; all else is shared."""
    twin = copy(module)
    twin._modules = dict(module._modules)
    name, *rest = path
    inner = cast(nn.Module, module._modules[name])
    twin._modules[name] = _with(inner, rest, new) if rest else new
    return twin
