"""The templates of the reports. The only home of Jinja2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ragicl.evaluate.report.blocks import Block, Section


def rendered(
    name: str,
    title: str,
    about: str,
    sections: Sequence[Section],
    filters: dict[str, Callable[..., Any]],
    **values: str,
) -> str:
    """Return a report by the template of that name; where it makes HTML, texts are escaped.

    :param filters: of the template, by name
    """
    environment = Environment(
        loader=PackageLoader("ragicl.evaluate.report"),
        autoescape=name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"kind": _kind, **filters}
    template = environment.get_template(name)
    return template.render(title=title, about=about, sections=sections, **values).strip() + "\n"


def _kind(block: Block) -> str:
    return type(block).__name__
