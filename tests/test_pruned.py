"""Pruned scoring: exact where it matters, a bound elsewhere, and fewer nodes read."""

import numpy as np
import pytest
import torch
from test_hf import ANSWERS, PROMPT, tiny  # noqa: F401 - a fixture

from ragicl.backends.hf import pruned
from ragicl.backends.hf.packed import score_packed
from ragicl.backends.hf.pruned import Walk, score_pruned
from ragicl.backends.hf.trie import ROOT, build_trie

LABELS = [f" {a} {b} {c}\n" for a in ("set", "play") for b in ("the", "my") for c in "abcdefgh"]
PROMPTS = [[PROMPT], ["Text: play some jazz music\nLabel:"], ["Label:"]]


@pytest.mark.parametrize("floor", [0.0, 2.0, 14.0, 1e9])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "neox"])
def test_likely_answers_are_exact_and_others_stay_below(tiny, architecture, floor):  # noqa: F811
    lm = tiny(architecture).lm
    answers = [*ANSWERS, *LABELS]
    exact = lm.score(PROMPTS, answers)
    assert lm.packed
    scores = lm.score(PROMPTS, answers, floor=floor)
    best = exact.max(axis=1, keepdims=True)
    likely = exact >= best - floor
    np.testing.assert_allclose(scores[likely], exact[likely], rtol=0, atol=1e-3)
    assert (scores >= exact - 1e-3).all(), "no bound lies below the truth"
    assert (scores <= np.where(likely, best, best - floor) + 1e-3).all()
    assert (scores.argmax(axis=1) == exact.argmax(axis=1)).all()


def test_scores_do_not_depend_on_the_prompts_read_along(tiny):  # noqa: F811
    lm = tiny("llama").lm
    together = lm.score(PROMPTS, LABELS, floor=1.0)
    alone = [lm.score([prompt], LABELS, floor=1.0)[0] for prompt in PROMPTS]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4)


def test_fewer_nodes_are_read(tiny, monkeypatch):  # noqa: F811
    it = tiny("llama")
    trie = build_trie([it.tokenizer(label)["input_ids"] for label in LABELS])
    count = []

    def read(model, tokens, *arguments):
        count.append(len(tokens))
        return original(model, tokens, *arguments)

    original = pruned.read
    monkeypatch.setattr(pruned, "read", read)
    assert it.lm.packed
    with torch.inference_mode():
        everything = score_pruned(it.lm._ready(), [[5, 6, 7]], [trie], 1e9)
        whole = sum(count)
        count.clear()
        score_pruned(it.lm._ready(), [[5, 6, 7]], [trie], 0.5)
        packed = score_packed(it.lm._ready(), [[5, 6, 7]], [trie])
    assert whole == len(trie.tokens)
    assert 0 < sum(count) < whole
    np.testing.assert_allclose(everything, packed, rtol=0, atol=1e-3)


def test_a_branch_that_fell_behind_is_taken_up_again():
    # "0 1" looks best at first and ends badly; "2 3" must be read after all.
    walk = Walk(build_trie([[0, 1], [2, 3]]), slice(0, 4))
    walk.take(ROOT, [-1.0, -3.0])
    assert walk.wanted(1.0) == [0]
    walk.take(0, [-9.0])
    assert walk.wanted(1.0) == [1]
    walk.take(1, [-0.5])
    assert walk.wanted(1.0) == []
    assert walk.scores == [-10.0, -3.5]


def test_an_answer_that_begins_another_is_ended_apart():
    walk = Walk(build_trie([[0], [0, 1], [0, 1]]), slice(0, 1))
    walk.take(ROOT, [-1.0])
    assert walk.scores == [-1.0, -1.0, -1.0]
    walk.take(0, [-2.0])
    assert walk.scores == [-1.0, -3.0, -3.0]
