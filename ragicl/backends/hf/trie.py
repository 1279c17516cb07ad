"""A trie over the token ids of all answers, so that shared beginnings are read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ROOT = -1


@dataclass(frozen=True, slots=True)
class Trie:
    """Internal nodes only: an answer's last token is predicted, never read.

    :ivar tokens: token id of each internal node, parents before children
    :ivar parents: index of each node's parent, ROOT where it follows the prompt directly
    :ivar depths: 0 for nodes that follow the prompt directly
    :ivar edges: (node, token, answer) for each token to predict: after reading `node` (ROOT: the
        prompt), how likely is `token`; the sum over an answer's edges is its log-probability
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    edges: tuple[tuple[int, int, int], ...]


def build_trie(answers: Sequence[Sequence[int]]) -> Trie:
    """Return the trie of the answers' token ids."""
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    edges: list[tuple[int, int, int]] = []
    children: dict[tuple[int, int], int] = {}
    for number, answer in enumerate(answers):
        node = ROOT
        for depth, token in enumerate(answer):
            edges.append((node, token, number))
            if depth == len(answer) - 1:
                break
            child = children.get((node, token))
            if child is None:
                child = children[node, token] = len(tokens)
                tokens.append(token)
                parents.append(node)
                depths.append(depth)
            node = child
    return Trie(tuple(tokens), tuple(parents), tuple(depths), tuple(edges))
