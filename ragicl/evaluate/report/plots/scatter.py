"""What each method reaches, and what it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ragicl.evaluate.report.format import capital, duration, headline, metric, number, storage
from ragicl.evaluate.report.plots.label_layout import Point, along
from ragicl.evaluate.report.plots.style import (
    PALE,
    arrange,
    canvas,
    in_pixels,
    look,
    styled,
    svg,
    upright,
)
from ragicl.evaluate.results import SYSTEM, Method, SetReport

MAJORITY = "majority"
FASTEST = 1e-6  # seconds for an answer; what is faster is drawn there


@styled
def plot_scores(report: SetReport) -> str:
    """Draw each method's score against the time that it takes for an answer."""
    methods = [method for method in report.methods if not _far_below(method, report.methods)]
    figure = canvas(4.9)
    axes = figure.add_axes((0.09, 0.21, 0.88, 0.72))
    what = metric(report.methods[0].scores)
    axes.set_title(f"{capital(what)} against time for an answer, {report.rows:,} test rows")
    axes.set_ylabel(f"{what}, with its 95 % interval")
    axes.set_xlabel("time for an answer (logarithmic)")
    for method in methods:
        colour, marker = look(method.name)
        at, score = _time(method), headline(method.scores)
        upright(axes, at, score, colour)
        size = _area(method.cost.train_seconds)
        axes.scatter(at, score.value, size, colour, marker=marker, ec="white", lw=0.7)
    _limit(axes, methods)
    _name_all(axes, methods, _frontier(axes, methods))
    _note_left_out(axes, report.methods)
    _explain(figure)
    return svg(figure)


def _time(method: Method) -> float:
    return max(method.cost.query_seconds, FASTEST)


def _area(train_seconds: float) -> float:
    """Return a marker's area, in square points: equal steps for equal factors of time."""
    return 52 + 28 * math.log10(1 + train_seconds)


def _limit(axes: Axes, methods: Sequence[Method]) -> None:
    """Set the ranges of the axes, with room for names."""
    times = [_time(method) for method in methods]
    scores = [headline(method.scores) for method in methods]
    low, high = min(s.low for s in scores), max(s.high for s in scores)
    room = (high - low) or 0.1
    decades = math.log10(max(times) / min(times)) + 0.8
    axes.set_xscale("log")
    axes.set_xlim(min(times) / 2.2, max(times) * 3)
    axes.set_ylim(low - 0.09 * room, high + 0.05 * room)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 4 else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _frontier(axes: Axes, methods: Sequence[Method]) -> list[Point]:
    """Draw the best score that can be had within each time; return its corners in pixels."""
    best, corners = -math.inf, list[Point]()
    for method in sorted(methods, key=lambda m: (_time(m), -headline(m.scores).value)):
        if (value := headline(method.scores).value) > best:
            corners += [(_time(method), best)] if corners else []
            corners.append((_time(method), best := value))
    corners.append((axes.get_xlim()[1], best))
    axes.plot(*zip(*corners, strict=True), color="#bbbbbb", lw=1, zorder=0.9)
    return in_pixels(axes, corners)


def _name_all(axes: Axes, methods: Sequence[Method], line: Sequence[Point]) -> None:
    """Write each method's name, and what it stores, beside its marker."""
    texts, points, taken = [], [], along(line)
    for method in methods:
        at, score, extra = _time(method), headline(method.scores), method.cost.extra_bytes
        name = f"{method.name} +{storage(extra)}" if extra else method.name
        weight = "bold" if method.name == SYSTEM else "normal"
        texts.append(axes.text(0, 0, name, color=look(method.name)[0], weight=weight))
        ends = [(at, score.low), (at, score.value), (at, score.high)]
        (x, low), (_, y), (_, high) = in_pixels(axes, ends)
        radius = math.sqrt(_area(method.cost.train_seconds)) * 0.72
        points.append((x, y))
        taken += [(x - radius, y - radius, x + radius, y + radius), (x - 3, low, x + 3, high)]
    arrange(axes, texts, points, taken)


def _far_below(method: Method, methods: Sequence[Method]) -> bool:
    """Return whether to leave the majority out: to scale, it would push the others together."""
    others = [headline(other.scores).low for other in methods if other.name != MAJORITY]
    low = min(others, default=0.0)
    return method.name == MAJORITY and headline(method.scores).high < low


def _note_left_out(axes: Axes, methods: Sequence[Method]) -> None:
    for method in methods:
        if _far_below(method, methods):
            words = f"{method.name}: {number(headline(method.scores).value)} (not drawn)"
            axes.annotate(words, (0, 0), (4, 4), "axes fraction", "offset points", color=PALE)


def _explain(figure: Figure) -> None:
    """Say what the markers' areas are, and what else is drawn."""
    key = figure.add_axes((0.09, 0.0, 0.88, 0.1))
    key.set(xlim=(0, 1), ylim=(0, 1))
    key.axis("off")
    key.text(0, 0.74, "area of a marker: time of training", va="center", color=PALE)
    for x, seconds in ((0.42, 0), (0.53, 60), (0.65, 3600)):
        key.scatter(x, 0.74, _area(seconds), PALE)
        key.text(x + 0.02, 0.74, duration(seconds) if seconds else "none", va="center", color=PALE)
    words = "+: bytes stored beside base model and index; grey line: the best within each time"
    key.text(0, 0.26, words, va="center", color=PALE)
