"""Shared stand-ins: a deterministic encoder and language models that need no files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before any test imports a library that reads it

import ragicl.backends as backends
from ragicl import Example, Index
from ragicl.protocols import FloatArray, Message, Parts

pytest_plugins = ["cli_runner", "tiny_models"]

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")


class HashEncoder:
    """Bags of hashed words: the same text always has the same unit vector."""

    def __init__(self, name: str = "a", dim: int = 64) -> None:
        self.spec = f"hash:{name}"
        self.description = f"hashed words, seed {name}"
        self.fingerprint = f"hash-{name}-{dim}"
        self.dim = dim
        self._name = name

    def encode(self, texts: Sequence[str]) -> FloatArray:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                digest = hashlib.blake2b(f"{self._name}{word}".encode(), digest_size=8).digest()
                rng = np.random.default_rng(int.from_bytes(digest, "big"))
                vectors[row] += rng.standard_normal(self.dim).astype(np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(norms == 0, 1, norms)


class EchoLM:
    """Counts words; likes the answer that the prompt holds most often; repeats the last output."""

    spec = "echo:"
    description = "echo, for tests"

    def __init__(self, window: int = 2000) -> None:
        self.window = window

    def load(self) -> None:
        pass

    def count(self, parts: Parts) -> int:
        return len("".join(parts).split())

    def score(
        self,
        prompts: Sequence[Parts],
        answers: Sequence[str],
        *,
        floor: float | None = None,
        among: Sequence[Collection[int]] | None = None,
    ) -> FloatArray:
        counts = [["".join(p).count(a.strip()) for a in answers] for p in prompts]
        scores = np.log(np.array(counts, dtype=np.float32) + 0.5)
        for row, chosen in zip(scores, among or [], strict=False):
            row[[i not in chosen for i in range(len(answers))]] = -np.inf
        return scores

    def generate(
        self,
        parts: Parts,
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Iterator[str]:
        outputs = [line for line in "".join(parts).splitlines() if line.startswith("Output: ")]
        words = (outputs[-1].removeprefix("Output: ") if outputs else "nothing").split()
        for word in words[:max_tokens]:
            yield f" {word}"

    def write(self, prompts: Sequence[Parts], **options: Any) -> list[str]:
        return ["".join(self.generate(parts, **options)) for parts in prompts]

    def chat(self, messages: Sequence[Message]) -> str:
        turns = "".join(f"<{m['role']}>{m['content']}</>\n" for m in messages)
        return turns + "<assistant>"


def open_hash_encoder(name: str) -> HashEncoder:
    return HashEncoder(name)


def open_echo(name: str, *, dtype: str = "auto") -> EchoLM:
    return EchoLM(int(name))


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the stand-ins available by spec: ``hash:a`` and ``echo:WINDOW``."""
    monkeypatch.setitem(backends.ENCODERS, "hash:NAME", f"{__name__}:open_hash_encoder")
    monkeypatch.setitem(backends.LMS, "echo:NAME", f"{__name__}:open_echo")


@pytest.fixture
def encoder() -> HashEncoder:
    return HashEncoder()


@pytest.fixture
def texts_folder(tmp_path: Path, encoder: HashEncoder) -> Path:
    """An index of texts to write."""
    with Index.create(tmp_path / "texts", encoder=encoder, kind="generate") as index:
        index.add([Example("say hello", "hello there"), Example("say bye", "good bye now")])
    return tmp_path / "texts"
