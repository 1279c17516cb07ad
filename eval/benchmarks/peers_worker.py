"""One scorer in a process of its own; peers_run.py starts it with the scorer's own Python.

Its first line says what it runs on; then it answers each line, a query's number, with one line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO

from peers_adapters import ADAPTERS, Answer, Row, Task


def main() -> None:
    """Load the scorer, warm it up, and answer until the input ends."""
    library, distribution, path, model, dtype = sys.argv[1:]
    out = private_output()
    try:
        task = json.loads(Path(path).read_text())
        given = (task["labels"], task["answers"], task["policy"])
        answer = ADAPTERS[library](Task(*given, Path(path).parent, Path(model), dtype))
        answer(task["warm_up"])
        facts = {"version": version(distribution), "transformers": version("transformers")}
        serve(answer, task["queries"], facts, sys.stdin, out)
    except Exception as error:
        say(out, {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]})
        raise


def serve(
    answer: Answer, queries: Sequence[Row], facts: Row, lines: Iterable[str], out: IO[str]
) -> None:
    """Write the facts, then for each line the answer to that query and the seconds it took.

    The processor's seconds, of all threads, tell a run that was kept from working.
    """
    say(out, facts)
    for line in lines:
        query = queries[int(line)]
        start, cpu = time.perf_counter(), time.process_time()
        answered = answer(query)
        seconds = time.perf_counter() - start
        say(out, {"seconds": seconds, "cpu": time.process_time() - cpu, **answered})


def private_output() -> IO[str]:
    """Return the standard output, and send what libraries print to the standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


def say(out: IO[str], value: Row) -> None:
    """Write one line."""
    out.write(json.dumps(value) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
