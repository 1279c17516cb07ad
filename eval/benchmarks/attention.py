"""Attention of one layer in bf16 on a CPU: blocks of rows against torch's fused kernel.

    python eval/benchmarks/attention.py

The shape is SmolLM2-135M's: 9 heads, 3 key heads, 64 dimensions. Runs in turns, medians; the
error is the mean absolute one against float32, for values of unit variance.
"""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ragicl.backends.hf.scoring.attention import _blocked

HEADS, KEY_HEADS, DIM = 9, 3, 64
TURNS = 21


def main() -> None:
    """Print a line for each length."""
    torch.manual_seed(0)
    for length in (256, 512, 971, 1024, 2048):
        query = torch.randn(HEADS, length, DIM).bfloat16()
        key, value = torch.randn(2, KEY_HEADS, length, DIM).bfloat16()
        true = fused(query.float(), key.float(), value.float())
        seconds: dict[str, list[float]] = {"fused": [], "blocks": []}
        errors = {}
        for _ in range(TURNS):
            for name, attend in (("fused", fused), ("blocks", blocks)):
                start = time.perf_counter()
                found = attend(query, key, value)
                seconds[name].append(time.perf_counter() - start)
                errors[name] = (found.float() - true).abs().mean().item()
        figures = (f"{name} {median(s) * 1e3:.2f} ms, error {errors[name]:.1e}"
                for name, s in seconds.items())  # fmt: skip
        print(f"{length} tokens: {'; '.join(figures)}", flush=True)


def fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend with torch's kernel; return shape (rows, heads, dim)."""
    out = scaled_dot_product_attention(
        query[None], key[None], value[None], is_causal=True, enable_gqa=True
    )
    return out[0].transpose(0, 1)


def blocks(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend in blocks of rows; return shape (rows, heads, dim)."""
    return _blocked(query * DIM**-0.5, key, value, None)


if __name__ == "__main__":
    main()
