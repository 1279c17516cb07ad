"""What to choose, in words. Every sentence rests on figures of the report; without them, none.

A difference counts as real only where the interval of the paired difference leaves out 0. The
record pairs methods with ragicl only; two others are compared as :func:`_keeps_up` says.
"""

from __future__ import annotations

from collections.abc import Callable

from ragicl.evaluate.report.format import (
    duration,
    headline,
    listed,
    metric,
    number,
    p_value,
    plural,
    signed,
    storage,
    with_span,
)
from ragicl.evaluate.results import ICL, SYSTEM, Distance, LabelScores, Method, Paired, SetReport

FINE_TUNED = (
    "head", "partial", "full", "lora", "prompt-tuning", "two-stage", "multi-task"
)  # fmt: skip
SHARED = (SYSTEM, "prompt-tuning", "head", "lora", "full")  # ways to many tasks on one base model
ANSWERS = 1000  # that the cheapest method is the cheapest for, its training included
SEEN = 0.0005  # a change of a score that its three decimals can show
TOLERATED = 0.05  # expected calibration error; a whole interval above it is a warning


def recommend(report: SetReport) -> tuple[str, ...]:
    """Return the recommendation: a few sentences for each situation that the figures speak of."""
    if not report.methods:
        return ()
    parts: tuple[Callable[[SetReport], str], ...] = (
        _most_accurate,
        _vote,
        _little_compute,
        _distance,
        _cut_short,
        _few_labels,
        _many_tasks,
        _calibration,
        _leak,
    )
    return tuple(sentence for part in parts if (sentence := part(report)))


def best_of(report: SetReport) -> Method:
    """Return the method with the highest score; ragicl, where it shares it."""
    return max(report.methods, key=lambda m: (headline(m.scores).value, m.name == SYSTEM))


def is_real(paired: Paired) -> bool:
    """Return whether the interval of a difference leaves out 0."""
    return paired.difference.low > 0 or paired.difference.high < 0


def _most_accurate(report: SetReport) -> str:
    best, system = best_of(report), _find(report, SYSTEM)
    lead = f"Most accurate: {best.name}, {_scored(best)}"
    if best is system:
        return f"{lead}.{_runner_up(report)}"
    if system is None or best.against is None:
        return f"{lead}."
    chance = "" if is_real(best.against) else ", which these rows cannot tell from chance"
    return (
        f"{lead}, against {with_span(headline(system.scores))} of {SYSTEM}: a difference of "
        f"{_difference(best.against)}{chance}."
    )


def _runner_up(report: SetReport) -> str:
    """Return how the best of the others compares with ragicl."""
    others = [(m, m.against) for m in report.methods if m.against is not None]
    if not others:
        return ""
    second, against = max(others, key=lambda pair: headline(pair[0].scores).value)
    chance = "" if is_real(against) else ", which these rows cannot tell from chance"
    return f" The next is {second.name}, at {_difference(against)}{chance}."


def _vote(report: SetReport) -> str:
    """Return whether ragicl is worth more than the neighbours' vote, which asks no model."""
    knn, system = _find(report, "knn"), _find(report, SYSTEM)
    if knn is None or system is None or knn.against is None:
        return ""
    figures = (
        f"{metric(knn.scores)} {number(headline(knn.scores).value)} of knn against "
        f"{number(headline(system.scores).value)} of {SYSTEM}, {_difference(knn.against)}"
    )
    if knn.against.difference.high < 0:
        return f"{SYSTEM} adds to the neighbours' vote: {figures}.{_alone(report)}"
    found = "the vote is better" if is_real(knn.against) else "no gain that these rows can show"
    return (
        f"{SYSTEM} adds nothing to the neighbours' vote here: {found}, with {figures}; an answer "
        f"takes {duration(knn.cost.query_seconds)} by the vote and "
        f"{duration(system.cost.query_seconds)} by {SYSTEM}.{_alone(report)}"
    )


def _alone(report: SetReport) -> str:
    """Return the score of the language model alone."""
    icl = _find(report, ICL)
    return "" if icl is None else f" The language model alone ({ICL}) has {_scored(icl)}."


def _little_compute(report: SetReport) -> str:
    if len(report.methods) < 2:
        return ""
    best = best_of(report)
    cheapest = min((m for m in report.methods if _keeps_up(m, best)), key=_spent)
    if cheapest is best:
        return f"Little compute: {best.name} as well, {_takes(best)}{_tenth(report, best)}."
    paired = SYSTEM in (best.name, cheapest.name)
    judged = "" if paired else f" (its interval reaches the figure of {best.name})"
    return (
        f"Little compute: {cheapest.name} is the cheapest that is not significantly worse{judged}, "
        f"{_scored(cheapest)}; {_takes(cheapest)}, against {duration(_spent(best))} with "
        f"{best.name}."
    )


def _takes(method: Method) -> str:
    return f"training and {ANSWERS:,} answers take {duration(_spent(method))}"


def _tenth(report: SetReport, best: Method) -> str:
    """Return the best score that can be had for a tenth of the best method's time."""
    cheap = [method for method in report.methods if _spent(method) <= _spent(best) / 10]
    if not cheap:
        return ""
    second = max(cheap, key=lambda method: headline(method.scores).value)
    return (
        f"; for a tenth of that or less {second.name} is the best, {_scored(second)} in "
        f"{duration(_spent(second))}"
    )


def _scored(method: Method) -> str:
    return f"{metric(method.scores)} {with_span(headline(method.scores))}"


def _spent(method: Method) -> float:
    return method.cost.train_seconds + ANSWERS * method.cost.query_seconds


def _keeps_up(method: Method, best: Method) -> bool:
    """Return whether a method is not significantly worse than the best.

    Beside ragicl, by the paired difference. Two others have no pair in the record: there, the
    method's own interval must reach the best's score.
    """
    if method is best:
        return True
    if best.name == SYSTEM:
        return method.against is not None and method.against.difference.high >= 0
    if method.name == SYSTEM:
        return best.against is not None and not is_real(best.against)
    return headline(method.scores).high >= headline(best.scores).value


def _distance(report: SetReport) -> str:
    """Return how far ragicl is from fine-tuned models, in units of their own noise floor."""
    tuned = [distance for distance in report.distances if distance.reference in FINE_TUNED]
    if not tuned:
        return ""
    a_token = " a token" if report.kind == "generate" else ""
    floor = "; noise floor: between two trainings of the same, with other seeds"
    explained = floor if any(distance.noise_floor for distance in tuned) else ""
    found = "; ".join(_beside_floor(distance) for distance in tuned)
    return f"Distance of {SYSTEM} to fine-tuning (total variation{a_token}{explained}): {found}."


def _cut_short(report: SetReport) -> str:
    """Return what had no time to end, a training or its search for settings.

    A weak reference flatters ragicl.
    """
    named = [m.name for m in report.methods if m.settings.get("complete") is False]
    if not named:
        return ""
    return (
        f"Cut short by the time limit, in training or in the search for settings: {listed(named)}; "
        f"with more of it they may be better, and farther from {SYSTEM} or nearer."
    )


def _beside_floor(distance: Distance) -> str:
    mean, floor = distance.mean, distance.noise_floor
    icl = f" ({ICL}: {number(distance.icl.value)})" if distance.icl else ""
    figures = f"{distance.reference} {with_span(mean)}{icl}"
    if floor is None:
        return f"{figures}, noise floor not known"
    if distance.above is not None and distance.above.low <= 0:
        return f"{figures}, not clearly above its noise floor of {with_span(floor)}"
    times = f"{mean.value / floor.value:.1f} times" if floor.value > 0 else "above"
    return f"{figures}, {times} its noise floor of {number(floor.value)}"


def _few_labels(report: SetReport) -> str:
    """Return how much there was to learn from, and what more of it did."""
    each = f", {report.pool / report.labels:.0f} a label" if report.labels else ""
    sentence = f"Few labels: all figures are with {report.pool:,} examples{each}."
    curve = next((c for c in report.curves if c.over == "pool" and len(c.points) > 1), None)
    if curve is None:
        return sentence
    first, *_, last = sorted(curve.points, key=lambda point: point.size)
    sentence += (
        f" From {first.size:,} to {last.size:,} of them, {ICL} goes from "
        f"{with_span(first.accuracy)} to {with_span(last.accuracy)} in "
        f"{metric(report.methods[0].scores)}, and from {with_span(first.distance)} to "
        f"{with_span(last.distance)} in distance to {curve.reference}."
    )
    if curve.fit is not None:
        left = with_span(curve.fit.c)
        sentence += f" If the fitted law holds beyond, {left} of it stay, however many there are."
    return sentence


def _many_tasks(report: SetReport) -> str:
    """Return what another task on the same base model stores."""
    ways = [method for method in report.methods if method.name in SHARED]
    if len(ways) < 2:
        return ""
    each = [
        f"{storage(m.cost.extra_bytes)} with {m.name} "
        f"({metric(m.scores)} {number(headline(m.scores).value)})"
        for m in sorted(ways, key=lambda m: m.cost.extra_bytes)
    ]
    return (
        "Many tasks on one base model: beside that model and the task's index, each task stores "
        f"{listed(each)}."
    )


def _calibration(report: SetReport) -> str:
    system, best = _find(report, SYSTEM), best_of(report)
    if system is None or not isinstance(system.scores, LabelScores):
        return ""
    if system.scores.ece.low <= TOLERATED:
        return ""
    excess = sum(found.rows * (found.confidence - found.accuracy) for found in system.reliability)
    lean = ", mostly too sure" if excess > 0 else ", mostly not sure enough" if excess < 0 else ""
    other = ""
    if best is not system and isinstance(best.scores, LabelScores):
        other = f"; those of {best.name} by {number(best.scores.ece.value)}"
    return (
        f"Probabilities: those of {SYSTEM} are off by {with_span(system.scores.ece)} on average "
        f"(ECE){lean}: do not take them for chances{other}."
    )


def _leak(report: SetReport) -> str:
    """Return what the leaked rows change: for ragicl, the best, and where it is most."""
    judged = [method for method in report.methods if method.clean is not None]
    changed = [method for method in judged if _shift(method) >= SEEN]
    if not changed:
        return ""
    named = [_find(report, SYSTEM), best_of(report), max(changed, key=_shift)]
    changes = list(
        dict.fromkeys(
            _without_leak(method) for method in named if method is not None and method in changed
        )
    )
    return (
        f"Leak: the text of {report.leaked:,} of {plural(report.rows, 'test row')} occurs in the "
        f"index; without them, {metric(report.methods[0].scores)} is {listed(changes)}."
    )


def _without_leak(method: Method) -> str:
    assert method.clean is not None
    clean, full = headline(method.clean).value, headline(method.scores).value
    return f"{number(clean)} instead of {number(full)} for {method.name}"


def _shift(method: Method) -> float:
    """Return how much the score changes without the leaked rows."""
    assert method.clean is not None
    return abs(headline(method.clean).value - headline(method.scores).value)


def _find(report: SetReport, name: str) -> Method | None:
    return next((method for method in report.methods if method.name == name), None)


def _difference(paired: Paired) -> str:
    """Return a difference with its interval and p-value."""
    found = paired.difference
    ends = f"{signed(found.low)} to {signed(found.high)}"
    return f"{signed(found.value)} ({ends}; {p_value(paired.p_value)})"
