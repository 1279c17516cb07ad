"""The regression on an index's vectors: what the examples say of a text without any model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ragicl.index import Index
from ragicl.learnt import Learnt
from ragicl.protocols import FloatArray
from ragicl.ridge import Ridge, fit_ridge

LEARN_FROM = 20_000  # examples that it is fitted on
SMALL = 2000  # examples; a smaller index is fitted anew whenever it has changed


@dataclass(frozen=True, slots=True, eq=False)
class IndexRidge:
    """A regression on an index's examples.

    :ivar labels: of its columns
    :ivar rows: where each example stands among those it was fitted on, by id
    """

    ridge: Ridge
    labels: tuple[str, ...]
    rows: Mapping[str, int]

    def probs(self, vectors: FloatArray, excluded: Sequence[str | None]) -> FloatArray:
        """Return P(label | vector), shape (len(vectors), labels).

        :param excluded: for each vector the id of an example to be left out, such as its own
        """
        probs = self.ridge.probs(vectors)
        for i, own in enumerate(excluded):
            if own is not None and own in self.rows:
                probs[i] = self.ridge.left_out[self.rows[own]]
        return probs


class Prior:
    """An index's regression, fitted when first needed; safe to share between threads.

    :param labels: returns the labels to choose from
    """

    def __init__(self, index: Index, labels: Callable[[], tuple[str, ...]]) -> None:
        self._index = index
        self._labels = labels
        self._learnt = Learnt(index, self._learn, self._holds)

    def get(self) -> IndexRidge:
        """Return the regression on the examples of now, or on nearly all of them."""
        return self._learnt.get()

    def _learn(self) -> IndexRidge:
        labels = self._labels()
        places = {label: place for place, label in enumerate(labels)}
        known = [e for e in self._index.sample(LEARN_FROM) if e.output in places]
        ids = [example.id for example in known]
        columns = np.array([places[example.output] for example in known], dtype=np.int64)
        ridge = fit_ridge(self._index.vectors_of(ids), columns, len(labels))
        return IndexRidge(ridge, labels, {identity: row for row, identity in enumerate(ids)})

    def _holds(self, fitted: IndexRidge) -> bool:
        return len(self._index) > SMALL and fitted.labels == self._labels()
