"""Hidden states: a model's vectors of a text, before the output layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from ragicl.backends.hf.scoring.packing import Segment, spans_of
from ragicl.protocols import FloatArray

READ_TOKENS = 4096  # of texts read in one pass


def last_states(
    model: PreTrainedModel, texts: Sequence[Sequence[int]], *, packed: bool
) -> FloatArray:
    """Return the hidden state of each text's last token, shape (texts, width).

    The model is called without its head, which is what makes this cheap.

    :param packed: whether several texts can be read in one pass
    """
    # A view would keep all of a text's states.
    return _stacked(states[-1].clone() for states in _states(model.base_model, texts, packed))


def mean_states(backbone: Any, texts: Sequence[Sequence[int]], *, packed: bool) -> FloatArray:
    """Return the mean of each text's hidden states, shape (texts, width).

    :param backbone: a backbone, whole or truncated
    :param packed: whether several texts can be read in one pass
    """
    return _stacked(states.mean(dim=0) for states in _states(backbone, texts, packed))


def _stacked(rows: Iterable[Tensor]) -> FloatArray:
    with torch.inference_mode():
        return torch.stack(list(rows)).cpu().numpy()


def _states(backbone: Any, texts: Sequence[Sequence[int]], packed: bool) -> Iterator[Tensor]:
    """Yield each text's states, shape (tokens, width), in single precision."""
    for some in _batches(texts) if packed else ([ids] for ids in texts):
        yield from _packed(backbone, some) if packed else _alone(backbone, some[0])


def _packed(backbone: Any, texts: Sequence[Sequence[int]]) -> Iterator[Tensor]:
    device = backbone.device
    spans = spans_of([len(ids) for ids in texts])
    unread = torch.empty((1, 1, 1, 1), dtype=torch.bool, device=device)  # see packing.read
    states: Tensor = backbone(
        input_ids=torch.tensor([[i for ids in texts for i in ids]], device=device),
        position_ids=torch.tensor([[p for ids in texts for p in range(len(ids))]], device=device),
        attention_mask=unread,
        past_key_values=DynamicCache(),
        use_cache=True,
        segments=[Segment(span, (span,)) for span in spans],
    ).last_hidden_state
    for span in spans:
        yield states[0, span.start : span.stop].float()


def _alone(backbone: Any, ids: Sequence[int]) -> Iterator[Tensor]:
    text = torch.tensor([list(ids)], device=backbone.device)
    states: Tensor = backbone(input_ids=text, use_cache=False).last_hidden_state
    yield states[0].float()


def _batches(texts: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    batch: list[Sequence[int]] = []
    for ids in texts:
        if batch and sum(map(len, batch)) + len(ids) > READ_TOKENS:
            yield batch
            batch = []
        batch.append(ids)
    if batch:
        yield batch
