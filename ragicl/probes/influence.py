"""What each demonstration that precedes every text does to an answer in context.

A text is read again after the draw without that demonstration, and classified as before: the
demonstration's influence in the sense of Nguyen and Wong (arXiv 2302.11042), on a single prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ragicl.probes.demonstrations import Draw, Shot
from ragicl.protocols import FloatArray


def without_each_shot(
    text: str,
    draws: Sequence[Draw],
    state: Callable[[Draw], FloatArray],
    probs: Callable[[FloatArray], FloatArray],
) -> Iterator[tuple[Shot, FloatArray]]:
    """Yield each demonstration, and P(label | text) without it, shape (labels,).

    Nothing takes its place; the other draws stay as they are. A draw that holds the text is not
    read for it, and has no influence.

    :param state: returns the text's state after a draw, shape (views, width)
    :param probs: returns P(label | state), for the mean of the states after all draws
    """
    read = [own for own in draws if text not in {shot.input for shot in own}]
    states = np.stack([state(own) for own in read])
    for d, own in enumerate(read):
        for shot in own:
            others = tuple(other for other in own if other is not shot)
            changed = states.copy()
            changed[d] = state(others)
            yield shot, probs(changed.mean(axis=0))
