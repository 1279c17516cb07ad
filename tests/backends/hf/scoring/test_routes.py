"""Every route scores as one pass per answer does; the fastest that agrees is taken."""

from functools import wraps

import numpy as np
import pytest
import torch
from tiny_models import ANSWERS, PROMPT

from ragicl.backends.hf.lm import HFLM
from ragicl.backends.hf.scoring import cached_scoring, routes
from ragicl.backends.hf.scoring.cached_scoring import score_expanded, score_stepped
from ragicl.backends.hf.scoring.reference_scoring import score_unpacked

ROUTES = {
    "llama": "packed",
    "mistral": "expanded",  # a sliding window in every layer
    "gemma2": "expanded",  # windows in every other layer, soft caps
    "gemma3": "expanded",
    "bloom": "expanded",  # ALiBi
    "qwen3next": "expanded",  # linear attention
    "falconh1": "expanded",  # attention and recurrence side by side
    "mamba": "stepped",  # forgets its state where it is given several tokens
    "recurrentgemma": "unpacked",  # keeps its state to itself
}
WINDOW = 8  # of the models above that have one
PROMPTS = [[*range(5, 45)], [*range(9, 20)], [30, 31, 32], [7]]
assert max(map(len, PROMPTS)) > 4 * WINDOW
TOKENS = [[7, 11, 13], [7, 17], [19], [5, 6, 8, 9, 3, 2, 1, 4, 44, 45], [7, 11, 13, 4], [20]]


@pytest.mark.parametrize("architecture", ROUTES)
def test_every_model_scores_as_one_pass_per_answer(tiny, architecture):
    it = tiny(architecture)
    scores = it.lm.score([[PROMPT], ["Label:"], ["x"]], ANSWERS * 2)
    assert it.lm.route() == ROUTES[architecture]
    expected = [it.reference(prompt, ANSWERS * 2) for prompt in (PROMPT, "Label:", "x")]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("architecture", [a for a, route in ROUTES.items() if route == "expanded"])
def test_expanded_and_stepped_scores_are_the_unpacked_ones(tiny, architecture):
    model = tiny(architecture).lm.model()
    with torch.inference_mode():
        for prompt in PROMPTS:
            slow = score_unpacked(model, prompt, TOKENS)
            for score in (score_expanded, score_stepped):
                np.testing.assert_allclose(score(model, prompt, TOKENS), slow, rtol=0, atol=1e-4)


@pytest.mark.parametrize("architecture", ["mistral", "qwen3next", "mamba"])
def test_batches_are_bounded_and_change_no_score(tiny, architecture, monkeypatch):
    it, rows = tiny(architecture), []
    model, forward = it.lm.model(), it.lm.model().forward

    @wraps(forward)  # its parameters are looked at
    def record(input_ids, **options):
        rows.append(len(input_ids))
        return forward(input_ids, **options)

    with torch.inference_mode():
        expected = score_stepped(model, PROMPTS[0], TOKENS)
        monkeypatch.setattr(model, "forward", record)
        monkeypatch.setattr(cached_scoring, "CACHE_BYTES", 0)
        one_by_one = score_stepped(model, PROMPTS[0], TOKENS)
        assert max(rows) == 1
        monkeypatch.setattr(cached_scoring, "CACHE_BYTES", 2**29)
        monkeypatch.setattr(cached_scoring, "LOGITS", 3 * len(it.tokenizer))
        rows.clear()
        by_threes = score_stepped(model, PROMPTS[0], TOKENS)
    assert max(rows) == 3
    np.testing.assert_allclose([one_by_one, by_threes], [expected] * 2, rtol=0, atol=1e-4)


def test_prompt_is_read_once(tiny, monkeypatch):
    lm, read = tiny("gemma2").lm, []
    model, forward = lm.model(), lm.model().forward
    assert lm.route() == "expanded"

    @wraps(forward)  # its parameters are looked at
    def record(input_ids, **options):
        read.append(input_ids.shape[1])
        return forward(input_ids, **options)

    monkeypatch.setattr(model, "forward", record)
    lm.score([[PROMPT]], ANSWERS)
    assert [length for length in read if length >= lm.count([PROMPT]) - 8] == read[:1]


def test_bytes_of_a_cache_are_those_of_its_tensors(tiny):
    model = tiny("qwen3next").lm.model()
    with torch.inference_mode():
        _, cache = cached_scoring._read(model, [PROMPTS[0]], 0, None)
    linear, full = cache.layers
    states = [*linear.conv_states.values(), *linear.recurrent_states.values()]
    expected = sum(t.nbytes for t in [*states, full.keys, full.values])
    assert cached_scoring._nbytes(vars(cache)) == expected


@pytest.mark.parametrize("wrong", [[[0.0, -1.0, -2.0]] * 3, None])
def test_routes_that_disagree_or_fail_are_left(tiny, monkeypatch, wrong):
    it = tiny("mistral")
    lm = HFLM("hf:other", str(it.folder), dtype="float32")

    def broken(*_):
        if wrong is None:
            raise RuntimeError("no such cache")
        return wrong[0]

    for route in ("expanded", "stepped"):
        monkeypatch.setitem(routes.ONE_PROMPT, route, broken)
    assert lm.route() == "unpacked"
    expected = it.reference(PROMPT, ANSWERS)
    np.testing.assert_allclose(lm.score([[PROMPT]], ANSWERS)[0], expected, atol=1e-3)
