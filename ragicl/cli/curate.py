"""Commands that make an index answer better."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ragicl.cli.options import (
    column_options,
    data_file,
    dtype_option,
    finished,
    lm_option,
    template_option,
)
from ragicl.cli.render import steps, tuning
from ragicl.errors import DataError


@click.command("tune")
@click.argument("index", type=click.Path(path_type=Path))
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="When the search ends; it goes on from there when it is run again.",
)
@click.option("--forget", is_flag=True, help="Forget what tuning found before, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of a table.")
@click.option("--seed", default=0, show_default=True, help="Which examples are tried first.")
@lm_option
@dtype_option
@template_option
def tune_command(
    index: Path,
    minutes: float,
    forget: bool,
    as_json: bool,
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
    ragicl tune indexes/support --minutes 60 --json
    ragicl tune indexes/support --forget
    """
    from ragicl.engine import Engine
    from ragicl.index import Index
    from ragicl.policy import DEFAULT
    from ragicl.tune import tune

    if forget:
        with Index.open(index) as opened:
            opened.keep_tuned(None)
        click.echo(f"{index}: what was tuned is forgotten", err=True)
        return
    usual = Engine.open(index, lm=lm, dtype=dtype, template=template or "plain", policy=DEFAULT)
    with finished(usual) as engine:
        with steps() as progress:
            found = tune(engine, minutes, seed=seed, progress=progress)
        found = replace(found, template=found.template or template)
        engine.index.keep_tuned(found.as_json())
    shown = found.as_json()
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False) if as_json else tuning(found))


@click.command("audit")
@click.argument("index", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="CSV file to correct: see update.")
@click.option(
    "--near",
    default=0.95,
    show_default=True,
    help="Cosine from which two texts are near duplicates.",
)
@click.option(
    "--few", default=5, show_default=True, help="A label with fewer examples than this is rare."
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON: all of it, not the first few.")
def audit_command(index: Path, out: Path | None, near: float, few: int, as_json: bool) -> None:
    """Look for wrong labels, near duplicates, confused labels and rare ones; change nothing.

    Each label is predicted from all other examples, without a language model; those that the
    predictions speak against come first. Correct the column `label` in the file, which suggests
    one, and give the file to `ragicl update`.

    \b
    ragicl audit indexes/support --out audit.csv
    ragicl update indexes/support audit.csv
    ragicl audit indexes/support --near 0.9 --json > audit.json
    """
    from ragicl.curation.audit import audit
    from ragicl.curation.formats import as_csv, as_text
    from ragicl.curation.formats import as_json as json_of
    from ragicl.index import Index

    with Index.open(index) as opened, steps() as progress:
        found = audit(opened, near=near, few=few, progress=progress)
    if out is not None:
        _write(out, as_csv(found))
        click.echo(f"{out}: {len(found.findings)} examples to look at", err=True)
    shown = json.dumps(json_of(found), indent=2, ensure_ascii=False) if as_json else as_text(found)
    click.echo(shown)


@click.command("suggest")
@click.argument("pool")
@click.option(
    "--index",
    type=click.Path(path_type=Path),
    help="Examples that are labelled already: what is near them is suggested last.",
)
@click.option("--n", "number", type=click.IntRange(1), default=50, show_default=True,
              help="Rows to suggest.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="JSON lines go there.  [stdout]")
@click.option("--encoder", help="As for index.  [the index's, or minilm]")
@column_options
def suggest_command(
    pool: str,
    index: Path | None,
    number: int,
    out: Path | None,
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
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if out is None:
        click.echo(lines, nl=False)
    else:
        _write(out, lines.encode())
        click.echo(f"{out}: {len(rows)} of {len(queries)} rows", err=True)


def _write(out: Path, data: bytes) -> None:
    """Write a file that a command was told to write, and the folder it goes to."""
    from ragicl.atomic import write_whole

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, data)
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror}; choose another --out") from error
