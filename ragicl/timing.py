"""Milliseconds by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

Timings = dict[str, float]
"""Stage to milliseconds."""


@contextmanager
def timed(timings: Timings, stage: str) -> Iterator[None]:
    """Add the block's duration, in milliseconds, to a stage."""
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] = timings.get(stage, 0.0) + (time.perf_counter() - start) * 1000


def shared(timings: Timings, size: int) -> Timings:
    """Return each stage's time per query of a batch."""
    return {stage: spent / max(size, 1) for stage, spent in timings.items()}
