"""A report as Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from ragicl.evaluate.report.blocks import Section
from ragicl.evaluate.report.templating import rendered

PLOTS = "plots"
"""The folder of the pictures, beside the Markdown file."""
LONGEST = 600  # characters of a quoted text


def markdown(title: str, about: str, sections: Sequence[Section]) -> str:
    """Return the report; its pictures are files in the folder `PLOTS`."""
    filters = {"line": _line, "shortened": _shortened}
    return rendered("report.md.j2", title, about, sections, filters, plots=PLOTS)


def _line(text: str) -> str:
    """Return a text in one line, without anything that Markdown or HTML would act on."""
    line = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", line)


def _shortened(text: str) -> str:
    """Return the beginning of a text, and how much of it is left out."""
    line = " ".join(text.split())
    if len(line) <= LONGEST:
        return line
    return f"{line[:LONGEST]} … ({len(line) - LONGEST:,} characters more in report.json)"
