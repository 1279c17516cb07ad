"""Hidden states of a language model, standardised: each dimension by its own spread.

A few dimensions of a hidden state are hundreds of times as large as the others, whatever the text
(Sun et al. 2024, 2402.17762), and would by themselves decide which texts are near.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from ragicl.protocols import FloatArray

FLAT = 0.1  # of the median spread: a dimension that varies less counts as if it varied so


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """Mean and spread of the states of some texts.

    :ivar centre: their mean, shape (width,)
    :ivar spread: each dimension's standard deviation, shape (width,)
    """

    centre: FloatArray
    spread: FloatArray

    @classmethod
    def of(cls, states: FloatArray) -> Self:
        """Return the scaling of states, shape (texts, width)."""
        spread = states.std(axis=0)
        least = FLAT * np.median(spread) or spread.max() or 1.0  # a single text has no spread
        return cls(states.mean(axis=0), np.maximum(spread, least))

    def unit(self, states: FloatArray) -> FloatArray:
        """Return standardised states as unit vectors, of the same shape."""
        scaled = (states - self.centre) / self.spread
        lengths = np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-9)
        return np.asarray(scaled / lengths, dtype=np.float32)
