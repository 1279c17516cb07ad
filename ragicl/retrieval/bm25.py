"""Examples by the words that they share with a query; the home of bm25s."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from ragicl.index import Index
from ragicl.protocols import FloatArray, IntArray
from ragicl.records import Neighbor, Where
from ragicl.retrieval.nearest import Chosen, content, ranked

WORD = re.compile(r"\w+")
CONSTANT = 60  # of Cormack et al.


@dataclass(frozen=True, slots=True, eq=False)
class _Scores:
    """The BM25 scores of one state of an index.

    :ivar rows: row number of each example, ascending
    :ivar model: None where no example has a word
    """

    generation: int
    rows: IntArray
    vocabulary: dict[str, int]
    model: Any

    def best(self, text: str, n: int, candidate_ids: IntArray | None) -> IntArray:
        """Return the rows of up to n examples that share a word with a text, best first."""
        known = [self.vocabulary[word] for word in _words(text) if word in self.vocabulary]
        if not known:
            return self.rows[:0]
        scores = self.model.get_scores_from_ids(known)
        sharing = np.flatnonzero(scores > 0)
        if candidate_ids is not None:
            sharing = sharing[np.isin(self.rows[sharing], candidate_ids)]
        own = scores[sharing]
        if len(own) > n:
            sharing = sharing[own >= np.partition(own, -n)[-n]]
        order = np.argsort(-scores[sharing], kind="stable")  # of equals, the one added first
        return self.rows[sharing[order[:n]]]


class WordIndex:
    """Ranks an index's examples by BM25 (as Lucene computes it) over lower-case words.

    It is built when first needed and again when the examples have changed; the texts themselves
    are not stored. Safe to share between threads.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = Lock()
        self._known: _Scores | None = None

    def ranked(
        self, texts: Sequence[str], vectors: FloatArray, n: int, where: Where = ()
    ) -> list[list[Neighbor]]:
        """Return up to n examples that share a word with each text, best first.

        :param vectors: of the texts, shape (texts, dim), for the similarities
        :param where: metadata that an example must have
        """
        scores = self._current()
        candidate_ids = self._index.rows(where) if where else None
        return self._index.at([scores.best(text, n, candidate_ids) for text in texts], vectors)

    def _current(self) -> _Scores:
        with self._lock:
            # Read first: an example added while building makes the next call build again.
            generation = self._index.generation
            if self._known is None or self._known.generation != generation:
                self._known = None  # two of them may not fit into memory
                self._known = self._built(generation)
            return self._known

    def _built(self, generation: int) -> _Scores:
        from bm25s import BM25

        vocabulary: dict[str, int] = {}
        rows, tokens = [], []
        for row, text in self._index.inputs():
            rows.append(row)
            tokens.append([vocabulary.setdefault(w, len(vocabulary)) for w in _words(text)])
        model = BM25(csc_backend="scipy")
        if vocabulary:
            model.index((tokens, vocabulary), create_empty_token=False, show_progress=False)
        return _Scores(generation, np.array(rows, dtype=np.int64), vocabulary, model)


def fused(rankings: Sequence[Sequence[Neighbor]], k: int) -> Chosen:
    """Return the k best of several rankings by reciprocal-rank fusion, each content once.

    An example's score is the sum of 1 / (60 + rank), ranks from 1, over the rankings that hold it
    (Cormack, Clarke and Büttcher, SIGIR 2009). Of equals, the one more similar to the query.
    """
    scores: dict[tuple[str, str], float] = {}
    known: dict[tuple[str, str], Neighbor] = {}
    for ranking in rankings:
        for rank, neighbor in enumerate(ranking, 1):
            own = content(neighbor.example)
            known.setdefault(own, neighbor)
            scores[own] = scores.get(own, 0.0) + 1 / (CONSTANT + rank)
    order = sorted(scores, key=lambda own: (-scores[own], -known[own].similarity))
    return ranked(known[own] for own in order[:k])


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())
