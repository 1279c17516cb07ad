"""Rows to examples and queries: which columns, what a cell may hold."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, TypeVar

from ragicl.data.cells import check_text, is_empty, label_of, plain, text_of
from ragicl.data.columns import ID, INPUT, OUTPUT, ColumnFinder, Columns
from ragicl.data.formulas import unguarded
from ragicl.data.labels import one_spelling
from ragicl.data.layouts import laid_out
from ragicl.data.readers import STDIN, open_rows
from ragicl.data.rows import Notify, Row, Unusable, Values, once, unheard
from ragicl.errors import DataError, first_line, quoted
from ragicl.records import Correction, Example, Query

T = TypeVar("T")
OnError = Literal["stop", "skip"]
FOUND = Columns()


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
        columns: Columns = FOUND,
        on_error: OnError = "stop",
        split: str = "train",
        subset: str | None = None,
        notify: Notify = unheard,
    ) -> None:
        self.name = "stdin" if source == STDIN else source
        self.source = _source(source, columns, split, subset)
        self.skipped = 0
        self._on_error = on_error
        self._spelling: Mapping[str, str] = {}
        self._notify = once(notify)
        self._columns = ColumnFinder(columns, self.name, self._notify)
        self._rows = open_rows(source, self.name, split, subset, self._notify)

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
            yield from laid_out(self._rows(), self.name, self._notify)
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read ({first_line(error)})") from error

    def _example(self, place: str, values: Values) -> Example:
        source = self._columns.need(INPUT, place, values)
        target = self._columns.need(OUTPUT, place, values)
        used = {source, target, self._columns.find(ID, place, values)}
        output = self._label(place, target, values)
        return Example(
            input=text_of(place, source, values[source]),
            output=self._spelling.get(output, output),
            id=self._identity(place, values),
            meta={
                column: plain(value)
                for column, value in values.items()
                if column not in used and not isinstance(value, Unusable)
            },
        )

    def _correction(self, place: str, values: Values) -> Correction:
        values = unguarded(values)
        source = self._columns.need(INPUT, place, values)
        target = self._columns.need(OUTPUT, place, values)
        identity = self._identity(place, values)
        if not identity:
            raise DataError(f"{place}: no id; give the id of the example that this row corrects")
        given = values[target]
        empty = is_empty(given.strip() if isinstance(given, str) else given)
        output = None if empty else self._label(place, target, values)
        return Correction(identity, text_of(place, source, values[source]), output)

    def _query(self, place: str, values: Values, number: str) -> Query:
        source = self._columns.need(INPUT, place, values)
        target = self._columns.label(place, values)
        own = self._identity(place, values)
        return Query(
            input=text_of(place, source, values[source]),
            id=own or number,
            numbered=not own,
            gold=self._label(place, target, values) if target else None,
        )

    def _label(self, place: str, column: str, values: Values) -> str:
        return label_of(place, column, values[column], self._say)

    def _identity(self, place: str, values: Values) -> str:
        column = self._columns.find(ID, place, values)
        value = values[column] if column else None
        return "" if column is None or is_empty(value) else text_of(place, column, value)

    def _say(self, line: str) -> None:
        self._notify(f"{self.name}: {line}")


def _source(source: str, columns: Columns, split: str, subset: str | None) -> str:
    place = str(Path(source).resolve()) if source != STDIN and Path(source).exists() else source
    options = {
        "--input-column": columns.input,
        "--output-column": columns.output,
        "--id-column": columns.id,
        "--split": None if split == "train" else split,
        "--subset": subset,
    }
    given = [(option, value) for option, value in options.items() if value]
    return shlex.join([place, *chain.from_iterable(given)])


def check_query(text: str) -> None:
    """Refuse what cannot be a query.

    :raises DataError: where it is not text, is empty or not valid Unicode
    """
    check_text("query", "text", text)


def check_examples(examples: Sequence[Example]) -> None:
    """Refuse what cannot be stored or found again.

    :raises DataError: where an input, an output or an id is not text, is empty or not valid
        Unicode (an id may be left out), or where ``meta`` holds what JSON cannot
    """
    for number, example in enumerate(examples, 1):
        place = f"example {quoted(example.id)}" if example.id else f"example number {number}"
        check_text(place, "input", example.input)
        check_text(place, "output", example.output)
        if example.id != "":
            check_text(place, "id", example.id)
        try:
            json.dumps(dict(example.meta))
        except (TypeError, ValueError) as error:
            raise DataError(f"{place}: 'meta' is not what JSON can hold ({error})") from error
