"""Commands that measure."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragicl.cli.notes import of_many_labels
from ragicl.cli.options import (
    column_options,
    command_line,
    data_file,
    engine_options,
    listed_names,
    open_engine,
)
from ragicl.cli.output import Output, output_options, record_text
from ragicl.cli.paths import PATH
from ragicl.cli.progress import steps
from ragicl.cli.streams import say, show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ragicl.engine import Engine
    from ragicl.evaluate.prepare import Limits, Opener
    from ragicl.evaluate.results import Report
    from ragicl.evaluate.task import Task


@click.command("evaluate")
@click.argument("target", type=PATH, metavar="INDEX|SUITE.toml")
@click.option("--test", help="Rows with their right outputs, as for predict --file.")
@click.option("--out", type=PATH, required=True, help="Folder of the report.")
@click.option(
    "--reference",
    "references",
    help="References to train or measure, separated by commas.  [a suite's own, or probe and lora]",
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    help="Test rows to draw at random.  [all, or the suite's]",
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Of references with randomness.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Limit of each training; says so where it ended one.",
)
@click.option("--curves", help="Also measure against pool, k, budget, separated by commas.")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    help="Other labelled files, for two-stage and multi-task; repeatable.",
)
@click.option(
    "--data",
    type=PATH,
    default=".",
    show_default=True,
    help="Folder that a suite's files are in.",
)
@click.option(
    "--only",
    help="Sets of a suite to measure, separated by commas; the report is of these alone.  [all]",
)
@engine_options(without={"decide"})
@column_options
def evaluate_command(
    target: Path,
    test: str | None,
    out: Path,
    references: str | None,
    rows: int | None,
    seeds: int,
    minutes: float | None,
    curves: str | None,
    tasks: tuple[str, ...],
    data: Path,
    only: str | None,
    **options: Any,
) -> None:
    """Measure the answers beside fine-tuned references: accuracy, distance, cost, what to choose.

    References: probe, head, bare-states, icl-states, partial, full, lora, prompt-tuning, two-stage,
    multi-task and knn-prompting; icl (the language model alone), majority, knn-1, knn and
    random-icl are always there. For texts: lora and full.
    Run it again after an interruption: nothing that was done is repeated.

    \b
    ragicl evaluate indexes/support --test test.jsonl --out reports/support
    ragicl evaluate indexes/support --test test.jsonl --reference probe,head,lora,full \\
      --minutes 10 --curves pool,k --out reports/support
    ragicl evaluate eval/suites/questions.toml --data data --out reports/questions
    ragicl evaluate eval/suites/tables.toml --only sst2 --data data --out reports/sst2
    """
    from ragicl.evaluate.prepare import Limits, held, suite_tasks
    from ragicl.evaluate.report.write import write_report
    from ragicl.evaluate.run import evaluate
    from ragicl.evaluate.suite import Suite, read_suite

    some = _sets(target, only)
    with held(out), ExitStack() as stack, steps() as progress:
        opened, limits = _opener(stack, options), Limits(rows, minutes, progress)
        if target.suffix == ".toml":
            suite = read_suite(target)
            measured = suite_tasks(suite, data, out, opened, limits, only=some)
        else:
            suite, measured = Suite(), [_task(target, test, tasks, out, opened, limits, options)]
        report = evaluate(
            measured,
            suite.references if references is None else listed_names(references),
            seeds=seeds,
            curves=suite.curves if curves is None else listed_names(curves),
            command=command_line(),
            so_far=lambda report: write_report(report, out),
        )
    _shown(report, out)


@click.command("bench")
@click.argument("index", type=PATH)
@click.option("--queries", default=32, show_default=True, help="Examples to answer as queries.")
@output_options("table", "json", default="table", deprecated_json=True)
@engine_options()
def bench_command(index: Path, queries: int, output: Output, **options: Any) -> None:
    """Measure where a prediction's time goes, with examples of the index as queries.

    \b
    ragicl bench indexes/support
    ragicl bench indexes/support --k 20 --budget 1024 --format json
    """
    from dataclasses import asdict

    from ragicl.profiling.bench import bench, table

    with open_engine(index, options) as engine:
        for note in of_many_labels(engine):
            say(note)
        measured = bench(engine, queries)
    output.write(record_text(output.form, asdict(measured), lambda: table(measured)))


@click.command("plan")
@click.argument("index", required=False, type=PATH)
@click.option("--epsilon", default=0.1, show_default=True, help="The error to reach.")
@click.option("--delta", default=0.05, show_default=True, help="How likely more error may be.")
@click.option("--contexts", default=1, show_default=True, help="Prompts to be right at once.")
@click.option(
    "--vocabulary",
    default=49152,
    show_default=True,
    help="Tokens the language model knows; the default is smollm2's.",
)
@click.option("--length", type=int, help="Tokens of an answer.  [the index's longest text]")
@click.option("--dimension", type=int, help="Of the vectors.  [the index's encoder's]")
@click.option("--labels", type=int, help="Number of labels.  [the index's]")
@click.option("--lm", default="smollm2", show_default=True, help="Whose tokens make up a length.")
@click.option(
    "--report",
    type=PATH,
    help="An evaluation's report.json, or its folder: read the measured curves too.",
)
@output_options("table", "json", default="table", deprecated_json=True)
def plan_command(
    index: Path | None, lm: str, report: Path | None, output: Output, **figures: Any
) -> None:
    """Say how many examples an error asks for: worst-case bounds, and what was measured.

    The bounds are those of arXiv 2506.08060. They hold for any task, and most tasks need far fewer
    examples: what a curve measured on your own data says counts for more. A bound that lacks a
    figure, from an index or an option, names it.

    \b
    ragicl plan indexes/support --epsilon 0.05
    ragicl plan indexes/support --report runs/support
    ragicl plan --contexts 100 --vocabulary 32000 --length 40 --format json
    """
    import msgspec

    from ragicl.evaluate.planning.bounds import Figures
    from ragicl.evaluate.planning.plan import plan, table

    found = plan(Figures(**figures), index=index, report=report, lm=lm)
    output.write(
        record_text(output.form, msgspec.to_builtins(found, enc_hook=float), lambda: table(found))
    )


def _opener(stack: ExitStack, options: dict[str, Any]) -> Opener:
    """Return what opens engines until the stack closes."""

    def opened(path: Path, own: Mapping[str, Any]) -> Engine:
        asked = options | {"decide": "lm"} | dict(own)
        engine = stack.enter_context(open_engine(path, asked))
        for note in of_many_labels(engine):
            say(f"{path.name}: {note}")
        return engine

    return opened


def _task(
    index: Path,
    test: str | None,
    others: Sequence[str],
    out: Path,
    opened: Opener,
    limits: Limits,
    options: dict[str, Any],
) -> Task:
    """Return the task of one index, with the rows of the files named."""
    from ragicl.evaluate.prepare import task_of
    from ragicl.evaluate.suite import rows_of

    if test is None:
        raise click.UsageError("Give the test rows: --test FILE.")
    engine = opened(index, {})
    queries = rows_of(data_file(test, options).queries(), limits.rows)
    pools = {other: list(data_file(other, options).examples()) for other in others}
    return task_of(index.name, engine, queries, out, pools, limits)


def _shown(report: Report, out: Path) -> None:
    """Name the report's files, and repeat what it recommends."""
    from ragicl.evaluate.report.write import REPORTS

    for name in REPORTS:
        show(out / name)
    for own in report.sets:
        say(f"\n{own.name}")
        for sentence in own.recommendation:
            say(f"- {sentence}")


def _sets(target: Path, only: str | None) -> Sequence[str]:
    """Return the names of the sets to measure, none for all of them."""
    names = () if only is None else listed_names(only)
    if only is not None and (target.suffix != ".toml" or not names):
        raise click.UsageError("--only takes the names of sets of a suite, separated by commas.")
    return names
