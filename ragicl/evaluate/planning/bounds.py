"""How many examples are enough for any task: the four bounds of arXiv 2506.08060, with constants.

The paper gives orders of growth; the constants here are derived below each function. All assume
independent examples of the task. They say how many examples carry enough information: for the
empirical distribution (or the separating hyperplane) that an ideal in-context learner could compute
from them, which is the paper's setting, and not for what a given language model makes of them.
They hold for the worst task; a real one usually needs far fewer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log, sqrt

from ragicl.errors import TaskError

FINEST = 1e-6  # the smallest error or failure probability that can be asked for


def generation(*, contexts: int, vocabulary: int, epsilon: float, delta: float) -> int:
    """Return how many examples, in all, give each context's next-token distribution.

    With probability 1 - δ the empirical distributions of all m contexts are within ε of the true
    ones in total variation. It assumes n examples of each context, m·n in all: a context that is
    seen once is not covered.

    With n samples of one context, E[TV] = ½ Σ_v E|p̂_v - p_v| ≤ ½ Σ_v √(p_v / n) ≤ ½ √(V / n)
    (Jensen, Cauchy-Schwarz). One sample moves TV by at most 1/n, so P(TV ≥ E[TV] + t) is at most
    exp(-2nt²) (McDiarmid); the union over m contexts asks for t = √(ln(m/δ) / 2n). Together
    n = ((√V / 2 + √(ln(m/δ) / 2)) / ε)².

    The paper has O(mV/ε² · log(m/δ)). Its constant is at most 1, but for rounding up, where
    L = ln(m/δ) ≥ 1 and V ≥ 2: by (x + y)² ≤ 2x² + 2y² the numerator is at most V/2 + L, and
    VL - V/2 - L = (V - 1)(L - 1) + V/2 - 1 ≥ 0.

    :raises TaskError: where a figure is out of range
    """
    _check(epsilon=epsilon, delta=delta)
    _check_counts(contexts=(contexts, 1), vocabulary=(vocabulary, 2))
    spread = log(contexts) - log(delta)
    return contexts * ceil(((sqrt(vocabulary) / 2 + sqrt(spread / 2)) / epsilon) ** 2)


def bounded_generation(*, length: int, vocabulary: int, epsilon: float, delta: float) -> int:
    """Return how many examples of one context give the probability of every output of l tokens.

    With probability 1 - δ no single output's empirical probability is more than ε off. That is the
    largest error of one output, and not total variation: over V^l outputs that one would need in
    the order of V^l/ε² examples (:func:`generation` with V^l for V).

    For one output P(|p̂ - p| > ε) ≤ 2 exp(-2nε²) (Hoeffding); the union over V^l outputs gives
    n = (l ln V + ln(2/δ)) / 2ε².

    The paper has O(l·log V/ε² · log(1/δ)). Its constant is at most 1 where A = l ln V ≥ 1 + ln 2
    and D = ln(1/δ) ≥ 1: 2AD - A - D - ln 2 = A(D - 1) + (A - 1)D - ln 2 ≥ 0. A bound without l and
    V exists for this promise, n = 2 ln(2/δ)/ε² (the Dvoretzky-Kiefer-Wolfowitz inequality for the
    outputs in any order): it is smaller where l ln V > 3 ln(2/δ). The paper's form is kept here.

    :raises TaskError: where a figure is out of range
    """
    _check(epsilon=epsilon, delta=delta)
    _check_counts(length=(length, 1), vocabulary=(vocabulary, 2))
    return ceil((length * log(vocabulary) + log(2 / delta)) / (2 * epsilon**2))


def linear_classification(*, dimension: int, epsilon: float) -> int:
    """Return how many examples make a separating hyperplane's expected error at most ε.

    For two labels that a hyperplane with a bias separates without error, in d dimensions. The
    error is expected over the draws of the examples: single draws may do worse, and no failure
    probability is promised.

    Leaving one of n + 1 examples out changes the hard-margin hyperplane only where that example is
    an essential support vector, and there are at most d + 1 of those. So the expected error after n
    examples is at most (d + 1) / (n + 1) (Vapnik 1998, Statistical Learning Theory, chapter 10),
    and n = (d + 1)/ε - 1.

    The paper has O(d/ε). The constant is at most 2, and near 1 in high dimensions.

    :raises TaskError: where a figure is out of range
    """
    _check(epsilon=epsilon)
    _check_counts(dimension=(dimension, 1))
    return max(ceil((dimension + 1) / epsilon) - 1, 1)


def fixed_context(*, labels: int, epsilon: float, delta: float) -> int:
    """Return how many examples of one context give its distribution over the labels.

    With probability 1 - δ it is within ε in total variation.

    For two labels total variation is |p̂ - p|, and n = ln(2/δ) / 2ε² (Hoeffding). For K labels it is
    :func:`generation` with one context and K for V.

    The paper has O(1/ε² · log(1/δ)), which leaves the number of labels in the constant: that is at
    most 1 for two labels where δ ≤ 1/2, and at most K for K labels where δ ≤ 1/e.

    :raises TaskError: where a figure is out of range
    """
    _check(epsilon=epsilon, delta=delta)
    _check_counts(labels=(labels, 2))
    if labels == 2:
        return ceil(log(2 / delta) / (2 * epsilon**2))
    return generation(contexts=1, vocabulary=labels, epsilon=epsilon, delta=delta)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the bounds go by; a bound that lacks a figure gives no number.

    :ivar epsilon: the error: a distance between distributions, or a share of wrong answers
    :ivar delta: how likely it may be that the error is greater
    :ivar contexts: prompts whose distributions must all be right at once
    :ivar vocabulary: tokens of the language model
    :ivar length: tokens of an answer
    :ivar dimension: of the vectors that a hyperplane separates
    """

    epsilon: float
    delta: float
    contexts: int
    vocabulary: int
    length: int | None = None
    dimension: int | None = None
    labels: int | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """One of the four bounds, for the figures given.

    :ivar examples: by this module's derivation; None where a figure is missing
    :ivar form: the paper's, without its constant
    :ivar paper: its value with a constant of 1; None where a figure is missing
    :ivar missing: the figure that is missing; empty where none is
    """

    name: str
    promise: str
    form: str
    examples: int | None = None
    paper: int | None = None
    missing: str = ""


def bounds_of(figures: Figures) -> tuple[Bound, ...]:
    """Return the four bounds of arXiv 2506.08060.

    :raises TaskError: where a figure is out of range
    """
    return (_generation(figures), _bounded(figures), _linear(figures), _fixed(figures))


def _generation(f: Figures) -> Bound:
    asked = {"contexts": f.contexts, "vocabulary": f.vocabulary}
    examples = generation(**asked, epsilon=f.epsilon, delta=f.delta)
    paper = f.contexts * f.vocabulary / f.epsilon**2 * (log(f.contexts) - log(f.delta))
    where = "one context" if f.contexts == 1 else f"each of {f.contexts:,} contexts"
    promise = f"the distribution over {f.vocabulary:,} next tokens in {where}, in total variation"
    return Bound("generation", promise, "mV/ε² · ln(m/δ)", examples, ceil(paper))


def _bounded(f: Figures) -> Bound:
    bound = Bound(
        "generation, bounded context",
        "the probability of each whole output by itself (not their total variation)",
        "l·ln V/ε² · ln(1/δ)",
    )
    if f.length is None:
        return replace(bound, missing="length")
    examples = bounded_generation(
        length=f.length, vocabulary=f.vocabulary, epsilon=f.epsilon, delta=f.delta
    )
    paper = f.length * log(f.vocabulary) / f.epsilon**2 * -log(f.delta)
    return replace(bound, examples=examples, paper=ceil(paper))


def _linear(f: Figures) -> Bound:
    bound = Bound(
        "linear classification",
        "the share of wrong answers, expected, where a hyperplane tells a label from the rest",
        "d/ε",
    )
    if f.dimension is None:
        return replace(bound, missing="dimension")
    examples = linear_classification(dimension=f.dimension, epsilon=f.epsilon)
    return replace(bound, examples=examples, paper=ceil(f.dimension / f.epsilon))


def _fixed(f: Figures) -> Bound:
    bound = Bound(
        "classification, fixed context",
        "the distribution over the labels in one context, in total variation",
        "1/ε² · ln(1/δ)",
    )
    if f.labels is None:
        return replace(bound, missing="labels")
    examples = fixed_context(labels=f.labels, epsilon=f.epsilon, delta=f.delta)
    return replace(bound, examples=examples, paper=ceil(-log(f.delta) / f.epsilon**2))


def _check(**shares: float) -> None:
    for name, value in shares.items():
        if not FINEST <= value < 1:
            raise TaskError(f"{name} is {value}; it must be at least {FINEST:f} and below 1")


def _check_counts(**counts: tuple[int, int]) -> None:
    for name, (value, least) in counts.items():
        if value < least:
            raise TaskError(f"{name} is {value}; it must be {least} or more")
