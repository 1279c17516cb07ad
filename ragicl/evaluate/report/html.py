"""A report as one page of HTML that needs nothing else: no script, no other file, no network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import singledispatch
from html import escape

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

NOTHING_ELSE = (
    "default-src 'none'; style-src 'unsafe-inline'"  # no script runs, whatever a text holds
)
STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --soft: #666; --line: #ddd; --paper: #fff;
  --shade: #f6f4f1; --accent: #b34a00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --soft: #a5a5a5; --line: #3a3a3a; --paper: #161616; --shade: #222;
    --accent: #ff9a52; }
  figure svg { filter: invert(1) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.4rem; margin: 3rem 0 .8rem; padding-top: 1rem;
  border-top: 2px solid var(--line); }
h3 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p, li { max-width: 46rem; }
a { color: var(--accent); }
nav ul { padding-left: 1.2rem; margin: .2rem 0; }
nav > ul > li { margin: .3rem 0; }
.recommendation { background: var(--shade); border-left: 4px solid var(--accent); margin: 0;
  padding: .8rem 1rem .8rem 2rem; max-width: 50rem; }
.recommendation li { margin: .35rem 0; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .3rem 1.2rem;
  margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; max-width: 42rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
caption span { display: inline-block; position: sticky; left: 0; max-width: calc(100vw - 2rem); }
th, td { padding: .35rem .55rem; text-align: right; vertical-align: top; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; white-space: normal; font-weight: 600;
  border-bottom: 2px solid var(--line); }
th:first-child { text-align: left; padding-left: .4rem; }
tbody th { font-weight: 500; }
td small { display: block; color: var(--soft); font-size: .78rem; }
.words td, .words th { text-align: left; white-space: normal; }
tr.strong > * { background: var(--shade); font-weight: 700; }
tr.strong small { font-weight: 400; }
figure { margin: 1.2rem 0; }
figure > div { overflow-x: auto; }
figure svg { display: block; width: 100%; min-width: 34rem; max-width: 44rem; height: auto; }
figcaption { color: var(--soft); font-size: .9rem; max-width: 44rem; }
details { border: 1px solid var(--line); border-radius: 4px; margin: .5rem 0;
  padding: .5rem .8rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
blockquote { margin: .6rem 0; padding-left: .8rem; border-left: 3px solid var(--line); }
blockquote p { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
blockquote footer { color: var(--soft); font-size: .85rem; }
pre { background: var(--shade); padding: .7rem; overflow-x: auto; }
@media (max-width: 40rem) {
  dl { display: block; } dd { margin-bottom: .5rem; }
  h1 { font-size: 1.4rem; }
}
"""


def page(title: str, about: str, sections: Sequence[Section]) -> str:
    """Return the report as one file."""
    body = "\n".join(line for section in sections for line in _section(section, 2))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{NOTHING_ELSE}">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p>{escape(about)}</p>
<nav aria-label="Contents">
{_contents(sections)}
</nav>
</header>
<main>
{body}
</main>
</body>
</html>
"""


def _contents(sections: Sequence[Section]) -> str:
    items = (
        f'<li><a href="#{section.anchor}">{escape(section.title)}</a>'
        f"{_contents(section.parts) if section.parts else ''}</li>"
        for section in sections
    )
    return f"<ul>{''.join(items)}</ul>"


def _section(section: Section, level: int) -> Iterator[str]:
    yield f'<section id="{section.anchor}">'
    yield f"<h{level}>{escape(section.title)}</h{level}>"
    yield from (_block(block) for block in section.blocks)
    for part in section.parts:
        yield from _section(part, level + 1)
    yield "</section>"


@singledispatch
def _block(block: Block) -> str:
    raise NotImplementedError(type(block))


@_block.register
def _(block: Text) -> str:
    return f"<p>{escape(block.text)}</p>"


@_block.register
def _(block: Points) -> str:
    items = "".join(f"<li>{escape(item)}</li>" for item in block.items)
    return f'<ul class="advice">{items}</ul>'


@_block.register
def _(block: Command) -> str:
    return f"<pre><code>{escape(block.line)}</code></pre>"


@_block.register
def _(block: Facts) -> str:
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in block.pairs)
    return f"<dl>{''.join(pairs)}</dl>"


@_block.register
def _(block: Table) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in block.columns)
    rows = "\n".join(_row(row, block.strong) for row in block.rows)
    name, kind = escape(block.caption), "wide words" if block.words else "wide"
    return (
        f'<div class="{kind}" tabindex="0" role="region" aria-label="{name}">'
        f"<table><caption><span>{name}</span></caption>\n<thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


@_block.register
def _(block: Picture) -> str:
    return (
        f'<figure id="{block.name}-plot"><div tabindex="0">{_inlined(block)}</div>'
        f"<figcaption>{escape(block.caption)}</figcaption></figure>"
    )


@_block.register
def _(block: Quote) -> str:
    footer = f"<footer>{escape(block.label)}</footer>"
    return f"<blockquote>{footer}<p>{escape(block.text)}</p></blockquote>"


@_block.register
def _(block: Folded) -> str:
    inner = "\n".join(_block(part) for part in block.blocks)
    return f"<details><summary>{escape(block.title)}</summary>\n{inner}\n</details>"


def _row(row: Sequence[Cell], strong: str) -> str:
    name, *cells = row
    kind = ' class="strong"' if name.text == strong else ""
    rest = "".join(f"<td>{escape(cell.text)}{_detail(cell)}</td>" for cell in cells)
    return f'<tr{kind}><th scope="row">{escape(name.text)}</th>{rest}</tr>'


def _detail(cell: Cell) -> str:
    return f"<small>{escape(cell.detail)}</small>" if cell.detail else ""


def _inlined(picture: Picture) -> str:
    """Return the drawing for use in a page: ids that are its own, no size, a name, no ground."""
    drawn = re.sub(r'\bid="', f'id="{picture.name}-', picture.svg)
    drawn = re.sub(r'(href="#|url\(#)', rf"\g<1>{picture.name}-", drawn)
    drawn = re.sub(r'^<svg([^>]*?) width="[^"]*" height="[^"]*"', r"<svg\1", drawn)
    return drawn.replace("<svg", f'<svg role="img" aria-label="{escape(picture.alt)}"', 1)
