"""What readers of every format yield."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ragicl.errors import DataError

Values = Mapping[str, Any]
Row = tuple[str, Values | DataError]
"""Where a row stands (file:line), and its values or what is wrong with it."""

Notify = Callable[[str], None]
"""Called with a line that a reader of the data should know."""


def unheard(_: str) -> None:
    """Take a line, and do nothing with it."""


def once(notify: Notify) -> Notify:
    """Return what passes each line on the first time only: files are read more than once."""
    said: set[str] = set()

    def say(line: str) -> None:
        if line not in said:
            said.add(line)
            notify(line)

    return say
