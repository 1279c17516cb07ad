"""A classifier on states read in context: of the answer's position, after a few demonstrations.

A language model that has read one example of each label prepares, some way up its blocks, to answer
with a label: the state of a prompt's last token then tells labels apart better than the states of
the bare text do. Nearest in print: PALP (Cho et al. 2023, 2212.10873) and FADS-ICL (2405.10738).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ragicl.index import Index
from ragicl.index.cached import CHANGED, CachedByGeneration
from ragicl.probes.context_states import VERSION, ContextStates
from ragicl.probes.demonstrations import (
    Demonstrations,
    Draw,
    Shot,
    draw,
    load_demonstrations,
    save_demonstrations,
)
from ragicl.probes.ensemble import fit_or_load
from ragicl.probes.index_probe import FOLDER as CLASSIFIERS
from ragicl.probes.index_probe import SMALL, IndexClassifier, enough, no_example
from ragicl.probes.influence import without_each_shot
from ragicl.probes.scaling import Scaling
from ragicl.probes.state_cache import FOLDER, digest
from ragicl.probes.views import VIEWS, View, best_views, joined
from ragicl.protocols import (
    LM,
    Featuring,
    Float64Array,
    FloatArray,
    IntArray,
    Progress,
    no_progress,
)
from ragicl.records import Example, Where

DRAWS = 3  # of demonstrations, whose states are averaged
READ = 1500  # examples that the language model reads after each draw, at most
GROWN = 2  # times the examples that views were chosen on, from which they are chosen again
logger = logging.getLogger("ragicl")


@dataclass(frozen=True, slots=True, eq=False)
class ContextClassifier:
    """A classifier on states in context, and how texts are read for it.

    :ivar draws: the demonstrations, several times over
    :ivar views: of each text, in the order of the vectors
    """

    classifier: IndexClassifier
    draws: tuple[Draw, ...]
    views: tuple[View, ...]


class Context:
    """The classifier on states in context, fitted when first needed; safe to share.

    :param labels: returns the labels to choose from
    :param where: metadata that the examples must have
    """

    def __init__(
        self,
        index: Index,
        lm: Featuring,
        labels: Callable[[], tuple[str, ...]],
        where: Where = (),
    ) -> None:
        self._index = index
        self._lm = lm
        self._labels = labels
        self._where = where
        self._states = ContextStates(index.derived, lm)
        self._cached = CachedByGeneration(index, self._fit, self._is_current)

    def get(self, progress: Progress = no_progress) -> ContextClassifier:
        """Return the classifier on the current examples, or on nearly all of them.

        :param progress: called as the examples are read
        :raises TaskError: where no example has one of the labels
        """
        return self._cached.get(progress)

    def probs(
        self, texts: Sequence[str], excluded: Sequence[str | None], labels: tuple[str, ...]
    ) -> FloatArray:
        """Return P(label | text read in context), shape (len(texts), len(labels)).

        :param excluded: for each text the id of an example to leave out, whose text it is
        """
        fitted = self.get()
        return fitted.classifier.answers(self._vectors(texts, fitted), excluded, labels)[0]

    def contributions(
        self, text: str, excluded: str | None, label: str, against: str
    ) -> tuple[Sequence[Example], Float64Array]:
        """Return the examples, and what each adds to the log-odds of two labels.

        See :meth:`ragicl.probes.index_probe.IndexClassifier.contributions`.
        """
        fitted = self.get()
        (vector,) = self._vectors([text], fitted)
        added = fitted.classifier.contributions(vector, excluded, label, against)
        return fitted.classifier.examples, added

    def without_each_shot(
        self, text: str, labels: tuple[str, ...]
    ) -> Iterator[tuple[Shot, FloatArray]]:
        """Yield each demonstration, and P(label | text) read without it, shape (len(labels),)."""
        fitted = self.get()
        return without_each_shot(
            text,
            fitted.draws,
            lambda own: self._states.of([text], (own,), fitted.views)[0],
            lambda state: fitted.classifier.answers(joined(state[None]), [None], labels)[0][0],
        )

    def _vectors(self, texts: Sequence[str], fitted: ContextClassifier) -> FloatArray:
        return joined(self._states.of(texts, fitted.draws, fitted.views))

    def _fit(self, progress: Progress = no_progress) -> ContextClassifier:
        labels = self._labels()
        places = {label: place for place, label in enumerate(labels)}
        sample = self._index.sample(enough(self._index, labels, READ), where=self._where)
        known = [example for example in sample if example.output in places]
        if not known:
            raise no_example(self._index)
        gold = np.array([places[example.output] for example in known], dtype=np.int64)
        shown, states = self._read(known, gold, labels, progress)
        vectors = joined(states[:, [VIEWS.index(view) for view in shown.views]])
        scaling = Scaling.of(vectors)
        vectors = scaling.unit(vectors)
        file = self._index.derived.file(CLASSIFIERS, "context.npz")
        fitted = fit_or_load(file, vectors, gold, len(labels), progress)
        rows = {example.id: row for row, example in enumerate(known)}
        classifier = IndexClassifier(fitted, labels, known, vectors, rows, np.empty(0), scaling)
        return ContextClassifier(classifier, shown.draws, shown.views)

    def _read(
        self, known: Sequence[Example], gold: IntArray, labels: tuple[str, ...], progress: Progress
    ) -> tuple[Demonstrations, FloatArray]:
        """Return the demonstrations and views to use, and all views of the examples."""
        key = digest(f"{VERSION}|{self._lm.description}|{self._where}|{labels}")
        file = self._index.derived.file(FOLDER, f"{key}.json")
        kept = load_demonstrations(file)
        draws = self._drawn(kept.draws if kept else (), known)
        states = self._states.keep([example.input for example in known], draws, progress)
        if kept is None or kept.draws != draws or len(known) >= GROWN * kept.examples:
            views = best_views(states, gold, len(labels))
            kept = Demonstrations(draws, views, len(known))
            save_demonstrations(file, kept)
        return kept, states

    def _drawn(self, kept: tuple[Draw, ...], known: Sequence[Example]) -> tuple[Draw, ...]:
        """Return the draws that were kept, those drawn again whose examples have changed."""
        draws: list[Draw] = list(kept) if kept else [()] * DRAWS
        stored = self._index.get([shot.id for own in draws for shot in own])
        for d, own in enumerate(draws):
            if kept and all(shot.is_still(stored.get(shot.id)) for shot in own):
                continue
            if kept:
                logger.warning(
                    "an example that the language model reads before every text has changed: "
                    "others take its place, and %d examples are read again",
                    len(known),
                )
            taken = {shot.input for e, other in enumerate(draws) if e != d for shot in other}
            draws[d] = draw(known, d, taken, self._states.cost, self._states.room)
        return tuple(draws)

    def _is_current(self, fitted: ContextClassifier) -> bool:
        """Whether it is large, has today's labels, and its examples are unchanged but for a few."""
        examples = fitted.classifier.examples
        if len(self._index) <= SMALL or fitted.classifier.labels != self._labels():
            return False
        shots = [shot for own in fitted.draws for shot in own]
        now = self._index.get([*(e.id for e in examples), *(shot.id for shot in shots)])
        changed = sum(now.get(e.id) != e for e in examples)
        still = all(shot.is_still(now.get(shot.id)) for shot in shots)
        return still and changed <= CHANGED * len(examples)


def context_of(
    index: Index, lm: LM | None, labels: Callable[[], tuple[str, ...]], where: Where = ()
) -> Context | None:
    """Return what reads texts in context; None where the model's states cannot be seen."""
    if lm is None or not isinstance(lm, Featuring):
        return None
    return Context(index, lm, labels, where)
