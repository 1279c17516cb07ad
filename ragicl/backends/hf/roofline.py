"""What this machine can do at most, measured, and the work of reading a prompt."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

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


def prompt_flops(model: PreTrainedModel, tokens: int) -> float:
    """Return the operations of reading a prompt: two for each weight and token, and attention.

    Embeddings are looked up, not multiplied; the output layer counts for one token.
    """
    config = model.config.get_text_config()
    weights = sum(p.numel() for p in model.parameters())
    table = config.vocab_size * config.hidden_size
    tied = bool(getattr(config, "tie_word_embeddings", False))
    backbone = weights - table * (1 if tied else 2)
    attention = 2 * config.num_hidden_layers * config.hidden_size * tokens**2
    return float(2 * backbone * tokens + 2 * table + attention)


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
