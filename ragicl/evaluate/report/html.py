"""A report as one page of HTML that needs nothing else: no script, no other file, no network."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from ragicl.evaluate.report.blocks import Picture, Section
from ragicl.evaluate.report.templating import rendered


def page(title: str, about: str, sections: Sequence[Section]) -> str:
    """Return the report as one file."""
    return rendered("report.html.j2", title, about, sections, {"inlined": _inlined})


def _inlined(picture: Picture) -> Markup:
    """Return the drawing for use in a page: ids that are its own, no size, a name, no ground."""
    drawn = re.sub(r'\bid="', f'id="{picture.name}-', picture.svg)
    drawn = re.sub(r'(href="#|url\(#)', rf"\g<1>{picture.name}-", drawn)
    drawn = re.sub(r'^<svg([^>]*?) width="[^"]*" height="[^"]*"', r"<svg\1", drawn)
    named = f'<svg role="img" aria-label="{escape(picture.alt)}"'
    return Markup(drawn.replace("<svg", named, 1))  # drawn by matplotlib, which escapes
