"""The ``ragicl`` command. Heavy modules are imported inside commands, so that help is instant."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragicl.errors import DataError, RagiclError
from ragicl.options import (
    column_options,
    command_line,
    data_file,
    decide_option,
    dtype_option,
    engine_options,
    finished,
    listed_names,
    lm_option,
    open_engine,
    queries_of,
    template_option,
)
from ragicl.show import (
    block,
    ceiling,
    describe,
    influences,
    kind_of,
    outcome,
    progress,
    steps,
    tuning,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ragicl.batch import ResumableFile, Row
    from ragicl.engine import Engine
    from ragicl.evaluate.results import Report


class _Failure(click.ClickException):
    exit_code = 2


class _Group(click.Group):
    """Turns ragicl's errors into one line on stderr and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RagiclError as error:
            raise _Failure(str(error)) from error


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="ragicl")
def main() -> None:
    """Predict with a frozen language model and your labelled examples.

    \b
    ragicl index support.jsonl                  # once: embed and store the examples
    ragicl predict indexes/support "cant log in"
    """


@main.command("index")
@click.argument("data")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder.  [indexes/<name of the data>]"
)
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
@column_options
def index_command(
    data: str, out: Path | None, encoder: str, kind: Any, dedupe: bool, **columns: Any
) -> None:
    """Index labelled examples: a JSONL, CSV, TSV or Parquet file, a data set, or - for stdin.

    Run it again after an interruption: only what is missing is embedded.

    \b
    ragicl index support.jsonl
    ragicl index mails.csv --input-column body --output-column queue --out indexes/mails
    ragicl index org/name --split train --on-error skip
    """
    from ragicl.index.build import build, survey

    path = out or Path("indexes") / _stem(data)
    file = data_file(data, columns)
    surveyed = survey(file)
    for line in describe(surveyed, dedupe):
        click.echo(line, err=True)
    with progress(surveyed.rows, "embedding") as done:
        index, report = build(
            file,
            path,
            encoder=encoder,
            kind=kind,
            dedupe=dedupe,
            surveyed=surveyed,
            progress=done,
        )
    with index:
        click.echo(outcome(report), err=True)
        click.echo(f"{path}: {len(index)} examples, {kind_of(index.kind, index.labels())}")


@main.command()
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
@decide_option
@click.option("--probs", is_flag=True, help="Add every label's probability.")
@click.option("--show-prompt", is_flag=True, help="Add the prompt.")
@click.option("--exclude-self", is_flag=True, help="Leave out the example with the row's own id.")
@engine_options
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
    from ragicl.batch import ResumableFile, predict_rows, settings_of, summarize

    queries, total = queries_of(texts, file, options)
    with ExitStack() as stack:
        engine = stack.enter_context(open_engine(index, options))
        if options["attention"] != "exact":
            from ragicl.agreement import agreement

            click.echo(agreement(engine), err=True)
        target = stack.enter_context(ResumableFile(out, settings_of(engine))) if out else None
        if (recall := engine.shortlist_recall) is not None:
            click.echo(ceiling(recall), err=True)
        rows = [_essentials(row) for row in target.rows] if target else []
        if total is None or len(rows) < total:  # else there is nothing to predict
            with steps() as tell:
                engine.load(partial(tell, "reading the examples"))
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


@main.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("text")
@engine_options
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


@main.command("tune")
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
        with steps() as told:
            found = tune(engine, minutes, seed=seed, told=told)
        found = replace(found, template=found.template or template)
        engine.index.keep_tuned(found.as_json())
    shown = found.as_json()
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False) if as_json else tuning(found))


@main.command("explain")
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
@engine_options
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
    from ragicl.explain import explanation_row

    with open_engine(index, options) as engine:
        explanation = engine.explain(text, label=label)
    if as_json:
        click.echo(json.dumps(explanation_row(explanation), indent=2, ensure_ascii=False))
    else:
        click.echo(influences(explanation))


@main.command("evaluate")
@click.argument("target", type=click.Path(path_type=Path), metavar="INDEX|SUITE.toml")
@click.option("--test", help="Rows with their right outputs, as for predict --file.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the report.")
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
    type=click.Path(path_type=Path),
    default=".",
    show_default=True,
    help="Folder that a suite's files are in.",
)
@click.option("--only", help="Sets of a suite to measure, separated by commas.  [all]")
@engine_options
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
    """Measure the engine beside fine-tuned references: accuracy, distance, cost, what to choose.

    References: probe, head, partial, full, lora, prompt-tuning, two-stage, multi-task and
    knn-prompting; blend (what predict answers), majority, knn-1, knn and random-icl are always
    there. For texts: lora and full.
    Run it again after an interruption: nothing that was done is repeated.

    \b
    ragicl evaluate indexes/support --test test.jsonl --out reports/support
    ragicl evaluate indexes/support --test test.jsonl --reference probe,head,lora,full \\
      --minutes 10 --curves pool,k --out reports/support
    ragicl evaluate eval/suites/questions.toml --data data --out reports/questions
    ragicl evaluate eval/suites/tables.toml --only sst2 --data data --out reports/tables
    """
    from ragicl.evaluate.prepare import Limits, held, suite_tasks, task_of
    from ragicl.evaluate.report.files import REPORTS, write_report
    from ragicl.evaluate.run import evaluate
    from ragicl.evaluate.suite import Suite, read_suite, rows_of

    def written(report: Report) -> None:
        write_report(report, out)

    def opened(path: Path, own: Mapping[str, Any]) -> Engine:
        return stack.enter_context(open_engine(path, options | {"decide": "lm"} | dict(own)))

    with held(out), ExitStack() as stack, steps() as told:
        limits = Limits(rows, minutes, told)
        if target.suffix == ".toml":
            suite = read_suite(target)
            some = listed_names(only) if only else ()
            measured = suite_tasks(suite, data, out, opened, limits, only=some)
        elif test is None:
            raise click.UsageError("Give the test rows: --test FILE.")
        else:
            suite, engine = Suite(), opened(target, {})
            queries = rows_of(data_file(test, options).queries(), rows)
            others = {name: list(data_file(name, options).examples()) for name in tasks}
            measured = [task_of(target.name, engine, queries, out, others, limits)]
        report = evaluate(
            measured,
            suite.references if references is None else listed_names(references),
            seeds=seeds,
            curves=suite.curves if curves is None else listed_names(curves),
            command=command_line(),
            so_far=written,
        )
    for name in REPORTS:
        click.echo(out / name)
    for own in report.sets:
        click.echo(f"\n{own.name}", err=True)
        for sentence in own.advice:
            click.echo(f"- {sentence}", err=True)


@main.command("bench")
@click.argument("index", type=click.Path(path_type=Path))
@click.option("--queries", default=32, show_default=True, help="Examples to answer as queries.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of a table.")
@decide_option
@engine_options
def bench_command(index: Path, queries: int, as_json: bool, **options: Any) -> None:
    """Measure where a prediction's time goes, with examples of the index as queries.

    \b
    ragicl bench indexes/support
    ragicl bench indexes/support --k 20 --budget 1024 --json
    """
    from dataclasses import asdict

    from ragicl.bench import bench, table

    with open_engine(index, options) as engine:
        measured = bench(engine, queries)
    click.echo(json.dumps(asdict(measured), indent=2) if as_json else table(measured))


@main.command("plan")
@click.argument("index", required=False, type=click.Path(path_type=Path))
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
    type=click.Path(path_type=Path),
    help="An evaluation's report.json, or its folder: read the measured curves too.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of a table.")
def plan_command(
    index: Path | None, lm: str, report: Path | None, as_json: bool, **figures: Any
) -> None:
    """Say how many examples an error asks for: worst-case bounds, and what was measured.

    The bounds are those of arXiv 2506.08060. They hold for any task, and most tasks need far fewer
    examples: what a curve measured on your own data says counts for more. A bound that lacks a
    figure, from an index or an option, names it.

    \b
    ragicl plan indexes/support --epsilon 0.05
    ragicl plan indexes/support --report runs/support
    ragicl plan --contexts 100 --vocabulary 32000 --length 40 --json
    """
    from dataclasses import asdict

    from ragicl.evaluate.bounds import Figures
    from ragicl.evaluate.plan import plan, table

    found = plan(Figures(**figures), index=index, report=report, lm=lm)
    click.echo(json.dumps(asdict(found), indent=2) if as_json else table(found))


@main.command()
@click.argument("index", type=click.Path(path_type=Path))
def info(index: Path) -> None:
    """Show what an index holds, as JSON.

    \b
    ragicl info indexes/support
    """
    from dataclasses import asdict

    from ragicl.index import Index

    with Index.open(index) as opened:
        held = asdict(opened.manifest) | asdict(opened.stats())
    if held["tuned"]:
        del held["tuned"]["record"]  # a number for each example
    click.echo(json.dumps(held, indent=2, ensure_ascii=False))


@main.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("data")
@column_options
def add(index: Path, data: str, **columns: Any) -> None:
    """Add the examples of a file, or of - for stdin, in one transaction.

    Examples that are there already, by id or by content, are not added again.

    \b
    ragicl add indexes/support corrections.jsonl
    echo '{"text": "card got declined", "label": "payment declined"}' | ragicl add indexes/support -
    """
    from ragicl.index import Index

    examples = list(data_file(data, columns).examples())
    with Index.open(index) as opened:
        before = len(opened)
        for identity in opened.add(examples):
            click.echo(identity)
        click.echo(f"{len(opened) - before} added, {len(opened)} examples", err=True)


@main.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("ids", nargs=-1, required=True)
def remove(index: Path, ids: tuple[str, ...]) -> None:
    """Remove examples by id, all or none of them.

    \b
    ragicl remove indexes/support 73tbkfhbwmlkvchr
    """
    from ragicl.index import Index

    with Index.open(index) as opened:
        opened.remove(ids)
        click.echo(f"{len(ids)} removed, {len(opened)} examples", err=True)


@main.command("update")
@click.argument("index", type=click.Path(path_type=Path))
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
    from ragicl.correct import correct
    from ragicl.index import Index

    corrections = list(data_file(data, columns).corrections())
    with Index.open(index) as opened:
        done = correct(opened, corrections, remove_empty=remove_empty)
        click.echo(
            f"{done.changed} changed, {done.removed} removed, {done.same} as they were, "
            f"{len(opened)} examples",
            err=True,
        )


@main.command("audit")
@click.argument("index", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="CSV file to correct: see update.")
@click.option(
    "--near", default=0.95, show_default=True, help="Cosine from which two texts are near copies."
)
@click.option(
    "--few", default=5, show_default=True, help="A label with fewer examples than this is rare."
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON: all of it, not the first few.")
def audit_command(index: Path, out: Path | None, near: float, few: int, as_json: bool) -> None:
    """Look for wrong labels, near copies, confused labels and rare ones; change nothing.

    Each label is predicted from all other examples, without a language model; those that the
    predictions speak against come first. Correct the column `label` in the file, which suggests
    one, and give the file to `ragicl update`.

    \b
    ragicl audit indexes/support --out audit.csv
    ragicl update indexes/support audit.csv
    ragicl audit indexes/support --near 0.9 --json > audit.json
    """
    from ragicl.audit import audit
    from ragicl.audit.written import as_csv, as_text
    from ragicl.audit.written import as_json as json_of
    from ragicl.index import Index

    with Index.open(index) as opened, progress(len(opened), "comparing") as done:
        found = audit(opened, near=near, few=few, progress=done)
    if out is not None:
        _write(out, as_csv(found))
        click.echo(f"{out}: {len(found.findings)} examples to look at", err=True)
    shown = json.dumps(json_of(found), indent=2, ensure_ascii=False) if as_json else as_text(found)
    click.echo(shown)


@main.command("suggest")
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
    from ragicl.suggest import suggest, suggestion_row

    queries = list(data_file(pool, columns).queries(numbered=False))
    with progress(len(queries), "embedding") as done:
        choices = suggest(queries, number, index=index, encoder=encoder, progress=done)
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


def _stem(data: str) -> str:
    """Return the name of the data: a file's without its ending, a data set's without its owner."""
    return "stdin" if data == "-" else Path(data).stem or "data"


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
