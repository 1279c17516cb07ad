"""Rows to examples and queries: which columns, what a cell may hold."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

from ragicl.data.labels import one_spelling
from ragicl.data.readers import STDIN, open_rows
from ragicl.data.rows import Notify, Row, Unusable, Values, once, unheard
from ragicl.errors import DataError, first_line
from ragicl.records import Correction, Example, Query

T = TypeVar("T")
OnError = Literal["stop", "skip"]
INPUT_COLUMNS = ("text", "input")
OUTPUT_COLUMNS = ("label", "output")
ID_COLUMN = "id"


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold the input and the output; None finds them by their usual names."""

    input: str | None = None
    output: str | None = None


class DataFile:
    """A file or data set of labelled rows that can be read more than once.

    :ivar name: what it is called in messages
    :ivar source: what it was read from, as the words of a command line
    :ivar skipped: bad rows passed over in the last reading, with ``on_error="skip"``
    :param notify: called once with each line that a reader of the data should know
    """

    def __init__(
        self,
        source: str,
        *,
        columns: Columns = Columns(),
        on_error: OnError = "stop",
        split: str = "train",
        subset: str | None = None,
        notify: Notify = unheard,
    ) -> None:
        self.name = "stdin" if source == STDIN else source
        self.source = _source(source, columns, split, subset)
        self.skipped = 0
        self._columns = columns
        self._on_error = on_error
        self._spelling: Mapping[str, str] = {}
        self._rows = open_rows(source, self.name, split, subset, once(notify))

    def examples(self) -> Iterator[Example]:
        """Yield each row as an example.

        :raises DataError: at the first bad row, unless bad rows are skipped; where no row is good
        """
        return self._read(lambda place, values, _: self._example(place, values))

    def normalize_labels(self, known: Collection[str] = ()) -> int:
        """Give the labels of examples that differ invisibly one spelling, in every later reading.

        It is a known label's, or else that of most rows.

        :param known: labels that examples have which these will join
        :return: how many spellings are replaced
        :raises DataError: as :meth:`examples` does
        """
        counts = Counter(example.output for example in self.examples())
        self._spelling = one_spelling(counts, known)
        self.source += " --normalize-labels"
        return len(self._spelling)

    def queries(self, *, numbered: bool = True) -> Iterator[Query]:
        """Yield each row as a query.

        :param numbered: give rows that bring no id their number as one
        :raises DataError: at the first bad row, unless bad rows are skipped; where no row is good
        """

        def query(place: str, values: Values, number: int) -> Query:
            return self._query(place, values, str(number) if numbered else "")

        return self._read(query)

    def corrections(self) -> Iterator[Correction]:
        """Yield each row as what the example with its id should be; other columns are not read.

        :raises DataError: at the first bad row, unless bad rows are skipped; where no row is good;
            a row without an id, or without a column of labels, is bad
        """
        return self._read(lambda place, values, _: self._correction(place, values))

    def _read(self, convert: Callable[[str, Values, int], T]) -> Iterator[T]:
        self.skipped = good = 0
        first: DataError | None = None
        for number, (place, values) in enumerate(self._readable(), 1):
            try:
                if isinstance(values, DataError):
                    raise values
                yield convert(place, values, number)
                good += 1
            except DataError as error:
                if self._on_error == "stop":
                    raise
                first = first or error
                self.skipped += 1
        if good == 0:
            raise first or DataError(f"{self.name} has no rows; give a file with examples")

    def _readable(self) -> Iterator[Row]:
        try:
            yield from self._rows()
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read ({first_line(error)})") from error

    def _example(self, place: str, values: Values) -> Example:
        source = self._find(place, values, self._columns.input, INPUT_COLUMNS, "input")
        target = self._find(place, values, self._columns.output, OUTPUT_COLUMNS, "output")
        output = _text(place, target, values[target]).strip()
        return Example(
            input=_text(place, source, values[source]),
            output=self._spelling.get(output, output),
            id=_identity(place, values),
            meta={
                column: _plain(value)
                for column, value in values.items()
                if column not in (source, target, ID_COLUMN) and not isinstance(value, Unusable)
            },
        )

    def _correction(self, place: str, values: Values) -> Correction:
        source = self._find(place, values, self._columns.input, INPUT_COLUMNS, "input")
        target = self._find(place, values, self._columns.output, OUTPUT_COLUMNS, "output")
        identity = _identity(place, values)
        if not identity:
            raise DataError(f"{place}: no id; give the id of the example that this row corrects")
        given = values[target]
        empty = given is None or (isinstance(given, str) and not given.strip())
        output = None if empty else _text(place, target, given).strip()
        return Correction(identity, _text(place, source, values[source]), output)

    def _query(self, place: str, values: Values, number: str) -> Query:
        source = self._find(place, values, self._columns.input, INPUT_COLUMNS, "input")
        names = (self._columns.output,) if self._columns.output else OUTPUT_COLUMNS
        target = next((name for name in names if values.get(name) not in (None, "")), None)
        own = _identity(place, values)
        return Query(
            input=_text(place, source, values[source]),
            id=own or number,
            numbered=not own,
            gold=_text(place, target, values[target]).strip() if target else None,
        )

    def _find(
        self, place: str, values: Values, given: str | None, usual: Sequence[str], role: str
    ) -> str:
        names = [given] if given else usual
        for name in names:
            if name in values:
                return name
        raise DataError(
            f"{place}: no column {' or '.join(map(repr, names))}; there are "
            f"{', '.join(map(repr, values)) or 'none'}; name yours with --{role}-column"
        )


def _source(source: str, columns: Columns, split: str, subset: str | None) -> str:
    place = str(Path(source).resolve()) if source != STDIN and Path(source).exists() else source
    options = {
        "--input-column": columns.input,
        "--output-column": columns.output,
        "--split": None if split == "train" else split,
        "--subset": subset,
    }
    given = [(option, value) for option, value in options.items() if value]
    return shlex.join([place, *chain.from_iterable(given)])


def _text(place: str, column: str, value: Any) -> str:
    """Return a cell as text: integers as digits; anything else that is not text is refused."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    _check_text(place, column, value)
    return str(value)


def _check_text(place: str, column: str, value: Any) -> None:
    if isinstance(value, Unusable):
        raise DataError(f"{place}: {column!r} {value.why}")
    if not isinstance(value, str):
        raise DataError(f"{place}: {column!r} is {_kind(value)}, not text")
    if not value.strip():
        raise DataError(f"{place}: {column!r} is empty")
    if not _encodable(value):
        raise DataError(f"{place}: {column!r} holds half a character (a lone surrogate)")


def _kind(value: Any) -> str:
    return "missing" if value is None else type(value).__name__


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _identity(place: str, values: Values) -> str:
    value = values.get(ID_COLUMN)
    return "" if value is None or value == "" else _text(place, ID_COLUMN, value)


def _plain(value: Any) -> Any:
    """Return what JSON can hold of a value."""
    return json.loads(json.dumps(value, default=str))


def check_query(text: str) -> None:
    """Refuse what cannot be a query.

    :raises DataError: where it is not text, is empty or not valid Unicode
    """
    _check_text("query", "text", text)


def check_examples(examples: Sequence[Example]) -> None:
    """Refuse what cannot be stored or found again.

    :raises DataError: where an input, an output or an id is not text, is empty or not valid
        Unicode (an id may be left out), or where ``meta`` holds what JSON cannot
    """
    for number, example in enumerate(examples, 1):
        place = f"example {example.id!r}" if example.id else f"example number {number}"
        _check_text(place, "input", example.input)
        _check_text(place, "output", example.output)
        if example.id != "":
            _check_text(place, "id", example.id)
        try:
            json.dumps(dict(example.meta))
        except (TypeError, ValueError) as error:
            raise DataError(f"{place}: 'meta' is not what JSON can hold ({error})") from error
