"""The options that commands share, and what they open."""

from __future__ import annotations

import csv
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ragicl.cli.streams import say
from ragicl.errors import TaskError, quoted
from ragicl.options import OptionField
from ragicl.policy import option_fields

if TYPE_CHECKING:
    from ragicl.data.examples import DataFile
    from ragicl.engine import Engine
    from ragicl.records import Query, Where

F = TypeVar("F", bound=Callable[..., Any])


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return several options as one decorator."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


column_options = together(
    click.option("--input-column", metavar="NAME", help="Column of texts.  [text, or found]"),
    click.option("--output-column", metavar="NAME", help="Column of labels.  [label, or found]"),
    click.option("--id-column", metavar="NAME", help="Column of ids.  [id]"),
    click.option("--split", default="train", show_default=True, help="Split of a data set."),
    click.option("--subset", metavar="NAME", help="Configuration of a data set on the hub."),
    click.option(
        "--on-error",
        type=click.Choice(["stop", "skip"]),
        default="stop",
        show_default=True,
        help="At a bad row: stop and name it, or skip and count it.",
    ),
)

normalize_option = click.option(
    "--normalize-labels",
    is_flag=True,
    help="Merge labels that differ in case, white space or invisible characters only.",
)

lm_option = click.option(
    "--lm", default="smollm2", show_default=True, help="Language model: smollm2 or hf:NAME."
)
dtype_option = click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Precision; auto takes the faster one here.",
)
template_option = click.option(
    "--template",
    help="plain, chat, or a text with {input} and {output}.  [tuned, or plain]",
)
MODEL_OPTIONS = (
    lm_option,
    dtype_option,
    template_option,
    click.option("--instruction", help="What the prompt begins with."),
)


def policy_option(own: OptionField) -> Callable[[F], F]:
    """Return the option of a policy's field; a value that is not given is None."""
    kinds: dict[str, Any] = {"type": click.Choice(own.choices) if own.choices else own.type}
    if own.type is bool:
        kinds = {"is_flag": True, "default": None}
    elif own.name in READERS:
        kinds = {"type": str, "multiple": own.name in REPEATED}
    if own.spec.metavar:
        kinds["metavar"] = own.spec.metavar
    return click.option(own.flag, help=f"{own.spec.help}  [{own.default_text}]", **kinds)


def _former_option(own: OptionField) -> Callable[[F], F]:
    """Return the hidden option by a field's deprecated name."""
    text = f"Deprecated name of {own.flag}."
    return click.option(f"--{own.spec.formerly}", type=own.type, hidden=True, help=text)


def engine_options(*, without: Collection[str] = ()) -> Callable[[F], F]:
    """Return the options of an engine as one decorator: model, template, and a policy's fields.

    :param without: fields that a command decides by itself
    """
    own = [field for field in option_fields().values() if field.name not in without]
    former = [field for field in own if field.spec.formerly]
    return together(*MODEL_OPTIONS, *map(policy_option, own), *map(_former_option, former))


def data_file(source: str, options: dict[str, Any]) -> DataFile:
    """Return the data that a command names, with its column options."""
    from ragicl.data.columns import Columns
    from ragicl.data.examples import DataFile

    return DataFile(
        source,
        columns=Columns(options["input_column"], options["output_column"], options["id_column"]),
        on_error=options["on_error"],
        split=options["split"],
        subset=options["subset"],
        notify=say,
    )


def normalize_labels(data: DataFile, index: Path) -> None:
    """Give labels one spelling, that of an index where there is one, and say how many change."""
    from ragicl.errors import NoIndexError
    from ragicl.index import Index

    try:
        with Index.open(index) as opened:
            known = opened.labels()
    except NoIndexError:
        known = {}
    changed = data.normalize_labels(known)
    say(f"{data.name}: {changed} spellings of labels merged with others")


def queries_of(
    texts: tuple[str, ...], file: str | None, options: dict[str, Any]
) -> tuple[Iterator[Query], int | None]:
    """Return the queries, and their number where it is known beforehand."""
    from ragicl.records import Query

    if texts and file:
        raise click.UsageError("Give texts or --file, not both.")
    if texts:
        queries = [
            Query(text, str(n), numbered=True) for n, text in enumerate(texts, 1) if text.strip()
        ]
        if len(queries) < len(texts):
            raise click.UsageError("A text is empty.")
        return iter(queries), len(queries)
    if file is None and sys.stdin.isatty():
        raise click.UsageError("Give a text, --file FILE, or JSON lines on stdin.")
    data = data_file(file or "-", options)
    return data.queries(), sum(1 for _ in data.queries())


def open_engine(path: Path, options: dict[str, Any]) -> Engine:
    """Open an engine as a command's options ask for.

    :raises TaskError: where the index is not finished, or an option makes no sense
    """
    from ragicl.engine import Engine

    engine = Engine.open(
        path,
        lm=options["lm"],
        dtype=options["dtype"],
        template=options["template"],
        instruction=options["instruction"],
        **chosen_fields(options),
    )
    return finished(engine)


def chosen_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the policy's fields that a command line gives, as the policy has them."""
    chosen = {}
    for name, own in option_fields().items():
        value = options.get(name)
        if own.spec.formerly and options.get(own.spec.formerly) is not None:
            value = options[own.spec.formerly]
            say(f"Warning: --{own.spec.formerly} is deprecated; use {own.flag}")
        if value not in (None, ()):
            chosen[name] = READERS.get(name, _same)(value)
    return chosen


def finished(engine: Engine) -> Engine:
    """Return an engine whose index is finished; close any other.

    :raises TaskError: where rows are still to be embedded
    """
    if engine.index.manifest.complete:
        return engine
    path, source = engine.index.path, engine.index.manifest.source
    engine.close()
    raise TaskError(
        f"{path} is not finished; run `ragicl index {source} --out {path}` again to embed the rest"
    )


def listed_names(text: str) -> tuple[str, ...]:
    """Return the names between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def command_line() -> str:
    """Return the command that is running, as a shell would take it."""
    return shlex.join(["ragicl", *sys.argv[1:]])


def _same(value: Any) -> Any:
    return value


def _filter(pairs: Sequence[str]) -> Where:
    """Return the keys and values of texts such as topic=billing.

    :raises TaskError: where one is no such text
    """
    if wrong := [pair for pair in pairs if pair.find("=") < 1]:
        raise TaskError(f"--where {quoted(wrong[0])} has no key and value; write it as KEY=VALUE")
    split = (pair.partition("=") for pair in pairs)
    return tuple((key, value) for key, _, value in split)


def _listed(text: str) -> tuple[str, ...]:
    """Return what is listed between commas or on lines; quotes keep either inside a label.

    :raises TaskError: where quotes make no sense
    """
    lines = StringIO(text, newline="")
    try:
        rows = list(csv.reader(lines, skipinitialspace=True))
    except csv.Error as error:
        raise TaskError(f"--labels cannot be read: {error}") from error
    return tuple(part.strip() for row in rows for part in row)


READERS: dict[str, Callable[[Any], Any]] = {"labels": _listed, "where": _filter}
"""What makes a field's value of the command line's text."""
REPEATED = {"where"}
