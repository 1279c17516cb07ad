"""Whether a method is right as often as it is sure."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from ragicl.evaluate.report.format import headline, number
from ragicl.evaluate.report.plots.label_layout import along
from ragicl.evaluate.report.plots.style import (
    PALE,
    arrange,
    canvas,
    heading,
    in_pixels,
    look,
    styled,
    svg,
)
from ragicl.evaluate.results import SYSTEM, LabelScores, Method, SetReport

OTHERS = 3  # diagrams beside that of ragicl


def calibrated(report: SetReport) -> list[Method]:
    """Return the methods whose reliability is drawn: ragicl, and the most accurate others."""
    found = [method for method in report.methods if method.reliability]
    ranked = sorted(found, key=lambda method: -headline(method.scores).value)
    system = [method for method in ranked if method.name == SYSTEM]
    return system + [method for method in ranked if method.name != SYSTEM][:OTHERS]


@styled
def plot_reliability(report: SetReport) -> str:
    """Draw how often answers of each confidence are right, a diagram for each of `calibrated`."""
    shown = calibrated(report)
    height = 0.55 + 3.2 * math.ceil(len(shown) / 2)
    figure = canvas(height)
    for number_, method in enumerate(shown):
        line, column = divmod(number_, 2)
        bottom = height - 0.55 - 3.2 * (line + 1) + 0.6
        box = (0.09 + 0.5 * column, bottom / height, 0.39, 2.2 / height)
        _draw(figure.add_axes(box), method)
    note = "numbers: test rows; dashed: right as often as sure; below it: too sure"
    heading(figure, "How often answers of each confidence are right", note)
    return svg(figure)


def _draw(axes: Axes, method: Method) -> None:
    colour, _ = look(method.name)
    filled = [found for found in method.reliability if found.rows]
    curve = [(found.confidence, found.accuracy) for found in filled]
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean confidence", ylabel="share of right answers")
    axes.plot((0, 1), (0, 1), color=PALE, lw=1, dashes=(4, 3))
    axes.plot(*zip(*curve, strict=True), marker="o", color=colour, lw=1.4, ms=5, clip_on=False)
    start, end, *points = in_pixels(axes, [(0, 0), (1, 1), *curve])
    texts = [axes.text(0, 0, f"{found.rows:,}", size=8) for found in filled]
    markers = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    arrange(axes, texts, points, markers + along(points) + along((start, end)))
    scores = method.scores
    ece = f", ECE {number(scores.ece.value)}" if isinstance(scores, LabelScores) else ""
    axes.set_title(f"{method.name}{ece}", color=colour)
