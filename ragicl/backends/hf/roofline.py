"""What this machine can do at most, measured: the yardstick for what a model does on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

SIZE = 2048  # of the matrices: large enough that starting a product costs nothing
BLOCK = 2**26  # float32 numbers to read, 256 MB: more than any cache
SECONDS = 0.5  # for each measurement


def matrix_ceiling(dtype: torch.dtype, device: torch.device) -> float:
    """Return the floating-point operations per second of a large matrix product."""
    left = torch.ones((SIZE, SIZE), dtype=dtype, device=device)
    return 2 * SIZE**3 / _fastest(lambda: left @ left, device)


def memory_ceiling(device: torch.device) -> float:
    """Return the bytes per second of reading memory from one end to the other."""
    block = torch.ones(BLOCK, device=device)
    return block.nbytes / _fastest(block.sum, device)


def _fastest(work: Callable[[], Any], device: torch.device) -> float:
    """Return the fewest seconds of several runs: others can only make it slower."""
    work()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 3:
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - start)
    return min(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
