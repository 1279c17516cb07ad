"""Progress on stderr: a bar on a terminal; elsewhere a line now and then, of long runs only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ragicl.errors import visible

if TYPE_CHECKING:
    from ragicl.protocols import Progress

LONG = 2.0  # seconds of a run before its first line in a file
BETWEEN = 30.0  # seconds between two lines there
WAIT = 1.0  # seconds that a part of a row may take without a bar of its own


@contextmanager
def progress(total: int | None, what: str, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show how many rows are done, of a total where it is known."""
    bar = _bar(total, what, done, unit="row", disable=total is not None and total - done <= 1)
    with bar:
        yield lambda number: _advance(bar, number)


@contextmanager
def steps() -> Iterator[Progress]:
    """Show one kind of work after another, each with its own count."""
    bar: Any = None

    def report(what: str, done: int, total: int, /) -> None:
        nonlocal bar
        if bar is None or bar.desc != f"{visible(what)}: " or done < bar.n or bar.total != total:
            if bar is not None:
                bar.close()
            bar = _bar(total, what)
        _advance(bar, done - bar.n)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()


@contextmanager
def within() -> Iterator[Progress]:
    """Show how much of a row is done, once that takes a while; below the bar of rows."""
    bar: Any = None
    delay = WAIT

    def report(what: str, done: int, total: int, /) -> None:
        nonlocal bar, delay
        if bar is None:
            terminal = sys.stderr.isatty()
            bar = _bar(total, what, delay=delay, leave=not terminal)
            delay = WAIT if terminal else BETWEEN
        _advance(bar, done - bar.n)
        if done >= total:
            bar.close()
            bar = None

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()


def _bar(total: int | None, what: str, done: int = 0, **options: Any) -> Any:
    from tqdm import tqdm

    wait = {} if sys.stderr.isatty() else {"delay": LONG, "mininterval": LONG}
    return tqdm(total=total, initial=done, desc=visible(what), file=sys.stderr, **(wait | options))


def _advance(bar: Any, number: int) -> None:
    if bar.update(number) and not sys.stderr.isatty():
        bar.mininterval = bar.maxinterval = BETWEEN
