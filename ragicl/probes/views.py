"""Views of a text that is read in context: a depth, and which of its tokens.

Where in the blocks the labels are told apart best differs between tasks: a few topics two thirds of
the way through, many fine intents near the end, sentiment in the mean of the text as well. Which
views an index takes is therefore found on its own examples, each left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from ragicl.calibration.blend import mean_nll
from ragicl.probes.ensemble import probabilities
from ragicl.probes.ridge import fit_ridge
from ragicl.probes.scaling import Scaling
from ragicl.protocols import Float64Array, FloatArray, IntArray

MOST = 3  # views that are taken together


class View(msgspec.Struct, frozen=True):
    """Where a text's state is taken.

    :ivar share: of the model's blocks, after which
    :ivar answer: at the last token, where the answer would follow; else the mean over the text
    """

    share: float
    answer: bool = True


VIEWS = (View(0.5, answer=False), View(0.6), View(0.75), View(0.8), View(0.95))


def shares_of(views: Sequence[View]) -> tuple[float, ...]:
    """Return the depths of views, each once, the lowest first."""
    return tuple(sorted({view.share for view in views}))


def seen(states: FloatArray, shares: Sequence[float], views: Sequence[View]) -> FloatArray:
    """Pick views out of a language model's states.

    :param states: shape (texts, shares, 2, width)
    :return: shape (texts, views, width)
    """
    picked = [states[:, shares.index(view.share), int(view.answer)] for view in views]
    return np.stack(picked, axis=1)


def joined(states: FloatArray) -> FloatArray:
    """Return the views of each text as one vector, each view as a unit vector.

    :param states: shape (texts, views, width)
    :return: shape (texts, views * width)
    """
    lengths = np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), 1e-9)
    return np.asarray(states / lengths, dtype=np.float32).reshape(len(states), -1)


def best_views(states: FloatArray, gold: IntArray, labels: int) -> tuple[View, ...]:
    """Return the views whose kernel ridges, pooled, have the least leave-one-out loss.

    The best one, and then, one after the other, what lowers the loss of the pool the most: at most
    :data:`MOST` (forward selection).

    :param states: of examples, shape (examples, views, width), in the order of :data:`VIEWS`
    :param gold: each example's label as a column
    """
    logits = {view: _left_out(states[:, v], gold, labels) for v, view in enumerate(VIEWS)}
    chosen: tuple[View, ...] = ()
    while len(chosen) < MOST:
        rest = [view for view in VIEWS if view not in chosen]
        best = min(rest, key=lambda view: _loss(logits, (*chosen, view), gold))
        if chosen and _loss(logits, (*chosen, best), gold) >= _loss(logits, chosen, gold):
            break
        chosen = (*chosen, best)
    return chosen


def _left_out(states: FloatArray, gold: IntArray, labels: int) -> Float64Array:
    """Return leave-one-out logits by the ridge alone, which is fitted in an instant."""
    ridge = fit_ridge(Scaling.of(states).unit(states), gold, labels)
    return np.asarray(ridge.inverse_temperature * ridge.loo_values.astype(np.float64))


def _loss(logits: Mapping[View, Float64Array], views: Sequence[View], gold: IntArray) -> float:
    mean = np.mean([logits[view] for view in views], axis=0)
    return mean_nll(probabilities(mean).astype(np.float64), gold)
