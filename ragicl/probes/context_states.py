"""A text's states in context: read after several draws of demonstrations, and averaged.

One draw's choice of examples colours every state; the mean over draws keeps what they agree on. A
draw that holds the text itself has told its label, and is left out of the text's mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ragicl.framing import joined
from ragicl.index.derived import DerivedFolder
from ragicl.probes.demonstrations import Draw
from ragicl.probes.lm_features import LONGEST, bare_prompt, units
from ragicl.probes.prefix_files import PrefixFiles
from ragicl.probes.state_cache import FOLDER, StateCache, digest
from ragicl.probes.views import VIEWS, View, seen, shares_of
from ragicl.prompting.template import plain_template
from ragicl.protocols import Featuring, FloatArray, Parts, Progress
from ragicl.records import Example

VERSION = 3  # raise it when the same model and examples give other states
ROOM = 4096  # tokens of a draw's demonstrations, at most


class ContextStates:
    """States in context by one language model; safe to share between threads.

    The prompt is the plain template's, whatever the engine's own is.

    :param folder: of the index, where the states of its examples are cached
    """

    def __init__(self, folder: DerivedFolder, lm: Featuring) -> None:
        self.room = min(lm.window - LONGEST, ROOM)
        self._folder = folder
        self._lm = lm
        self._template = plain_template("classify")
        self._caches: dict[Draw, StateCache] = {}
        self._prefixes = PrefixFiles(folder, lm)

    def keep(self, texts: Sequence[str], draws: Sequence[Draw], progress: Progress) -> FloatArray:
        """Return all views of texts, shape (texts, views, width), and cache what was read.

        :param progress: called as texts are read
        """
        for own in draws:
            self._prefixes.keep(self._prompts(own, texts[:1])[0])
        each = [self._cache(own).keep(texts, progress) for own in draws]
        return _mean(np.stack(each, axis=1), texts, draws)

    def of(self, texts: Sequence[str], draws: Sequence[Draw], views: Sequence[View]) -> FloatArray:
        """Return some views of texts, shape (texts, views, width); cached texts are not read."""
        places = [VIEWS.index(view) for view in views]
        kept = {text: self._kept(text, draws) for text in texts}
        found = {text: rows[:, places] for text, rows in kept.items() if rows is not None}
        if fresh := [text for text in kept if text not in found]:
            prompts = [prompt for own in draws for prompt in self._prompts(own, fresh)]
            rows = self._read(prompts, views).reshape(len(draws), len(fresh), len(views), -1)
            found |= {text: rows[:, i] for i, text in enumerate(fresh)}
        return _mean(np.stack([found[text] for text in texts]), texts, draws)

    def cost(self, example: Example) -> int:
        """Return the tokens of an example as a demonstration."""
        return self._lm.count(self._template.render("", [(example.input, example.output)])[-2:-1])

    def _kept(self, text: str, draws: Sequence[Draw]) -> FloatArray | None:
        rows = [self._cache(own).cached(text) for own in draws]
        known = [row for row in rows if row is not None]
        return np.stack(known) if len(known) == len(rows) else None

    def _cache(self, own: Draw) -> StateCache:
        if own not in self._caches:
            name = digest(f"{VERSION}|{self._lm.description}|{VIEWS}|{self._before(own)}")
            file = self._folder.file(FOLDER, f"{name}.npz")
            self._caches[own] = StateCache(
                file, lambda texts: self._read(self._prompts(own, texts), VIEWS)
            )
        return self._caches[own]

    def _read(self, prompts: Sequence[Parts], views: Sequence[View]) -> FloatArray:
        shares = shares_of(views)
        return units(seen(self._lm.states(prompts, shares), shares, views))

    def _prompts(self, own: Draw, texts: Sequence[str]) -> list[Parts]:
        before = self._before(own)
        return [(before, bare_prompt(text, self._template, self._lm)[-1]) for text in texts]

    def _before(self, own: Draw) -> str:
        pairs = [(shot.input, shot.output) for shot in own]
        return joined(self._template.render("", pairs)[:-1])


def _mean(states: FloatArray, texts: Sequence[str], draws: Sequence[Draw]) -> FloatArray:
    """Return the mean over the draws that do not hold a text, shape (texts, views, width).

    :param states: shape (texts, draws, views, width)
    """
    shown = [{shot.input for shot in own} for own in draws]
    weights = np.array([[text not in own for own in shown] for text in texts], dtype=np.float32)
    total = np.einsum("td,tdvw->tvw", weights, states.astype(np.float32))
    # Draws share no text, so that at least one of them remains.
    return np.asarray(total / weights.sum(axis=1)[:, None, None])
