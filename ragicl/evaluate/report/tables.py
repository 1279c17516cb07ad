"""The tables of a report."""

from __future__ import annotations

from collections.abc import Sequence

from ragicl.evaluate.report.blocks import Cell, Table
from ragicl.evaluate.report.format import (
    ABSENT,
    OVER,
    duration,
    headline,
    metric,
    number,
    p_value,
    settings,
    signed,
    span,
    storage,
)
from ragicl.evaluate.report.recommendation import best_of
from ragicl.evaluate.results import (
    ICL,
    SYSTEM,
    Curve,
    Distance,
    Interval,
    LabelScores,
    Method,
    SetReport,
    TextScores,
)


def methods_table(report: SetReport) -> Table:
    """Return every method with its scores, its difference to ragicl, and what it takes."""
    ranked = _ranked(report.methods)
    costs = ("training", "stored", "time an answer", "tokens an answer")
    rows = tuple((Cell(m.name), *_scores(m.scores), _against(m), *_cost(m)) for m in ranked)
    return Table(
        f"Every method on {report.rows:,} test rows, the best first, with 95 % intervals.",
        ("method", *_score_columns(ranked), f"difference to {SYSTEM}", *costs),
        rows,
        SYSTEM,
    )


def clean_table(report: SetReport) -> Table:
    """Return the scores without the test rows whose text occurs in the index."""
    ranked = _ranked([method for method in report.methods if method.clean is not None])
    rows = tuple(
        (Cell(m.name), *_scores(m.clean), Cell(number(headline(m.scores).value)))
        for m in ranked
        if m.clean is not None
    )
    kept = report.rows - report.leaked
    return Table(
        f"Scores on the {kept:,} test rows whose text does not occur in the index.",
        ("method", *_score_columns(ranked), f"{metric(ranked[0].scores)} on all rows"),
        rows,
        SYSTEM,
    )


def settings_table(report: SetReport) -> Table:
    """Return how each method was trained."""
    rows = tuple((Cell(m.name), Cell(settings(m.settings))) for m in report.methods if m.settings)
    return Table("Settings, and how they were found.", ("method", "settings"), rows, words=True)


def distances_table(report: SetReport) -> Table:
    """Return the distance to every reference, its noise floor beside it."""
    nearest = sorted(report.distances, key=lambda distance: distance.mean.value)
    clean = any(distance.clean for distance in nearest)
    longest = any(distance.maximum for distance in nearest)
    columns = (
        "reference",
        "mean",
        "noise floor",
        "above it",
        "median",
        "90th percentile",
        "agreement",
    )
    icl = any(distance.icl for distance in nearest)
    more = (
        *("mean without leaked rows",) * clean,
        *("greatest at a token",) * longest,
        *(f"mean of {ICL}",) * icl,
    )
    rows = tuple(
        (
            *_distance(d),
            *(_interval(d.clean),) * clean,
            *(_interval(d.maximum),) * longest,
            *(_interval(d.icl),) * icl,
        )
        for d in nearest
    )
    return Table(
        f"Total variation between {SYSTEM} and each reference, the nearest first.",
        (*columns, *more),
        rows,
    )


def curve_table(curve: Curve, report: SetReport) -> Table:
    """Return a curve's points."""
    rows = tuple(
        (Cell(f"{point.size:,}"), _interval(point.distance), _interval(point.accuracy))
        for point in curve.points
    )
    what = metric(report.methods[0].scores)
    return Table(
        f"{ICL} by {OVER[curve.over]}, with 95 % intervals.",
        (OVER[curve.over], f"distance to {curve.reference}", f"{what} of {ICL}"),
        rows,
    )


def overview_table(sets: Sequence[SetReport]) -> Table:
    """Return the sets side by side."""
    columns = ("set", "score", SYSTEM, ICL, "best method", "knn", "distance", "its noise floor")
    rows = tuple(_overview(report) for report in sets if report.methods)
    return Table("The sets side by side; each has its own part below.", columns, rows)


def _overview(report: SetReport) -> tuple[Cell, ...]:
    named = {method.name: headline(method.scores) for method in report.methods}
    best = best_of(report)
    first = report.distances[0] if report.distances else None
    return (
        Cell(report.name),
        Cell(metric(best.scores)),
        _interval(named.get(SYSTEM)),
        _interval(named.get(ICL)),
        Cell(number(named[best.name].value), best.name),
        _interval(named.get("knn")),
        Cell(number(first.mean.value), f"to {first.reference}") if first else Cell(ABSENT),
        _interval(first.noise_floor if first else None),
    )


def _ranked(methods: Sequence[Method]) -> list[Method]:
    return sorted(methods, key=lambda method: -headline(method.scores).value)


def _score_columns(methods: Sequence[Method]) -> tuple[str, ...]:
    labels = isinstance(methods[0].scores, LabelScores)
    return ("accuracy", "macro-F1", "NLL", "ECE") if labels else ("ROUGE-L", "chrF", "exact match")


def _scores(scores: LabelScores | TextScores) -> tuple[Cell, ...]:
    """Return the cells under `_score_columns`."""
    found = (
        (scores.accuracy, scores.macro_f1, scores.nll, scores.ece)
        if isinstance(scores, LabelScores)
        else (scores.rouge_l, scores.chrf, scores.exact_match)
    )
    return tuple(_interval(score) for score in found)


def _against(method: Method) -> Cell:
    if method.against is None:
        return Cell(ABSENT)
    found = method.against.difference
    ends = f"{signed(found.low)} to {signed(found.high)}; {p_value(method.against.p_value)}"
    return Cell(signed(found.value), ends)


def _cost(method: Method) -> tuple[Cell, ...]:
    cost = method.cost
    return (
        Cell(duration(cost.train_seconds)),
        Cell(storage(cost.extra_bytes)),
        Cell(duration(cost.query_seconds)),
        Cell(f"{cost.query_tokens:,.0f}"),
    )


def _distance(distance: Distance) -> tuple[Cell, ...]:
    return (
        Cell(distance.reference),
        _interval(distance.mean),
        _interval(distance.noise_floor),
        _interval(distance.above),
        Cell(number(distance.median)),
        Cell(number(distance.p90)),
        _interval(distance.agreement),
    )


def _interval(interval: Interval | None) -> Cell:
    return Cell(ABSENT) if interval is None else Cell(number(interval.value), span(interval))
