"""How long the help of every command takes, in seconds: wall time, and the processor's time.

    python eval/benchmarks/help_time.py [--rounds 5] [--limit 0.3]

Each help is printed by a process of its own, after one that is not counted. The medians are shown;
the exit status is 1 where a wall time is over the limit.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median

from ragicl.cli.main import main as group


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=0.3)
    options = parser.parse_args()
    print("| command | wall | processor |\n|---|---|---|")
    slow = []
    for name in ("", *sorted(group.commands)):
        command = [part for part in (name, "--help") if part]
        wall, processor = medians(command, options.rounds)
        print(f"| ragicl {' '.join(command)} | {wall:.3f} | {processor:.3f} |", flush=True)
        if wall > options.limit:
            slow.append(name or "ragicl")
    if slow:
        raise SystemExit(f"over {options.limit} s: {', '.join(slow)}")


def medians(command: Sequence[str], rounds: int) -> tuple[float, float]:
    """Return the median wall and processor seconds of a command."""
    timed(command)  # a warm-up: bytecode and the disk's cache
    walls, processors = zip(*(timed(command) for _ in range(rounds)), strict=True)
    return median(walls), median(processors)


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Return the wall and processor seconds of a command's process."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "ragicl", *command], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"ragicl {' '.join(command)} ended with status {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
