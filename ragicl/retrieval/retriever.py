"""From queries to retrieval results: demonstrations, fixed ones, a shortlist of labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ragicl.data.examples import check_query
from ragicl.errors import TaskError
from ragicl.index import Index
from ragicl.index.cached import CachedByGeneration
from ragicl.policy import Policy
from ragicl.protocols import FloatArray
from ragicl.records import Example, Neighbor, Where
from ragicl.retrieval.bm25 import WordIndex
from ragicl.retrieval.fixed import FixedSets, learn_fixed
from ragicl.retrieval.nearest import nearest
from ragicl.retrieval.strategies import STRATEGIES, SelectionRequest
from ragicl.timing import Timings, timed

LEARN_FROM = 4000  # examples that anything is learnt from, at most
BATCH = 256  # of the index's own examples, searched for together
KEYS_FROM = 1000  # examples whose metadata an error names
VALUES_NAMED = 10  # of each key
VALUE_SHOWN = 40  # characters


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalResult:
    """What is retrieved for one query.

    :ivar neighbors: the demonstrations, the best first: by default the nearest
    :ivar fixed: demonstrations that its prompt begins with, in prompt order
    :ivar shortlist: the labels to choose from, nearest first; None where all are
    :ivar voters: the nearest examples, nearest first, however demonstrations are chosen: k of them,
        or as many as vote in a blend
    :ivar vector: of the query, shape (dim,); None where no search was needed
    :ivar exclude: id of an example that is left out
    :ivar text: the query
    :ivar labels: to choose from in this request; nothing that is found has others; None
        where nobody asked for labels
    """

    neighbors: tuple[Neighbor, ...]
    fixed: tuple[Neighbor, ...] = ()
    shortlist: tuple[str, ...] | None = None
    voters: tuple[Neighbor, ...] = ()
    vector: FloatArray | None = None
    exclude: str | None = None
    text: str = ""
    labels: tuple[str, ...] | None = None


class Retriever:
    """Retrieves what a policy asks for; safe to share between threads.

    :raises TaskError: where the policy selects by labels, and the index holds texts to generate
    """

    def __init__(self, index: Index, policy: Policy) -> None:
        self._index = index
        self._policy = policy
        self._strategy = STRATEGIES[policy.retrieval.select]
        if index.kind == "generate" and self._strategy.labels:
            others = ", ".join(name for name, own in STRATEGIES.items() if not own.labels)
            raise TaskError(
                f"select {policy.retrieval.select} goes by labels, and {index.path} holds texts to "
                f"generate; "
                f"use one of {others}"
            )
        self._words = WordIndex(index)
        self._fixed = CachedByGeneration(index, self._learn_fixed, self._all_there)

    def find(
        self,
        texts: Sequence[str],
        excluded: Sequence[str | None],
        timings: Timings,
        *,
        demonstrations: bool = True,
        labels: tuple[str, ...] | None = None,
    ) -> list[RetrievalResult]:
        """Return the results for texts, each without the example of the id given.

        :param demonstrations: also choose demonstrations; else `neighbors` are the voters
        :param labels: to choose from, as they were when the request came: others may have been
            added since, or removed; None takes the policy's
        :raises DataError: where a text is empty
        :raises TaskError: where no example has the metadata that the policy asks for
        """
        self._index.check_process()
        for text in texts:
            check_query(text)
        if not self._needed:
            return [RetrievalResult((), labels=labels)] * len(texts)
        encoder = self._index.encoder  # its loading does not count as a query's time
        with timed(timings, "embed"):
            vectors = encoder.encode(texts)
        with timed(timings, "search"):
            return self._near(
                texts, vectors, excluded, demonstrations=demonstrations, labels=labels
            )

    def find_others(
        self, examples: Sequence[Example], vectors: FloatArray, *, demonstrations: bool = True
    ) -> list[RetrievalResult]:
        """Return the results for the index's own examples, each left out of its own search.

        :param vectors: theirs, shape (examples, dim); an example may have been removed since
        :param demonstrations: also choose demonstrations; else `neighbors` are the voters
        """
        found = []
        for start in range(0, len(examples), BATCH):
            some, own = examples[start : start + BATCH], vectors[start : start + BATCH]
            ids = [example.id for example in some]
            texts = [example.input for example in some]
            found += self._near(texts, own, ids, demonstrations=demonstrations, labels=None)
        return found

    @property
    def _needed(self) -> int:
        policy = self._policy
        return max(self._voters, policy.decision.shortlist or 0, min(policy.retrieval.fixed, 1))

    @property
    def _voters(self) -> int:
        own, k = self._policy.decision, self._policy.retrieval.k
        blends = own.decide in ("blend", "probe") and self._index.kind == "classify"
        return max(k, own.voters) if blends and not self._policy.generation.generate else k

    def _near(
        self,
        texts: Sequence[str],
        vectors: FloatArray,
        excluded: Sequence[str | None],
        *,
        demonstrations: bool,
        labels: tuple[str, ...] | None,
    ) -> list[RetrievalResult]:
        policy = self._policy
        choice = policy.decision.labels if labels is None else labels
        allowed = None if choice is None else frozenset(choice)
        self._check_where()
        sets = self._fixed.get() if policy.retrieval.fixed else None
        pool = self._strategy.pool if demonstrations else 1
        near = nearest(
            partial(self._index.near, where=policy.retrieval.where),
            vectors,
            max(self._needed, pool * policy.retrieval.k * policy.prompt.ensemble),
            exclude=excluded,
            labels=allowed,
        )
        sources = self._index, self._words, policy
        request = SelectionRequest(*sources, texts, vectors, excluded, near, allowed)
        voters = [some[: self._voters] for some in near]
        chosen = voters
        if demonstrations:
            chosen = self._strategy.choose(request) if policy.retrieval.k else [()] * len(texts)
        return [
            RetrievalResult(
                own_chosen,
                _labelled(sets.of(vector, own), allowed) if sets else (),
                _labels(some[: policy.decision.shortlist]) if policy.decision.shortlist else None,
                own_voters,
                vector,
                own,
                text,
                labels,
            )
            for own_chosen, own_voters, some, vector, own, text in zip(
                chosen,
                voters,
                near,
                vectors,
                excluded,
                texts,
                strict=True,
            )
        ]

    def _check_where(self) -> None:
        where = self._policy.retrieval.where
        if where and not len(self._index.rows(where)):
            wanted = " and ".join(f"{key}={value}" for key, value in where)
            metas = [example.meta for example in self._index.sample(KEYS_FROM)]
            raise TaskError(
                f"no example in {self._index.path} has {wanted}; {_there_is(metas, where)}"
            )

    def _learn_fixed(self) -> FixedSets:
        policy = self._policy
        where, labels = policy.retrieval.where, policy.decision.labels
        sample, vectors = self._index.sample_with_vectors(LEARN_FROM, where=where)
        places = [i for i, e in enumerate(sample) if labels is None or e.output in labels]
        if not places:
            raise TaskError(
                f"no example in {self._index.path} is left that could be a fixed demonstration; "
                f"add some, or set fixed to 0"
            )
        known = [sample[i] for i in places]
        return learn_fixed(
            known, vectors[places], policy.retrieval.fixed, policy.retrieval.clusters
        )

    def _all_there(self, sets: FixedSets) -> bool:
        stored = self._index.get(list(sets.ids))
        chosen = (example for fixed in sets.sets for example in fixed.examples)
        return all(stored.get(example.id) == example for example in chosen)


def _there_is(metas: Sequence[Mapping[str, Any]], where: Where) -> str:
    """Return what metadata have in place of what was asked for: the keys' values, or the keys."""
    keys = ", ".join(dict.fromkeys(key for meta in metas for key in meta))
    if not keys:
        return "they have no metadata"
    values = {key: Counter(_shown(meta[key]) for meta in metas if key in meta) for key, _ in where}
    if not all(values.values()):
        return f"they have {keys}"
    return "; ".join(f"{key} is {_listed(seen)}" for key, seen in values.items())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _listed(seen: Counter[str]) -> str:
    named = ", ".join(value[:VALUE_SHOWN] for value, _ in seen.most_common(VALUES_NAMED))
    return f"{named} and others" if len(seen) > VALUES_NAMED else named


def _labelled(
    neighbors: tuple[Neighbor, ...], allowed: Collection[str] | None
) -> tuple[Neighbor, ...]:
    return tuple(n for n in neighbors if allowed is None or n.example.output in allowed)


def _labels(neighbors: Sequence[Neighbor]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(neighbor.example.output for neighbor in neighbors))
