"""The last hidden state after a text: what a model makes of it before it says anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from ragicl.backends.hf.packed import Segment, spans_of
from ragicl.protocols import FloatArray

READ_TOKENS = 4096  # of texts read in one pass


def last_states(
    model: PreTrainedModel, texts: Sequence[Sequence[int]], *, packed: bool
) -> FloatArray:
    """Return the hidden state of each text's last token, shape (texts, width).

    The model is called without its head, which is what makes this cheap.

    :param packed: whether several texts can be read in one pass
    """
    rows: list[Tensor] = []
    with torch.inference_mode():
        for some in _batches(texts) if packed else ([ids] for ids in texts):
            rows += _packed(model, some) if packed else _alone(model, some[0])
    return torch.stack(rows).float().cpu().numpy()


def _packed(model: PreTrainedModel, texts: Sequence[Sequence[int]]) -> Tensor:
    spans = spans_of([len(ids) for ids in texts])
    unread = torch.empty((1, 1, 1, 1), dtype=torch.bool, device=model.device)  # see packed.read
    states: Tensor = _body(model)(
        input_ids=torch.tensor([[i for ids in texts for i in ids]], device=model.device),
        position_ids=torch.tensor([[p for ids in texts for p in range(len(ids))]]).to(model.device),
        attention_mask=unread,
        past_key_values=DynamicCache(),
        use_cache=True,
        segments=[Segment(span, (span,)) for span in spans],
    ).last_hidden_state
    return states[0, [span.stop - 1 for span in spans]]


def _alone(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    text = torch.tensor([list(ids)], device=model.device)
    states: Tensor = _body(model)(input_ids=text, use_cache=False).last_hidden_state
    return states[0, -1:]


def _body(model: PreTrainedModel) -> Any:
    return model.base_model


def _batches(texts: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    batch: list[Sequence[int]] = []
    for ids in texts:
        if batch and sum(map(len, batch)) + len(ids) > READ_TOKENS:
            yield batch
            batch = []
        batch.append(ids)
    if batch:
        yield batch
