"""The regression on an index's vectors: what the examples say of a text without any model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ragicl.errors import TaskError
from ragicl.features import Features, Told, unheard
from ragicl.index import Index
from ragicl.learnt import CHANGED, Learnt
from ragicl.protocols import FloatArray
from ragicl.records import Example, Where
from ragicl.ridge import (
    Columns,
    Doubles,
    Ridge,
    content_key,
    fit_ridge,
    load_ridge,
    save_ridge,
)
from ragicl.scaling import Scaling
from ragicl.select import nearest

LEARN_FROM = 10_000  # examples that it is fitted on
FOLDER = "regression"  # in the index's folder
READ = 4000  # examples that it is fitted on where a language model has to read them
SMALL = 2000  # examples; a smaller index is fitted anew whenever it has changed
COMPARED = 2000  # examples, each left out, that a text's familiarity is held against
BATCH = 256  # of them, searched for together
CHECKED = 500  # examples that are looked at again, to see how many have changed
SAME = 0.999  # cosine of a text with itself, embedded again


@dataclass(frozen=True, slots=True, eq=False)
class IndexRidge:
    """A regression on an index's examples.

    :ivar labels: of its columns
    :ivar examples: that it was fitted on
    :ivar vectors: theirs, shape (examples, dim)
    :ivar rows: where each stands among them, by id
    :ivar known: how near examples are to the others, each left out; least first; empty where it is
        fitted on a language model's features
    :ivar scaling: of such features; None for the encoder's vectors, which are units
    """

    ridge: Ridge
    labels: tuple[str, ...]
    examples: Sequence[Example]
    vectors: FloatArray
    rows: Mapping[str, int]
    known: Doubles
    scaling: Scaling | None = None

    def values(self, vectors: FloatArray, excluded: Sequence[str | None]) -> Doubles:
        """Return what is regressed for vectors, shape (len(vectors), labels).

        :param vectors: the encoder's, or a language model's features as they are read
        :param excluded: for each vector the id of an example to be left out; only that of its own
            is: another one is one of many, and stays in the regression
        """
        if self.scaling is not None:
            vectors = self.scaling.unit(vectors)
        values = self.ridge.values(vectors)
        for i, own in enumerate(excluded):
            row = None if own is None else self.rows.get(own)
            if row is not None and vectors[i] @ self.vectors[row] > SAME:
                values[i] = self.ridge.left_values[row]
        return values

    def likely(self, values: Doubles, labels: tuple[str, ...]) -> FloatArray:
        """Return regressed values as P(label | vector), shape (rows, len(labels)).

        :param labels: nearly those of its columns: a label that was taught since has the value 0
        """
        if labels != self.labels:
            columns = dict(zip(self.labels, values.T, strict=True))
            nothing = np.zeros(len(values))
            values = np.stack([columns.get(label, nothing) for label in labels], axis=1)
        return self.ridge.likely(values)

    def familiarity(self, values: Doubles, similarities: Doubles) -> Doubles:
        """Return the share of the examples that are less like the others than a text is.

        How near a text is, is the cosine of its nearest example and the highest value regressed.
        On clinc150 the two together tell texts of other intents apart better than each.

        :param values: as :meth:`values` returns them
        :param similarities: of each text's nearest example, shape (texts,)
        :return: shape (texts,); low where a text may be out of scope
        """
        near = values.max(axis=1) + similarities
        return np.asarray(np.searchsorted(self.known, near) / max(len(self.known), 1))


class Prior:
    """An index's regression, fitted when first needed; safe to share between threads.

    :param labels: returns the labels to choose from
    :param where: metadata that the examples must have
    :param features: regress on these, in place of the encoder's vectors
    """

    def __init__(
        self,
        index: Index,
        labels: Callable[[], tuple[str, ...]],
        where: Where = (),
        features: Features | None = None,
    ) -> None:
        self._index = index
        self._features = features
        self._most = LEARN_FROM if features is None else READ
        self._labels = labels
        self._where = where
        self._learnt = Learnt(index, self._learn, self._holds)

    def get(self, told: Told = unheard) -> IndexRidge:
        """Return the regression on the examples of now, or on nearly all of them.

        :param told: hears how far a language model has come with reading the examples
        :raises TaskError: where no example has one of the labels
        """
        return self._learnt.get(told)

    def _learn(self, told: Told) -> IndexRidge:
        labels = self._labels()
        number = self._enough(labels)
        sample = self._index.sample(number, where=self._where)
        places = {label: place for place, label in enumerate(labels)}
        stored = self._index.known_vectors([example.id for example in sample])
        # Those without a vector were removed just now.
        known = [e for e in sample if e.output in places and e.id in stored]
        if not known:
            raise TaskError(
                f"no example in {self._index.path} is left that has one of the labels to choose "
                f"from; ask for other ones"
            )
        columns = np.array([places[example.output] for example in known], dtype=np.int64)
        vectors, scaling = self._vectors(known, stored, told)
        ridge = self._fitted(vectors, columns, len(labels))
        rows = {example.id: row for row, example in enumerate(known)}
        if self._features is not None:  # only the encoder's vectors tell what is familiar
            return IndexRidge(ridge, labels, known, vectors, rows, np.empty(0), scaling)
        some = np.random.default_rng(0).permutation(len(known))[:COMPARED]
        if len(sample) < number:  # there are no others
            similar = _similarities(vectors, some)
        else:
            similar = self._similarities(vectors[some], [known[row].id for row in some], labels)
        near = np.sort(similar + ridge.left_values[some].max(axis=1).astype(float))
        return IndexRidge(ridge, labels, known, vectors, rows, near)

    def _fitted(self, vectors: FloatArray, columns: Columns, labels: int) -> Ridge:
        """Return the regression; of many examples it is kept, for the next process."""
        if len(vectors) <= SMALL:
            return fit_ridge(vectors, columns, labels)
        name = "vectors" if self._features is None else "features"
        file, key = self._index.path / FOLDER / f"{name}.npz", content_key(vectors, columns, labels)
        if (ridge := load_ridge(file, key)) is None:
            ridge = fit_ridge(vectors, columns, labels)
            save_ridge(file, ridge, key)
        return ridge

    def _enough(self, labels: tuple[str, ...]) -> int:
        """Return how many examples to draw, so that enough of them have one of the labels."""
        counts = self._index.labels()
        share = sum(counts.get(label, 0) for label in labels) / max(sum(counts.values()), 1)
        return math.ceil(self._most / max(share, 1e-9))

    def _vectors(
        self, known: Sequence[Example], stored: Mapping[str, FloatArray], told: Told
    ) -> tuple[FloatArray, Scaling | None]:
        if self._features is None:
            return np.stack([stored[example.id] for example in known]), None
        states = self._features.keep([example.input for example in known], told)
        scaling = Scaling.of(states)
        return scaling.unit(states), scaling

    def _similarities(
        self, vectors: FloatArray, ids: Sequence[str], labels: tuple[str, ...]
    ) -> Doubles:
        """Return the similarity of examples to the nearest other one of the whole index."""
        near = partial(self._index.near, where=self._where)
        found = []
        for start in range(0, len(ids), BATCH):
            own = slice(start, start + BATCH)
            found += nearest(near, vectors[own], 1, exclude=ids[own], labels=labels)
        return np.array([others[0].similarity if others else -1.0 for others in found])

    def _holds(self, fitted: IndexRidge) -> bool:
        """Whether it is large, and nearly all examples and the labels are as they were."""
        if len(self._index) <= SMALL or fitted.labels != self._labels():
            return False
        then = fitted.examples[:: math.ceil(len(fitted.examples) / CHECKED)]
        now = self._index.get([example.id for example in then])
        changed = sum(example.id not in now or now[example.id] != example for example in then)
        return changed <= CHANGED * len(then)


def _similarities(vectors: FloatArray, some: Columns) -> Doubles:
    """Return the similarity of some of the vectors to the nearest other one."""
    similar = vectors[some] @ vectors.T
    similar[np.arange(len(some)), some] = -1.0
    return np.asarray(similar.max(axis=1), dtype=np.float64)
