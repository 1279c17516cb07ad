"""The frozen records that pass between ragicl's layers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

Kind = Literal["classify", "generate"]
"""What an index is for: choosing one of its labels, or writing text."""

Where = tuple[tuple[str, str], ...]
"""Metadata that an example must have: keys with values, as text or as JSON writes them."""

DecidedBy = Literal["vote", "probe", "blend", "likelihoods", "choice", "generation"]
"""What an output came from: the neighbours' vote; vote and classifiers; these and the language
model; the model's likelihoods alone; its constrained choice; text that it generated."""

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


def holds(meta: Mapping[str, Any], where: Where) -> bool:
    """Return whether metadata have every key with its value, as the same text or in JSON."""
    return all(key in meta and _is(meta[key], value) for key, value in where)


def _is(value: Any, wanted: str) -> bool:
    if str(value) == wanted:
        return True
    if isinstance(value, str):
        return False
    read = _from_json(wanted)
    if isinstance(value, bool) or isinstance(read, bool):  # 1 is not true
        return value is read
    return bool(value == read)


@lru_cache(maxsize=64)
def _from_json(text: str) -> Any:
    """Return what a text is in JSON; the text itself where it is nothing."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


@dataclass(frozen=True, slots=True)
class Query:
    """One row to predict.

    :ivar gold: the right output, where the row carries one
    :ivar numbered: whether the id is the row's number, for want of an own one
    """

    input: str
    id: str = ""
    gold: str | None = None
    numbered: bool = field(default=False, compare=False)


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
    :ivar rank: 0 for the first, by default the nearest
    """

    example: Example
    similarity: float
    rank: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """A composed prompt, in the pieces it was made of.

    :ivar parts: rendered text: the instruction (with the fixed demonstrations), one piece for each
        other demonstration, the query; their concatenation is what the model reads
    :ivar shots: the demonstrations kept, in prompt order (by default the nearest last)
    :ivar tokens: length of the whole prompt by the language model's own tokenizer
    :ivar dropped: demonstrations left out because the budget was full
    :ivar truncated: whether the query itself was cut to fit
    :ivar messages: the same prompt as chat messages (``role`` and ``content``), for chat APIs
    """

    parts: tuple[str, ...]
    shots: tuple[Neighbor, ...]
    tokens: int
    dropped: int = 0
    truncated: bool = False
    messages: tuple[Mapping[str, str], ...] = field(default=(), hash=False)

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
    :ivar neighbors: the demonstrations found, nearest first (by words: best first); where no model
        was asked, the neighbours that voted
    :ivar prompt: what the model read; None where it was not asked for labels
    :ivar timings: milliseconds per stage; in a batch, the batch's time divided by its size
    :ivar lm: the language model that answered, with the weights used; None where none was asked
    :ivar exited: whether the neighbours agreed enough to answer without the language model
    :ivar label_set: the labels that hold the right one as often as was asked, likeliest first;
        empty where no sets were asked for
    :ivar abstained: whether the answer is less sure than was asked for
    :ivar percentile: in-distribution percentile: share of the index's examples that are less near
        to the others than this text is; None where none was computed
    :ivar out_of_scope: whether that is less than was asked for
    :ivar known_label: of a language model without likelihoods, and of text generated over a
        labelled index, whether the output is one of the labels to choose from; otherwise None
    :ivar decided_by: what the output came from
    """

    output: str
    probs: Mapping[str, float] = field(hash=False)
    neighbors: tuple[Neighbor, ...]
    prompt: Prompt | None
    timings: Mapping[str, float] = field(hash=False)
    lm: str | None = None
    known_label: bool | None = None
    exited: bool = False
    label_set: tuple[str, ...] = ()
    abstained: bool = False
    percentile: float | None = None
    out_of_scope: bool = False
    decided_by: DecidedBy = "vote"

    @property
    def probability(self) -> float | None:
        """Probability of the predicted label; None where the answer was generated."""
        return self.probs.get(self.output)


@dataclass(frozen=True, slots=True)
class Influence:
    """What one demonstration does to a prediction.

    :ivar neighbor: the demonstration, with its similarity to the text
    :ivar log_prob_change: log P(label | prompt) - log P(label | prompt without it), in nats; above
        0 where it speaks for the label
    :ivar output_without: the label that wins without it; None where the answer is written text
    """

    neighbor: Neighbor
    log_prob_change: float
    output_without: str | None


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one stored example adds to an answer through the classifiers fitted on it.

    :ivar example: as the classifiers have learned it
    :ivar by_source: nats that it adds to the log-odds of the explained label, by the source of the
        blend: ``vectors``, ``features``, ``context``; each times that source's weight
    """

    example: Example
    by_source: Mapping[str, float] = field(hash=False)

    @property
    def nats(self) -> float:
        """What it adds by all sources; above 0 where it speaks for the explained label."""
        return sum(self.by_source.values())


@dataclass(frozen=True, slots=True)
class Support:
    """The stored examples that a blend's answer rests on.

    Of the pool in each classifier the kernel ridge is an exact sum over examples; the contributions
    are to its part of the log-odds.

    :ivar against: the likeliest other label
    :ivar log_odds: log P(label) - log P(against) by all sources of the blend, in nats
    :ivar examples: the ones that add or take most, the strongest first; none that was excluded
    :ivar rest: what all the others add together, in nats
    """

    against: str
    log_odds: float
    examples: tuple[Contribution, ...]
    rest: float

    @property
    def total(self) -> float:
        """What all examples add together: the ridges' part of the log-odds, in nats."""
        return sum(own.nats for own in self.examples) + self.rest


@dataclass(frozen=True, slots=True)
class ContextInfluence:
    """What one demonstration that the language model reads before every text does to an answer.

    :ivar example: the demonstration; each draw has others
    :ivar log_odds_change: log-odds of the explained label against the likeliest other one, minus
        the same without the demonstration, in nats; above 0 where it speaks for the label
    :ivar probability_without: of the explained label without it
    :ivar output_without: the label that wins without it
    """

    example: Example
    log_odds_change: float
    probability_without: float
    output_without: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What demonstrations and stored examples do to a prediction.

    :ivar label: the label that is explained, or the written answer
    :ivar output: the label predicted; where texts are written, the answer that is explained
    :ivar log_prob: log P(label | prompt) in nats, normalised over the labels; of a written answer
        the log-likelihood, summed over its tokens and its ending
    :ivar prompt: what the language model reads; None where it is not asked for labels
    :ivar influences: one for each demonstration that can be left out, in prompt order
    :ivar lm: the language model that was asked, with the weights used; empty where none was
    :ivar support: the examples behind a blend's answer; None where a language model answers alone,
        or where there is only one label to choose from
    :ivar in_context: the demonstrations that precede every text, in their draws' order; empty where
        that was not asked for
    """

    text: str
    label: str
    output: str
    log_prob: float
    prompt: Prompt | None
    influences: tuple[Influence, ...]
    lm: str
    support: Support | None = None
    in_context: tuple[ContextInfluence, ...] = ()

    @property
    def probability(self) -> float:
        """P(label | prompt)."""
        return math.exp(self.log_prob)

    @property
    def flips(self) -> tuple[Influence, ...]:
        """The demonstrations without which another label wins; none where texts are written."""
        return tuple(i for i in self.influences if i.output_without not in (None, self.output))
