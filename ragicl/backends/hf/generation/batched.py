"""Several texts generated at once: one pass reads the next token of every text in progress.

Built on packed attention: each text has a KV slot, its stretch of one long buffer of key-value
states, so nothing is padded. A text that ends frees its slot for the next prompt at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from ragicl.backends.hf.generation.streaming import GumbelSampling, Pieces, end_tokens, until_stop
from ragicl.backends.hf.scoring.packing import Segment, forward, spans_of
from ragicl.protocols import GenerationOptions

SLOTS = 8  # texts in progress at once
CACHE_BYTES = 2**29  # of all slots together
BATCH_TOKENS = 4096  # of prompts, begun in one pass


class SlotCache(DynamicCache):
    """Key-value states of several texts, each in its own stretch of one buffer.

    :ivar targets: where in the buffer the tokens of the pass go, set before each pass
    """

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.targets = torch.empty(0, dtype=torch.long)
        self._tokens = tokens
        self._states: list[tuple[Tensor, Tensor]] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Put a layer's new states into the buffer, and return the layer's whole buffer."""
        if layer_idx == len(self._states):
            shape = (1, key_states.shape[1], self._tokens)
            self._states.append(
                (
                    key_states.new_empty((*shape, key_states.shape[3])),
                    value_states.new_empty((*shape, value_states.shape[3])),
                )
            )
        keys, values = self._states[layer_idx]
        keys.index_copy_(2, self.targets, key_states)
        values.index_copy_(2, self.targets, value_states)
        return keys, values


@dataclass(slots=True, eq=False)
class Row:
    """A text in progress.

    :ivar number: of the prompt
    :ivar start: where its slot begins
    :ivar unread: tokens that the next pass reads
    :ivar length: tokens read before
    """

    number: int
    start: int
    unread: list[int]
    pieces: Pieces
    sampling: GumbelSampling | None
    length: int = 0
    generated: int = 0

    def advance(self, logits: Tensor, options: GenerationOptions, ends: Sequence[int]) -> bool:
        """Choose the next token, given logits of shape (1, vocabulary); return whether it ends."""
        scores = logits.float()
        if self.sampling:
            scores = self.sampling(torch.empty(0), scores)
        self.length += len(self.unread)
        self.unread = scores.argmax(dim=-1).tolist()
        self.generated += 1
        self.pieces.put(torch.tensor(self.unread))  # type: ignore[no-untyped-call]
        stopped = any(s and s in self.pieces.text for s in options["stop"])
        return stopped or self.generated == options["max_tokens"] or self.unread[0] in ends

    def text(self, options: GenerationOptions) -> str:
        """Return the text up to the first stop string."""
        self.pieces.end()  # type: ignore[no-untyped-call]
        return "".join(until_stop([self.pieces.text], options["stop"]))


def generate_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    options: GenerationOptions,
) -> Iterator[tuple[int, str]]:
    """Yield (number of the prompt, its text) as texts end; the model must be packed."""
    size = max(map(len, prompts)) + options["max_tokens"]
    slots = min(SLOTS, len(prompts), max(1, CACHE_BYTES // (size * _token_bytes(model))))
    cache = SlotCache(slots * size)
    free = [slot * size for slot in range(slots)]
    ends = end_tokens(model)
    waiting = deque(enumerate(prompts))
    rows: list[Row] = []
    while rows or waiting:
        unread = 0
        while waiting and free and (not unread or unread + len(waiting[0][1]) <= BATCH_TOKENS):
            number, prompt = waiting.popleft()
            rows.append(_begin(number, prompt, free.pop(), tokenizer, options))
            unread += len(prompt)
        logits = _read(model, rows, cache)
        ended = [row for i, row in enumerate(rows) if row.advance(logits[i : i + 1], options, ends)]
        for row in ended:
            rows.remove(row)
            free.append(row.start)
            yield row.number, row.text(options)


def _begin(
    number: int,
    prompt: Sequence[int],
    start: int,
    tokenizer: PreTrainedTokenizerBase,
    options: GenerationOptions,
) -> Row:
    # Each text samples by itself, so that it does not depend on those generated beside it.
    hot = options["temperature"] > 0
    sampling = GumbelSampling(options["temperature"], options["seed"]) if hot else None
    return Row(number, start, list(prompt), Pieces(tokenizer), sampling)


def _read(model: PreTrainedModel, rows: Sequence[Row], cache: SlotCache) -> Tensor:
    """Read what is unread; return the logits that follow each row, shape (rows, vocabulary)."""
    positions = [range(row.length, row.length + len(row.unread)) for row in rows]
    cache.targets = torch.tensor(
        [row.start + p for row, own in zip(rows, positions, strict=True) for p in own],
        device=model.device,
    )
    spans = spans_of([len(row.unread) for row in rows])
    output = forward(
        model,
        [token for row in rows for token in row.unread],
        [p for own in positions for p in own],
        [
            Segment(span, (slice(row.start, row.start + own.stop),))
            for span, row, own in zip(spans, rows, positions, strict=True)
        ],
        cache,
        logits_to_keep=torch.tensor([span.stop - 1 for span in spans], device=model.device),
    )
    logits: Tensor = output.logits[0]
    return logits


def _token_bytes(model: PreTrainedModel) -> int:
    """Return the bytes of the key-value states of one token."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * config.num_hidden_layers * shared * width * model.dtype.itemsize)
