"""The frozen records that pass between ragicl's layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

Kind = Literal["classify", "generate"]
"""What an index is for: choosing one of its labels, or writing text."""

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled example.

    :ivar input: the text that is embedded and searched
    :ivar output: its label, or the text that answers it
    :ivar id: unique in an index; empty until the index gives one
    :ivar meta: anything JSON can hold, kept with the example
    """

    input: str
    output: str
    id: str = ""
    meta: Mapping[str, Any] = field(default_factory=lambda: NOTHING, hash=False)


@dataclass(frozen=True, slots=True)
class Query:
    """One row to predict.

    :ivar gold: the right output, where the row carries one
    """

    input: str
    id: str = ""
    gold: str | None = None


@dataclass(frozen=True, slots=True)
class Correction:
    """What a stored example should be.

    :ivar output: None where a row's cell for it is empty
    """

    id: str
    input: str
    output: str | None


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A stored example near a query.

    :ivar similarity: cosine of the two embeddings, in [-1, 1], to six decimals
    :ivar rank: 0 for the nearest
    """

    example: Example
    similarity: float
    rank: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """A composed prompt, in the pieces it was made of.

    :ivar parts: rendered text: the instruction (with the fixed demonstrations), one piece for each
        other demonstration, the query; their concatenation is what the model reads
    :ivar shots: the demonstrations kept, in prompt order (nearest last)
    :ivar tokens: length of the whole prompt by the language model's own tokenizer
    :ivar dropped: demonstrations left out because the budget was full
    :ivar truncated: whether the query itself was cut to fit
    """

    parts: tuple[str, ...]
    shots: tuple[Neighbor, ...]
    tokens: int
    dropped: int = 0
    truncated: bool = False

    @property
    def text(self) -> str:
        """The whole prompt as one string."""
        return "".join(self.parts)


@dataclass(frozen=True, slots=True)
class Recall:
    """How often a shortlist of labels holds the right one, on examples of the index left out.

    :ivar share: of the examples tried
    :ivar bound: lower 95 % confidence bound of that share
    :ivar examples: number of examples tried
    """

    share: float
    bound: float
    examples: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the engine answers for one query.

    :ivar output: the predicted label, or the generated text
    :ivar probs: label to probability, summing to 1; empty where the answer was generated
    :ivar neighbors: what retrieval found, nearest first
    :ivar prompt: what the model read; None where no model was asked
    :ivar timings: milliseconds per stage; in a batch, the batch's time divided by its size
    :ivar lm: the language model that answered, with the weights used; None where none was asked
    :ivar exited: whether the neighbours agreed enough to answer without the language model
    :ivar known_label: for text generated over a labelled index, whether it is one of the labels;
        otherwise None
    """

    output: str
    probs: Mapping[str, float] = field(hash=False)
    neighbors: tuple[Neighbor, ...]
    prompt: Prompt | None
    timings: Mapping[str, float] = field(hash=False)
    lm: str | None = None
    known_label: bool | None = None
    exited: bool = False

    @property
    def probability(self) -> float | None:
        """Probability of the predicted label; None where the answer was generated."""
        return self.probs.get(self.output)
