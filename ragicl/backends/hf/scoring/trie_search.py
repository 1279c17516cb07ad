"""Best-first search of the trie of a prompt's answers: what was read, and what to read next.

The log-probability of an answer's prefix is an upper bound of the answer's own: a branch whose
bound lies far below the best answer need never be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch

from ragicl.backends.hf.scoring.packing import Piece
from ragicl.backends.hf.scoring.trie import ROOT, Trie

WHOLE = 48  # a pass costs as much as reading about that many nodes
MOST = 256  # nodes of a prompt read in a pass: what they take in memory, and until the next word


class TrieSearch:
    """The search of one prompt's trie, level by level or several levels at once.

    :ivar scores: log-probability of each answer; an upper bound where it was not read to its end,
        and minus infinity where the trie leaves it out
    """

    def __init__(self, trie: Trie, length: int) -> None:
        self.trie = trie
        self.scores = [-inf] * trie.size
        self._length = length  # tokens of the prompt
        self._bounds = {ROOT: 0.0}  # of every node whose parent was read
        self._open: set[int] = set()  # nodes that could be read next
        self._best = -inf  # of the answers read to their ends
        self._paths: dict[int, tuple[int, ...]] = {ROOT: ()}  # of every node read: its columns

    def tokens_after(self, node: int) -> list[int]:
        """Return the tokens that may follow a node."""
        return list(self.trie.followers[node])

    def update(self, node: int, log_probs: Sequence[float]) -> None:
        """Take in the log-probabilities of :meth:`tokens_after` a node that was read."""
        self._open.discard(node)
        followers = self.trie.followers[node].values()
        for reached, log_prob in zip(followers, log_probs, strict=True):
            bound = self._bounds[node] + log_prob
            for child, answer in reached:
                self.scores[answer] = bound
                if child is None:
                    self._best = max(self._best, bound)
                else:
                    self._bounds[child] = bound
                    self._open.add(child)

    def frontier(self, prune_margin: float) -> list[int]:
        """Return the nodes to read next; none, once none could come near enough to the best.

        Where their subtrees are small, these are read along: that costs less than more passes.

        :param prune_margin: nats below the best within which an answer counts
        """
        best = max((self._bounds[node] for node in self._open), default=0.0)
        best = self._best if self._best > -inf else best
        nodes = sorted(node for node in self._open if self._bounds[node] >= best - prune_margin)
        everything = self._subtrees(nodes)
        some = everything if prune_margin == inf or len(everything) <= WHOLE else nodes
        return some[:MOST]  # parents first: the rest is taken up in later passes

    def piece(self, nodes: Sequence[int], past: tuple[slice, ...]) -> Piece:
        """Return the piece that reads `nodes` after what this prompt has read, parents first."""
        before = len(self._paths) - 1
        mask = torch.zeros((len(nodes), before + len(nodes)), dtype=torch.bool)
        for row, node in enumerate(nodes):
            path = (*self._paths[self.trie.parents[node]], before + row)
            self._paths[node] = path
            mask[row, list(path)] = True
        positions = [self._length + self.trie.depths[node] for node in nodes]
        return Piece([self.trie.tokens[node] for node in nodes], positions, past, mask)

    def _subtrees(self, nodes: Sequence[int]) -> list[int]:
        """Return the nodes with all that descend from them, parents first."""
        found = list(nodes)
        for node in found:  # grows while it is walked
            found += [
                child
                for reached in self.trie.followers[node].values()
                for child in {child for child, _ in reached if child is not None}
            ]
        return sorted(found)
