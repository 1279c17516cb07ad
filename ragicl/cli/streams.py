"""Standard streams: closed or full ones, encodings that lack characters, and terminals."""

from __future__ import annotations

import codecs
import os
import re
import sys
from contextlib import suppress
from typing import IO, Any

import click

from ragicl.errors import QUOTED, visible

ESCAPES = "ragicl.escapes"
LONG_WORD = re.compile(rf"\S{{{QUOTED + 1},}}")
STREAMS = (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w"))


def prepare_streams() -> None:
    """Put something that can be used in the place of closed streams, and escape characters.

    Else a file opened later gets a closed stream's number, and what libraries write into it.
    Nothing to read stands for stdin; nowhere for stderr; for stdout, what refuses to be written:
    results must not get lost unnoticed.
    """
    codecs.register_error(ESCAPES, _escaped)
    for name, number, mode in STREAMS:
        if getattr(sys, name) is None:
            setattr(sys, name, _opened(number, mode))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors=ESCAPES)


def show(text: object) -> None:
    """Print a line of results that people read."""
    click.echo(visible(str(text)))


def say(text: str) -> None:
    """Print a line beside the results, on stderr."""
    click.echo(visible(text), err=True)


def one_line(message: str) -> str:
    """Return an error as one line, although it may quote what somebody typed.

    click repeats all of that.
    """
    line = visible(" ".join(message.splitlines()))
    return LONG_WORD.sub(lambda found: f"{found[0][:QUOTED]}…", line)


def drop_output() -> None:
    """Send to nowhere what stdout did not take: Python would try again as it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complaint(error: OSError) -> str:
    """Return what an error of the system is about, in one line."""
    about = "stdout" if error.filename is None else str(error.filename)
    return f"cannot read or write {about}: {error.strerror or error}"


def _opened(number: int, mode: str) -> IO[str]:
    """Open a stream on a number that is closed."""
    flags = os.O_WRONLY if number == 2 else os.O_RDONLY
    opened = os.open(os.devnull, flags)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    return open(number, mode, encoding="utf-8", closefd=False)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""Write characters that an encoding lacks as JSON does, ``\u65e5``: JSON stays whole."""
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs: Any = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs), error.end
