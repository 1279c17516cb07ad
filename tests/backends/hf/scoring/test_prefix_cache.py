"""Beginnings that prompts share are read once; attention gives the same wherever it begins."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_models import ANSWERS, PROMPT
from torch.nn.functional import scaled_dot_product_attention

from ragicl.backends.hf.lm import HFLM
from ragicl.backends.hf.scoring import attention, prefix_cache
from ragicl.backends.hf.scoring.attention import _blocked
from ragicl.backends.hf.scoring.packing import States, spans_of
from ragicl.backends.hf.scoring.prefix_cache import PrefixCache

BLOCK = PROMPT.removesuffix("\nText: will it rain?\nLabel:")
QUERIES = ["play some jazz", "set an alarm", "will it rain in Paris?", "move the meeting"]
SHARING = [[BLOCK, f"\nText: {query}\nLabel:"] for query in QUERIES]


@pytest.fixture
def eager(monkeypatch):
    monkeypatch.setattr(prefix_cache, "SHORTEST", 4)


def fresh(it, dtype="float32", **options):
    lm = HFLM("hf:fresh", str(it.folder), dtype=dtype, **options)
    assert lm.packed
    return lm


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "neox"])
def test_scores_with_a_kept_beginning_are_those_without(tiny, eager, architecture, dtype):
    it = tiny(architecture)
    lm, other = fresh(it, dtype), fresh(it, dtype, prefix_bytes=0)
    expected = other.score(SHARING, ANSWERS)
    first, again = lm.score(SHARING, ANSWERS), lm.score(SHARING[:1], ANSWERS)
    assert (lm._prefix_cache.misses, lm._prefix_cache.hits) == (1, 1)
    assert other._prefix_cache.misses == 0
    tolerance = 1e-4 if dtype == "float32" else 0.1
    np.testing.assert_allclose(first, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(again, expected[:1], rtol=0, atol=tolerance)


def test_several_beginnings_in_one_batch(tiny, eager):
    it = tiny("llama")
    mixed = [
        [BLOCK + extra, *rest] for extra in ("", "\nText: x\nLabel: y") for _, *rest in SHARING
    ]
    mixed.append([PROMPT])
    lm = fresh(it)
    np.testing.assert_allclose(
        lm.score(mixed, ANSWERS),
        [it.lm.score([["".join(parts)]], ANSWERS)[0] for parts in mixed],
        rtol=0,
        atol=1e-4,
    )
    assert lm._prefix_cache.misses == 2


def test_a_beginning_is_kept_once_it_has_come_twice(tiny, eager):
    lm = fresh(tiny("llama"))
    for count, prompt in enumerate(SHARING[:3]):
        lm.score([prompt], ANSWERS)
        assert lm._prefix_cache.misses == min(count, 1)
    assert lm._prefix_cache.hits == 1


def test_short_beginnings_are_not_kept(tiny):
    lm = fresh(tiny("llama"))
    lm.score([["Hi.", "\nText: a\nLabel:"], ["Hi.", "\nText: b\nLabel:"]], ANSWERS)
    assert lm._prefix_cache.misses == 0


def test_kept_states_are_bounded_and_the_oldest_go_first():
    def read(ids):
        tensor = torch.zeros((1, 1, len(ids), 4))
        return States(((tensor, tensor),))

    size = read((1,) * 10).bytes
    kept = PrefixCache(limit=2 * size)
    a, b, c = [(n,) * 10 for n in range(3)]
    for ids in (a, b, a, c):
        kept.states(ids, read)
        held = kept._states
        assert sum(read(known).bytes for known in held) == held.currsize <= 2 * size
    assert set(held) == {a, c}
    assert (kept.hits, kept.misses) == (1, 3)
    assert kept.states((9,) * 1000, read).length == 1000, "used, though too large to be kept"
    assert set(held) == {a, c}


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("past", [0, 5, 64, 130])
def test_blocked_attention_is_the_fused_kernels(rows, past):
    torch.manual_seed(0)
    query = torch.randn(6, rows, 16)
    key, value = torch.randn(2, 2, past + rows, 16)
    mask = torch.ones(rows, past + rows, dtype=torch.bool).tril(past)
    expected = scaled_dot_product_attention(
        query[None], key[None], value[None], attn_mask=mask, scale=1.0, enable_gqa=True
    )[0].transpose(0, 1)
    for shown in (None, mask[:, past:], mask):
        torch.testing.assert_close(_blocked(query, key, value, shown), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_one_kernel_for_all_texts_is_called_as_documented(monkeypatch, shared):
    """torch's kernel needs a GPU: here its documentation, in plain operations."""

    def documented(query, key, value, q, k, max_q, max_k, *, scale, window_size, enable_gqa=False):
        assert window_size == (-1, 0)
        assert enable_gqa or query.shape[1] == key.shape[1] == value.shape[1]
        assert (max_q, max_k) == (int(q.diff().max()), int(k.diff().max()))
        texts = zip(pairwise(q.tolist()), pairwise(k.tolist()), strict=True)
        return torch.cat(
            [
                _blocked(
                    query[slice(*rows)].transpose(0, 1) * scale,
                    key[slice(*keys)].transpose(0, 1),
                    value[slice(*keys)].transpose(0, 1),
                    None,
                )
                for rows, keys in texts
            ]
        )

    def older(query, key, value, q, k, max_q, max_k, *, scale, window_size):
        return documented(
            query, key, value, q, k, max_q, max_k, scale=scale, window_size=window_size
        )

    monkeypatch.setattr(attention, "varlen_attn", documented if shared else older)
    torch.manual_seed(0)
    rows, lengths = [3, 5], [7, 5]
    query = torch.randn(1, 4, 8, 16)
    keys, values = ([torch.randn(1, 2, n, 16) for n in lengths] for _ in range(2))
    out = attention.attend_fused(query, keys, values, rows, 0.25)
    expected = []
    for some, key, value in zip((slice(0, 3), slice(3, 8)), keys, values, strict=True):
        n, past = some.stop - some.start, key.shape[2] - (some.stop - some.start)
        mask = torch.ones(n, past + n, dtype=torch.bool).tril(past)
        attended = scaled_dot_product_attention(
            query[:, :, some], key, value, attn_mask=mask, scale=0.25, enable_gqa=True
        )
        expected.append(attended.transpose(1, 2))
    torch.testing.assert_close(out, torch.cat(expected, dim=1), rtol=0, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's kernel runs on a GPU alone")
@pytest.mark.parametrize("lengths", [[7, 5], [3, 200, 64, 131]])
def test_one_kernel_for_all_texts_does_as_documented(lengths):
    torch.manual_seed(0)
    rows = [min(n, 3 + 40 * i) for i, n in enumerate(lengths)]
    made = partial(torch.randn, device="cuda", dtype=torch.bfloat16)
    query, spans = made(1, 6, sum(rows), 64), spans_of(rows)
    keys, values = ([made(1, 2, n, 64) for n in lengths] for _ in range(2))
    assert attention.fusible(query)
    out = attention.attend_fused(query, keys, values, rows, 0.125)
    plain = [
        _blocked(query[0, :, span].float() * 0.125, key[0].float(), value[0].float(), None)
        for span, key, value in zip(spans, keys, values, strict=True)
    ]
    torch.testing.assert_close(out[0].float(), torch.cat(plain), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("seed", range(20))
def test_a_row_attends_alike_whatever_is_read_with_it(seed):
    torch.manual_seed(seed)
    query = torch.randn(6, 300, 64).bfloat16() / 8
    key, value = torch.randn(2, 2, 300, 64).bfloat16()
    whole = _blocked(query, key, value, None)
    for cut in (1, 37, 64, 100, 200, 219, 290):
        before = _blocked(query[:, :cut], key[:, :cut], value[:, :cut], None)
        after = _blocked(query[:, cut:], key, value, None)
        assert torch.equal(torch.cat([before, after]), whole), cut
