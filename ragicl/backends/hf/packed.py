"""Several prompts in one forward pass, each attending to itself alone.

Prompts are laid end to end in one row. The linear layers see one long sequence without padding;
attention runs once per prompt, so nothing leaks between them and no mask over the whole row is
built. The trie of answers is read the same way, on top of the prompts' key-value states.
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

from ragicl.backends.hf.trie import ROOT, Trie

ATTENTION = "ragicl_packed"
LOGIT_ROWS = 64  # rows turned to float32 at once: a vocabulary of 256k stays under 70 MB


@dataclass(frozen=True, slots=True)
class Segment:
    """One prompt's share of a packed pass.

    :ivar rows: the positions of this pass that belong to it
    :ivar keys: the stretches of the key-value states it may look at
    :ivar mask: which of those keys each row sees, shape (rows, keys); None for plain causal
    """

    rows: slice
    keys: tuple[slice, ...]
    mask: Tensor | None = None


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segments: Sequence[Segment] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within each segment; without segments, exactly what ``sdpa`` does."""
    if segments is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    outputs = []
    for segment in segments:
        output, _ = sdpa_attention_forward(
            module,
            query[:, :, segment.rows],
            _stretches(key, segment.keys),
            _stretches(value, segment.keys),
            segment.mask,
            **{**kwargs, "is_causal": segment.mask is None},
        )
        outputs.append(output)
    return torch.cat(outputs, dim=1), None


def _stretches(states: Tensor, spans: Sequence[slice]) -> Tensor:
    """Return stretches of key or value states end to end; a single one is not copied."""
    parts = [states[:, :, span] for span in spans]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


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


def read(
    model: PreTrainedModel,
    tokens: list[int],
    positions: list[int],
    segments: Sequence[Segment],
    cache: DynamicCache,
    keep: Tensor | int = 0,
) -> Tensor:
    """Read tokens on top of the cache, and return logits, shape (positions kept, vocabulary).

    :param keep: the positions to return logits of; 0 for all
    """
    # A 4-D mask is passed through by transformers as it is: this one only keeps it from building
    # its own, and packed_attention never reads it.
    unread = torch.empty((1, 1, 1, 1), dtype=torch.bool, device=model.device)
    logits: Tensor = model(
        input_ids=torch.tensor([tokens], device=model.device),
        position_ids=torch.tensor([positions], device=model.device),
        attention_mask=unread,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=keep,
        segments=segments,
    ).logits
    return logits[0]


def read_prompts(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], cache: DynamicCache
) -> Tensor:
    """Read prompts laid end to end; return each one's last logits, shape (prompts, vocabulary)."""
    spans = spans_of([len(prompt) for prompt in prompts])
    return read(
        model,
        [token for prompt in prompts for token in prompt],
        [position for prompt in prompts for position in range(len(prompt))],
        [Segment(span, (span,)) for span in spans],
        cache,
        keep=torch.tensor([span.stop - 1 for span in spans], device=model.device),
    )


def spans_of(lengths: Sequence[int]) -> list[slice]:
    """Return the slice that each piece takes when pieces are laid end to end."""
    ends = list(accumulate(lengths, initial=0))
    return [slice(*pair) for pair in pairwise(ends)]


def score_packed(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], tries: Sequence[Trie]
) -> list[list[float]]:
    """Return log P(answer | prompt) for each prompt and each answer of its trie.

    One pass reads all prompts, a second one all internal nodes of their tries.
    """
    spans = spans_of([len(prompt) for prompt in prompts])
    cache = DynamicCache()
    prefill = read_prompts(model, prompts, cache)
    if not any(trie.tokens for trie in tries):
        return [_gather(prefill[i : i + 1], trie) for i, trie in enumerate(tries)]
    nodes = _read_tries(model, prompts, tries, spans, cache)
    return [
        _gather(torch.cat([prefill[i : i + 1], nodes[rows]]), trie)
        for i, (trie, rows) in enumerate(
            zip(tries, spans_of([len(t.tokens) for t in tries]), strict=True)
        )
    ]


def _read_tries(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    tries: Sequence[Trie],
    spans: Sequence[slice],
    cache: DynamicCache,
) -> Tensor:
    """Return the logits of every internal node of every trie, shape (nodes, vocabulary)."""
    cached = spans[-1].stop
    segments = []
    for prompt, trie, rows in zip(
        spans, tries, spans_of([len(t.tokens) for t in tries]), strict=True
    ):
        if trie.tokens:
            own = slice(cached + rows.start, cached + rows.stop)
            mask = _trie_mask(trie, prompt.stop - prompt.start).to(model.device)
            segments.append(Segment(rows, (prompt, own), mask))
    return read(
        model,
        [token for trie in tries for token in trie.tokens],
        [len(p) + depth for p, trie in zip(prompts, tries, strict=True) for depth in trie.depths],
        segments,
        cache,
    )


def _trie_mask(trie: Trie, prompt: int) -> Tensor:
    """Return what each node sees, shape (1, 1, nodes, prompt + nodes): the prompt and its path."""
    size = len(trie.tokens)
    mask = torch.zeros((size, prompt + size), dtype=torch.bool)
    mask[:, :prompt] = True
    paths = mask[:, prompt:]
    for node, parent in enumerate(trie.parents):
        if parent != ROOT:
            paths[node] = paths[parent]
        paths[node, node] = True
    return mask[None, None]


def _gather(logits: Tensor, trie: Trie) -> list[float]:
    """Sum each answer's log-probabilities in float32; row 0 of the logits is the root."""
    normalisers = torch.cat(
        [rows.float().logsumexp(dim=-1) for rows in torch.split(logits, LOGIT_ROWS)]
    )
    nodes, tokens, answers = (
        torch.tensor(column, device=logits.device) for column in zip(*trie.edges, strict=True)
    )
    rows = nodes - ROOT
    log_probs = logits[rows, tokens].float() - normalisers[rows]
    totals = torch.zeros(int(answers.max()) + 1, device=logits.device)
    return totals.index_add(0, answers, log_probs).tolist()
