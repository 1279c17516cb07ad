"""The ways of choosing demonstrations, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from ragicl.index import Index
from ragicl.policy import Policy, Selection
from ragicl.protocols import FloatArray
from ragicl.records import Neighbor
from ragicl.retrieval.balanced import balanced, coverage
from ragicl.retrieval.bm25 import WordIndex, fused
from ragicl.retrieval.diverse import dpp, mmr
from ragicl.retrieval.nearest import Chosen, Ranking, best, distinct, ranked

POOL = 8  # nearest examples to choose among, for each demonstration
Pick = Callable[[FloatArray, FloatArray, int], list[int]]
"""From similarities and vectors of candidates to the positions of those that are chosen."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Queries, and where their demonstrations come from.

    :ivar vectors: of the texts, shape (texts, dim)
    :ivar exclude: for each query the id of an example to leave out
    :ivar near: for each query its nearest examples, nearest first, each content once: as many as
        the strategy's `pool` asks for
    """

    index: Index
    words: WordIndex
    policy: Policy
    texts: Sequence[str]
    vectors: FloatArray
    exclude: Sequence[str | None]
    near: Sequence[Chosen]

    @property
    def k(self) -> int:
        """How many demonstrations each query gets, in all its prompts."""
        return self.policy.retrieval.k * self.policy.prompt.ensemble

    def best(self, ranking: Ranking, number: int) -> list[Chosen]:
        """Return the best examples of each query that the policy allows, each content once."""
        return best(ranking, number, exclude=self.exclude, labels=self.policy.decision.labels)

    def by_words(self, number: int) -> list[Chosen]:
        """Return the best examples that share a word with each query."""

        def ranking(some: Sequence[int], n: int) -> list[list[Neighbor]]:
            texts = [self.texts[i] for i in some]
            return self.words.ranked(texts, self.vectors[some], n, self.policy.retrieval.where)

        return self.best(ranking, number)


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way of choosing demonstrations.

    :ivar choose: returns those of each query, the best first
    :ivar pool: nearest examples that it needs, for each demonstration
    :ivar labels: whether it goes by labels, which an index of texts to generate has not
    """

    choose: Callable[[Asked], list[Chosen]]
    pool: int = 1
    labels: bool = False


def _nearest(asked: Asked) -> list[Chosen]:
    return [near[: asked.k] for near in asked.near]


def _bm25(asked: Asked) -> list[Chosen]:
    """Return the best by words; where too few share a word, the nearest follow."""
    k = asked.k
    shared = asked.by_words(k)
    return [distinct((*own, *near), k) for own, near in zip(shared, asked.near, strict=True)]


def _hybrid(asked: Asked) -> list[Chosen]:
    k = asked.k
    shared = asked.by_words(POOL * k)
    return [fused((near[: POOL * k], own), k) for near, own in zip(asked.near, shared, strict=True)]


def _mmr(asked: Asked) -> list[Chosen]:
    return _picked(asked, mmr)


def _dpp(asked: Asked) -> list[Chosen]:
    return _picked(asked, dpp)


def _balanced(asked: Asked) -> list[Chosen]:
    return [balanced(near, asked.k) for near in asked.near]


def _coverage(asked: Asked) -> list[Chosen]:
    return [coverage(near, asked.k, asked.policy.decision.shortlist) for near in asked.near]


def _random(asked: Asked) -> list[Chosen]:
    """Return random examples, the nearest first; the same for the same text, seed and index."""
    rows = asked.index.rows(asked.policy.retrieval.where)

    def ranking(some: Sequence[int], n: int) -> list[list[Neighbor]]:
        seed, size = asked.policy.retrieval.seed, min(n, len(rows))
        drawn = [_draw(seed, asked.texts[i]).choice(rows, size, replace=False) for i in some]
        return asked.index.at(drawn, asked.vectors[some])

    found = asked.best(ranking, asked.k)
    return [ranked(sorted(own, key=lambda n: -n.similarity)) for own in found]


def _picked(asked: Asked, pick: Pick) -> list[Chosen]:
    """Return what is picked among the nearest, nearest first."""
    k = asked.k
    vectors = asked.index.known_vectors([n.example.id for near in asked.near for n in near])
    chosen = []
    for near in asked.near:
        there = [n for n in near[: POOL * k] if n.example.id in vectors]  # others: removed just now
        similarities = np.array([n.similarity for n in there], dtype=np.float32)
        own = [vectors[n.example.id] for n in there]
        places = pick(similarities, np.array(own).reshape(len(there), -1), k) if there else []
        chosen.append(ranked(there[place] for place in sorted(places)))
    return chosen


def _draw(seed: int, text: str) -> np.random.Generator:
    digest = blake2b(f"{seed} {text}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


STRATEGIES: Mapping[Selection, Strategy] = {
    "nearest": Strategy(_nearest),
    "bm25": Strategy(_bm25),
    "hybrid": Strategy(_hybrid, pool=POOL),
    "mmr": Strategy(_mmr, pool=POOL),
    "balanced": Strategy(_balanced, pool=POOL, labels=True),
    "coverage": Strategy(_coverage, pool=POOL, labels=True),
    "dpp": Strategy(_dpp, pool=POOL),
    "random": Strategy(_random),
}
