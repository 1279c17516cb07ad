"""Commands that answer, and show why."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragicl.cli.options import (
    column_options,
    engine_options,
    open_engine,
    queries_of,
)
from ragicl.cli.render import block, ceiling, influences, progress, steps

if TYPE_CHECKING:
    from ragicl.engine import Engine
    from ragicl.serving.batch import ResumableFile, Row


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1)
@click.option("--file", help="Rows to predict: JSONL, CSV, TSV, Parquet, a data set, - for stdin.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write rows there; continue where it stopped."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "table"]),
    default="jsonl",
    show_default=True,
    help="For programs, or for people.",
)
@click.option("--probs", is_flag=True, help="Add every label's probability.")
@click.option("--show-prompt", is_flag=True, help="Add the prompt.")
@click.option("--exclude-self", is_flag=True, help="Leave out the example with the row's own id.")
@engine_options()
@column_options
def predict(
    index: Path,
    texts: tuple[str, ...],
    file: str | None,
    out: Path | None,
    form: str,
    probs: bool,
    show_prompt: bool,
    exclude_self: bool,
    **options: Any,
) -> None:
    """Predict texts, or the rows of a file, or JSON lines on stdin.

    Rows that carry a label are also counted: accuracy and macro-F1 go to stderr.

    \b
    ragicl predict indexes/support "cant log in" "where is my parcel?"
    ragicl predict indexes/support --file new.csv --out predicted.jsonl
    ragicl predict indexes/support --file test.jsonl --decide knn --k 5 > votes.jsonl
    ragicl predict indexes/support "error E-17" --select hybrid --where shop=north
    """
    from ragicl.inference.fingerprint import fingerprint
    from ragicl.serving.batch import ResumableFile, predict_rows, summarize

    queries, total = queries_of(texts, file, options)
    with ExitStack() as stack:
        engine = stack.enter_context(open_engine(index, options))
        target = None
        if out is not None:
            target = stack.enter_context(ResumableFile(out, fingerprint(engine.pipeline)))
        if (recall := engine.shortlist_recall) is not None:
            click.echo(ceiling(recall), err=True)
        rows = [_essentials(row) for row in target.rows] if target else []
        if total is None or len(rows) < total:  # else there is nothing to predict
            with steps() as shown:
                engine.load(shown)
        answered = predict_rows(
            engine,
            target.remaining(queries) if target else queries,
            skip_errors=options["on_error"] == "skip",
            exclude_self=exclude_self,
            probs=probs,
            prompt=show_prompt,
        )
        done = stack.enter_context(progress(total, "predicting", len(rows)))
        for row in answered:
            _emit(row, target, form, engine)
            rows.append(_essentials(row))
            done(1)
    if (summary := summarize(rows)) is not None:
        click.echo(summary, err=True)


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("text")
@engine_options(without={"decide"})
def prompt(index: Path, text: str, **options: Any) -> None:
    """Show the prompt of a text and its length in tokens; the language model is not run.

    \b
    ragicl prompt indexes/support "cant log in" --k 3
    """
    with open_engine(index, {**options, "decide": "lm"}) as engine:
        composed = engine.prompt(text)
    click.echo(composed.text)
    click.echo(
        f"{composed.tokens} tokens, {len(composed.shots)} demonstrations kept, "
        f"{composed.dropped} dropped",
        err=True,
    )


@click.command("explain")
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("text")
@click.option("--label", help="The label, or the written answer, to explain.  [the predicted one]")
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of a table.")
@click.option(
    "--decide",
    type=click.Choice(["lm", "blend"]),
    default="lm",
    show_default=True,
    help="Explain the language model's own answer, or the blend's where it shows demonstrations.",
)
@engine_options(without={"decide"})
def explain_command(
    index: Path, text: str, label: str | None, as_json: bool, **options: Any
) -> None:
    """Show how much each demonstration changes the prediction of a text.

    The prediction is made again without each demonstration in turn. The change is that of the
    label's log-probability, in nats, and above 0 where the demonstration speaks for the label.

    \b
    ragicl explain indexes/support "cant log in" --k 4
    ragicl explain indexes/support "cant log in" --label "delete account" --json
    """
    from ragicl.inference.explain import explanation_row

    with open_engine(index, options) as engine:
        explanation = engine.explain(text, label=label)
    if as_json:
        click.echo(json.dumps(explanation_row(explanation), indent=2, ensure_ascii=False))
    else:
        click.echo(influences(explanation))


def _emit(row: Row, target: ResumableFile | None, form: str, engine: Engine) -> None:
    if target is not None:
        target.write(row)
    elif form == "jsonl":
        click.echo(json.dumps(row, ensure_ascii=False))
    else:
        click.echo(block(row, engine))


def _essentials(row: Row) -> Row:
    """Return what the summary needs: a long run must not hold every prompt in memory."""
    return {name: row[name] for name in ("gold", "output", "error", "exited") if name in row}
