"""Which prompts are read in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ragicl.backends.hf.scoring.trie import Trie
from ragicl.backends.hf.tokenization import Split

BATCH_LOGITS = 2**26  # logits held at once: 128 MB in bf16


def batches(
    splits: Sequence[Split],
    prefixes: Sequence[tuple[int, ...]],
    tries: Sequence[Trie],
    *,
    vocabulary: int,
    max_tokens: int,
) -> Iterator[list[int]]:
    """Yield positions of prompts to read together: alike, and within both bounds.

    Those with the same prefix follow each other, so that it is read once even where few are
    cached; within a prefix, short ones come first.

    :param prefixes: what of each prompt is cached; () where nothing is
    :param vocabulary: logits of a token
    :param max_tokens: read in one pass; a longer prompt has a pass of its own
    """
    lengths = [len(s.ids) - len(p) for s, p in zip(splits, prefixes, strict=True)]
    batch: list[int] = []
    tokens = logits = 0
    for i in sorted(range(len(splits)), key=lambda i: (prefixes[i], lengths[i])):
        nodes = len(tries[i].tokens)
        tokens += lengths[i] + nodes
        logits += (nodes + 1) * vocabulary
        if batch and (tokens > max_tokens or logits > BATCH_LOGITS):
            yield batch
            batch, tokens, logits = [], lengths[i] + nodes, (nodes + 1) * vocabulary
        batch.append(i)
    if batch:
        yield batch
