"""Classifiers on states read in context: of the answer's position, after a few demonstrations.

A language model that has read one example of each label prepares, some way up its blocks, to answer
with a label: the state of a prompt's last token then tells labels apart better than the states of
the bare text do. Nearest in print: PALP (Cho et al. 2023, 2212.10873) and FADS-ICL (2405.10738).
Examples among the demonstrations know their labels: they neither fit nor judge.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from msgspec.structs import replace

from ragicl.calibration.blend import mean_nll
from ragicl.index import Index
from ragicl.index.cached import CHANGED, CachedByGeneration
from ragicl.probes.demonstrations import (
    Demonstrations,
    Draw,
    draw,
    load_demonstrations,
    save_demonstrations,
)
from ragicl.probes.ensemble import (
    VectorClassifier,
    fit_classifier,
    fit_or_load,
    over_labels,
    probabilities,
)
from ragicl.probes.index_probe import FOLDER as CLASSIFIERS
from ragicl.probes.index_probe import SMALL, enough, no_example
from ragicl.probes.lm_features import LONGEST, bare_prompt, units
from ragicl.probes.scaling import Scaling
from ragicl.probes.state_cache import FOLDER, StateCache, digest
from ragicl.prompting.template import plain_template
from ragicl.protocols import (
    LM,
    Featuring,
    Float64Array,
    FloatArray,
    IntArray,
    Parts,
    Progress,
    no_progress,
)
from ragicl.records import Example, Where

VERSION = 1  # raise it when the same model and examples give other states
DRAWS = 3  # of demonstrations, whose classifiers are pooled
READ = 1500  # examples that the language model reads after each draw, at most
SHARES = (0.6, 0.7, 0.75, 0.8, 0.95)  # of the blocks: depths tried
ROOM = 4096  # tokens of a draw's demonstrations, at most
Fit: TypeAlias = Callable[[FloatArray, IntArray, int], VectorClassifier]
logger = logging.getLogger("ragicl")


@dataclass(frozen=True, slots=True, eq=False)
class DrawClassifier:
    """A classifier on states read after one draw of demonstrations.

    :ivar rows: by id, the rows of the examples that it was fitted on
    :ivar demonstrated: ids of the examples that precede every text
    """

    classifier: VectorClassifier
    scaling: Scaling
    rows: Mapping[str, int]
    demonstrated: frozenset[str]

    def logits(self, states: FloatArray, excluded: Sequence[str | None]) -> Float64Array:
        """Return logits, shape (len(states), columns): of an excluded example's own, left out.

        Rows of excluded examples that precede every text are not numbers.
        """
        found = self.classifier.logits(self.scaling.unit(states))
        for place, name in enumerate(excluded):
            if name in self.demonstrated:
                found[place] = np.nan
            elif name is not None and name in self.rows:
                found[place] = self.classifier.loo_logits(np.array([self.rows[name]]))[0]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class ContextClassifier:
    """Classifiers on states read after several draws of demonstrations, pooled.

    :ivar shown: the demonstrations of each draw
    :ivar labels: of the columns
    :ivar examples: that the model read
    :ivar share: of the blocks after which states are taken
    """

    draws: tuple[DrawClassifier, ...]
    shown: tuple[Draw, ...]
    labels: tuple[str, ...]
    examples: Sequence[Example]
    share: float

    def probs(
        self, states: FloatArray, excluded: Sequence[str | None], labels: tuple[str, ...]
    ) -> FloatArray:
        """Return P(label | states), shape (texts, labels).

        :param states: shape (texts, draws, width)
        :param excluded: for each text the id of an example to leave out, whose text it is
        :param labels: about those of the columns; one added since is as likely as the least likely
        """
        each = [own.logits(states[:, d], excluded) for d, own in enumerate(self.draws)]
        logits = mean_of_known(np.stack(each))
        return probabilities(over_labels(logits, self.labels, labels))


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
        self._template = plain_template("classify")
        self._caches: dict[Draw, StateCache] = {}
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
        """Return P(label | text read in context), shape (len(texts), len(labels))."""
        fitted = self.get()
        return fitted.probs(self._states(texts, fitted.shown, fitted.share), excluded, labels)

    def _states(self, texts: Sequence[str], draws: Sequence[Draw], share: float) -> FloatArray:
        """Return states, shape (texts, draws, width); those of cached texts are not read."""
        place = SHARES.index(share)
        kept = {text: self._kept(text, draws) for text in texts}
        found = {text: rows[:, place] for text, rows in kept.items() if rows is not None}
        if fresh := [text for text in kept if text not in found]:
            prompts = [prompt for own in draws for prompt in self._prompts(own, fresh)]
            rows = units(self._lm.states(prompts, (share,))[:, 0, 1])
            rows = rows.reshape(len(draws), len(fresh), -1)
            found |= {text: rows[:, i] for i, text in enumerate(fresh)}
        return np.stack([found[text] for text in texts]).astype(np.float32)

    def _kept(self, text: str, draws: Sequence[Draw]) -> FloatArray | None:
        rows = [self._cache(own).cached(text) for own in draws]
        known = [row for row in rows if row is not None]
        return np.stack(known) if len(known) == len(rows) else None

    def _cache(self, own: Draw) -> StateCache:
        if own not in self._caches:
            name = digest(f"{VERSION}|{self._lm.description}|{SHARES}|{self._before(own)}")
            file = self._index.path / FOLDER / f"{name}.npz"
            self._caches[own] = StateCache(file, lambda texts: self._read(own, texts))
        return self._caches[own]

    def _read(self, own: Draw, texts: Sequence[str]) -> FloatArray:
        return units(self._lm.states(self._prompts(own, texts), SHARES)[:, :, 1])

    def _prompts(self, own: Draw, texts: Sequence[str]) -> list[Parts]:
        before = self._before(own)
        return [(before, bare_prompt(text, self._template, self._lm)[-1]) for text in texts]

    def _before(self, own: Draw) -> str:
        pairs = [(shot.input, shot.output) for shot in own]
        return "".join(self._template.render("", pairs)[:-1])

    def _fit(self, progress: Progress = no_progress) -> ContextClassifier:
        labels = self._labels()
        places = {label: place for place, label in enumerate(labels)}
        sample = self._index.sample(enough(self._index, labels, READ), where=self._where)
        known = [example for example in sample if example.output in places]
        if not known:
            raise no_example(self._index)
        gold = np.array([places[example.output] for example in known], dtype=np.int64)
        key = digest(f"{VERSION}|{self._lm.description}|{self._where}|{labels}")
        file = self._index.path / FOLDER / f"{key}.json"
        shown = self._demonstrations(load_demonstrations(file), known)
        texts = [example.input for example in known]
        states = [self._cache(own).keep(texts, progress) for own in shown.draws]
        read = _Read(known, gold, len(labels), shown.draws, states)
        share = shown.share if shown.share in SHARES else read.best_share()
        save_demonstrations(file, replace(shown, share=share))
        fits = tuple(
            read.fitted(d, share, partial(fit_or_load, self._saved(d), progress=progress))
            for d in range(len(shown.draws))
        )
        return ContextClassifier(fits, shown.draws, labels, known, share)

    def _saved(self, d: int) -> Path:
        return self._index.path / CLASSIFIERS / f"context-{d}.npz"

    def _demonstrations(
        self, kept: Demonstrations | None, known: Sequence[Example]
    ) -> Demonstrations:
        """Return the draws that were kept, those drawn again whose examples have changed."""
        kept = kept if kept and len(kept.draws) == DRAWS else None
        draws: list[Draw] = list(kept.draws) if kept else [()] * DRAWS
        stored = self._index.get([shot.id for own in draws for shot in own])
        room = min(self._lm.window - LONGEST, ROOM)
        for d, own in enumerate(draws):
            if kept and all(shot.is_still(stored.get(shot.id)) for shot in own):
                continue
            if kept:
                logger.warning(
                    "an example that the language model reads before every text has changed: "
                    "others take its place, and %d examples are read again",
                    len(known),
                )
            taken = {shot.id for e, other in enumerate(draws) if e != d for shot in other}
            draws[d] = draw(known, d, taken, self._cost, room)
        return Demonstrations(tuple(draws), kept.share if kept else None)

    def _cost(self, example: Example) -> int:
        return self._lm.count(self._template.render("", [(example.input, example.output)])[-2:-1])

    def _is_current(self, fitted: ContextClassifier) -> bool:
        """Whether it is large, has today's labels, and its examples are unchanged but for a few."""
        if len(self._index) <= SMALL or fitted.labels != self._labels():
            return False
        shots = [shot for own in fitted.shown for shot in own]
        now = self._index.get([*(e.id for e in fitted.examples), *(shot.id for shot in shots)])
        changed = sum(now.get(e.id) != e for e in fitted.examples)
        still = all(shot.is_still(now.get(shot.id)) for shot in shots)
        return still and changed <= CHANGED * len(fitted.examples)


def mean_of_known(logits: Float64Array) -> Float64Array:
    """Return the mean over draws of the rows that are numbers; zeros where none is.

    :param logits: shape (draws, texts, labels)
    :return: shape (texts, labels)
    """
    known = ~np.isnan(logits)
    total = np.where(known, logits, 0.0).sum(axis=0)
    return np.asarray(total / np.maximum(known.sum(axis=0), 1))


def context_of(
    index: Index, lm: LM | None, labels: Callable[[], tuple[str, ...]], where: Where = ()
) -> Context | None:
    """Return what reads texts in context; None where the model's states cannot be seen."""
    if lm is None or not isinstance(lm, Featuring):
        return None
    return Context(index, lm, labels, where)


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """Examples, and their states after each draw of demonstrations.

    :ivar gold: each example's label as a column
    :ivar states: for each draw, shape (examples, shares, width)
    """

    known: Sequence[Example]
    gold: IntArray
    labels: int
    draws: Sequence[Draw]
    states: Sequence[FloatArray]

    def fitted(self, d: int, share: float, fit: Fit = fit_classifier) -> DrawClassifier:
        """Fit on the states after a draw, of the examples that are not among it."""
        demonstrated = frozenset(shot.id for shot in self.draws[d])
        rest = [row for row, own in enumerate(self.known) if own.id not in demonstrated]
        states = self.states[d][rest, SHARES.index(share)].astype(np.float32)
        scaling = Scaling.of(states)
        classifier = fit(scaling.unit(states), self.gold[rest], self.labels)
        rows = {self.known[row].id: place for place, row in enumerate(rest)}
        return DrawClassifier(classifier, scaling, rows, demonstrated)

    def best_share(self) -> float:
        """Return the share of the blocks with the least loss on examples left out."""
        return min(SHARES, key=self._loss)

    def _loss(self, share: float) -> float:
        each = np.full((len(self.draws), len(self.known), self.labels), np.nan)
        for d in range(len(self.draws)):
            fitted = self.fitted(d, share)
            rows = [row for row, own in enumerate(self.known) if own.id in fitted.rows]
            each[d, rows] = fitted.classifier.loo_logits(np.arange(len(rows)))
        return mean_nll(probabilities(mean_of_known(each)).astype(np.float64), self.gold)
