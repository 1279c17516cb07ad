"""How many examples to collect: what is enough for any task, and what a measured curve says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ragicl.backends import open_lm
from ragicl.errors import TaskError
from ragicl.evaluate.metrics.power_law import REACH, examples_needed
from ragicl.evaluate.planning.bounds import Bound, Figures, bounds_of
from ragicl.evaluate.report.serialize import load_report
from ragicl.evaluate.results import Curve, Interval, PowerLaw
from ragicl.index import Index

REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a measured curve over the pool's size says.

    :ivar name: of the data set
    :ivar reference: that the distance is to
    :ivar largest: pool measured
    :ivar law: the curve's fit, without its resamples; None where it has none
    :ivar examples: needed for the error; None where the fit does not support an answer
    :ivar note: why it does not; empty otherwise
    """

    name: str
    reference: str
    largest: int
    law: PowerLaw | None = None
    examples: Interval | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `ragicl plan` says.

    :ivar index: the index's path; None without one
    :ivar has: number of examples in it
    :ivar report: the report's path; None without one
    :ivar measured: its curves over the pool's size
    """

    figures: Figures
    bounds: tuple[Bound, ...]
    index: str | None = None
    has: int | None = None
    report: str | None = None
    measured: tuple[Measured, ...] = ()


def plan(figures: Figures, *, index: Path | None, report: Path | None, lm: str) -> Plan:
    """Return the bounds, beside an index's examples and a report's curves where these are given.

    Figures that are missing are the index's: for labels their number and the encoder's dimension,
    for texts the tokens of the longest output, by the language model's own tokenizer.

    :param report: a report.json, or the folder it is in
    :raises TaskError: where a figure is out of range
    :raises StoreError: where the index cannot be used
    :raises DataError: where the report cannot
    """
    path, has = None, None
    if index is not None:
        with Index.open(index) as opened:
            figures, path, has = completed(figures, opened, lm), str(index), len(opened)
    bounds = bounds_of(figures)
    if report is None:
        return Plan(figures, bounds, path, has)
    file = report / REPORT if report.is_dir() else report
    return Plan(figures, bounds, path, has, str(file), read_off(file, figures.epsilon))


def completed(figures: Figures, index: Index, lm: str) -> Figures:
    """Return the figures with those of the index where they are missing."""
    if index.kind == "generate":
        return (
            figures if figures.length is not None else replace(figures, length=_longest(index, lm))
        )
    labels = len(index.labels())
    if figures.labels is None and labels > 1:
        figures = replace(figures, labels=labels)
    if figures.dimension is None:
        figures = replace(figures, dimension=index.manifest.encoder.dim)
    return figures


def _longest(index: Index, lm: str) -> int | None:
    """Return the tokens of the longest output; counting loads no weights."""
    count = open_lm(lm).count
    return max((count((output,)) for output in index.longest_outputs()), default=None)


def read_off(file: Path, epsilon: float) -> tuple[Measured, ...]:
    """Return what each curve over the pool's size in a report says of an error of epsilon.

    :raises DataError: where the file is not a report
    """
    return tuple(
        _measured(found.name, curve, epsilon)
        for found in load_report(file).sets
        for curve in found.curves
        if curve.over == "pool"
    )


def _measured(name: str, curve: Curve, epsilon: float) -> Measured:
    largest = max((point.size for point in curve.points), default=0)
    found = Measured(name, curve.reference, largest)
    if curve.fit is None:
        return replace(found, note=curve.note or "the curve was not fitted")
    found = replace(found, law=msgspec.structs.replace(curve.fit, draws=()))
    try:
        return replace(found, examples=examples_needed(curve.fit, epsilon, largest))
    except TaskError as error:
        return replace(found, note=str(error))


def table(plan: Plan) -> str:
    """Return the plan for people."""
    return "\n".join([*_bounds_shown(plan), *_measured_shown(plan)])


def _bounds_shown(plan: Plan) -> Iterator[str]:
    figures = plan.figures
    yield (
        f"Examples with which an ideal learner errs by at most {figures.epsilon:g}, with "
        f"probability {1 - figures.delta:g},"
    )
    yield "whatever the task (worst-case bounds, arXiv 2506.08060; most tasks need far fewer):"
    yield ""
    yield f"  {'':<30}{'enough':>14}" + ("" if plan.has is None else f"{'the index has':>16}")
    has = "" if plan.has is None else f"{plan.has:>16,}"
    for bound in plan.bounds:
        if bound.examples is None:
            yield f"  {bound.name:<30}{'?':>14}   give --{bound.missing}"
            continue
        yield f"  {bound.name:<30}{bound.examples:>14,}{has}"
        yield f"      {bound.promise}"
        yield f"      the paper's O({bound.form}): {bound.paper:,} if its constant were 1"


def _measured_shown(plan: Plan) -> Iterator[str]:
    if plan.report is None:
        return
    yield ""
    yield f"Measured ({plan.report}), as total variation to a reference over the pool's size n:"
    if not plan.measured:
        yield "  no curve over the pool's size is in the report"
    for found in plan.measured:
        law = "no fit" if found.law is None else _law_shown(found.law)
        yield f"  {found.name}, {found.reference}: {law}"
        if found.examples is None:
            yield f"      no answer: {found.note}"
        else:
            yield f"      {_needed_shown(found.examples, plan.figures.epsilon, found.largest)}"


def _law_shown(law: PowerLaw) -> str:
    a, b, c = law.a, law.b, law.c
    return (
        f"{a.value:.3g}·n^(-{b.value:.2f}) + {c.value:.3f} "
        f"(95 %: b {b.low:.2f} to {b.high:.2f}, c {c.low:.3f} to {c.high:.3f})"
    )


def _needed_shown(examples: Interval, epsilon: float, largest: int) -> str:
    most = "more than " if examples.high >= REACH * largest else ""
    return (
        f"about {examples.value:,.0f} examples for {epsilon:g} "
        f"(95 %: {examples.low:,.0f} to {most}{examples.high:,.0f})"
    )
