"""How distance and score change with the pool's size, k or the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from ragicl.evaluate.report.format import OVER, headline, metric
from ragicl.evaluate.report.plots.style import canvas, heading, look, styled, svg, upright
from ragicl.evaluate.results import ICL, Curve, Interval, PowerLaw, SetReport

_LINE = 0.2  # inches that a line of a legend takes
_PLOT = 2.1  # inches that the axes take


@styled
def plot_curves(report: SetReport, over: str) -> str:
    """Draw the distance, and beside it the score, over one of the settings in `OVER`."""
    found = [curve for curve in report.curves if curve.over == over]
    lines = len(found) + max(sum(curve.fit is not None for curve in found), 1)
    height = 1.3 + _PLOT + _LINE * lines
    figure = canvas(height)
    left, right = (figure.add_axes((x, 0.55 / height, 0.39, _PLOT / height)) for x in (0.1, 0.59))
    for curve in found:
        _draw(left, curve.reference, [(p.size, p.distance) for p in curve.points], curve.fit)
    _draw(right, ICL, [(p.size, p.accuracy) for p in found[0].points])
    _references(right, report, found)
    what = metric(report.methods[0].scores)
    sizes = sorted({point.size for curve in found for point in curve.points})
    for axes, title in ((left, f"total variation from {ICL} to:"), (right, f"{what} of:")):
        _across(axes, f"{OVER[over]} (logarithmic)", sizes)
        axes.set_title(title, size=9, pad=6 + 72 * _LINE * lines)
        corner = (-0.03, 1 + _LINE * lines / _PLOT)
        axes.legend(loc="upper left", bbox_to_anchor=corner, borderaxespad=0, borderpad=0.2)
    heading(figure, f"Distance and {what} by {OVER[over]}")
    return svg(figure)


def _draw(
    axes: Axes, name: str, points: Sequence[tuple[int, Interval]], law: PowerLaw | None = None
) -> None:
    """Draw values over sizes, each with its interval; the fitted law in place of their line."""
    colour, marker = look(name)
    for size, found in points:
        upright(axes, size, found, colour)
    sizes, values = [size for size, _ in points], [found.value for _, found in points]
    line = "none" if law else "solid"
    axes.plot(sizes, values, marker=marker, color=colour, ls=line, lw=1.5, ms=6.5, label=name)
    if law is not None:
        a, b, c = law.a.value, law.b.value, law.c.value
        steps = np.geomspace(max(min(sizes), 1), max(sizes), 60)
        words = f"fit: {a:.2f}·n^(−{b:.2f}) + {c:.2f}"
        axes.plot(steps, a * steps**-b + c, color=colour, lw=1.2, dashes=(3, 2), label=words)


def _references(axes: Axes, report: SetReport, found: Sequence[Curve]) -> None:
    """Draw the references' own scores as lines to compare with."""
    named = {curve.reference for curve in found}
    for method in report.methods:
        if method.name in named:
            score, (colour, _) = headline(method.scores).value, look(method.name)
            axes.axhline(score, color=colour, dashes=(5, 3), lw=1.3, label=method.name)


def _across(axes: Axes, label: str, sizes: Sequence[int]) -> None:
    """Set the axis of sizes: logarithmic, with a place for 0, and measured ones as ticks."""
    axes.set_xscale("function", functions=(lambda n: np.log2(n + 1), lambda x: 2**x - 1))
    first, last = math.log2(sizes[0] + 1), math.log2(sizes[-1] + 1)
    edge = 0.06 * (last - first) or 0.5
    axes.set_xlim(2 ** (first - edge) - 1, 2 ** (last + edge) - 1)
    axes.set_xlabel(label)
    ticks = _apart(sizes)
    axes.set_xticks(ticks, [f"{size:,}" for size in ticks])


def _apart(sizes: Sequence[int]) -> list[int]:
    """Return the sizes whose labels have room, from the greatest down."""
    logs = [math.log2(size + 1) for size in sizes]
    room, kept = 0.13 * (logs[-1] - logs[0]), [sizes[-1]]
    for size in reversed(sizes[:-1]):
        if math.log2(kept[-1] + 1) - math.log2(size + 1) >= room:
            kept.append(size)
    return kept
