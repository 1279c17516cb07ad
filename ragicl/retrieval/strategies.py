"""The strategies of choosing demonstrations, by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
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
class SelectionRequest:
    """Queries to select demonstrations for, and the sources to select from.

    :ivar vectors: of the texts, shape (texts, dim)
    :ivar exclude: for each query the id of an example to leave out
    :ivar near: for each query its nearest examples, nearest first, each content once: as many as
        the strategy's `pool` asks for
    :ivar labels: that the examples may have; None for any
    """

    index: Index
    words: WordIndex
    policy: Policy
    texts: Sequence[str]
    vectors: FloatArray
    exclude: Sequence[str | None]
    near: Sequence[Chosen]
    labels: Collection[str] | None

    @property
    def k(self) -> int:
        """How many demonstrations each query gets, in all its prompts."""
        return self.policy.retrieval.k * self.policy.prompt.ensemble

    def best(self, ranking: Ranking, number: int) -> list[Chosen]:
        """Return the best examples of each query that are allowed, each content once."""
        return best(ranking, number, exclude=self.exclude, labels=self.labels)

    def by_words(self, number: int) -> list[Chosen]:
        """Return the best examples that share a word with each query."""

        def ranking(some: Sequence[int], n: int) -> list[list[Neighbor]]:
            texts = [self.texts[i] for i in some]
            return self.words.ranked(texts, self.vectors[some], n, self.policy.retrieval.where)

        return self.best(ranking, number)


@dataclass(frozen=True, slots=True)
class Strategy:
    """One strategy of choosing demonstrations.

    :ivar choose: returns those of each query, the best first
    :ivar pool: nearest examples that it needs, for each demonstration
    :ivar labels: whether it needs labels, which an index of texts to generate does not have
    """

    choose: Callable[[SelectionRequest], list[Chosen]]
    pool: int = 1
    labels: bool = False


def _nearest(request: SelectionRequest) -> list[Chosen]:
    return [near[: request.k] for near in request.near]


def _bm25(request: SelectionRequest) -> list[Chosen]:
    """Return the best by words; where too few share a word, the nearest follow."""
    k = request.k
    shared = request.by_words(k)
    return [distinct((*own, *near), k) for own, near in zip(shared, request.near, strict=True)]


def _hybrid(request: SelectionRequest) -> list[Chosen]:
    k = request.k
    shared = request.by_words(POOL * k)
    return [
        fused((near[: POOL * k], own), k) for near, own in zip(request.near, shared, strict=True)
    ]


def _mmr(request: SelectionRequest) -> list[Chosen]:
    return _picked(request, mmr)


def _dpp(request: SelectionRequest) -> list[Chosen]:
    return _picked(request, dpp)


def _balanced(request: SelectionRequest) -> list[Chosen]:
    return [balanced(near, request.k) for near in request.near]


def _coverage(request: SelectionRequest) -> list[Chosen]:
    return [coverage(near, request.k, request.policy.decision.shortlist) for near in request.near]


def _random(request: SelectionRequest) -> list[Chosen]:
    """Return random examples, the nearest first; the same for the same text, seed and index."""
    rows = request.index.rows(request.policy.retrieval.where)

    def ranking(some: Sequence[int], n: int) -> list[list[Neighbor]]:
        seed, size = request.policy.retrieval.seed, min(n, len(rows))
        drawn = [_draw(seed, request.texts[i]).choice(rows, size, replace=False) for i in some]
        return request.index.at(drawn, request.vectors[some])

    found = request.best(ranking, request.k)
    return [ranked(sorted(own, key=lambda n: -n.similarity)) for own in found]


def _picked(request: SelectionRequest, pick: Pick) -> list[Chosen]:
    """Return those picked from the nearest, nearest first."""
    k = request.k
    vectors = request.index.known_vectors([n.example.id for near in request.near for n in near])
    chosen = []
    for near in request.near:
        there = [
            n for n in near[: POOL * k] if n.example.id in vectors
        ]  # the others were just removed
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
