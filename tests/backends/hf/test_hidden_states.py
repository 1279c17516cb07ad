"""Truncated backbones, and states after some of the blocks."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from tiny_models import needs_packaged
from torch import nn

from ragicl.backends import open_lm
from ragicl.backends.hf import hidden_states
from ragicl.backends.hf.layers import Stack, blocks_of
from ragicl.backends.hf.lm import HFLM
from ragicl.prompting.template import plain_template

TEMPLATE = plain_template("classify")
KINDS = ["llama", "mistral", "gpt2", "neox", "gemma3", "bloom"]


def halved(model):
    stack = Stack(model)
    return stack.truncated(stack.depth(0.5))


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_backbone_ends_after_its_first_blocks(tiny, kind):
    model = tiny(kind).model
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        whole = model.base_model(ids, output_hidden_states=True)
        half = halved(model)(ids, output_hidden_states=True)
        again = model.base_model(ids)
    assert len(half.hidden_states) < len(whole.hidden_states)
    torch.testing.assert_close(half.hidden_states[0], whole.hidden_states[0])
    assert not torch.allclose(half.last_hidden_state, whole.last_hidden_state)
    torch.testing.assert_close(again.last_hidden_state, whole.last_hidden_state)


def test_all_blocks_are_the_body(tiny):
    model = tiny("llama").model
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        own, whole = Stack(model).truncated(len(blocks_of(model)[1]))(ids), model.base_model(ids)
    torch.testing.assert_close(own.last_hidden_state, whole.last_hidden_state)


def test_experts_are_not_taken_for_blocks(tiny):
    model = tiny("llama").model
    _, blocks = blocks_of(model)
    blocks[0].experts = nn.ModuleList(nn.Linear(2, 2) for _ in range(3 * len(blocks)))
    try:
        assert blocks_of(model)[1] is blocks
    finally:
        del blocks[0].experts


SHARES = (0.5, 1.0)
SHOTS = [("a red fox runs over the hill", "yes"), ("music of the night", "no")] * 8
TEXTS = ("rain", "a song of the sea and of all that is in it", "snow falls")


def in_context(text):
    """Return a prompt whose first part is the same for every text."""
    parts = TEMPLATE.render(text, SHOTS)
    return "".join(parts[:-1]), parts[-1]


def slowly(lm, parts):
    """Return the states that a whole prompt has when it is read at once, without any cache."""
    model = lm.model()
    ids = lm.tokens.encode(parts)
    first = len(lm.tokens.encode(parts[:1])) if len(parts) > 1 else 0
    _, blocks = blocks_of(model)
    found = {}
    hooks = [
        block.register_forward_hook(lambda module, given, output, i=i: found.update({i: output}))
        for i, block in enumerate(blocks, 1)
    ]
    with torch.inference_mode():
        model.base_model(torch.tensor([ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    rows = []
    for share in SHARES:
        output = found[Stack(model).depth(share)]
        states = (output[0] if isinstance(output, tuple) else output)[0, first:].numpy()
        states = states / np.sqrt((states**2).mean(axis=1, keepdims=True) + hidden_states.TINY)
        rows.append([states.mean(axis=0), states[-1]])
    return rows


@pytest.mark.parametrize("kind", [*KINDS, "mamba"])  # packed, and one by one
def test_states_after_a_kept_prefix_are_those_of_the_whole_prompt(tiny, kind):
    it = tiny(kind)
    prompts = [in_context(text) for text in TEXTS]
    expected = [slowly(it.lm, parts) for parts in prompts]
    for _ in range(2):  # the prefix is read, then kept
        np.testing.assert_allclose(it.lm.states(prompts, SHARES), expected, rtol=1e-4, atol=1e-4)
    alone = [("".join(parts),) for parts in prompts]  # then the mean is over all of it
    expected = [slowly(it.lm, parts) for parts in alone]
    np.testing.assert_allclose(it.lm.states(alone, SHARES), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_batches_and_their_order_do_not_matter(tiny, monkeypatch, kind):
    lm = tiny(kind).lm
    prompts = [in_context(text) for text in TEXTS] + [TEMPLATE.render("rain", [])]
    together = lm.states(prompts, SHARES)
    np.testing.assert_allclose(lm.states(prompts[::-1], SHARES)[::-1], together, atol=1e-4)
    monkeypatch.setattr(hidden_states, "READ_TOKENS", 1)
    np.testing.assert_allclose(lm.states(prompts, SHARES), together, atol=1e-4)


def test_a_prefix_is_read_once(tiny):
    lm = HFLM("tiny", tiny("llama").lm.name)
    lm.load()
    assert lm.packed
    for text in TEXTS:
        lm.states([in_context(text)], SHARES)
    assert (lm._prefix_cache.misses, lm._prefix_cache.hits) == (1, len(TEXTS) - 1)


def test_nothing_above_the_deepest_share_is_run(tiny):
    it = tiny("llama")
    _, blocks = blocks_of(it.lm.model())
    it.lm.states([in_context("rain")], (0.5,))  # reads the whole prefix, for scores too
    ran = []
    hooks = [b.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, b in enumerate(blocks)]
    it.lm.states([in_context("snow")], (0.5,))
    for hook in hooks:
        hook.remove()
    assert ran == list(range(Stack(it.model).depth(0.5)))


def test_other_weights_have_other_states(tiny):
    it = tiny("llama")
    prompts = [in_context("rain")]
    before = it.lm.states(prompts, SHARES)
    other = it.model.__class__(it.model.config)
    assert np.abs(it.lm.variant(other, "other").states(prompts, SHARES) - before).max() > 1e-3
    np.testing.assert_array_equal(it.lm.states(prompts, SHARES), before)


@needs_packaged
@pytest.mark.packaged
def test_packaged_model_after_a_kept_prefix_as_of_the_whole_prompt():
    lm = open_lm("smollm2", dtype="float32")
    prompts = [in_context(text) for text in TEXTS]
    expected = [slowly(lm, parts) for parts in prompts]
    for _ in range(2):
        np.testing.assert_allclose(lm.states(prompts, SHARES), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_uses_the_states_of_a_prefix(tiny, kind):
    """A model that was given them reads the text alone, and finds the same."""
    name = tiny(kind).lm.name
    prompts = [in_context(text) for text in TEXTS]
    first = HFLM("tiny", name, dtype="float32")
    data, expected = first.prefix_bytes(prompts[0]), first.states(prompts, SHARES)
    second = HFLM("tiny", name, dtype="float32")
    if not first.packed:  # it reads whole prompts
        assert data is None
        assert not second.restore_prefix(prompts[0], b"")
        return
    assert second.restore_prefix(prompts[0], data)
    np.testing.assert_array_equal(second.states(prompts, SHARES), expected)
    assert second._prefix_cache.misses == 0


def test_states_of_a_prefix_that_do_not_fit_are_not_used(tiny):
    prompt, other = in_context("rain"), ("Text: another beginning\n" * 20, "Text: rain")
    lm = HFLM("tiny", tiny("llama").lm.name, dtype="float32")
    data = lm.prefix_bytes(prompt)
    assert lm.prefix_bytes(("short", "rain")) is None
    assert lm.prefix_bytes(("one part",)) is None
    tensors = load(data)
    damages = {
        "cut": data[: len(data) // 2],
        "of another text": lm.prefix_bytes(other),
        "of other weights": save({**tensors, "1.keys": tensors["1.keys"] + 1}),
        "of fewer tokens": save({**tensors, "1.keys": tensors["1.keys"][:, :, 1:].contiguous()}),
        "of fewer layers": save({k: v for k, v in tensors.items() if not k.startswith("1.")}),
        "of another type": save({**tensors, "1.keys": tensors["1.keys"].bfloat16()}),
        "of no text": save({k: v for k, v in tensors.items() if k != "ids"}),
        "of another name": save({f"{k}s": v for k, v in tensors.items()}),
    }
    for what, damaged in damages.items():
        assert not lm.restore_prefix(prompt, damaged), what
    assert lm.restore_prefix(prompt, data)
