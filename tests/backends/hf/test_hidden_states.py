"""Truncated backbones, and what features are made of."""

import numpy as np
import pytest
import torch
from torch import nn

from ragicl.backends.hf import lm
from ragicl.backends.hf.layers import blocks_of, truncated_backbone
from ragicl.prompting.template import plain_template

TEMPLATE = plain_template("classify")
KINDS = ["llama", "mistral", "gpt2", "neox", "gemma3", "bloom"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_backbone_ends_after_its_first_blocks(tiny, kind):
    model = tiny(kind).model
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        whole = model.base_model(ids, output_hidden_states=True)
        half = truncated_backbone(model, 0.5)(ids, output_hidden_states=True)
        again = model.base_model(ids)
    assert len(half.hidden_states) < len(whole.hidden_states)
    torch.testing.assert_close(half.hidden_states[0], whole.hidden_states[0])
    assert not torch.allclose(half.last_hidden_state, whole.last_hidden_state)
    torch.testing.assert_close(again.last_hidden_state, whole.last_hidden_state)


def test_all_blocks_are_the_body(tiny):
    model = tiny("llama").model
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        own, whole = truncated_backbone(model, 1.0)(ids), model.base_model(ids)
    torch.testing.assert_close(own.last_hidden_state, whole.last_hidden_state)


def test_experts_are_not_taken_for_blocks(tiny):
    model = tiny("llama").model
    _, blocks = blocks_of(model)
    blocks[0].experts = nn.ModuleList(nn.Linear(2, 2) for _ in range(3 * len(blocks)))
    try:
        assert blocks_of(model)[1] is blocks
    finally:
        del blocks[0].experts


@pytest.mark.parametrize("kind", ["llama", "gpt2"])  # packed, and one by one
def test_features_are_mean_states_of_the_first_blocks(tiny, monkeypatch, kind):
    monkeypatch.setattr(lm, "DEPTH", 0.5)
    it = tiny(kind)
    it.lm.__dict__.pop("_backbone", None)
    prompts = [TEMPLATE.render(text, []) for text in ("rain", "a song of the sea")]
    found = it.lm.features(prompts)
    for row, parts in zip(found, prompts, strict=True):
        ids = torch.tensor([it.lm.tokens.encode(parts)])
        with torch.inference_mode():
            states = truncated_backbone(it.model, 0.5)(ids).last_hidden_state[0]
        np.testing.assert_allclose(row, states.mean(dim=0), atol=1e-4)
    it.lm.__dict__.pop("_backbone", None)


def test_other_weights_have_other_features(tiny):
    it = tiny("llama")
    parts = TEMPLATE.render("rain", [])
    before = it.lm.features([parts])
    other = it.model.__class__(it.model.config)
    assert np.abs(it.lm.variant(other, "other").features([parts]) - before).max() > 1e-3
    np.testing.assert_array_equal(it.lm.features([parts]), before)
