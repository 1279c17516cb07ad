"""Hidden states: a model's vectors of texts, after some of its blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ragicl.backends.hf.scoring.packing import Piece, Reading, States, rows_of, spans_of
from ragicl.protocols import FloatArray

READ_TOKENS = 4096  # of texts read in one pass
TINY = 1e-6

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A text to read.

    :ivar ids: token ids of what is its own
    :ivar prefix: token ids of what comes before, which other texts may have too
    :ivar known: states of the prefix, where it was read before
    """

    ids: Sequence[int]
    prefix: Ids = ()
    known: States | None = None

    @property
    def unread(self) -> Sequence[int]:
        """The ids that are to be read."""
        return self.ids if self.known is not None else [*self.prefix, *self.ids]


def last_states(backbone: Any, texts: Sequence[Text], *, packed: bool) -> FloatArray:
    """Return the last hidden state of each text's last token, shape (texts, width).

    :param packed: whether several texts can be read in one pass
    """
    with torch.inference_mode():
        return _stacked(
            output.last_hidden_state[0, span.stop - 1].float()
            for output, spans in _passes(backbone, texts, packed)
            for span in spans
        )


def block_states(
    backbone: Any, blocks: Mapping[int, nn.Module], texts: Sequence[Text], *, packed: bool
) -> FloatArray:
    """Return states of texts after some blocks: the mean over a text's own tokens, and the last.

    Each token's state is divided by its root mean square, as the norm before an output layer does:
    a few tokens' states are hundreds of times as large as the others'.

    :param backbone: that runs at least these blocks
    :param blocks: by any number, in the order of the result
    :param packed: whether several texts can be read in one pass
    :return: shape (texts, blocks, 2, width)
    """
    with torch.inference_mode(), _recorded(blocks) as states:
        return _stacked(
            torch.stack([_mean_and_last(states[number][0, span]) for number in blocks])
            for _, spans in _passes(backbone, texts, packed)
            for span in spans
        )


def _passes(
    backbone: Any, texts: Sequence[Text], packed: bool
) -> Iterator[tuple[Any, list[slice]]]:
    """Yield what each pass gives, and the rows of each text's own tokens in it."""
    for some in _batches(texts) if packed else ([text] for text in texts):
        yield _packed(backbone, some) if packed else _alone(backbone, some[0])


def _packed(backbone: Any, texts: Sequence[Text]) -> tuple[Any, list[slice]]:
    known = {text.prefix: text.known for text in texts if text.known is not None}
    spans = spans_of([states.length for states in known.values()])
    places = dict(zip(known, spans, strict=True))
    pieces = [
        Piece(text.ids, range(len(text.prefix), len(text.prefix) + len(text.ids)), (past,))
        if (past := places.get(text.prefix)) is not None
        else Piece(text.unread, range(len(text.unread)))
        for text in texts
    ]
    output, _ = Reading(backbone, list(known.values())).run(pieces)
    rows = rows_of(pieces)
    return output, [_own(row.stop, text) for row, text in zip(rows, texts, strict=True)]


def _alone(backbone: Any, text: Text) -> tuple[Any, list[slice]]:
    ids = torch.tensor([list(text.unread)], device=backbone.device)
    return backbone(input_ids=ids, use_cache=False), [_own(len(text.unread), text)]


def _own(stop: int, text: Text) -> slice:
    return slice(stop - len(text.ids), stop)


@contextmanager
def _recorded(blocks: Mapping[int, nn.Module]) -> Iterator[Mapping[int, Tensor]]:
    """Give the last output of each block, shape (1, tokens, width), as long as it lasts."""
    states: dict[int, Tensor] = {}

    def recorder(number: int) -> Any:
        def record(module: nn.Module, inputs: Any, output: Any) -> None:
            states[number] = output[0] if isinstance(output, tuple) else output

        return record

    hooks = [block.register_forward_hook(recorder(number)) for number, block in blocks.items()]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


def _mean_and_last(states: Tensor) -> Tensor:
    """Return the mean of scaled states and the last of them, shape (2, width)."""
    own = states.float()
    scaled = own / own.pow(2).mean(dim=-1, keepdim=True).add(TINY).sqrt()
    return torch.stack([scaled.mean(dim=0), scaled[-1]])


def _stacked(rows: Iterable[Tensor]) -> FloatArray:
    # A view would keep all of a pass's states.
    found: FloatArray = torch.stack([row.clone() for row in rows]).cpu().numpy()
    return found


def _batches(texts: Sequence[Text]) -> Iterator[list[Text]]:
    batch: list[Text] = []
    tokens = 0
    for text in texts:
        if batch and tokens + len(text.unread) > READ_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += len(text.unread)
    if batch:
        yield batch
