"""How an engine answers: a few small value classes, each field defined once.

A field's line holds its type, its default, what it means and what it may be. The command line's
options, the scikit-learn estimator's parameters, the tuned policy in an index's manifest and the
documentation's table of options are made from it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, Self

from ragicl.errors import TaskError, quoted
from ragicl.options import OptionField, check, fields_of, option
from ragicl.prompting.ordering import Ordering
from ragicl.records import Where

Selection = Literal["nearest", "bm25", "hybrid", "mmr", "balanced", "coverage", "dpp", "random"]
Decision = Literal["blend", "probe", "lm", "knn"]


@dataclass(frozen=True, slots=True)
class RetrievalPolicy:
    """Which stored examples become demonstrations.

    :ivar select: ``nearest`` by meaning; by shared words (``bm25``), or by both rankings
        (``hybrid``); near and unlike each other (``mmr``, ``dpp``); as many of each of the
        likeliest labels (``balanced``), one of each label found (``coverage``); ``random``, by
        `seed`. Votes and shortlists go by the nearest, whatever it is
    :ivar where: keys with values, compared as text
    """

    k: int = option(
        8, "Demonstrations to retrieve; as many as fit are used.", tunable=True, least=0
    )
    select: Selection = option(
        "nearest",
        "How demonstrations are chosen: by meaning, by words, both; diverse; by label.",
        tunable=True,
    )
    where: Where = option(
        (),
        "Use only examples with this in a column of their file; repeat to ask for more.",
        metavar="KEY=VALUE",
        default_text="all examples",
        estimator=False,
    )
    fixed: int = option(
        0, "Typical examples that every prompt begins with, read once for all queries.", least=0
    )
    clusters: int = option(1, "Sets of them, chosen by the query.", least=1)
    seed: int = option(0, "For random selection or order, and for sampling.", least=0)

    def __post_init__(self) -> None:
        check(self)
        if self.clusters > 1 and self.fixed == 0:
            raise TaskError("clusters are of fixed demonstrations; say how many with fixed")


@dataclass(frozen=True, slots=True)
class PromptPolicy:
    """How demonstrations and query become prompts.

    :ivar ensemble: prompts for each query, whose log-probabilities are averaged; each shows k other
        demonstrations of the best k x ensemble
    """

    budget: int | None = option(
        None, "Most tokens of prompt and answer.", default_text="the model's window", least=1
    )
    order: Ordering = option(
        "nearest-last", "How demonstrations stand in the prompt.", tunable=True
    )
    ensemble: int = option(
        1, "Prompts for each text, with different demonstrations.", tunable=True, least=1, most=64
    )
    truncate: bool = option(False, "Cut a text that does not fit the budget.")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class DecisionPolicy:
    """What decides among the labels.

    :ivar decide: ``blend`` multiplies the distributions of the language model, of the neighbours'
        vote and of classifiers (on the stored vectors, on the model's states), each to a weight
        that ``ragicl tune`` fits, or a default one; ``probe`` blends the vote and the classifier on
        vectors, ``knn`` takes the vote of the k neighbours, both without a language model; ``lm``
        takes the language model alone. Where text is generated, it is always the model's
    :ivar exact: otherwise labels that are surely a million times less likely than the likeliest may
        get an upper bound of their probability, which saves time
    """

    decide: Decision = option(
        "blend",
        "Blend the language model with the neighbours' vote and classifiers on vectors; or without "
        "a language model, take vote and classifier (probe) or the vote alone (knn); or the "
        "language model alone (lm).",
    )
    labels: tuple[str, ...] | None = option(
        None,
        'Choose among these only, separated by commas; quote one that holds a ",".',
        metavar="LABELS",
        default_text="all of the index",
        estimator=False,
    )
    voters: int = option(15, "Nearest examples that vote in a blend.", tunable=True, least=1)
    shortlist: int | None = option(
        None,
        "Choose among the labels of the N nearest examples only.",
        metavar="N",
        default_text="all labels",
        least=1,
    )
    exit: float | None = option(
        None,
        "Let neighbours that agree answer alone where they are right this often, as 0.98.",
        metavar="ACCURACY",
        default_text="never",
        share=True,
    )
    exact: bool = option(False, "Score even the unlikeliest labels to their end.")

    def __post_init__(self) -> None:
        check(self)

    @property
    def lm_free(self) -> bool:
        """Whether no language model is needed."""
        return self.decide in ("probe", "knn")


@dataclass(frozen=True, slots=True)
class AbstentionPolicy:
    """When to answer with several labels, or not at all.

    :ivar set_coverage: conformal prediction sets; go by what tuning recorded
    :ivar coverage: share of texts to answer, those with the likeliest answers; goes by what tuning
        recorded
    :ivar ood_level: texts whose in-distribution percentile is below this are out of scope
    """

    set_coverage: float | None = option(
        None,
        "Also give the labels that hold the right one this often, as 0.95; needs `ragicl tune`.",
        metavar="SHARE",
        default_text="no sets",
        share=True,
        estimator=False,
        formerly="sets",
    )
    coverage: float | None = option(
        None,
        "Abstain but in this share of texts, the surest, as 0.9; needs `ragicl tune`.",
        metavar="SHARE",
        default_text="answer all",
        share=True,
        estimator=False,
        formerly="answer",
    )
    ood_level: float | None = option(
        None,
        "Mark texts as out of scope that are less typical than all but this share of the examples, "
        "as 0.05.",
        metavar="SHARE",
        default_text="mark none",
        share=True,
        estimator=False,
        formerly="scope",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class GenerationPolicy:
    """Whether and how text is generated.

    :ivar generate: None generates for an index of texts, and chooses labels for one of labels
    """

    generate: bool | None = option(
        None,
        "Write free text instead of choosing a label.",
        default_text="by the index",
        estimator=False,
    )
    max_tokens: int | None = option(
        None,
        "Longest generated answer.",
        default_text="the index's longest",
        least=1,
        estimator=False,
    )
    temperature: float = option(
        0.0, "Above 0: sample, with --seed.", least=0, most=100, estimator=False
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, init=False)
class Policy:
    """How the engine answers.

    >>> Policy(k=4, decide="lm").retrieval.k
    4

    :param parts: ``retrieval``, ``prompt``, ``decision``, ``abstention`` or ``generation``, or
        any of their fields by its own name, which takes the place of the part's
    :raises TaskError: where a field is unknown, or the values make no sense together
    """

    retrieval: RetrievalPolicy
    prompt: PromptPolicy
    decision: DecisionPolicy
    abstention: AbstentionPolicy
    generation: GenerationPolicy

    def __init__(self, **parts: Any) -> None:
        given = {name: parts.pop(name) for name in PARTS if name in parts}
        known = option_fields()
        for own in known.values():
            if (former := own.spec.formerly) in parts:
                message = f"{former} is deprecated; use {own.name}"
                warnings.warn(message, FutureWarning, stacklevel=2)  # shown to users, too
                parts[own.name] = parts.pop(former)
        if unknown := sorted(set(parts) - set(known)):
            raise TaskError(
                f"a policy has no field {quoted(unknown[0])}; it has {', '.join(sorted(known))}"
            )
        for name, kind in PARTS.items():
            changes = {key: value for key, value in parts.items() if known[key].part == name}
            object.__setattr__(self, name, replace(given.get(name, kind()), **changes))
        _check_together(self)

    def replace(self, **changes: Any) -> Self:
        """Return a policy with other parts or fields.

        :raises TaskError: as at construction
        """
        return type(self)(**{name: getattr(self, name) for name in PARTS} | changes)

    def as_dict(self) -> dict[str, Any]:
        """Return all fields by name, as JSON can hold them (tuples as lists once written)."""
        return {name: self[name] for name in option_fields()}

    def tunable(self) -> dict[str, Any]:
        """Return the fields that ``ragicl tune`` chooses, by name."""
        return {name: self[name] for name, own in option_fields().items() if own.spec.tunable}

    def __getitem__(self, name: str) -> Any:
        """Return a field by name, whatever its part."""
        return getattr(getattr(self, option_fields()[name].part), name)


PARTS: Mapping[str, Callable[..., Any]] = {
    "retrieval": RetrievalPolicy,
    "prompt": PromptPolicy,
    "decision": DecisionPolicy,
    "abstention": AbstentionPolicy,
    "generation": GenerationPolicy,
}


@cache
def option_fields() -> Mapping[str, OptionField]:
    """Return every field of every part, by name, in order."""
    return {own.name: own for name, kind in PARTS.items() for own in fields_of(kind, name)}


def _check_together(policy: Policy) -> None:
    """Refuse parts that contradict each other.

    :raises TaskError: saying which
    """
    decision, abstention = policy.decision, policy.abstention
    generates = bool(policy.generation.generate)
    votes = policy.retrieval.k > 0 and not generates
    for wrong, message in (
        (
            decision.shortlist is not None and generates,
            "a shortlist is of labels; generated text has none",
        ),
        (
            policy.prompt.ensemble > 1 and generates,
            "an ensemble is of distributions over labels; write text with one prompt",
        ),
        (
            decision.decide != "blend"
            and not abstention.set_coverage is abstention.coverage is None,
            "set_coverage and coverage go by the blend; use decide blend",
        ),
        (
            decision.decide not in ("blend", "probe") and abstention.ood_level is not None,
            "ood_level goes by the classifier on vectors; use decide blend or probe",
        ),
        (
            abstention.set_coverage is not None and decision.shortlist is not None,
            "label sets hold the right label so often, and a shortlist may leave it out; "
            "use one of the two",
        ),
        (
            not votes and (decision.decide == "knn" or decision.exit is not None),
            "a vote needs neighbours and labels: k of 1 or more, and no generating",
        ),
    ):
        if wrong:
            raise TaskError(message)


DEFAULT = Policy()
TUNABLE = tuple(DEFAULT.tunable())
"""The fields that ``ragicl tune`` chooses."""
