"""The default encoder in numpy: the vectors of sentence-transformers, without its imports."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from ragicl.backends import minilm, open_encoder
from ragicl.backends.defaults import MINILM
from ragicl.backends.minilm import FEW, MiniLM, digest_of, gelu
from ragicl.backends.sentence_transformers import STEncoder
from ragicl.backends.sentence_transformers import open_minilm as open_by_torch

needs_minilm = pytest.mark.skipif(MINILM.path() is None, reason=f"needs {MINILM.package}")
DEMO = Path(__file__).parents[2] / "eval" / "demo"
ODD = ("", " ", "a\nb\t c", "é" * 40, "漢字 テスト", "[SEP] [CLS]", "word " * 1000, "🙂", "\x00x")


def test_gelu_is_that_of_the_error_function():
    values = np.linspace(-6, 6, 1001, dtype=np.float32)
    expected = [x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in values.tolist()]
    np.testing.assert_allclose(gelu(values), expected, atol=1e-6)


@needs_minilm
@pytest.mark.packaged
def test_vectors_are_those_of_sentence_transformers():
    own, other = open_encoder("minilm"), open_by_torch()
    assert isinstance(own, MiniLM)
    assert isinstance(other, STEncoder)
    assert (own.fingerprint, own.dim) == (other.fingerprint, other.dim)
    assert own.description == other.description
    demo = [json.loads(line)["text"] for line in (DEMO / "test.jsonl").read_text().splitlines()]
    texts = [*demo[:60], *ODD]
    vectors = np.concatenate([own.encode(texts[i : i + 9]) for i in range(0, len(texts), 9)])
    expected = other.encode(texts).astype(float)
    cosines = (vectors.astype(float) * expected).sum(axis=1)
    cosines /= np.linalg.norm(vectors.astype(float), axis=1) * np.linalg.norm(expected, axis=1)
    assert cosines.min() >= 0.9999999
    np.testing.assert_array_equal(own.encode(texts[:3])[1], own.encode(texts[1:2])[0])
    assert own.encode([]).shape == (0, own.dim)


@needs_minilm
@pytest.mark.packaged
def test_many_texts_are_left_to_torch(monkeypatch):
    own = open_encoder("minilm")
    monkeypatch.setattr(minilm, "_by_torch", lambda: Counted())
    own.encode(["a"] * (FEW - 1))
    assert own.encode(["a"] * FEW) == FEW


class Counted:
    """Returns how many texts it is given."""

    def encode(self, texts):
        return len(texts)


@needs_minilm
@pytest.mark.packaged
def test_other_files_are_left_to_sentence_transformers(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(MINILM.path(), folder)
    assert digest_of(folder) == minilm.DIGEST
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    monkeypatch.setattr(minilm, "_by_torch", lambda: "torch")
    monkeypatch.setattr(type(MINILM), "path", lambda self: folder)
    assert minilm.open_minilm() == "torch"
