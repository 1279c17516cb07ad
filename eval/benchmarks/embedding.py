"""The packaged encoder in several precisions: rates, interleaved, and what becomes of neighbours.

    python eval/benchmarks/embedding.py

torch in fp32 and bf16, and OpenVINO in bf16 where the package `openvino` is installed. Rates on 512
texts of banking77, 128 of gsm8k, and 30 texts one by one, median of three interleaved rounds; then
Banking77's 1-nearest-neighbour accuracy, and how many of the 10 nearest are those of fp32.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from common import DATA, read_rows
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from ragicl.backends.defaults import MINILM
from ragicl.protocols import FloatArray

ROUNDS = 3
Pair = tuple[FloatArray, FloatArray]
"""Vectors of the training rows and of the test rows."""


def main() -> None:
    """Measure rates, then neighbours."""
    models = {"torch fp32": load(torch.float32), "torch bf16": load(torch.bfloat16)}
    if find_spec("openvino"):
        models["openvino bf16"] = in_openvino(load(torch.float32))
    rates(models)
    train, test = (read_rows(DATA / "banking77" / f"{split}.jsonl") for split in ("train", "test"))
    labels = [np.array([row["label"] for row in rows]) for rows in (train, test)]
    texts = [[row["text"] for row in rows] for rows in (train, test)]
    exact: Pair | None = None
    for name, model in models.items():
        pair = encode(model, texts[0]), encode(model, texts[1])
        exact = exact or pair
        neighbours(name, pair, exact, labels)
        neighbours(f"index in fp32, queries in {name}", (exact[0], pair[1]), exact, labels)


def load(dtype: torch.dtype) -> SentenceTransformer:
    """Load the packaged encoder."""
    path = MINILM.path() or MINILM.hub
    return SentenceTransformer(str(path), model_kwargs={"dtype": dtype}, device="cpu")


def in_openvino(model: SentenceTransformer) -> SentenceTransformer:
    """Let OpenVINO run the encoder's layers, with the bf16 hint."""
    import openvino  # type: ignore[import-not-found, unused-ignore]

    start = time.perf_counter()
    inner: Any = model[0].model
    example = dict(model.tokenizer(["a b c", "d e f g h"], padding=True, return_tensors="pt"))
    converted = openvino.convert_model(inner, example_input=example)
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(converted, "CPU", settings).create_infer_request()
    print(f"openvino: {time.perf_counter() - start:.1f} s to convert and compile", flush=True)

    def forward(**features: Any) -> dict[str, torch.Tensor]:
        found = request.infer({name: features[name].numpy() for name in example})
        return {"last_hidden_state": torch.from_numpy(next(iter(found.values())).copy())}

    inner.forward = forward
    return model


def encode(model: SentenceTransformer, texts: Sequence[str]) -> FloatArray:
    """Return unit vectors, scaled in fp32."""
    vectors = np.asarray(model.encode(list(texts), batch_size=64, show_progress_bar=False))
    scaled: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def rates(models: Mapping[str, SentenceTransformer]) -> None:
    """Print texts per second and milliseconds of one text."""
    short = [row["text"] for row in read_rows(DATA / "banking77" / "test.jsonl")[:512]]
    long = [row["input"] for row in read_rows(DATA / "gsm8k" / "test.jsonl")[:128]]
    spent: dict[str, list[tuple[float, float, float]]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            encode(model, short[:64])
            one = np.median([seconds(lambda m=model, t=t: encode(m, [t])) for t in short[:30]])  # type: ignore[misc]
            both = [seconds(lambda m=model, t=t: encode(m, t)) for t in (short, long)]  # type: ignore[misc]
            spent[name].append((len(short) / both[0], len(long) / both[1], float(one) * 1e3))
    for name, rounds in spent.items():
        a, b, c = np.median(rounds, axis=0)
        print(f"{name}: banking77 {a:.0f}/s, gsm8k {b:.0f}/s, one text {c:.1f} ms", flush=True)


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def neighbours(name: str, pair: Pair, exact: Pair, labels: Sequence[NDArray[np.str_]]) -> None:
    """Print the accuracy of the nearest, and how the 10 nearest differ from those of fp32."""
    found, right = (np.argsort(-(q @ x.T), axis=1)[:, :10] for x, q in (pair, exact))
    shared = [len({*a} & {*b}) / 10 for a, b in zip(found.tolist(), right.tolist(), strict=True)]
    cosine = min(float((a * b).sum(axis=1).min()) for a, b in zip(pair, exact, strict=True))
    off = np.abs(pair[1] @ pair[0].T - exact[1] @ exact[0].T).max()
    print(
        f"{name}: 1-NN {(labels[0][found[:, 0]] == labels[1]).mean():.4f}, "
        f"of the 10 nearest {np.mean(shared):.4f}, least cosine to fp32 {cosine:.5f}, "
        f"similarities off by at most {off:.4f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
