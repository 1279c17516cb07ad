"""What all plots share: size, fonts, each method's colour and marker, intervals, names, SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from ragicl.evaluate.report.plots.label_layout import Box, Point, lead, place
from ragicl.evaluate.results import ICL, SYSTEM, Interval

INK, PALE, GRID = "#222222", "#767676", "#d9d9d9"
Marker = str | tuple[int, Literal[1], int]
"""A marker's name, or a star: its points, 1 and an angle, as matplotlib has them."""

_LOOKS: dict[
    str, tuple[str, Marker]
] = {  # colours after Okabe & Ito and Paul Tol, and markers, for readers without colour
    SYSTEM: ("#d55e00", "o"),
    ICL: ("#e69f00", "8"),
    "majority": ("#888888", "X"),
    "knn-1": ("#3d94d1", "v"),
    "knn": ("#00558f", "^"),
    "random-icl": ("#a08a00", "<"),
    "knn-prompting": ("#2a9d8f", ">"),
    "probe": ("#117733", "s"),
    "head": ("#332288", "D"),
    "bare-states": ("#88ccee", (4, 1, 0)),
    "icl-states": ("#44aa99", (7, 1, 0)),
    "partial": ("#cc6677", "d"),
    "full": ("#882255", "P"),
    "lora": ("#aa4499", "p"),
    "prompt-tuning": ("#b8860b", "h"),
    "two-stage": ("#7a4b2a", "*"),
    "multi-task": ("#222222", "H"),
}
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib; what replaces it is narrower
    "font.size": 9,
    "figure.facecolor": "none",  # the page has a ground of its own
    "axes.facecolor": "none",
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": PALE,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
    "svg.hashsalt": "ragicl",  # the same figures give the same file
}
_WIDTH = 7.0  # inches; at 100 dots an inch, the 700 pixels that a page gives

styled = rc_context(_STYLE)
"""Makes a function draw in this style, and leaves matplotlib's settings as they were."""


def look(method: str) -> tuple[str, Marker]:
    """Return a method's colour and marker: the same in every plot."""
    return _LOOKS.get(method, (INK, "o"))


def canvas(height: float) -> Figure:
    """Return an empty figure, `height` in inches."""
    return Figure((_WIDTH, height), dpi=100)


def heading(figure: Figure, title: str, note: str = "") -> None:
    """Write a title, and under it how to read the plot."""
    height = figure.get_figheight()
    figure.text(0.02, 1 - 0.22 / height, title, size=10, va="center")
    figure.text(0.02, 1 - 0.43 / height, note, color=PALE, va="center")


def upright(axes: Axes, at: float, interval: Interval, colour: str) -> None:
    """Draw an interval of the vertical axis."""
    axes.vlines(at, interval.low, interval.high, color=colour, lw=1.3, alpha=0.75)


def lying(axes: Axes, at: float, interval: Interval, colour: str) -> None:
    """Draw an interval of the horizontal axis."""
    axes.hlines(at, interval.low, interval.high, color=colour, lw=1.3, alpha=0.75)


def in_pixels(axes: Axes, points: Sequence[Point]) -> list[Point]:
    """Return where points lie in the figure, in pixels."""
    return [(x, y) for x, y in axes.transData.transform(points).tolist()]


def arrange(
    axes: Axes, texts: Sequence[Text], points: Sequence[Point], taken: Sequence[Box]
) -> None:
    """Move each text beside its point, where it covers nothing.

    :param points: in pixels, as `taken`
    """
    drawn: Any = FigureCanvasAgg(axes.get_figure(root=True))
    extents = [text.get_window_extent(drawn.get_renderer()) for text in texts]
    left, bottom, right, top = axes.bbox.extents
    sizes = [(extent.width, extent.height) for extent in extents]
    boxes = place(points, sizes, taken, (left, bottom, right, top))
    for text, box, point in zip(texts, boxes, points, strict=True):
        _put(axes, text, box, point)


def svg(figure: Figure) -> str:
    """Return a figure as SVG: its element alone, the same for the same figure."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = text.getvalue()
    element = drawn[drawn.index("<svg") :]
    return re.sub(r"\s*<metadata>.*?</metadata>", "", element, flags=re.DOTALL)


def _put(axes: Axes, text: Text, box: Box, point: Point) -> None:
    """Move a text into its box, and lead a line to its point where that is not beside it."""
    inverted = axes.transData.inverted()
    text.set(position=inverted.transform(box[:2]), va="bottom")
    if line := lead(box, point):
        (x, y), (to_x, to_y) = inverted.transform(line).tolist()
        axes.plot((x, to_x), (y, to_y), color="#9a9a9a", lw=0.7, zorder=1.5)
