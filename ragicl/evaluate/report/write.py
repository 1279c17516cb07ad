"""An evaluation as files: for programs, for repositories and for readers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ragicl.atomic import write_whole
from ragicl.errors import DataError, visible
from ragicl.evaluate.report.blocks import Picture, Section
from ragicl.evaluate.report.html import page
from ragicl.evaluate.report.markdown import PLOTS, markdown
from ragicl.evaluate.report.sections import sections_of
from ragicl.evaluate.report.serialize import to_json
from ragicl.evaluate.results import Report

REPORTS = "report.json", "report.md", "report.html"
TITLE = "Prompting or fine-tuning"
ABOUT = (
    "How accurate each way of adapting a model is, how far what ragicl answers is "
    "from what fine-tuned models do, and what each costs."
)


def write_report(report: Report, folder: Path) -> tuple[Path, Path, Path]:
    """Write ``report.json``, ``report.md`` with its plots beside it, and ``report.html``.

    Each file is there whole or not at all. The figures come first, so that a failure to draw them
    loses none.

    :raises DataError: where the folder cannot be written to
    """
    data, text, web = (folder / name for name in REPORTS)
    try:
        (folder / PLOTS).mkdir(parents=True, exist_ok=True)
        _write(data, to_json(report))
        sections = sections_of(report)
        for picture in _pictures(sections):
            _write(folder / PLOTS / f"{picture.name}.svg", _on_white(picture.svg))
        _write(text, markdown(TITLE, ABOUT, sections))
        _write(web, page(TITLE, ABOUT, sections))
    except OSError as error:
        raise DataError(f"cannot write {error.filename or folder}: {error.strerror}") from error
    return data, text, web


def _pictures(sections: Iterable[Section]) -> Iterator[Picture]:
    for section in sections:
        yield from (block for block in section.blocks if isinstance(block, Picture))
        yield from _pictures(section.parts)


def _on_white(svg: str) -> str:
    """Return a drawing with a ground, for viewers with a dark one."""
    return re.sub(
        r"(<svg[^>]*>)", r'\1<rect width="100%" height="100%" fill="#fff"/>', svg, count=1
    )


def _write(path: Path, text: str) -> None:
    """Put a file in its place at once; what UTF-8 cannot hold (half a surrogate) becomes a ?."""
    write_whole(path, visible(text).encode("utf-8", "replace"))
