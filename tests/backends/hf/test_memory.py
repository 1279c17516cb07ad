"""A process that serves for weeks does not grow: what is kept is bounded."""

import ctypes
import gc
import os
import subprocess
import sys
from array import array
from weakref import ref

import pytest
import torch
from tiny_models import METHODS

from ragicl.backends.hf import tokenization
from ragicl.backends.hf.token_cache import TokenCache
from ragicl.backends.hf.training.batches import Row
from ragicl.backends.hf.training.trainer import TrainConfig, Tuner

ROWS = [Row(tuple(range(3, 3 + n % 5 + 1)), (7, 8)) for n in range(40)]
PRODUCTS = """
import ctypes
import torch, {imported}
class Info(ctypes.Structure):
    _fields_ = [(str(number), ctypes.c_size_t) for number in range(10)]
info = ctypes.CDLL(None).mallinfo2
info.restype = Info
in_use = lambda: getattr(info(), "7") / 2**20
weights = torch.ones(64, 64, dtype=torch.bfloat16)
for rows in range(1, 1001):
    torch.ones(rows, 64, dtype=torch.bfloat16) @ weights
    if rows == 550:
        before = in_use()
print(in_use() - before)
"""


def growth(imported):
    """Return the megabytes in use after products of 1,000 shapes, less those after 550."""
    limits = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    bare = {name: value for name, value in os.environ.items() if name not in limits}
    script = [sys.executable, "-c", PRODUCTS.format(imported=imported)]
    return float(subprocess.run(script, env=bare, capture_output=True, check=True).stdout)


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="asks the C library for memory in use",
)
def test_products_of_ever_new_shapes_do_not_grow_the_process():
    if (without := growth("torch.nn")) < 50:
        pytest.skip("this torch keeps little for each shape")
    assert growth("ragicl.backends.hf") < without / 4


def test_a_users_own_limits_are_left(monkeypatch):
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    script = "import ragicl.backends.hf, os; print(os.environ['ONEDNN_PRIMITIVE_CACHE_CAPACITY'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.strip() == b"7"


def test_ids_are_kept_up_to_a_size_whatever_the_length_of_texts():
    encoded = []

    def encode(text):
        encoded.append(text)
        return array("i", range(len(text)))

    kept = TokenCache(encode, limit=20_000)
    for number in range(100):
        assert len(kept(f"{number:02}" + "x" * 10 * number)) == 2 + 10 * number
        kept("again")
        assert kept.bytes <= 20_000
    assert encoded.count("again") == 1, "what is used stays"
    kept("99" + "x" * 990)
    kept("00")
    assert encoded.count("99" + "x" * 990) == 1
    assert encoded.count("00") == 2, "the oldest went"
    assert list(kept("y" * 9_000)) == list(range(9_000)), "too long to be kept"
    assert kept.bytes <= 20_000


def test_boundaries_of_parts_are_forgotten_in_time(tiny, monkeypatch):
    monkeypatch.setattr(tokenization, "KEPT_BOUNDARIES", 4)
    lm = tiny("llama").lm
    own = tokenization.Tokens(lm._tokenizer)
    for word in ("one", "two", "three", "four", "five", "six", "seven", "eight"):
        parts = [f"Text: {word}\n", f"{word} it is"]
        assert own.encode(parts) == lm.tokens.encode(["".join(parts)])
        assert len(own._stable) <= 4


@pytest.mark.parametrize("method", METHODS)
def test_a_trained_model_does_not_outlive_its_training(tiny, tmp_path, method):
    models = []

    def load():
        model = tiny("llama").model
        fresh = model.__class__.from_pretrained(tiny("llama").folder, dtype=torch.float32)
        models.append(ref(fresh))
        return fresh

    gc.disable()  # else it may run by chance
    try:
        tuner = Tuner(load, dtype=torch.bfloat16)
        tuner.train(TrainConfig(method, 1e-3, 1.0), ROWS, tmp_path)
        assert [model() for model in models] == [None]
    finally:
        gc.enable()
