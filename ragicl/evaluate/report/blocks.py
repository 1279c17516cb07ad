"""What a report is made of, whether it is written as Markdown or as a page. Texts are plain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Points:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A line for the shell."""

    line: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Names, each with what it stands for."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure, and in smaller type what belongs to it: its interval, its p-value."""

    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names its rows.

    :ivar strong: the name of a row that stands out
    :ivar words: whether the cells are texts rather than figures
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    strong: str = ""
    words: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot.

    :ivar name: unique in the report, fit for a file's name
    :ivar alt: what it shows, for those who do not see it
    :ivar svg: one ``svg`` element
    """

    name: str
    caption: str
    alt: str
    svg: str


@dataclass(frozen=True, slots=True)
class Quote:
    """A text of the data, unchanged.

    :ivar label: what it is
    """

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Folded:
    """Blocks that are shown on request."""

    title: str
    blocks: tuple[Block, ...]


Block = Text | Points | Command | Facts | Table | Picture | Quote | Folded


@dataclass(frozen=True, slots=True)
class Section:
    """A part under a heading.

    :ivar anchor: unique in the report, fit for an address
    """

    title: str
    anchor: str
    blocks: tuple[Block, ...]
    parts: tuple[Section, ...] = ()
