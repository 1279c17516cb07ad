"""What readers of every format yield."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragicl.errors import DataError, quoted

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


@dataclass(frozen=True, slots=True)
class Unusable:
    """Stands for the value of a column that must not be used.

    :ivar why: what is wrong with the column, as the end of a sentence
    """

    why: str


def under_names(names: Sequence[str], cells: Iterable[Any], name: str, notify: Notify) -> Values:
    """Return the cells of a row by column; those of columns with one name are unusable.

    Columns without a name, such as spreadsheets leave behind, are no such columns.

    :param name: what the data is called
    """
    values = dict(zip(names, cells, strict=True))
    if len(values) < len(names):
        for column, times in Counter(names).items():
            if times > 1 and column.strip():
                why = f"is the name of {times} columns; rename them"
                values[column] = Unusable(why)
                notify(f"{name}: {quoted(column)} {why}; they are left out")
    return values
