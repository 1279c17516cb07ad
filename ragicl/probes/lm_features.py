"""A text's features: hidden states of the language model.

They are the mean of its tokens' states after a part of the model's blocks, :data:`DEPTH`; the text
is in the plain template, without demonstrations. The last blocks predict the next token; a state in
the middle separates labels better than the last one, and costs less. The features of an index's
examples are cached in its folder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ragicl.framing import joined
from ragicl.index.derived import DerivedFolder
from ragicl.probes.state_cache import FOLDER, StateCache, digest
from ragicl.prompting.compose import compose
from ragicl.prompting.template import Template, plain_template
from ragicl.protocols import LM, Featuring, FloatArray, Parts, Progress, no_progress

VERSION = 5  # raise it when the same model gives other features
DEPTH = 0.5  # share of the blocks after which a text's features are taken
LONGEST = 256  # tokens read of a text, its prompt included; a whole one may take thousands


class Features:
    """Features of texts by one language model; safe to share between threads.

    The prompt is the plain template's, whatever the engine's own is.

    :param folder: of the index, where the features of its examples are cached
    """

    def __init__(self, folder: DerivedFolder, lm: Featuring) -> None:
        self._template = plain_template("classify")
        rendered = "".join(self._template.render("{query}", []))
        name = digest(f"{VERSION}|{lm.description}|{rendered}|{LONGEST}")
        self._cache = StateCache(folder.file(FOLDER, f"{name}.npz"), self._read)
        self._lm = lm

    def of(self, texts: Sequence[str]) -> FloatArray:
        """Return unit vectors of texts, shape (len(texts), width); cached texts are not read."""
        return self._cache.of(texts).astype(np.float32)

    def keep(self, texts: Sequence[str], progress: Progress = no_progress) -> FloatArray:
        """Return the same, and cache them; where that fails, the next process reads them again."""
        return self._cache.keep(texts, progress).astype(np.float32)

    def _read(self, texts: Sequence[str]) -> FloatArray:
        # One part: the mean is over all of it.
        prompts = [(joined(bare_prompt(text, self._template, self._lm)),) for text in texts]
        return units(self._lm.states(prompts, (DEPTH,))[:, 0, 0])


def features_of(folder: DerivedFolder, lm: LM | None) -> Features | None:
    """Return the features that a language model gives; None where its states cannot be seen."""
    return Features(folder, lm) if lm is not None and isinstance(lm, Featuring) else None


def bare_prompt(text: str, template: Template, lm: LM) -> Parts:
    """Return the prompt of a text without demonstrations; one that is too long is cut."""
    budget = min(lm.window, LONGEST)
    return compose(
        text, (), template, count=lm.count, budget=budget, reserve=0, truncate=True
    ).parts


def units(states: FloatArray) -> FloatArray:
    """Return states as unit vectors along their last axis, in half precision."""
    norms = np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), 1e-9)
    return np.asarray(states / norms, dtype=np.float16)
