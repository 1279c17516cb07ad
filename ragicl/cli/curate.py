"""Commands that make an index answer better."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragicl.cli.options import (
    column_options,
    data_file,
    dtype_option,
    finished,
    lm_option,
    template_option,
)
from ragicl.cli.output import Format, Output, json_text, output_options, record_text, rows_text
from ragicl.cli.paths import PATH
from ragicl.cli.progress import steps
from ragicl.cli.render import suggestions, tuning
from ragicl.cli.streams import say

if TYPE_CHECKING:
    from ragicl.curation.findings import Audit


@click.command("tune")
@click.argument("index", type=PATH)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="When the search ends; it goes on from there when it is run again.",
)
@click.option("--forget", is_flag=True, help="Forget what tuning found before, and stop.")
@output_options("table", "json", default="table", deprecated_json=True)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Which examples are tried first.",
)
@lm_option
@dtype_option
@template_option
def tune_command(
    index: Path,
    minutes: float,
    forget: bool,
    output: Output,
    seed: int,
    lm: str,
    dtype: str,
    template: str | None,
) -> None:
    """Find how to prompt, to calibrate and to blend, on the index's own examples.

    Each is left out of its own search, so no test rows are needed. What does best is written into
    the index's manifest with its evidence, and used from then on; options given to other commands
    come before it. An interrupted or a longer run goes on where the last one stopped.

    \b
    ragicl tune indexes/support
    ragicl tune indexes/support --minutes 60 --format json
    ragicl tune indexes/support --forget
    """
    from msgspec.structs import replace

    from ragicl.engine import Engine
    from ragicl.index import Index
    from ragicl.policy import DEFAULT
    from ragicl.tune import tune

    if forget:
        with Index.open(index) as opened:
            opened.keep_tuned(None)
        say(f"{index}: what was tuned is forgotten")
        return
    usual = Engine.open(index, lm=lm, dtype=dtype, template=template or "plain", policy=DEFAULT)
    with finished(usual) as engine:
        with steps() as progress:
            found = tune(engine, minutes, seed=seed, progress=progress)
        found = replace(found, template=found.template or template)
        engine.index.keep_tuned(found.as_json())
    output.write(record_text(output.form, found.as_json(), lambda: tuning(found)))


@click.command("audit")
@click.argument("index", type=PATH)
@output_options("table", "jsonl", "json", "csv", default="table", deprecated_json=True)
@click.option(
    "--near",
    default=0.95,
    show_default=True,
    help="Cosine from which two texts are near duplicates.",
)
@click.option(
    "--few", default=5, show_default=True, help="A label with fewer examples than this is rare."
)
def audit_command(index: Path, output: Output, near: float, few: int) -> None:
    """Look for wrong labels, near duplicates, confused labels and rare ones; change nothing.

    Each label is predicted from all other examples, without a language model; those that the
    predictions speak against come first. Correct the column `label` in a CSV file, which suggests
    one, and give the file to `ragicl update`. A table shows the first few of each kind, CSV and
    JSON lines every example to look at, and JSON the pairs and groups too.

    \b
    ragicl audit indexes/support --out audit.csv
    ragicl update indexes/support audit.csv
    ragicl audit indexes/support --near 0.9 --out audit.json
    """
    from ragicl.curation.audit import audit
    from ragicl.curation.formats import as_text
    from ragicl.index import Index

    with Index.open(index) as opened, steps() as progress:
        found = audit(opened, near=near, few=few, progress=progress)
    output.write(_audit_text(output.form, found))
    if output.path is not None:
        say(as_text(found))
        say(f"{output.path}: {len(found.findings)} examples to look at")


@click.command("suggest")
@click.argument("pool")
@click.option(
    "--index",
    type=PATH,
    help="Examples that are labelled already: what is near them is suggested last.",
)
@click.option("--n", "number", type=click.IntRange(1), default=50, show_default=True,
              help="Rows to suggest.")  # fmt: skip
@output_options("table", "jsonl", "json", "csv", default="jsonl")
@click.option("--encoder", help="As for index.  [the index's, or minilm]")
@column_options
def suggest_command(
    pool: str,
    index: Path | None,
    number: int,
    output: Output,
    encoder: str | None,
    **columns: Any,
) -> None:
    """Choose which rows of unlabelled texts to label: typical ones, unlike each other.

    POOL is a file as for `predict --file`. The rows come best first (vote-k, arXiv 2209.01975).
    Give them a column `label`, and the file to `ragicl index` or `ragicl add`.

    \b
    ragicl suggest mails.csv --input-column body --n 100 --out to-label.jsonl
    ragicl suggest new.jsonl --index indexes/support > to-label.jsonl
    """
    from ragicl.curation.vote_k import suggest, suggestion_row

    queries = list(data_file(pool, columns).queries(numbered=False))
    with steps() as progress:
        choices = suggest(queries, number, index=index, encoder=encoder, progress=progress)
    rows = [suggestion_row(queries[choice.row], choice) for choice in choices]
    output.write(rows_text(output.form, rows, lambda: suggestions(rows)))
    if output.path is not None:
        say(f"{output.path}: {len(rows)} of {len(queries)} rows")


def _audit_text(form: Format, found: Audit) -> str:
    from ragicl.curation.formats import as_csv, as_json, as_row, as_text

    if form == "csv":
        return as_csv(found).decode("utf-8-sig")
    if form == "json":
        return json_text(as_json(found))
    return rows_text(form, [as_row(finding) for finding in found.findings], lambda: as_text(found))
