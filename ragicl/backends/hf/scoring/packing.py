"""Several texts in one forward pass, each attending to its own past alone.

Texts are laid end to end in one row. The linear layers see one long sequence without padding;
attention runs once per text, so nothing leaks between them and no mask over the whole row is built.
What follows them (the tries of answers) is read the same way, on top of their key-value states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ragicl.backends.hf.scoring.attention import attend, attend_fused, fusible, open_mask

ATTENTION = "ragicl_packed"


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text to read.

    :ivar tokens: its token ids
    :ivar positions: the position of each in its text
    :ivar past: the stretches of what was read before that it may look at, in order
    :ivar mask: which of the last keys, its own included, each of its rows sees, shape
        (rows, last keys), all before them being seen; None where each row sees itself and its past
    """

    tokens: Sequence[int]
    positions: Sequence[int]
    past: tuple[slice, ...] = ()
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class States:
    """The key-value states of a text that was read: for each layer (keys, values)."""

    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def length(self) -> int:
        """Number of tokens."""
        return self.layers[0][0].shape[2]

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return sum(tensor.nbytes for layer in self.layers for tensor in layer)

    def first(self, layers: int) -> States:
        """Return the states of the first layers alone."""
        return States(self.layers[:layers])


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece's share of a pass: its rows, the key-value states it looks at, and its mask."""

    rows: slice
    keys: tuple[slice, ...]
    mask: Tensor | None = None


class Reading:
    """What a model has read so far, and reads on top of it.

    :param model: a model, or its backbone
    :param known: states of texts that it has read before
    """

    def __init__(self, model: Any, known: Sequence[States] = ()) -> None:
        self._model = model
        layers = zip(*(states.layers for states in known), strict=True)
        self._cache = DynamicCache([_joined(layer) for layer in layers] if known else None)
        self._length = sum(states.length for states in known)

    def read(self, pieces: Sequence[Piece], *, last: bool = False) -> tuple[Tensor, list[slice]]:
        """Read pieces in one pass; return logits, and where each piece lies from now on.

        :param last: return the logits after each piece's last token only
        :return: logits, shape (tokens or pieces, vocabulary)
        """
        ends = [row.stop - 1 for row in rows_of(pieces)]
        keep = torch.tensor(ends, device=self._model.device) if last else 0
        output, own = self.run(pieces, logits_to_keep=keep)
        return output.logits[0], own

    def run(self, pieces: Sequence[Piece], **options: Any) -> tuple[Any, list[slice]]:
        """Read pieces in one pass; return the model's output, and where each piece lies."""
        device = self._model.device
        rows = rows_of(pieces)
        own = [slice(self._length + r.start, self._length + r.stop) for r in rows]
        self._length = own[-1].stop
        segments = [
            Segment(r, (*p.past, span), None if p.mask is None else p.mask.to(device))
            for r, span, p in zip(rows, own, pieces, strict=True)
        ]
        output = forward(
            self._model,
            [token for piece in pieces for token in piece.tokens],
            [position for piece in pieces for position in piece.positions],
            segments,
            self._cache,
            **options,
        )
        return output, own

    def states(self) -> States:
        """Return the states of all that was read."""
        layers: Any = self._cache.layers  # all of full attention: see packable
        return States(tuple((layer.keys, layer.values) for layer in layers))


def forward(
    model: Any,
    tokens: Sequence[int],
    positions: Sequence[int],
    segments: Sequence[Segment],
    cache: DynamicCache,
    **options: Any,
) -> Any:
    """Read tokens in one pass on top of a cache; return what a model, or its backbone, gives."""
    # transformers passes a 4-D mask through: this one only keeps it from building its own, and
    # packed_attention never reads it.
    unread = torch.empty((1, 1, 1, 1), dtype=torch.bool, device=model.device)
    return model(
        input_ids=torch.tensor([list(tokens)], device=model.device),
        position_ids=torch.tensor([list(positions)], device=model.device),
        attention_mask=unread,
        past_key_values=cache,
        use_cache=True,
        segments=segments,
        **options,
    )


def rows_of(pieces: Sequence[Piece]) -> list[slice]:
    """Return the rows of a pass that each piece takes."""
    return spans_of([len(piece.tokens) for piece in pieces])


def spans_of(lengths: Sequence[int]) -> list[slice]:
    """Return the slice that each piece takes when pieces are laid end to end."""
    ends = list(accumulate(lengths, initial=0))
    return [slice(*pair) for pair in pairwise(ends)]


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segments: Sequence[Segment] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within each segment; without segments, just as ``sdpa`` does."""
    if segments is None:
        mask = open_mask(query, key) if attention_mask is None else attention_mask
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)
    keys = [_of(key, segment.keys) for segment in segments]
    values = [_of(value, segment.keys) for segment in segments]
    if fusible(query) and all(segment.mask is None for segment in segments):
        lengths = [segment.rows.stop - segment.rows.start for segment in segments]
        return attend_fused(query, keys, values, lengths, kwargs.get("scaling")), None
    outputs = [
        attend(module, query[:, :, segment.rows], k, v, segment.mask, **kwargs)
        for segment, k, v in zip(segments, keys, values, strict=True)
    ]
    return torch.cat(outputs, dim=1), None


def packable(model: PreTrainedModel) -> bool:
    """Return whether every layer of the model looks at the whole text, by its configuration."""
    config = model.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    sliding = window is not None and not hasattr(config, "layer_types")
    return bool(model._supports_attention_backend) and layers == {"full_attention"} and not sliding


def enable_packing(model: PreTrainedModel) -> None:
    """Switch the model to packed attention."""
    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, packed_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, sdpa_mask)
    model.set_attn_implementation(ATTENTION)


def _of(states: Tensor, spans: Sequence[slice]) -> Tensor:
    pieces = [states[:, :, span] for span in spans]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)


def _joined(layer: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if len(layer) == 1:
        return layer[0]
    keys, values = zip(*layer, strict=True)
    return torch.cat(keys, dim=2), torch.cat(values, dim=2)
