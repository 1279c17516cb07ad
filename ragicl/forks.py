"""Forked processes: a model's threads do not come along, and what waits for them never ends."""

from __future__ import annotations

import os
import sys
from threading import RLock
from typing import Any

from ragicl.errors import ForkError

ADVICE = "open the engine after the fork, in each worker, and use none before it"


class OwnLock:
    """A lock for threads of the process that made it; any other process is refused."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._process = os.getpid()

    @property
    def own(self) -> bool:
        """Whether this process made it."""
        return self._process == os.getpid()

    def check(self) -> None:
        """Refuse a process that was forked from the one that made it.

        :raises ForkError: there
        """
        if not self.own:
            raise ForkError(
                f"this engine or index was opened by process {self._process}, and process "
                f"{os.getpid()} was forked from it; {ADVICE}"
            )

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take the lock, or return False where another thread has it and this one may not wait."""
        self.check()  # first: a thread that the fork left behind may have it
        return self._lock.acquire(blocking=blocking)

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class _Computing:
    """Whether several threads have computed in this process, or in the one it was forked from."""

    def __init__(self) -> None:
        self.used = False
        self.forked = False
        if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
            os.register_at_fork(after_in_child=self._mark)

    def _mark(self) -> None:
        self.forked = self.forked or self.used


_computing = _Computing()


def compute() -> None:
    """Say that a model is about to compute.

    :raises ForkError: in a process forked from one where several threads had computed already
    """
    if _computing.forked:
        raise ForkError(
            f"process {os.getpid()} was forked from one that had used a model, whose threads did "
            f"not come along; {ADVICE}, or set OMP_NUM_THREADS=1"
        )
    _computing.used = _computing.used or _threads() > 1


def _threads() -> int:
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() else os.cpu_count() or 1
