"""How far what ``ragicl predict`` answers is from each reference."""

from __future__ import annotations

from matplotlib.axes import Axes

from ragicl.evaluate.report.format import number
from ragicl.evaluate.report.plots.style import PALE, canvas, heading, look, lying, styled, svg
from ragicl.evaluate.results import SYSTEM, Distance, SetReport


@styled
def plot_distances(report: SetReport) -> str:
    """Draw the distance to each reference, and the reference's own noise floor below it."""
    found = sorted(report.distances, key=lambda distance: distance.mean.value)
    height = 1.4 + 0.46 * len(found)
    figure = canvas(height)
    axes = figure.add_axes((0.16, 0.6 / height, 0.6, (height - 1.25) / height))
    for row, distance in enumerate(found):
        _draw(axes, row, distance)
    axes.set_yticks(range(len(found)), [distance.reference for distance in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(left=0)
    axes.set_xlabel("total variation (0: the same distribution), with its 95 % interval")
    title = f"Distance from {SYSTEM} to each reference"
    note = (
        "filled: to the reference; ◇: its noise floor, two trainings of it with other seeds apart"
    )
    heading(figure, title, note)
    return svg(figure)


def _draw(axes: Axes, row: int, distance: Distance) -> None:
    colour, marker = look(distance.reference)
    mean, floor = distance.mean, distance.noise_floor
    words = number(mean.value)
    lying(axes, row - 0.1, mean, colour)
    axes.plot(mean.value, row - 0.1, marker=marker, color=colour, ms=7)
    if floor is not None:
        lying(axes, row + 0.2, floor, PALE)
        axes.plot(floor.value, row + 0.2, marker="D", color=PALE, mfc="white", ms=5)
        words += f", noise floor {number(floor.value)}"
    axes.text(1.03, row, words, transform=axes.get_yaxis_transform(), va="center")
