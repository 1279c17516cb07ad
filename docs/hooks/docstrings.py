"""Docstrings as Markdown: doctests become code, and Sphinx's roles their names."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(?=`)")
SKIPPED = re.compile(r"\s*# doctest: \+SKIP$", re.MULTILINE)
PARAGRAPH = re.compile(r"^ *>>> .*?(?=\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)


class Docstrings(Extension):  # type: ignore[misc]  # griffe is not there where types are checked
    """Rewrites each docstring before it is parsed."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Return a docstring with fenced doctests and without roles."""
    text = SKIPPED.sub("", ROLE.sub("", text))
    return PARAGRAPH.sub(lambda own: f"```pycon\n{own[0]}\n```", text)
