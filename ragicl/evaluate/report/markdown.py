"""A report as Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from functools import singledispatch

from ragicl.evaluate.report.blocks import (
    Block,
    Cell,
    Command,
    Facts,
    Folded,
    Picture,
    Points,
    Quote,
    Section,
    Table,
    Text,
)

PLOTS = "plots"
"""The folder of the pictures, beside the Markdown file."""
LONGEST = 600  # characters of a quoted text


def markdown(title: str, about: str, sections: Sequence[Section]) -> str:
    """Return the report; its pictures are files in the folder `PLOTS`."""
    head = [f"# {_escaped(title)}", _escaped(about)]
    parts = [*head, *(part for section in sections for part in _section(section, 2))]
    return "\n\n".join(parts) + "\n"


def _section(section: Section, level: int) -> Iterator[str]:
    yield f"{'#' * level} {_escaped(section.title)}"
    for block in section.blocks:
        yield _block(block)
    for part in section.parts:
        yield from _section(part, level + 1)


@singledispatch
def _block(block: Block) -> str:
    raise NotImplementedError(type(block))


@_block.register
def _(block: Text) -> str:
    return _escaped(block.text)


@_block.register
def _(block: Points) -> str:
    return "\n".join(f"- {_escaped(item)}" for item in block.items)


@_block.register
def _(block: Command) -> str:
    return f"    {' '.join(block.line.split())}"


@_block.register
def _(block: Facts) -> str:
    return "\n".join(f"- **{_escaped(name)}**: {_escaped(text)}" for name, text in block.pairs)


@_block.register
def _(block: Table) -> str:
    numbers = (" :--- |" if block.words else " ---: |") * (len(block.columns) - 1)
    lines = [f"| {' | '.join(map(_escaped, block.columns))} |", f"| :--- |{numbers}"]
    for row in block.rows:
        strong = "**" if row[0].text == block.strong else ""
        name, *cells = (_cell(cell) for cell in row)
        lines.append(f"| {' | '.join([f'{strong}{name}{strong}', *cells])} |")
    return f"{_escaped(block.caption)}\n\n" + "\n".join(lines)


@_block.register
def _(block: Picture) -> str:
    alt = _escaped(block.alt)
    return f"![{alt}]({PLOTS}/{block.name}.svg)\n\n{_escaped(block.caption)}"


@_block.register
def _(block: Quote) -> str:
    text = " ".join(block.text.split())
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} … ({len(text) - LONGEST:,} characters more in report.json)"
    return f"- {_escaped(block.label)}: {_escaped(text)}"


@_block.register
def _(block: Folded) -> str:
    parts = "\n".join(_block(part) for part in block.blocks)
    return f"**{_escaped(block.title)}**\n\n{parts}"


def _cell(cell: Cell) -> str:
    detail = f" ({_escaped(cell.detail)})" if cell.detail else ""
    return f"{_escaped(cell.text)}{detail}"


def _escaped(text: str) -> str:
    """Return a text in one line, without anything that Markdown or HTML would act on."""
    line = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", line)
