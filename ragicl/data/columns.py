"""Which columns hold texts, labels and ids: those that are named, or by their usual names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from ragicl.data.cells import is_empty
from ragicl.data.rows import Notify, Values
from ragicl.errors import DataError, quoted


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold the input, the output and the id; None finds them by their usual names."""

    input: str | None = None
    output: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Role:
    """What a column is for.

    :ivar option: the one that names the column
    :ivar usual: its names, of which the first that is there counts
    :ivar others: names that count where none of these is there, and no more than one of them
    """

    option: str
    usual: tuple[str, ...]
    others: tuple[str, ...] = ()


INPUT = Role("--input-column", ("text", "input"), ("sentence", "utterance", "query", "message"))
OUTPUT = Role(
    "--output-column",
    ("label", "output"),
    ("category", "intent", "class", "target", "answer", "response", "labels", "label_text"),
)
ID = Role("--id-column", ("id",))
MOST = 1000  # different rows of column names that are remembered
NAMED_LABEL = "label_text"  # beside the label's number


class ColumnFinder:
    """Finds the columns of rows; what is not plain, it says.

    :param name: what the data is called
    """

    def __init__(self, columns: Columns, name: str, notify: Notify) -> None:
        self._given = {INPUT: columns.input, OUTPUT: columns.output, ID: columns.id}
        self._name = name
        self._notify = notify
        self._found: dict[tuple[Role, tuple[str, ...]], str | None] = {}

    def find(self, role: Role, place: str, values: Values) -> str | None:
        """Return the column of a role in a row; None where there is none.

        :raises DataError: where several could be it
        """
        key = role, tuple(values)
        if len(self._found) > MOST:
            self._found.clear()
        if key not in self._found:
            self._found[key] = self._search(role, place, values)
        return self._found[key]

    def need(self, role: Role, place: str, values: Values) -> str:
        """Return the column of a role in a row.

        :raises DataError: where there is none, or several could be it
        """
        column = self.find(role, place, values)
        return self._missing(role, place, values) if column is None else column

    def label(self, place: str, values: Values) -> str | None:
        """Return the column of a label that a row may have; None where all such are empty.

        :raises DataError: where several could be it
        """
        for name in () if self._given[OUTPUT] else OUTPUT.usual:
            if name in values and is_empty(values[name]):
                values = {own: value for own, value in values.items() if own != name}
        column = self.find(OUTPUT, place, values)
        return None if column is None or is_empty(values[column]) else column

    def _search(self, role: Role, place: str, values: Values) -> str | None:
        given = self._given[role]
        if given is not None:
            column = self._one(role, place, values, (given,))
            return self._missing(role, place, values) if column is None and role is ID else column
        for name in role.usual:
            if (column := self._one(role, place, values, (name,))) is not None:
                return self._named_label(values) or column if role is OUTPUT else column
        column = self._one(role, place, values, role.others)
        if column is not None:
            self._say(role, column)
        return column

    def _missing(self, role: Role, place: str, values: Values) -> NoReturn:
        given = self._given[role]
        names = [given] if given else role.usual
        raise DataError(
            f"{place}: no column {' or '.join(map(repr, names))}; there are "
            f"{', '.join(map(repr, values)) or 'none'}; name yours with {role.option}"
        )

    def _named_label(self, values: Values) -> str | None:
        """Return the column of labels' names beside that of their numbers."""
        if NAMED_LABEL in values and "label" in values:
            self._say(OUTPUT, NAMED_LABEL)
            return NAMED_LABEL
        return None

    def _one(self, role: Role, place: str, values: Values, names: Sequence[str]) -> str | None:
        """Return the one column with one of these names, if need be in another case."""
        exact = [name for name in names if name in values]
        found = exact or [name for name in values if _folded(name) in map(_folded, names)]
        if len(found) > 1:
            raise DataError(
                f"{place}: {' and '.join(map(repr, found))} could each be it; there are "
                f"{', '.join(map(repr, values))}; name yours with {role.option}"
            )
        return found[0] if found else None

    def _say(self, role: Role, column: str) -> None:
        what = {INPUT: "texts", OUTPUT: "labels"}[role]
        self._notify(f"{self._name}: {quoted(column)} is taken for the {what}; see {role.option}")


def _folded(name: str) -> str:
    return name.strip().casefold()
