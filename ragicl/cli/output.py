"""What a command's results look like and where they go: ``--format`` and ``--out``."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO, StringIO
from pathlib import Path
from typing import Any, Literal, cast

import click

from ragicl.atomic import is_stream, write_through, write_whole
from ragicl.cli.paths import PATH
from ragicl.cli.streams import say
from ragicl.errors import DataError, visible

Format = Literal["table", "jsonl", "json", "csv"]
SUFFIXES: Mapping[str, Format] = {
    ".jsonl": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".txt": "table",
    ".md": "table",
}
MARK = "\ufeff"  # spreadsheets take a CSV file's texts for something else without it


@dataclass(frozen=True, slots=True)
class Output:
    """The format that a command's results have, and the file they go to.

    :ivar form: one of the formats that the command offers
    :ivar path: None for stdout
    """

    form: Format
    path: Path | None = None

    def write(self, text: str) -> None:
        """Write the results, to stdout or as a whole file, whose folder is made where missing.

        :raises DataError: where the file cannot be written
        """
        ended = text if not text or text.endswith("\n") else f"{text}\n"
        if self.path is None:
            click.echo(ended if self.form == "csv" else visible(ended), nl=False)
        else:
            _write_file(self.path, MARK + ended if self.form == "csv" else visible(ended))

    @contextmanager
    def lines(self) -> Iterator[Callable[[str], None]]:
        """Give what writes results one after another, to stdout or into a device or a pipe.

        :raises DataError: where they cannot be written
        """
        if self.path is None:
            yield lambda text: click.echo(visible(text), nl=False)
            return
        with _writing(self.path):
            stream = self.path.open("ab", buffering=0)
        with stream:
            yield lambda text: _write_line(self.path, stream, visible(text))


def output_options(
    *formats: Format,
    default: Format,
    files: Sequence[Format] | None = None,
    deprecated_json: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command ``--format`` and ``--out``, and call it with ``output=Output(...)``.

    :param formats: those that the command offers
    :param default: the format on stdout
    :param files: formats of files, where not all formats make sense as one
    :param deprecated_json: accept ``--json`` for ``--format json``, with a warning
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(
            form: Format | None, out: Path | None, as_json: bool = False, **rest: Any
        ) -> None:
            if as_json:
                say("Warning: --json is deprecated; use --format json")
                form = form or "json"
            command(output=choose_output(form, out, files or formats, default=default), **rest)

        options = [_format_option(formats, default), _out_option(files or formats)]
        if deprecated_json:
            options.append(_json_option)
        for option in reversed(options):
            called = option(called)
        return called

    return decorate


def choose_output(
    form: Format | None, out: Path | None, files: Sequence[Format], *, default: Format
) -> Output:
    """Return the output that was asked for; a file's suffix decides its format.

    A device or a pipe takes any format, and needs no suffix.

    :raises click.UsageError: where the suffix is unsupported, or another format was asked for
    """
    if out is None:
        return Output(form or default)
    found = SUFFIXES.get(out.suffix.lower())
    if is_stream(out):
        return Output(form or found or default, out)
    if found is None or found not in files:
        known = ", ".join(_suffixes(files))
        raise click.UsageError(f"--out {out}: unsupported suffix; supported: {known}")
    if form is not None and form != found:
        raise click.UsageError(
            f"--format {form} contradicts --out {out}, which is {found}; leave --format out, "
            f"or choose another suffix"
        )
    return Output(found, out)


def record_text(form: Format, record: Mapping[str, Any], table: Callable[[], str]) -> str:
    """Return one record as JSON or as the table for people."""
    return table() if form == "table" else f"{json_text(record)}\n"


def rows_text(form: Format, rows: Sequence[Mapping[str, Any]], table: Callable[[], str]) -> str:
    """Return rows in a format."""
    if form == "table":
        return table()
    if form == "json":
        return f"{json_text(rows)}\n"
    return csv_text(rows) if form == "csv" else "".join(json_line(row) for row in rows)


def json_text(value: Any) -> str:
    """Return a value as JSON that people can read too."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def json_line(row: Mapping[str, Any]) -> str:
    """Return a row as one JSON line, its end included."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV under the columns of all of them; what is no plain value, is JSON."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | dict | list) else value


def _write_file(path: Path, text: str) -> None:
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())


def _write_line(path: Path | None, stream: FileIO, text: str) -> None:
    with _writing(path):
        write_through(stream, text.encode())


@contextmanager
def _writing(path: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; choose another --out") from error


def _suffixes(formats: Sequence[Format]) -> list[str]:
    return [suffix for suffix, form in SUFFIXES.items() if form in formats]


def _format_option(formats: Sequence[Format], default: Format) -> Callable[..., Any]:
    return click.option(
        "--format",
        "form",
        type=click.Choice(formats),
        help=f"Of the results.  [{default}, or what the suffix of --out says]",
    )


def _out_option(files: Sequence[Format]) -> Callable[..., Any]:
    known = ", ".join(_suffixes(files))
    return click.option(
        "--out",
        type=PATH,
        help=f"File for the results: {known}.  [stdout]",
    )


_json_option = cast(
    "Callable[..., Any]",
    click.option(
        "--json", "as_json", is_flag=True, hidden=True, help="Deprecated for --format json."
    ),
)
