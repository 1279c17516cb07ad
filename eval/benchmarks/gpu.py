"""What a GPU makes of it: scoring by a small and an 8B-shaped model, and exact search.

    python eval/benchmarks/gpu.py                     # on a GPU
    python eval/benchmarks/gpu.py --small             # the same code at toy size, on any machine

Scoring: packed prompts of random tokens with a trie of 77 answers each; the share of the matrix
ceiling counts the prompts' operations alone. The 8B-shaped model has random weights. Search: exact
inner products over unit vectors of 384 dimensions, by the product that an index uses on a GPU.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from functools import partial
from math import inf
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from ragicl.backends.hf.opening import open_smollm2
from ragicl.backends.hf.roofline import matrix_ceiling
from ragicl.backends.hf.scoring.packed_scoring import Job, score_jobs
from ragicl.backends.hf.scoring.packing import enable_packing
from ragicl.backends.hf.scoring.trie import build_trie
from ragicl.index.vectors.torch_gpu import Product
from ragicl.protocols import FloatArray

LARGE = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
TOY = {**LARGE, "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128,
       "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
LABELS, LABEL_TOKENS = 77, 4
REPEATS = 5
DIM = 384
CHUNK = 100_000  # rows made at once


def main() -> None:
    """Measure scoring with both models, then search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    small: bool = parser.parse_args().small
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not small:
        parser.error("no GPU here; try --small")
    prompts, tokens = (4, 32) if small else (128, 1024)
    packaged = open_smollm2(dtype="bfloat16")
    packaged.load()
    scoring("packaged", packaged.model(), prompts, tokens)
    del packaged
    name, shape = ("toy", TOY) if small else ("8B-shaped", LARGE)
    scoring(name, made(shape, device), prompts, tokens)
    for rows in (100_000,) if small else (1_000_000, 10_000_000):
        searching(rows, device)


def made(shape: dict[str, int], device: torch.device) -> PreTrainedModel:
    """Return a Llama of that shape with random weights in bf16."""
    with torch.device(device):
        config = LlamaConfig.from_dict({**shape, "max_position_embeddings": 8192})
        factory: Any = AutoModelForCausalLM
        model: PreTrainedModel = factory.from_config(config, dtype=torch.bfloat16).eval()
    return model


def scoring(name: str, model: PreTrainedModel, prompts: int, tokens: int) -> None:
    """Print the rate of scoring so many prompts at once, and its share of the ceiling."""
    enable_packing(model)
    config, draw = model.config.get_text_config(), random.Random(0)
    size = min(config.vocab_size, 32000)
    answers = [[draw.randrange(size) for _ in range(LABEL_TOKENS)] for _ in range(LABELS)]
    trie = build_trie(answers)
    jobs = [Job([draw.randrange(size) for _ in range(tokens)], trie) for _ in range(prompts)]
    per_pass = max(1, 2**17 // tokens)
    with torch.inference_mode():
        seconds = timed(
            lambda: [
                score_jobs(model, jobs[start : start + per_pass], inf)
                for start in range(0, len(jobs), per_pass)
            ],
            model.device,
        )
    named = model.named_parameters()
    body = sum(p.numel() for name, p in named if "embed" not in name and "head" not in name)
    attention = 2 * config.num_hidden_layers * config.hidden_size * tokens**2
    rate = prompts * (2 * body * tokens + attention) / seconds
    ceiling = matrix_ceiling(torch.bfloat16, model.device)
    print(
        f"{name}: {prompts} prompts of {tokens} tokens, {LABELS} labels: {seconds:.3f} s, "
        f"{prompts / seconds:.1f} prompts a second, {rate / 1e12:.2f} TFLOP/s, "
        f"{rate / ceiling:.0%} of the measured {ceiling / 1e12:.1f}",
        flush=True,
    )


def searching(rows: int, device: torch.device) -> None:
    """Print the time of an exact search of the ten nearest, one query and 256 at once."""
    torch.manual_seed(0)
    chunks = (
        (np.arange(start, start + CHUNK), unit(CHUNK, device)) for start in range(0, rows, CHUNK)
    )
    stored = Product(chunks, rows, DIM, device.type)
    for queries in (1, 256):
        seconds = timed(partial(stored.search, unit(queries, device), 10), device)
        read = 2 * rows * DIM / seconds / 1e9
        print(f"search of {rows} rows, {queries} queries: {seconds * 1e3:.2f} ms, {read:.0f} GB/s")


def unit(number: int, device: torch.device) -> FloatArray:
    """Return random unit vectors, shape (number, DIM)."""
    vectors = normalize(torch.randn(number, DIM, device=device))
    return np.asarray(vectors.cpu().numpy(), dtype=np.float32)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the median seconds of some work, after one run to warm up."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return median(times[1:])


if __name__ == "__main__":
    main()
