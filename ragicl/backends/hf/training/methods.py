"""What of a model is trained: everything, its last blocks, an adapter, or a soft prompt.

The home of peft.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from ragicl.backends.hf.layers import blocks_of
from ragicl.backends.hf.scoring.packing import States

BLOCKS = 4  # last ones that `partial` trains
RANK = 16  # of an adapter
SOFT_TOKENS = 20  # of a soft prompt


def prepare(
    model: PreTrainedModel,
    method: str,
    soft_init: Sequence[int],
    dtype: torch.dtype = torch.float32,
) -> PreTrainedModel:
    """Return a model in which only what the method trains takes gradients.

    :param soft_init: token ids that initialise a soft prompt: the answers' (Lester et al. 2021)
    :param dtype: of the weights that are not trained
    """
    if method == "full":
        return model
    model.requires_grad_(False)
    if method == "partial":
        for module in _last(model):
            module.requires_grad_(True)
        return _frozen_as(dtype, model)
    adapted = _with_peft(model, method)
    if method == "prompt-tuning":
        _initialise(adapted, soft_init)
    return _frozen_as(dtype, adapted)


def trainable(model: PreTrainedModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the weights that were trained: what is stored beside the base model."""
    return {
        name: weights.detach().to(dtype).contiguous().clone()
        for name, weights in model.named_parameters()
        if weights.requires_grad
    }


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model of the base's own kind, an adapter merged into its weights."""
    merge = getattr(model, "merge_and_unload", None)
    return model if merge is None else cast(PreTrainedModel, merge())


@torch.inference_mode()
def soft_prompt(model: PreTrainedModel, base: PreTrainedModel) -> States:
    """Return the states that a trained soft prompt leaves in the base model."""
    wrapped: Any = model
    embedded = wrapped.get_prompt(batch_size=1).to(base.dtype)
    cache = DynamicCache()
    base(inputs_embeds=embedded, past_key_values=cache, use_cache=True, logits_to_keep=1)
    layers: Any = cache.layers
    return States(tuple((layer.keys, layer.values) for layer in layers))


def _with_peft(model: PreTrainedModel, method: str) -> PreTrainedModel:
    import peft  # an extra: see api.check_tunable

    config: Any = (
        peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=RANK,
            lora_alpha=2 * RANK,
            target_modules="all-linear",
        )
        if method == "lora"
        else peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=SOFT_TOKENS)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of peft's own, about transformers 6
        return cast(PreTrainedModel, peft.get_peft_model(model, config))


def _frozen_as(dtype: torch.dtype, model: PreTrainedModel) -> PreTrainedModel:
    """Give the weights that are not trained a type once; autocast would do so at every step."""
    for weights in model.parameters():
        if not weights.requires_grad:
            weights.data = weights.data.to(dtype)
    return model


@torch.no_grad()
def _initialise(model: PreTrainedModel, ids: Sequence[int]) -> None:
    """Initialise a soft prompt with tokens, repeated until it is full."""
    wrapped: Any = model
    soft = wrapped.prompt_encoder["default"].embedding.weight
    some = torch.tensor((list(ids) * SOFT_TOKENS)[:SOFT_TOKENS], device=soft.device)
    soft.copy_(wrapped.word_embeddings(some))


def _last(model: PreTrainedModel) -> list[nn.Module]:
    """Return the last blocks, and what follows them before the output layer."""
    _, blocks = blocks_of(model)
    body = next(m for m in model.base_model.modules() if blocks in m.children())
    children = list(body.children())
    return [*blocks[-BLOCKS:], *children[children.index(blocks) + 1 :]]
