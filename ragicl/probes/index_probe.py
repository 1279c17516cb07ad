"""The classifier on an index's vectors: what the examples say of a text without any model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ragicl.errors import TaskError
from ragicl.index import Index
from ragicl.index.cached import CHANGED, Learnt
from ragicl.probes.ensemble import (
    VectorClassifier,
    content_key,
    fit_classifier,
    likely,
    load_classifier,
    save_classifier,
)
from ragicl.probes.lm_features import Features
from ragicl.probes.scaling import Scaling
from ragicl.protocols import Float64Array, FloatArray, IntArray, Progress, no_progress
from ragicl.records import Example, Where
from ragicl.retrieval.nearest import nearest

LEARN_FROM = 20_000  # examples that it is fitted on
FOLDER = "classifier"  # in the index's folder
READ = 4000  # examples that it is fitted on where a language model has to read them
SMALL = 1000  # examples; a smaller index is fitted anew whenever it has changed
COMPARED = 2000  # examples, each left out, that a text's familiarity is held against
BATCH = 256  # of them, searched for together
CHECKED = 500  # examples that are looked at again, to see how many have changed
SAME = 0.999  # cosine of a text with itself, embedded again


@dataclass(frozen=True, slots=True, eq=False)
class IndexClassifier:
    """A classifier on an index's examples.

    :ivar labels: of its columns
    :ivar examples: that it was fitted on
    :ivar vectors: theirs, shape (examples, dim)
    :ivar rows: where each stands among them, by id
    :ivar known: how near examples are to the others, each left out; least first; empty where it is
        fitted on a language model's features
    :ivar scaling: of such features; None for the encoder's vectors, which are units
    """

    classifier: VectorClassifier
    labels: tuple[str, ...]
    examples: Sequence[Example]
    vectors: FloatArray
    rows: Mapping[str, int]
    known: Float64Array
    scaling: Scaling | None = None

    def answers(
        self, vectors: FloatArray, excluded: Sequence[str | None], labels: tuple[str, ...]
    ) -> tuple[FloatArray, Float64Array]:
        """Return P(label | vector), shape (len(vectors), len(labels)), and what is regressed.

        :param vectors: the encoder's, or a language model's features as they are read
        :param excluded: for each vector the id of an example to be left out; only that of its own
            is: another one is one of many, and stays in the classifier
        :param labels: nearly those of its columns: one that was taught since is as likely as the
            least likely of these
        :return: the second of shape (len(vectors), its columns)
        """
        if self.scaling is not None:
            vectors = self.scaling.unit(vectors)
        values = self.classifier.ridge.values(vectors)
        logits = self.classifier.logits(vectors, values)
        own = [
            (i, self.rows[name])
            for i, name in enumerate(excluded)
            if name is not None
            and name in self.rows
            and vectors[i] @ self.vectors[self.rows[name]] > SAME
        ]
        if own:
            places, rows = map(np.array, zip(*own, strict=True))
            values[places] = self.classifier.ridge.left_values[rows]
            logits[places] = self.classifier.left_logits(rows)
        return likely(self._of(labels, logits)), values

    def _of(self, labels: tuple[str, ...], logits: Float64Array) -> Float64Array:
        if labels == self.labels:
            return logits
        columns = dict(zip(self.labels, logits.T, strict=True))
        least = logits.min(axis=1)
        return np.stack([columns.get(label, least) for label in labels], axis=1)

    def familiarity(self, values: Float64Array, similarities: Float64Array) -> Float64Array:
        """Return the share of the examples that are less like the others than a text is.

        How near a text is, is the cosine of its nearest example and the highest value regressed.
        On clinc150 the two together tell texts of other intents apart better than each.

        :param values: as :meth:`answers` returns them
        :param similarities: of each text's nearest example, shape (texts,)
        :return: shape (texts,); low where a text may be out of scope
        """
        near = values.max(axis=1) + similarities
        return np.asarray(np.searchsorted(self.known, near) / max(len(self.known), 1))


class Prior:
    """An index's classifier, fitted when first needed; safe to share between threads.

    :param labels: returns the labels to choose from
    :param where: metadata that the examples must have
    :param features: classify by these, in place of the encoder's vectors
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

    def get(self, progress: Progress = no_progress) -> IndexClassifier:
        """Return the classifier on the examples of now, or on nearly all of them.

        :param progress: called as the examples are read and the classifier is fitted
        :raises TaskError: where no example has one of the labels
        """
        return self._learnt.get(progress)

    def _learn(self, progress: Progress) -> IndexClassifier:
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
        vectors, scaling = self._vectors(known, stored, progress)
        fitted = self._fitted(vectors, columns, len(labels), progress)
        rows = {example.id: row for row, example in enumerate(known)}
        if self._features is not None:  # only the encoder's vectors tell what is familiar
            return IndexClassifier(fitted, labels, known, vectors, rows, np.empty(0), scaling)
        some = np.random.default_rng(0).permutation(len(known))[:COMPARED]
        if len(sample) < number:  # there are no others
            similar = _similarities(vectors, some)
        else:
            similar = self._similarities(vectors[some], [known[row].id for row in some], labels)
        near = np.sort(similar + fitted.ridge.left_values[some].max(axis=1).astype(float))
        return IndexClassifier(fitted, labels, known, vectors, rows, near)

    def _fitted(
        self, vectors: FloatArray, columns: IntArray, labels: int, progress: Progress
    ) -> VectorClassifier:
        """Return the classifier; of many examples it is kept, for the next process."""
        if len(vectors) <= SMALL:
            return fit_classifier(vectors, columns, labels)
        name = "vectors" if self._features is None else "features"
        file, key = self._index.path / FOLDER / f"{name}.npz", content_key(vectors, columns, labels)
        if (fitted := load_classifier(file, key)) is None:
            progress("fitting the classifier", 0, len(vectors))  # it takes a while
            fitted = fit_classifier(vectors, columns, labels)
            progress("fitting the classifier", len(vectors), len(vectors))
            save_classifier(file, fitted, key)
        return fitted

    def _enough(self, labels: tuple[str, ...]) -> int:
        """Return how many examples to draw, so that enough of them have one of the labels."""
        counts = self._index.labels()
        share = sum(counts.get(label, 0) for label in labels) / max(sum(counts.values()), 1)
        return math.ceil(self._most / max(share, 1e-9))

    def _vectors(
        self, known: Sequence[Example], stored: Mapping[str, FloatArray], progress: Progress
    ) -> tuple[FloatArray, Scaling | None]:
        if self._features is None:
            return np.stack([stored[example.id] for example in known]), None
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

    def _holds(self, fitted: IndexClassifier) -> bool:
        """Whether it is large, and nearly all examples and the labels are as they were."""
        if len(self._index) <= SMALL or fitted.labels != self._labels():
            return False
        then = fitted.examples[:: math.ceil(len(fitted.examples) / CHECKED)]
        now = self._index.get([example.id for example in then])
        changed = sum(example.id not in now or now[example.id] != example for example in then)
        return changed <= CHANGED * len(then)


def _similarities(vectors: FloatArray, some: IntArray) -> Float64Array:
    """Return the similarity of some of the vectors to the nearest other one."""
    similar = vectors[some] @ vectors.T
    similar[np.arange(len(some)), some] = -1.0
    return np.asarray(similar.max(axis=1), dtype=np.float64)
