"""Where the names in a plot go, so that none covers another or a marker. All is in pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, bottom, right and top."""

GAPS = (7, 13, 20, 28, 38, 50, 64)
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
BESIDE = 16  # from which distance to its point on a name gets a line
STEP = 5  # between the boxes that cover a line
OWN = 3  # of them lie on the marker that the line leads to


def place(
    points: Sequence[Point], sizes: Sequence[Point], taken: Sequence[Box], inside: Box
) -> list[Box]:
    """Return a box for each point's name: the nearest to it that covers nothing.

    Names are placed one after the other; one that fits nowhere goes where it covers least.

    :param sizes: the names' widths and heights
    :param taken: what may not be covered
    :param inside: where names must stay
    """
    full, boxes = list(taken), []
    for point, size in zip(points, sizes, strict=True):
        best = _best((_cost(b, point, full, inside), b) for b in _around(point, size))
        boxes.append(best)
        full += [best, *along(lead(best, point))]
    return boxes


def _best(tried: Iterator[tuple[float, Box]]) -> Box:
    """Return the first box of no cost, or the cheapest."""
    found = []
    for cost, box in tried:
        if cost == 0:
            return box
        found.append((cost, box))
    return min(found)[1]


def lead(box: Box, point: Point) -> list[Point]:
    """Return the line from a name to its point; nothing where the name is beside it."""
    near = min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3])
    return [near, point] if math.dist(near, point) > BESIDE else []


def along(line: Sequence[Point]) -> list[Box]:
    """Return small boxes that cover a line."""
    centres = []
    for (x, y), (to_x, to_y) in pairwise(line):
        steps = math.ceil(math.dist((x, y), (to_x, to_y)) / STEP)
        shares = [step / max(steps, 1) for step in range(steps + 1)]
        centres += [(x + share * (to_x - x), y + share * (to_y - y)) for share in shares]
    return [(x - 2, y - 2, x + 2, y + 2) for x, y in centres]


def _around(point: Point, size: Point) -> Iterator[Box]:
    """Yield boxes beside a point, the nearest first."""
    (x, y), (width, height) = point, size
    for gap in GAPS:
        for right, up in DIRECTIONS:
            left = x - width / 2 + right * (width / 2 + gap)
            bottom = y - height / 2 + up * (height / 2 + gap)
            yield left, bottom, left + width, bottom + height


def _cost(box: Box, point: Point, full: Sequence[Box], inside: Box) -> float:
    """Return the area that a box and its line cover of others, and of what is outside."""
    line = along(lead(box, point))[:-OWN]
    area = (box[2] - box[0]) * (box[3] - box[1])
    covered = sum(_shared(part, other) for part in (box, *line) for other in full)
    return area - _shared(box, inside) + covered


def _shared(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
