"""A report as sections: what it says, in which order."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ragicl.evaluate.report.blocks import (
    Block,
    Command,
    Facts,
    Folded,
    Picture,
    Points,
    Quote,
    Section,
    Text,
)
from ragicl.evaluate.report.format import (
    OVER,
    headline,
    listed,
    metric,
    number,
    settings,
    with_span,
)
from ragicl.evaluate.report.glossary import FIGURES, METHODS
from ragicl.evaluate.report.plots import (
    calibrated,
    plot_curves,
    plot_distances,
    plot_reliability,
    plot_scores,
)
from ragicl.evaluate.report.recommendation import best_of
from ragicl.evaluate.report.tables import (
    clean_table,
    curve_table,
    distances_table,
    methods_table,
    overview_table,
    settings_table,
)
from ragicl.evaluate.results import ICL, SYSTEM, Curve, Item, Report, SetReport
from ragicl.records import Kind

BEGINNING = 80  # characters of a test row in a heading


def sections_of(report: Report) -> list[Section]:
    """Return the report's sections: an overview of several sets, each set, how to read it all."""
    overview = Section("Overview", "overview", (overview_table(report.sets),))
    anchors = _anchors([found.name for found in report.sets])
    sets = [_set(found, anchor) for found, anchor in zip(report.sets, anchors, strict=True)]
    return [overview] * (len(sets) > 1) + sets + [_reading(report), _making(report)]


def _anchors(names: list[str]) -> list[str]:
    """Return a unique anchor for each name, of letters that addresses and files can hold."""
    anchors: list[str] = []
    for name in names:
        base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "set"
        tries = (base if n == 1 else f"{base}-{n}" for n in range(1, len(names) + 1))
        anchors.append(next(anchor for anchor in tries if anchor not in anchors))
    return anchors


def _set(report: SetReport, anchor: str) -> Section:
    parts = (
        ("Recommendation", "recommendation", _recommendation(report)),
        ("Scores and costs", "methods", _methods(report, anchor)),
        ("Distance to fine-tuning", "distances", _distances(report, anchor)),
        ("Reliability of the probabilities", "reliability", _reliability(report, anchor)),
        ("What more examples, demonstrations or tokens change", "curves", _curves(report, anchor)),
        ("Without leaked rows", "leak", _leak(report)),
        (f"Where {SYSTEM} and the reference differ most", "worst", _worst(report)),
    )
    filled = ((title, name, tuple(blocks)) for title, name, blocks in parts)
    sections = tuple(Section(t, f"{anchor}-{name}", blocks) for t, name, blocks in filled if blocks)
    return Section(report.name, anchor, (_facts(report),), sections)


def _facts(report: SetReport) -> Facts:
    task = f"choose one of {report.labels:,} labels" if report.labels else "write a text"
    leaked = f", {report.leaked:,} of them leaked" if report.leaked else ", none of them leaked"
    return Facts(
        (
            ("task", task),
            ("examples in the index", f"{report.pool:,}"),
            ("test rows", f"{report.rows:,}{leaked}"),
            ("language model", report.lm),
            ("encoder", report.encoder),
            (f"settings of {_prompted(report)}", settings(report.policy)),
        )
    )


def _prompted(report: SetReport) -> str:
    """Return the name of the language model alone: where texts are written, it is all there is."""
    return SYSTEM if report.kind == "generate" else ICL


def _recommendation(report: SetReport) -> Iterator[Block]:
    if report.recommendation:
        yield Points(report.recommendation)


def _methods(report: SetReport, anchor: str) -> Iterator[Block]:
    if not report.methods:
        return
    best, what = best_of(report), metric(report.methods[0].scores)
    yield Picture(
        f"{anchor}-scores",
        "Up is better, left is faster. A method to the right of and below another has no use here, "
        "if the intervals are clear of each other.",
        f"Plot of {what} against time for an answer of {listed([m.name for m in report.methods])}. "
        f"The best is {best.name} with {with_span(headline(best.scores))}.",
        plot_scores(report),
    )
    yield methods_table(report)
    if any(method.settings for method in report.methods):
        yield Folded("How each method was trained", (settings_table(report),))


def _distances(report: SetReport, anchor: str) -> Iterator[Block]:
    if not report.distances:
        return
    over = "over the labels" if report.labels else "for each token of the right text"
    yield Text(
        f"Total variation compares two whole distributions {over}, not the likeliest answers "
        f"alone: 0 is the same, 1 has nothing in common. The noise floor is the distance between "
        f"two trainings of the reference with other seeds: near it, {SYSTEM} differs from the "
        f"reference no more than the reference does from itself."
    )
    distances = [
        f"{d.reference} {number(d.mean.value)}"
        + (f" (noise floor {number(d.noise_floor.value)})" if d.noise_floor else "")
        for d in report.distances
    ]
    yield Picture(
        f"{anchor}-distances",
        "Each reference, with its own noise floor below it.",
        f"Plot of the distance from {SYSTEM} to {listed(distances)}.",
        plot_distances(report),
    )
    yield distances_table(report)


def _reliability(report: SetReport, anchor: str) -> Iterator[Block]:
    shown = [method.name for method in calibrated(report)]
    if shown:
        yield Picture(
            f"{anchor}-reliability",
            "Rows are grouped by the probability of their answer. On the dashed line, answers "
            "given a probability of 0.8 are right in 8 of 10 cases; below it, the method is too "
            "sure.",
            f"Reliability diagrams of {listed(shown)}.",
            plot_reliability(report),
        )


def _curves(report: SetReport, anchor: str) -> Iterator[Block]:
    for over, words in OVER.items() if report.methods else ():
        found = [curve for curve in report.curves if curve.over == over and curve.points]
        if not found:
            continue
        yield Picture(
            f"{anchor}-{over}",
            f"{ICL} by {words}; bars are 95 % intervals. Dashed on the right: the reference's own "
            f"score.",
            f"Plot of the distance and score of {ICL} by {words}; the table has the figures.",
            plot_curves(report, over),
        )
        for curve in found:
            yield curve_table(curve, report)
            if law := _law(curve):
                yield Text(law)


def _law(curve: Curve) -> str:
    """Return the fitted law, and what to report of it."""
    if curve.fit is None:
        return f"No law was fitted: {curve.note}." if curve.note else ""
    a, b, c = (with_span(part) for part in (curve.fit.a, curve.fit.b, curve.fit.c))
    fitted = f"Fitted law: distance = a · n^(−b) + c with a = {a}, b = {b}, c = {c}."
    return f"{fitted} {curve.note}".strip()


def _leak(report: SetReport) -> Iterator[Block]:
    if any(method.clean is not None for method in report.methods):
        yield clean_table(report)
    elif not report.leaked:
        yield Text("No test row's text occurs in the index.")


def _worst(report: SetReport) -> Iterator[Block]:
    if report.worst and report.distances:
        reference = report.distances[0].reference
        yield Text(
            f"The {len(report.worst)} test rows with the greatest distance between {SYSTEM} and "
            f"{reference}, with the demonstrations that {_prompted(report)} was shown."
        )
        for place, item in enumerate(report.worst, 1):
            yield _item(place, item, reference, report.kind)


def _item(place: int, item: Item, reference: str, kind: Kind) -> Folded:
    at = " at the token where they differ most" if kind == "generate" else ""
    shown = [
        Quote(
            f"demonstration {n}, similarity {demo.similarity:.2f}", f"{demo.input}\n→ {demo.output}"
        )
        for n, demo in enumerate(item.demonstrations, 1)
    ]
    return Folded(
        f"{place}. “{_beginning(item.input)}”: distance {number(item.distance)}",
        (
            Quote("test row", item.input),
            Quote("right", item.gold),
            Quote(f"{SYSTEM}{at}, probability {number(item.system_probability)}", item.system),
            Quote(
                f"{reference}{at}, probability {number(item.reference_probability)}", item.reference
            ),
            *shown,
        ),
    )


def _beginning(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= BEGINNING else f"{line[:BEGINNING]} …"


def _reading(report: Report) -> Section:
    """Return what the names and figures mean, of those that the report holds."""
    used = {method.name for found in report.sets for method in found.methods}
    methods = tuple((name, words) for name, words in METHODS.items() if name in used)
    return Section(
        "How to read this",
        "reading",
        (),
        (
            Section("Methods", "reading-methods", (Facts(methods),)),
            Section("Figures", "reading-figures", (Facts(tuple(FIGURES.items())),)),
        ),
    )


def _making(report: Report) -> Section:
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    facts = (("date", report.date), ("machine", report.machine), ("versions", versions))
    return Section("How this was made", "making", (Command(report.command), Facts(facts)))
