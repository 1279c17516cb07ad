"""The ``ragicl`` command."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from ragicl.cli.curate import audit_command, suggest_command, tune_command
from ragicl.cli.evaluate import bench_command, evaluate_command, plan_command
from ragicl.cli.index import add, index_command, info, remove, update_command
from ragicl.cli.predict import explain_command, predict, prompt
from ragicl.cli.streams import complaint, drop_output, one_line, prepare_streams, say
from ragicl.errors import RagiclError


class _Group(click.Group):
    """Ends with one line on stderr and status 1 at ragicl's errors; click gives wrong usage 2."""

    def main(self, *args: Any, **extra: Any) -> Any:
        prepare_streams()
        try:
            return super().main(*args, **extra)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            drop_output()
            with suppress(OSError):  # stderr may be full, too
                say(f"Error: {one_line(complaint(error))}")
            sys.exit(1)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _in_one_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _in_one_line():
            return super().invoke(ctx)


@contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except RagiclError as error:
        raise click.ClickException(one_line(str(error))) from error
    except click.UsageError as error:
        raise click.UsageError(one_line(error.format_message()), error.ctx) from error


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


for _command in (
    index_command,
    info,
    add,
    remove,
    update_command,
    predict,
    prompt,
    explain_command,
    tune_command,
    audit_command,
    suggest_command,
    evaluate_command,
    bench_command,
    plan_command,
):
    main.add_command(_command)
