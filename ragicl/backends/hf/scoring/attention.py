"""Attention of one prompt's rows to its keys, by the fastest exact route of the machine.

In bf16 on a CPU, torch's fused kernel runs at about a seventh of the matrix units' speed; the plain
formula in blocks of rows, on the products that oneDNN does at full speed, takes less than half of
its time. Scores are rounded to bf16 before the softmax, as in the eager attention of transformers.
Everywhere else the fused kernel is the faster one; a GPU has one for several texts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from inspect import signature
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.integrations.sdpa_attention import sdpa_attention_forward

varlen_attn: Any = None
with suppress(ImportError):  # torch before 2.10
    from torch.nn.attention import varlen

    varlen_attn = varlen.varlen_attn

BLOCK = 64  # rows at once; their scores stay in the cache of a core up to some thousand keys


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    **kwargs: Any,
) -> Tensor:
    """Return the attended values, shape (1, rows, heads, dim).

    :param query: shape (1, heads, rows, dim); the rows are the last of the keys
    :param key: shape (1, key heads, keys, dim), as is `value`
    :param mask: which of the last keys each row sees, shape (rows, last); all keys before them are
        seen; None lets each row see itself and what precedes it
    """
    rows, keys = query.shape[2], key.shape[2]
    if mask is None and (single := open_mask(query, key)) is not None:
        return sdpa_attention_forward(module, query, key, value, single, **kwargs)[0]
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
        return _blocked(query[0] * scaling, key[0], value[0], mask)[None]
    if mask is None and rows < keys:
        mask = torch.ones((rows, rows), dtype=torch.bool, device=query.device).tril()
    if mask is not None:
        mask = pad(mask, (keys - mask.shape[1], 0), value=True)[None, None]
    causal = {**kwargs, "is_causal": mask is None}
    return sdpa_attention_forward(module, query, key, value, mask, **causal)[0]


def open_mask(query: Tensor, key: Tensor) -> Tensor | None:
    """Return a mask that hides nothing for a single token on a CPU, else None.

    With a mask, ``sdpa`` reads each key once for all the heads that share it: eight times as fast
    in bf16. On a GPU, it would keep ``sdpa`` from its fast kernels.
    """
    if query.shape[2] != 1 or query.device.type != "cpu":
        return None
    return torch.ones((1, 1, 1, key.shape[2]), dtype=torch.bool)


def fusible(query: Tensor) -> bool:
    """Return whether a GPU can attend for texts of several lengths in one kernel."""
    half = query.dtype in (torch.bfloat16, torch.float16)
    return query.device.type == "cuda" and half and "window_size" in _options(varlen_attn)


def attend_fused(
    query: Tensor,
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    rows: Sequence[int],
    scaling: float | None,
) -> Tensor:
    """Attend for several texts in one kernel; each row sees itself and what precedes it.

    :param query: shape (1, heads, all rows, dim), the texts' rows one after the other
    :param keys: for each text, shape (1, key heads, its keys, dim), as are `values`
    :param rows: number of rows of each text, the last of its keys
    :return: shape (1, all rows, heads, dim)
    """
    lengths = [key.shape[2] for key in keys]
    starts = [
        torch.tensor([0, *accumulate(some)], dtype=torch.int32, device=query.device)
        for some in (rows, lengths)
    ]
    joined = [torch.cat(list(some), dim=2)[0].transpose(0, 1) for some in (keys, values)]
    sharing = {"enable_gqa": True} if "enable_gqa" in _options(varlen_attn) else {}
    if not sharing:  # an older torch: each head needs keys of its own
        times = query.shape[1] // joined[0].shape[1]
        joined = [some.repeat_interleave(times, dim=1) for some in joined]
    out: Tensor = varlen_attn(
        query[0].transpose(0, 1),
        *joined,
        *starts,
        max(rows),
        max(lengths),
        scale=scaling,
        window_size=(-1, 0),  # causal, aligned to the end of the keys
        **sharing,
    )
    return out[None]


@cache
def _options(kernel: Callable[..., Any] | None) -> frozenset[str]:
    """Return the options of a kernel: they differ between versions of torch."""
    return frozenset(() if kernel is None else signature(kernel).parameters)


def _blocked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attend block by block; queries are scaled already. Return shape (rows, heads, dim).

    Blocks end at multiples of BLOCK of the keys, wherever the rows begin, and a last one is filled
    with keys of no weight: a row's result is the same to the last bit, whatever is read with it.
    """
    heads, rows, dim = query.shape
    groups, keys, _ = key.shape
    query = query.reshape(groups, heads // groups, rows, dim)
    key = key.transpose(1, 2)
    out = query.new_empty((rows, heads, dim))
    begin = first = keys - rows
    while begin < keys:
        end = min((begin // BLOCK + 1) * BLOCK, keys)
        some = slice(begin - first, end - first)
        seen = end if mask is None else keys
        block = query[:, :, some].reshape(groups, -1, dim)
        scores = torch.bmm(block, key[:, :, :seen])
        last = _bias(end - begin, query) if mask is None else _bias_of(mask[some], query)
        scores.view(groups, heads // groups, end - begin, seen)[..., seen - last.shape[1] :] += last
        values = value[:, :seen]
        if spare := -seen % BLOCK:
            scores = pad(scores, (0, spare), value=float("-inf"))
            values = pad(values, (0, 0, 0, spare))
        attended = torch.bmm(torch.softmax(scores, dim=-1), values)
        out[some] = attended.view(heads, end - begin, dim).transpose(0, 1)
        begin = end
    return out


def _bias(size: int, like: Tensor) -> Tensor:
    return like.new_full((size, size), float("-inf")).triu(1)


def _bias_of(mask: Tensor, like: Tensor) -> Tensor:
    return torch.zeros(mask.shape, dtype=like.dtype).masked_fill(~mask, float("-inf"))
