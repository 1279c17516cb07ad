"""The default encoder, all-MiniLM-L6-v2: a few texts in numpy, many by sentence-transformers.

Importing torch and transformers takes seconds; embedding one query takes milliseconds. The forward
pass (Devlin et al. 2019, 1810.04805; Wang et al. 2020, 2002.10957) is that of the packaged files
alone, which are known by their digest: any others are left to sentence-transformers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ragicl.backends.defaults import MINILM
from ragicl.protocols import Encoder, FloatArray

FEW = 16  # texts; more are faster by torch, its import included
LONGEST = 256  # tokens; a longer text is cut
LAYERS, HEADS, DIM = 6, 12, 384
TINY = 1e-12  # added to variances
FILES = ("model.safetensors", "tokenizer.json")
DIGEST = "99f704468154fc61"  # of the packaged files
FINGERPRINT = "3ef8521a3c1797bf"  # by sentence-transformers, which indexes were built with


def open_minilm() -> Encoder:
    """Open all-MiniLM-L6-v2: the packaged files where installed, else from the hub."""
    folder = MINILM.path()
    return MiniLM(folder) if folder and digest_of(folder) == DIGEST else _by_torch()


class MiniLM:
    """The packaged encoder behind the :class:`ragicl.protocols.Encoder` protocol.

    :param folder: of its files
    """

    spec = "minilm"
    dim = DIM
    fingerprint = FINGERPRINT

    def __init__(self, folder: Path) -> None:
        self.description = MINILM.describe()
        self._folder = folder

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return unit-length embeddings, shape (len(texts), dim); long texts are cut."""
        if len(texts) >= FEW:
            return self._torch.encode(texts)
        if not texts:
            return np.empty((0, DIM), dtype=np.float32)
        return np.stack([self._network.embedded(text) for text in texts])

    @cached_property
    def _network(self) -> Network:
        return Network(self._folder)

    @cached_property
    def _torch(self) -> Encoder:
        return _by_torch()


class Network:
    """The forward pass of a BERT encoder, one text at a time."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        self._weights: Mapping[str, FloatArray] = load_file(folder / FILES[0])
        self._tokenizer = Tokenizer.from_file(str(folder / FILES[1]))
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.no_padding()

    def embedded(self, text: str) -> FloatArray:
        """Return a text's unit-length embedding, shape (dim,)."""
        ids = self._tokenizer.encode(text).ids
        tables = [self._weights[f"embeddings.{kind}_embeddings.weight"]
                  for kind in ("word", "position", "token_type")]  # fmt: skip
        states = tables[0][ids] + tables[1][: len(ids)] + tables[2][0]
        states = self._normed(states, "embeddings")
        for layer in range(LAYERS):
            states = self._layer(states, f"encoder.layer.{layer}")
        mean = states.mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean))

    def _layer(self, states: FloatArray, name: str) -> FloatArray:
        mixed = self._linear(self._attention(states, name), f"{name}.attention.output.dense")
        states = self._normed(states + mixed, f"{name}.attention.output")
        wide = gelu(self._linear(states, f"{name}.intermediate.dense"))
        return self._normed(states + self._linear(wide, f"{name}.output.dense"), f"{name}.output")

    def _attention(self, states: FloatArray, name: str) -> FloatArray:
        """Return what each token takes from all of them, shape (tokens, dim)."""
        query, key, value = (
            self._linear(states, f"{name}.attention.self.{part}")
            .reshape(len(states), HEADS, -1)
            .swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / np.float32(np.sqrt(DIM // HEADS))
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        return np.asarray((shares @ value).swapaxes(0, 1).reshape(states.shape))

    def _linear(self, states: FloatArray, name: str) -> FloatArray:
        weights = self._weights
        return np.asarray(states @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])

    def _normed(self, states: FloatArray, name: str) -> FloatArray:
        centred = states - states.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(TINY))
        scale, shift = (self._weights[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        return np.asarray(centred / spread * scale + shift)


def gelu(values: FloatArray) -> FloatArray:
    """Return x * P(Z <= x), Z standard normal (Hendrycks and Gimpel 2016, 1606.08415).

    By formula 7.1.26 of Abramowitz and Stegun (1964), which is within 1.5e-7 of the error function;
    numpy has none, and scipy takes longer to import than a text to embed.
    """
    size = np.abs(values) / np.float32(np.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * size)
    tail = np.zeros_like(t)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail = (tail + np.float32(factor)) * t
    erf = np.copysign(1 - tail * np.exp(-size * size), values)
    return np.asarray(values * (1 + erf) / 2)


def digest_of(folder: Path) -> str:
    """Return a digest of the files that shape a vector."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]


def _by_torch() -> Encoder:
    from ragicl.backends.sentence_transformers import open_minilm

    return open_minilm()
