"""Commands that answer, and show why."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragicl.atomic import is_stream
from ragicl.cli.notes import notes
from ragicl.cli.options import (
    column_options,
    engine_options,
    open_engine,
    queries_of,
)
from ragicl.cli.output import (
    Output,
    csv_text,
    json_line,
    json_text,
    output_options,
    record_text,
)
from ragicl.cli.paths import PATH
from ragicl.cli.progress import progress, steps, within
from ragicl.cli.render import block, explained
from ragicl.cli.streams import say

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ragicl.engine import Engine
    from ragicl.serving.batch import ResumableFile, Row

WHOLE = {"json": json_text, "csv": csv_text}  # formats written once all rows are there


@click.command()
@click.argument("index", type=PATH)
@click.argument("texts", nargs=-1)
@click.option("--file", help="Rows to predict: a file as for index, a data set, - for stdin.")
@output_options("table", "jsonl", "json", "csv", default="jsonl", files=["jsonl"])
@click.option("--probs", is_flag=True, help="Add every label's probability.")
@click.option("--show-prompt", is_flag=True, help="Add the prompt.")
@click.option(
    "--exclude-self",
    is_flag=True,
    help="Leave out the example with the row's own id, or else with its text and label.",
)
@engine_options()
@column_options
def predict(
    index: Path,
    texts: tuple[str, ...],
    file: str | None,
    output: Output,
    probs: bool,
    show_prompt: bool,
    exclude_self: bool,
    **options: Any,
) -> None:
    """Predict texts, or the rows of a file, or JSON lines on stdin.

    Rows that carry a label are also counted: accuracy and macro-F1 go to stderr. A file is
    continued where an earlier run with the same settings stopped.

    \b
    ragicl predict indexes/support "cant log in" "where is my parcel?"
    ragicl predict indexes/support --file new.csv --out predicted.jsonl
    ragicl predict indexes/support --file test.jsonl --decide knn --k 5 > votes.jsonl
    ragicl predict indexes/support "error E-17" --select hybrid --where shop=north
    """
    from ragicl.serving.batch import predict_rows

    queries, total = queries_of(texts, file, options)
    with ExitStack() as stack:
        engine = _opened(stack, index, options)
        target = _target(stack, output, engine)
        rows = [_essentials(row) for row in target.rows] if target else []
        kept: list[Row] = []
        if total is None or len(rows) < total:  # else there is nothing to predict
            _load(engine)
        write = target.write if target else _writer(stack, output, kept, engine)
        done = stack.enter_context(progress(total, "predicting", len(rows)))
        for row in predict_rows(
            engine,
            target.remaining(queries) if target else queries,
            skip_errors=options["on_error"] == "skip",
            exclude_self=exclude_self,
            probs=probs,
            prompt=show_prompt,
        ):
            write(row)
            rows.append(_essentials(row))
            done(1)
        labels = engine.index.labels()
    if output.form in WHOLE:
        output.write(WHOLE[output.form](kept))
    _summarize(rows, labels)


@click.command()
@click.argument("index", type=PATH)
@click.argument("text")
@output_options("table", "json", default="table")
@engine_options(without={"decide"})
def prompt(index: Path, text: str, output: Output, **options: Any) -> None:
    """Show the prompt of a text and its length in tokens; the language model is not run.

    \b
    ragicl prompt indexes/support "cant log in" --k 3
    ragicl prompt indexes/support "cant log in" --format json
    """
    from ragicl.serving.batch import prompt_row

    with open_engine(index, {**options, "decide": "lm"}) as engine:
        composed = engine.prompt(text)
    row = prompt_row(composed) | {"messages": [dict(turn) for turn in composed.messages]}
    output.write(record_text(output.form, row, lambda: composed.text + "\n"))
    say(
        f"{composed.tokens} tokens, {len(composed.shots)} demonstrations kept, "
        f"{composed.dropped} dropped"
    )


@click.command("explain")
@click.argument("index", type=PATH)
@click.argument("text")
@click.option("--label", help="The label, or the written answer, to explain.  [the predicted one]")
@output_options("table", "json", default="table", deprecated_json=True)
@click.option(
    "--decide",
    type=click.Choice(["lm", "blend", "probe"]),
    default="lm",
    show_default=True,
    help="Explain the language model's own answer, the blend's, or the one without the model.",
)
@click.option(
    "--examples",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="How many stored examples behind a blend's answer to name.",
)
@click.option(
    "--context",
    is_flag=True,
    help="Also leave out each demonstration read before every text; each takes a reading.",
)
@engine_options(without={"decide"})
def explain_command(
    index: Path,
    text: str,
    label: str | None,
    examples: int,
    context: bool,
    output: Output,
    **options: Any,
) -> None:
    """Show how much each demonstration changes the prediction of a text.

    The prediction is made again without each demonstration in turn. The change is that of the
    label's log-probability, in nats, and above 0 where the demonstration speaks for the label. For
    a blend's answer the stored examples that weigh most in its classifiers are named, too, with
    what they add to the label's log-odds against the likeliest other one.

    \b
    ragicl explain indexes/support "cant log in" --k 4
    ragicl explain indexes/support "cant log in" --label "delete account" --format json
    ragicl explain indexes/support "cant log in" --decide blend --examples 10
    """
    from ragicl.inference.explain import explanation_row

    with open_engine(index, options) as engine, within() as part:
        _load(engine)
        engine.report_to(part)
        explanation = engine.explain(text, label=label, examples=examples, context=context)
    row = explanation_row(explanation)
    output.write(record_text(output.form, row, lambda: explained(explanation)))


def _summarize(rows: list[Row], labels: Collection[str]) -> None:
    from ragicl.serving.summary import summarize

    if (summary := summarize(rows, labels)) is not None:
        say(summary)


def _target(stack: ExitStack, output: Output, engine: Engine) -> ResumableFile | None:
    from ragicl.inference.fingerprint import fingerprint
    from ragicl.serving.batch import ResumableFile

    if output.path is None or is_stream(output.path):
        return None
    return stack.enter_context(ResumableFile(output.path, fingerprint(engine.pipeline)))


def _opened(stack: ExitStack, index: Path, options: dict[str, Any]) -> Engine:
    """Open an engine that shows how far it is within a row, and say what limits its answers."""
    engine = stack.enter_context(open_engine(index, options))
    for note in notes(engine):
        say(note)
    engine.report_to(stack.enter_context(within()))
    return engine


def _load(engine: Engine) -> None:
    with steps() as shown:
        engine.load(shown)


def _writer(
    stack: ExitStack, output: Output, kept: list[Row], engine: Engine
) -> Callable[[Row], None]:
    """Return what becomes of a row on stdout: printed at once, or kept until all are there."""
    if output.form in WHOLE:
        return kept.append
    write = stack.enter_context(output.lines())
    if output.form == "jsonl":
        return lambda row: write(json_line(row))
    return lambda row: write(f"{block(row, engine)}\n")


def _essentials(row: Row) -> Row:
    """Return what the summary needs: a long run must not hold every prompt in memory."""
    return {name: row[name] for name in ("gold", "output", "error", "exited") if name in row}
