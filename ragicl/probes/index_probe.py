"""The classifier on an index's vectors, or on a language model's features of its examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ragicl.errors import TaskError
from ragicl.index import Index
from ragicl.index.cached import CHANGED, CachedByGeneration
from ragicl.probes.ensemble import (
    VectorClassifier,
    fit_or_load,
    over_labels,
    probabilities,
)
from ragicl.probes.lm_features import Features
from ragicl.probes.ridge import example_weights
from ragicl.probes.scaling import Scaling
from ragicl.protocols import Float64Array, FloatArray, IntArray, Progress, no_progress
from ragicl.records import Example, Where
from ragicl.retrieval.nearest import nearest

LEARN_FROM = 20_000  # examples that it is fitted on, at most
FOLDER = "classifier"  # in the index's folder
READ = 4000  # where a language model has to read them first
SMALL = 1000  # examples; a smaller index is refitted whenever it has changed
COMPARED = 2000  # examples that an in-distribution percentile is relative to
BATCH = 256  # of them, searched for together
CHECKED = 500  # examples that are compared with the index, to see how many have changed
SAME = 0.999  # cosine from which two vectors count as the same text's


@dataclass(frozen=True, slots=True, eq=False)
class IndexClassifier:
    """A classifier on an index's examples.

    :ivar labels: of its columns
    :ivar examples: that it was fitted on
    :ivar vectors: theirs, shape (examples, dim)
    :ivar rows: each example's row, by id
    :ivar nearness: leave-one-out nearness of a sample of examples to the others, least first; empty
        where it is fitted on a language model's features
    :ivar scaling: of such features; None for the encoder's vectors, which are units
    """

    classifier: VectorClassifier
    labels: tuple[str, ...]
    examples: Sequence[Example]
    vectors: FloatArray
    rows: Mapping[str, int]
    nearness: Float64Array
    scaling: Scaling | None = None

    def answers(
        self, vectors: FloatArray, excluded: Sequence[str | None], labels: tuple[str, ...]
    ) -> tuple[FloatArray, Float64Array]:
        """Return P(label | vector), shape (len(vectors), len(labels)), and the ridge's values.

        :param vectors: the encoder's, or a language model's features before scaling
        :param excluded: for each vector the id of an example to leave out; it is left out only
            where the vector is its own: any other one is one of many, and stays in the classifier
        :param labels: about those of its columns: a label added since is as likely as the least
            likely of these
        :return: the second of shape (len(vectors), columns)
        """
        if self.scaling is not None:
            vectors = self.scaling.unit(vectors)
        values = self.classifier.ridge.values(vectors)
        logits = self.classifier.logits(vectors, values)
        found = [(i, self._own_row(vectors[i], name)) for i, name in enumerate(excluded)]
        if own := [(i, row) for i, row in found if row is not None]:
            places, rows = map(np.array, zip(*own, strict=True))
            values[places] = self.classifier.ridge.loo_values[rows]
            logits[places] = self.classifier.loo_logits(rows)
        return probabilities(over_labels(logits, self.labels, labels)), values

    def contributions(
        self, vector: FloatArray, excluded: str | None, label: str, against: str
    ) -> Float64Array:
        """Return what each example adds through the ridge to the log-odds of two labels.

        Examples of other labels add nothing; the sum is the ridge's part of the log-odds. Those
        of the pool's other classifiers have no such parts.

        :param vector: the encoder's, or a language model's features before scaling, shape (dim,)
        :param excluded: as :meth:`answers` takes it
        :return: in nats, above 0 for the label, shape (examples,)
        """
        if self.scaling is not None:
            vector = self.scaling.unit(vector[None])[0]
        left_out = self._own_row(vector, excluded)
        weights = example_weights(self.classifier.ridge, self.vectors, vector, left_out)
        outputs = np.array([example.output for example in self.examples], dtype=object)
        signs = (outputs == label).astype(float) - (outputs == against)
        return np.asarray(self.classifier.ridge_scale * signs * weights)

    def _own_row(self, vector: FloatArray, excluded: str | None) -> int | None:
        """Return the row of an excluded example, where the scaled vector is its own."""
        row = self.rows.get(excluded) if excluded is not None else None
        return row if row is not None and vector @ self.vectors[row] > SAME else None

    def percentiles(self, values: Float64Array, similarities: Float64Array) -> Float64Array:
        """Return in-distribution percentiles: the share of examples that are less near than a text.

        Nearness is the cosine to the nearest example plus the highest value of the ridge. On
        clinc150 the sum separates texts of other intents better than either of them.

        :param values: as :meth:`answers` returns them
        :param similarities: of each text's nearest example, shape (texts,)
        :return: shape (texts,); low where a text may be out of scope
        """
        near = values.max(axis=1) + similarities
        return np.asarray(np.searchsorted(self.nearness, near) / max(len(self.nearness), 1))


class IndexProbe:
    """An index's classifier, fitted when first needed; safe to share between threads.

    :param labels: returns the labels to choose from
    :param where: metadata that the examples must have
    :param features: classify by these instead of the encoder's vectors
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
        self._cached = CachedByGeneration(index, self._fit, self._is_current)

    def get(self, progress: Progress = no_progress) -> IndexClassifier:
        """Return the classifier on the current examples, or on nearly all of them.

        :param progress: called as the examples are read and the classifier is fitted
        :raises TaskError: where no example has one of the labels
        """
        return self._cached.get(progress)

    def _fit(self, progress: Progress) -> IndexClassifier:
        labels = self._labels()
        number = enough(self._index, labels, self._most)
        sample, stored = self._index.sample_with_vectors(number, where=self._where)
        places = {label: place for place, label in enumerate(labels)}
        rows_known = [row for row, example in enumerate(sample) if example.output in places]
        known = [sample[row] for row in rows_known]
        if not known:
            raise no_example(self._index)
        columns = np.array([places[example.output] for example in known], dtype=np.int64)
        vectors, scaling = self._vectors(known, stored[rows_known], progress)
        fitted = self._classifier(vectors, columns, len(labels), progress)
        rows = {example.id: row for row, example in enumerate(known)}
        if self._features is not None:  # percentiles go by the encoder's vectors alone
            return IndexClassifier(fitted, labels, known, vectors, rows, np.empty(0), scaling)
        some = np.random.default_rng(0).permutation(len(known))[:COMPARED]
        if len(sample) < number:  # there are no others
            similar = _similarities(vectors, some)
        else:
            similar = self._similarities(vectors[some], [known[row].id for row in some], labels)
        near = np.sort(similar + fitted.ridge.loo_values[some].max(axis=1).astype(float))
        return IndexClassifier(fitted, labels, known, vectors, rows, near)

    def _classifier(
        self, vectors: FloatArray, columns: IntArray, labels: int, progress: Progress
    ) -> VectorClassifier:
        """Return the classifier, saved for the next process."""
        name = "vectors" if self._features is None else "features"
        file = self._index.derived.file(FOLDER, f"{name}.npz")
        return fit_or_load(file, vectors, columns, labels, progress)

    def _vectors(
        self, known: Sequence[Example], stored: FloatArray, progress: Progress
    ) -> tuple[FloatArray, Scaling | None]:
        if self._features is None:
            return stored, None
        states = self._features.keep([example.input for example in known], progress)
        scaling = Scaling.of(states)
        return scaling.unit(states), scaling

    def _similarities(
        self, vectors: FloatArray, ids: Sequence[str], labels: tuple[str, ...]
    ) -> Float64Array:
        """Return the similarity of examples to the nearest other one of the whole index."""
        near = partial(self._index.near, where=self._where)
        found = []
        for start in range(0, len(ids), BATCH):
            own = slice(start, start + BATCH)
            found += nearest(near, vectors[own], 1, exclude=ids[own], labels=labels)
        return np.array([others[0].similarity if others else -1.0 for others in found])

    def _is_current(self, fitted: IndexClassifier) -> bool:
        """Whether it is large, has today's labels, and nearly all of its examples are unchanged."""
        if len(self._index) <= SMALL or fitted.labels != self._labels():
            return False
        then = fitted.examples[:: math.ceil(len(fitted.examples) / CHECKED)]
        now = self._index.get([example.id for example in then])
        changed = sum(example.id not in now or now[example.id] != example for example in then)
        return changed <= CHANGED * len(then)


def enough(index: Index, labels: tuple[str, ...], most: int) -> int:
    """Return how many examples to draw, so that about `most` of them have one of the labels."""
    counts = index.labels()
    share = sum(counts.get(label, 0) for label in labels) / max(sum(counts.values()), 1)
    return math.ceil(most / max(share, 1e-9))


def no_example(index: Index) -> TaskError:
    """Return the error of an index without an example that has one of the labels."""
    return TaskError(
        f"no example in {index.path} is left that has one of the labels to choose from; "
        f"ask for other ones"
    )


def _similarities(vectors: FloatArray, some: IntArray) -> Float64Array:
    """Return the similarity of some of the vectors to the nearest other one."""
    similar = vectors[some] @ vectors.T
    similar[np.arange(len(some)), some] = -1.0
    return np.asarray(similar.max(axis=1), dtype=np.float64)
