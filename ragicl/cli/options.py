"""The options that commands share, and what they open."""

from __future__ import annotations

import csv
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ragicl.errors import TaskError
from ragicl.policy import DECISIONS, SELECTIONS, TUNABLE
from ragicl.prompting.ordering import ORDERINGS

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
    click.option("--input-column", metavar="NAME", help="Column of texts.  [text or input]"),
    click.option("--output-column", metavar="NAME", help="Column of labels.  [label or output]"),
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

engine_options = together(
    click.option("--k", type=int, help="Demonstrations to retrieve.  [tuned, or 8]"),
    click.option("--budget", type=int, help="Most tokens of prompt and answer.  [the model's]"),
    lm_option,
    dtype_option,
    template_option,
    click.option("--instruction", help="What the prompt begins with."),
    click.option(
        "--labels", help='Choose among these only, separated by commas; quote one that holds a ",".'
    ),
    click.option("--generate", is_flag=True, help="Write free text instead of choosing a label."),
    click.option("--max-tokens", type=int, help="Longest generated answer.  [from the index]"),
    click.option(
        "--temperature", default=0.0, show_default=True, help="Above 0: sample, with --seed."
    ),
    click.option(
        "--seed", default=0, show_default=True, help="For sampling, and random selection or order."
    ),
    click.option(
        "--select",
        type=click.Choice(SELECTIONS),
        help="How demonstrations are chosen: by meaning, by words, both; diverse; by label.  "
        "[tuned, or nearest]",
    ),
    click.option(
        "--where",
        multiple=True,
        metavar="KEY=VALUE",
        help="Use only examples with this in a column of their file; repeat to ask for more.",
    ),
    click.option(
        "--order",
        type=click.Choice(ORDERINGS),
        help="How demonstrations stand in the prompt.  [tuned, or nearest-last]",
    ),
    click.option(
        "--ensemble",
        type=int,
        help="Prompts for each text, with different demonstrations.  [tuned, or 1]",
    ),
    click.option(
        "--voters", type=int, help="Nearest examples that vote in a blend.  [tuned, or 15]"
    ),
    click.option(
        "--sets",
        type=float,
        metavar="COVERAGE",
        help="Also give the labels that hold the right one so often, as 0.95; needs `tune`.",
    ),
    click.option(
        "--answer",
        type=float,
        metavar="SHARE",
        help="Abstain but in this share of texts, the surest, as 0.9; needs `tune`.",
    ),
    click.option(
        "--scope",
        type=float,
        metavar="SHARE",
        help="Mark texts that are less familiar than all but this share of the examples, as 0.05.",
    ),
    click.option(
        "--exit",
        type=float,
        metavar="ACCURACY",
        help="Let neighbours that agree answer alone where they are right this often, as 0.98.",
    ),
    click.option(
        "--shortlist",
        type=int,
        metavar="N",
        help="Choose among the labels of the N nearest examples only.",
    ),
    click.option(
        "--fixed",
        default=0,
        show_default=True,
        help="Typical examples that every prompt begins with, read once for all queries.",
    ),
    click.option(
        "--clusters", default=1, show_default=True, help="Sets of them, chosen by the query."
    ),
    click.option("--exact", is_flag=True, help="Score even the unlikeliest labels to their end."),
    click.option("--truncate", is_flag=True, help="Cut a text that does not fit the budget."),
)

decide_option = click.option(
    "--decide",
    type=click.Choice(DECISIONS),
    default="blend",
    show_default=True,
    help="Blend the language model with the neighbours' vote and classifiers on vectors; "
    "or take the model alone, or the vote alone.",
)

FIELDS = (
    *("budget", "decide", "max_tokens", "temperature", "seed", "exact", "exit", "fixed"),
    *("clusters", "shortlist", "truncate", "sets", "answer", "scope"),
)


def data_file(source: str, options: dict[str, Any]) -> DataFile:
    """Return the data that a command names, with its column options."""
    from ragicl.data.examples import Columns, DataFile

    return DataFile(
        source,
        columns=Columns(options["input_column"], options["output_column"]),
        on_error=options["on_error"],
        split=options["split"],
        subset=options["subset"],
    )


def queries_of(
    texts: tuple[str, ...], file: str | None, options: dict[str, Any]
) -> tuple[Iterator[Query], int | None]:
    """Return the queries, and their number where it is known beforehand."""
    from ragicl.records import Query

    if texts and file:
        raise click.UsageError("Give texts or --file, not both.")
    if texts:
        queries = [Query(text, str(n)) for n, text in enumerate(texts, 1) if text.strip()]
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

    labels: str | None = options["labels"]
    chosen = {name: options[name] for name in TUNABLE if options[name] is not None}
    engine = Engine.open(
        path,
        lm=options["lm"],
        dtype=options["dtype"],
        template=options["template"],
        instruction=options["instruction"],
        labels=None if labels is None else _listed(labels),
        generate=True if options["generate"] else None,
        where=_filter(options["where"]),
        **{name: options[name] for name in FIELDS},
        **chosen,
    )
    return finished(engine)


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


def _filter(pairs: Sequence[str]) -> Where:
    """Return the keys and values of texts such as topic=billing.

    :raises TaskError: where one is no such text
    """
    if wrong := [pair for pair in pairs if pair.find("=") < 1]:
        raise TaskError(f"--where {wrong[0]!r} has no key and value; write it as KEY=VALUE")
    split = (pair.partition("=") for pair in pairs)
    return tuple((key, value) for key, _, value in split)


def _listed(text: str) -> tuple[str, ...]:
    """Return what is listed between commas; quotes keep a comma inside a label."""
    return tuple(part.strip() for part in next(csv.reader([text], skipinitialspace=True)))
