"""Scoring that reads only the answers that can matter.

The log-probability of an answer's beginning is an upper bound of the answer's own. The trie is read
level by level, and a branch whose bound lies far below the best answer is never read. What is read
is scored just as in :mod:`ragicl.backends.hf.packed`, so the best answer is the exact one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from ragicl.backends.hf.packed import LOGIT_ROWS, Segment, read, read_prompts, spans_of
from ragicl.backends.hf.trie import ROOT, Trie


def score_pruned(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], tries: Sequence[Trie], floor: float
) -> list[list[float]]:
    """Return log P(answer | prompt) for each prompt and each answer of its trie.

    An answer that is more than `floor` nats less likely than its prompt's best may get an upper
    bound instead, itself more than `floor` below the best.
    """
    spans = spans_of([len(prompt) for prompt in prompts])
    cache = DynamicCache()
    walks = [Walk(trie, span) for trie, span in zip(tries, spans, strict=True)]
    roots = read_prompts(model, prompts, cache)
    _take(roots, [(walk, ROOT) for walk in walks])
    cached = spans[-1].stop
    while chosen := [(walk, nodes) for walk in walks if (nodes := walk.wanted(floor))]:
        rows = spans_of([len(nodes) for _, nodes in chosen])
        segments = [
            walk.segment(nodes, own, cached, model.device)
            for (walk, nodes), own in zip(chosen, rows, strict=True)
        ]
        pairs = [(walk, node) for walk, nodes in chosen for node in nodes]
        tokens = [walk.trie.tokens[node] for walk, node in pairs]
        positions = [walk.length + walk.trie.depths[node] for walk, node in pairs]
        _take(read(model, tokens, positions, segments, cache), pairs)
        cached += len(pairs)
    return [walk.scores for walk in walks]


class Walk:
    """How far one prompt's trie has been read.

    :ivar length: tokens of the prompt
    :ivar scores: log-probability of each answer; an upper bound where it was not read to its end
    """

    def __init__(self, trie: Trie, prompt: slice) -> None:
        self.trie = trie
        self.length = prompt.stop - prompt.start
        self.scores = [0.0] * (1 + max(answer for _, _, answer in trie.edges))
        self._edges = _edges_of(trie)
        self._bounds = {ROOT: 0.0}  # of every node whose parent was read
        self._frontier: set[int] = set()  # nodes that could be read next
        self._best = float("-inf")
        self._spans = [prompt]  # of the cache, that this prompt's nodes may look at
        self._columns: list[int] = []  # nodes in the cache, in its order

    def interest(self, node: int) -> list[int]:
        """Return the tokens that may follow a node."""
        return list(self._edges[node])

    def take(self, node: int, log_probs: Sequence[float]) -> None:
        """Note the log-probabilities of the tokens of interest after a node that was read."""
        self._frontier.discard(node)
        for edges, log_prob in zip(self._edges[node].values(), log_probs, strict=True):
            bound = self._bounds[node] + log_prob
            for child, answer in edges:
                self.scores[answer] = bound
                if child is None:
                    self._best = max(self._best, bound)
                else:
                    self._bounds[child] = bound
                    self._frontier.add(child)

    def wanted(self, floor: float) -> list[int]:
        """Return the nodes to read next; none, once none could come within `floor` of the best."""
        best = max((self._bounds[node] for node in self._frontier), default=0.0)
        best = self._best if self._best > float("-inf") else best
        return sorted(node for node in self._frontier if self._bounds[node] >= best - floor)

    def segment(
        self, nodes: Sequence[int], rows: slice, cached: int, device: torch.device
    ) -> Segment:
        """Return the segment that reads `nodes` as `rows` of a pass over a cache of that length."""
        self._columns += nodes
        self._spans.append(slice(cached + rows.start, cached + rows.stop))
        paths = [self._path(node) for node in nodes]
        seen = torch.tensor([[column in path for column in self._columns] for path in paths])
        mask = torch.cat([torch.ones((len(nodes), self.length), dtype=torch.bool), seen], dim=1)
        return Segment(rows, tuple(self._spans), mask[None, None].to(device))

    def _path(self, node: int) -> set[int]:
        path = set()
        while node != ROOT:
            path.add(node)
            node = self.trie.parents[node]
        return path


def _edges_of(trie: Trie) -> dict[int, dict[int, list[tuple[int | None, int]]]]:
    """Return, for each node and each token that may follow: (child or None at an end, answer)."""
    edges: dict[int, dict[int, list[tuple[int | None, int]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for (node, token, answer), (child, _, follower) in pairwise([*trie.edges, (ROOT, 0, -1)]):
        edges[node][token].append((child if follower == answer else None, answer))
    return edges


def _take(logits: Tensor, pairs: Sequence[tuple[Walk, int]]) -> None:
    """Give each walk the log-probabilities after the node that its row of logits belongs to."""
    for rows, some in zip(
        torch.split(logits, LOGIT_ROWS),
        [pairs[start : start + LOGIT_ROWS] for start in range(0, len(pairs), LOGIT_ROWS)],
        strict=True,
    ):
        exact = rows.float()
        normalisers = exact.logsumexp(dim=-1)
        for row, normaliser, (walk, node) in zip(exact, normalisers, some, strict=True):
            tokens = torch.tensor(walk.interest(node), device=logits.device)
            walk.take(node, (row[tokens] - normaliser).tolist())
