"""A trie over the token ids of all answers, so that shared prefixes are read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ROOT = -1

Follower = tuple[int | None, int]
"""The node that a token leads to (None at an answer's end), and the answer it belongs to."""


@dataclass(frozen=True, slots=True)
class Trie:
    """Internal nodes only: an answer's last token is predicted, never read.

    :ivar tokens: token id of each internal node, parents before children
    :ivar parents: index of each node's parent, ROOT where it follows the prompt directly
    :ivar depths: 0 for nodes that follow the prompt directly
    :ivar followers: for each node and ROOT, each token that may follow it, with the answers that
        have it there; an answer's log-probability is the sum over its tokens
    :ivar size: number of answers, those left out included
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    followers: dict[int, dict[int, tuple[Follower, ...]]]
    size: int


def build_trie(
    answers: Sequence[Sequence[int]], candidate_ids: Iterable[int] | None = None
) -> Trie:
    """Return the trie of the answers' token ids.

    :param candidate_ids: the positions of the answers to take; None takes all
    """
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    children: dict[tuple[int, int], int] = {}
    followers: dict[int, dict[int, tuple[Follower, ...]]] = defaultdict(dict)
    for number in range(len(answers)) if candidate_ids is None else sorted(candidate_ids):
        node = ROOT
        for depth, token in enumerate(answers[number]):
            child = None
            if depth < len(answers[number]) - 1:
                child = children.setdefault((node, token), len(tokens))
                if child == len(tokens):
                    tokens.append(token)
                    parents.append(node)
                    depths.append(depth)
            known = followers[node].get(token, ())
            followers[node][token] = (*known, (child, number))
            node = ROOT if child is None else child
    return Trie(tuple(tokens), tuple(parents), tuple(depths), dict(followers), len(answers))
