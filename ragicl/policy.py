"""How an engine answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ragicl.errors import TaskError
from ragicl.prompting.ordering import ORDERINGS, Ordering
from ragicl.records import Where

Selection = Literal["nearest", "bm25", "hybrid", "mmr", "balanced", "coverage", "dpp", "random"]
SELECTIONS: tuple[Selection, ...] = get_args(Selection)
Decision = Literal["blend", "lm", "knn"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)
TUNABLE = ("k", "select", "order", "ensemble", "voters")
"""The fields that ``ragicl tune`` chooses."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How the engine answers.

    :ivar k: demonstrations to retrieve; as many of them as fit are used; 0 uses none
    :ivar budget: the most tokens of a prompt and its answer; None takes the model's window
    :ivar decide: ``blend`` multiplies what the language model, the neighbours' vote and
        classifiers (on the stored vectors, on the model's states) say, each to a power (found by
        ``ragicl tune``, or a usual one); ``lm`` asks the language model alone, ``knn`` takes the
        vote of the k neighbours; where text is written, it is always the language model's
    :ivar voters: nearest examples that vote in a blend
    :ivar ensemble: prompts for each query, whose log-probabilities are averaged; each shows k other
        demonstrations of the best k x ensemble
    :ivar sets: also give the labels that hold the right one with this probability (conformal sets)
    :ivar scope: count texts as out of scope that are less familiar than all but this share of the
        examples, such as 0.05
    :ivar answer: abstain but in this share of texts, those with the likeliest answers
    :ivar labels: choose among these only; None takes all labels of the index
    :ivar generate: write text instead of choosing a label; None does so for a generation index
    :ivar max_tokens: the longest generated answer; None goes by the longest in the index
    :ivar temperature: 0 writes the likeliest text; above 0 samples, with `seed`
    :ivar exact: score every label to its end; otherwise labels that are surely a million times
        less likely than the likeliest may get an upper bound of their probability, which saves time
    :ivar exit: let the neighbours' vote answer alone where, by the index's own examples, it is
        right at least this often (such as 0.98); None always asks the language model
    :ivar fixed: typical examples that every prompt begins with, before the k nearest; the model
        reads them once for all queries; 0 uses none
    :ivar clusters: sets of such examples, a query taking that of the cluster it lies in
    :ivar shortlist: choose among the labels of so many nearest examples only; where these have one
        label, no language model is asked; None chooses among all
    :ivar select: how demonstrations are chosen: the ``nearest``; by shared words (``bm25``), or by
        both rankings (``hybrid``); near and unlike each other (``mmr``, ``dpp``); as many of each
        of the likeliest labels (``balanced``), one of each label found (``coverage``); ``random``,
        by `seed`; votes and shortlists go by the nearest, whatever it is
    :ivar where: use only examples whose metadata have these keys and values, compared as text
    :ivar order: how demonstrations stand in the prompt: ``nearest-last``, ``nearest-first``,
        ``interleaved`` (labels in turn, the nearest last) or ``shuffled``, by `seed`
    :ivar truncate: cut a query that does not fit, instead of refusing it
    """

    k: int = 8
    budget: int | None = None
    decide: Decision = "blend"
    voters: int = 15
    ensemble: int = 1
    labels: tuple[str, ...] | None = None
    generate: bool | None = None
    max_tokens: int | None = None
    temperature: float = 0.0
    seed: int = 0
    exact: bool = False
    exit: float | None = None
    fixed: int = 0
    clusters: int = 1
    shortlist: int | None = None
    select: Selection = "nearest"
    where: Where = ()
    order: Ordering = "nearest-last"
    truncate: bool = False
    sets: float | None = None
    answer: float | None = None
    scope: float | None = None

    def __post_init__(self) -> None:
        votes = self.k > 0 and not self.generate
        for wrong, message in (
            (self.k < 0, f"k is {self.k}; it must be 0 or more"),
            (_below_one(self.budget), f"budget is {self.budget}; it must be 1 or more"),
            (_below_one(self.max_tokens), f"max_tokens is {self.max_tokens}; it must be 1 or more"),
            (self.fixed < 0, f"fixed is {self.fixed}; it must be 0 or more"),
            (self.clusters < 1, f"clusters is {self.clusters}; it must be 1 or more"),
            (
                self.clusters > 1 and self.fixed == 0,
                "clusters are of fixed demonstrations; say how many with fixed",
            ),
            (_below_one(self.shortlist), f"shortlist is {self.shortlist}; it must be 1 or more"),
            (
                self.shortlist is not None and bool(self.generate),
                "a shortlist is of labels; generated text has none",
            ),
            (self.temperature < 0, f"temperature is {self.temperature}; it must be 0 or more"),
            (
                self.select not in SELECTIONS,
                f"select is {self.select!r}; use one of {', '.join(SELECTIONS)}",
            ),
            (
                self.order not in ORDERINGS,
                f"order is {self.order!r}; use one of {', '.join(ORDERINGS)}",
            ),
            (
                self.decide not in DECISIONS,
                f"decide is {self.decide!r}; use one of {', '.join(DECISIONS)}",
            ),
            (_below_one(self.voters), f"voters is {self.voters}; it must be 1 or more"),
            (_below_one(self.ensemble), f"ensemble is {self.ensemble}; it must be 1 or more"),
            (
                self.ensemble > 1 and bool(self.generate),
                "an ensemble is of distributions over labels; write text with one prompt",
            ),
            (
                self.decide != "blend" and not self.sets is self.answer is self.scope is None,
                "sets, answer and scope go by the blend; use decide blend",
            ),
            (
                self.sets is not None and self.shortlist is not None,
                "sets hold the right label so often, and a shortlist may leave it out; use one "
                "of the two",
            ),
            (_no_share(self.sets), f"sets is {self.sets}; it must be between 0 and 1"),
            (_no_share(self.answer), f"answer is {self.answer}; it must be between 0 and 1"),
            (_no_share(self.scope), f"scope is {self.scope}; it must be between 0 and 1"),
            (_no_share(self.exit), f"exit is {self.exit}; it must be between 0 and 1"),
            (
                not votes and (self.decide == "knn" or self.exit is not None),
                "a vote needs neighbours and labels: k of 1 or more, and no generating",
            ),
        ):
            if wrong:
                raise TaskError(message)


def _no_share(value: float | None) -> bool:
    return value is not None and not 0 < value < 1


def _below_one(value: int | None) -> bool:
    return value is not None and value < 1


DEFAULT = Policy()
