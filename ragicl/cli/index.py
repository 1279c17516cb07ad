"""Commands that fill an index and look into it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragicl.cli.options import column_options, data_file, normalize_option
from ragicl.cli.options import normalize_labels as normalize
from ragicl.cli.output import Output, output_options, record_text
from ragicl.cli.paths import PATH
from ragicl.cli.progress import steps
from ragicl.cli.render import describe, fields, kind_of, outcome
from ragicl.cli.streams import say, show

if TYPE_CHECKING:
    from ragicl.index import Index


@click.command("index")
@click.argument("data")
@click.option("--out", type=PATH, help="Folder.  [indexes/<name of the data>]")
@click.option(
    "--encoder",
    default="minilm",
    show_default=True,
    help="minilm, st:NAME, or faster in bf16: minilm-bf16, st-bf16:NAME.",
)
@click.option(
    "--kind",
    type=click.Choice(["classify", "generate"]),
    help="Choose labels or write texts.  [found from the data]",
)
@click.option("--dedupe", is_flag=True, help="Leave out exact duplicates.")
@normalize_option
@column_options
def index_command(
    data: str,
    out: Path | None,
    encoder: str,
    kind: Any,
    dedupe: bool,
    normalize_labels: bool,
    **columns: Any,
) -> None:
    """Index labelled examples: a JSON, CSV, TSV, Excel or Parquet file, a data set, or -.

    Run it again after an interruption: only what is missing is embedded.

    \b
    ragicl index support.jsonl
    ragicl index mails.csv --input-column body --output-column queue --out indexes/mails
    ragicl index org/name --split train --on-error skip
    """
    from ragicl.index.build import build, survey

    path = out or Path("indexes") / _stem(data)
    file = data_file(data, columns)
    if normalize_labels:
        normalize(file, path)
    surveyed = survey(file)
    for line in describe(surveyed, dedupe, kind or surveyed.kind):
        say(line)
    with steps() as progress:
        index, report = build(
            file,
            path,
            encoder=encoder,
            kind=kind,
            dedupe=dedupe,
            surveyed=surveyed,
            progress=progress,
        )
    with index:
        say(outcome(report))
        show(f"{path}: {len(index)} examples, {kind_of(index.kind, index.labels())}")


@click.command()
@click.argument("index", type=PATH)
@output_options("table", "json", default="json")
def info(index: Path, output: Output) -> None:
    """Show what an index holds, as JSON.

    \b
    ragicl info indexes/support
    ragicl info indexes/support --format table
    """
    from dataclasses import asdict

    import msgspec

    from ragicl.index import Index

    with Index.open(index) as opened:
        if opened.manifest.tuned is not None:
            _check_tuned(opened)
        held = msgspec.to_builtins(opened.manifest) | asdict(opened.stats())
    if held["tuned"] is not None:
        del held["tuned"]["record"]  # a number for each example
    output.write(record_text(output.form, held, lambda: fields(held)))


@click.command()
@click.argument("index", type=PATH)
@click.argument("data")
@normalize_option
@column_options
def add(index: Path, data: str, normalize_labels: bool, **columns: Any) -> None:
    """Add the examples of a file, or of - for stdin, in one transaction.

    Examples that are there already, by id or by content, are not added again.

    \b
    ragicl add indexes/support corrections.jsonl
    echo '{"text": "card got declined", "label": "payment declined"}' | ragicl add indexes/support -
    """
    from ragicl.index import Index

    file = data_file(data, columns)
    if normalize_labels:
        normalize(file, index)
    examples = list(file.examples())
    with Index.open(index) as opened:
        before = len(opened)
        for identity in opened.add(examples):
            show(identity)
        say(f"{len(opened) - before} added, {len(opened)} examples")


@click.command()
@click.argument("index", type=PATH)
@click.argument("ids", nargs=-1, required=True)
def remove(index: Path, ids: tuple[str, ...]) -> None:
    """Remove examples by id, all or none of them.

    \b
    ragicl remove indexes/support 73tbkfhbwmlkvchr
    """
    from ragicl.index import Index

    with Index.open(index) as opened:
        opened.remove(ids)
        say(f"{len(ids)} removed, {len(opened)} examples")


@click.command("update")
@click.argument("index", type=PATH)
@click.argument("data")
@click.option("--remove-empty", is_flag=True, help="Remove the examples whose label is empty.")
@column_options
def update_command(index: Path, data: str, remove_empty: bool, **columns: Any) -> None:
    """Correct the examples with the ids of a file's rows, in one transaction.

    Of each row the id, the text and the label count. Examples that do not differ are left as they
    are, and so is whatever else is stored with an example.

    \b
    ragicl update indexes/support audit.csv
    ragicl update indexes/support audit.csv --remove-empty
    """
    from ragicl.index import Index
    from ragicl.index.corrections import correct

    corrections = list(data_file(data, columns).corrections())
    with Index.open(index) as opened:
        done = correct(opened, corrections, remove_empty=remove_empty)
        say(
            f"{done.changed} changed, {done.removed} removed, {done.same} as they were, "
            f"{len(opened)} examples"
        )


def _check_tuned(index: Index) -> None:
    from ragicl.inference.tuned_settings import Tuned

    Tuned.from_json(index.manifest.tuned, index.path)


def _stem(data: str) -> str:
    """Return the name of the data: a file's without its ending, a data set's without its owner."""
    return "stdin" if data == "-" else Path(data).stem or "data"
