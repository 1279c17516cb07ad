"""Scoring by a search of the trie: exact where it matters, a bound elsewhere, fewer nodes read."""

from math import inf

import numpy as np
import pytest
import torch
from tiny_models import ANSWERS, PROMPT

from ragicl.backends.hf.lm import HFLM
from ragicl.backends.hf.scoring import trie_search
from ragicl.backends.hf.scoring.packed_scoring import Job, score_jobs
from ragicl.backends.hf.scoring.packing import Reading
from ragicl.backends.hf.scoring.trie import ROOT, build_trie
from ragicl.backends.hf.scoring.trie_search import TrieSearch
from ragicl.protocols import Reporting

LABELS = [f" {a} {b} {c}\n" for a in ("set", "play") for b in ("the", "my") for c in "abcdefgh"]
PROMPTS = [[PROMPT], ["Text: play some jazz music\nLabel:"], ["Label:"]]


@pytest.mark.parametrize("margin", [0.0, 2.0, 14.0, 1e9])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "neox"])
def test_likely_answers_are_exact_and_others_stay_below(tiny, architecture, margin):
    lm = tiny(architecture).lm
    answers = [*ANSWERS, *LABELS]
    exact = lm.score(PROMPTS, answers)
    assert lm.packed
    scores = lm.score(PROMPTS, answers, prune_margin=margin)
    best = exact.max(axis=1, keepdims=True)
    likely = exact >= best - margin
    np.testing.assert_allclose(scores[likely], exact[likely], rtol=0, atol=1e-3)
    assert (scores >= exact - 1e-3).all(), "no bound lies below the truth"
    assert (scores <= np.where(likely, best, best - margin) + 1e-3).all()
    assert (scores.argmax(axis=1) == exact.argmax(axis=1)).all()


def test_scores_do_not_depend_on_the_prompts_read_along(tiny):
    lm = tiny("llama").lm
    together = lm.score(PROMPTS, LABELS, prune_margin=1.0)
    alone = [lm.score([prompt], LABELS, prune_margin=1.0)[0] for prompt in PROMPTS]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("whole", [0, 1000])
def test_fewer_nodes_are_read(tiny, monkeypatch, whole):
    it = tiny("llama")
    trie = build_trie([it.tokenizer(label)["input_ids"] for label in LABELS])
    passes = []

    def read(self, pieces, **options):
        passes.append([len(piece.tokens) for piece in pieces])
        return original(self, pieces, **options)

    original = Reading.read
    monkeypatch.setattr(Reading, "read", read)
    monkeypatch.setattr(trie_search, "WHOLE", whole)
    assert it.lm.packed
    passes.clear()
    with torch.inference_mode():
        everything = score_jobs(it.lm.model(), [Job([5, 6, 7], trie)], inf)
        assert passes == [[3], [len(trie.tokens)]], "one pass for all nodes"
        passes.clear()
        some = score_jobs(it.lm.model(), [Job([5, 6, 7], trie)], 0.5)
    if whole:
        assert len(passes) - 1 < max(trie.depths) + 1, "several levels in one pass"
    else:
        assert 0 < sum(map(sum, passes[1:])) < len(trie.tokens)
    assert max(some[0]) == pytest.approx(max(everything[0]), abs=1e-4)


def test_answers_left_out_have_no_score(tiny):
    lm = tiny("llama").lm
    exact = lm.score(PROMPTS, LABELS)
    chosen = [(0, 3), (5,), (1, 2, 30)]
    scores = lm.score(PROMPTS, LABELS, candidate_ids=chosen)
    slow = tiny("mistral").lm.score(PROMPTS, LABELS, candidate_ids=chosen)
    for row, some in enumerate(chosen):
        np.testing.assert_allclose(scores[row, some], exact[row, some], rtol=0, atol=1e-4)
    for table in (scores, slow):
        assert [tuple(np.flatnonzero(np.isfinite(row))) for row in table] == chosen


def test_a_branch_that_fell_behind_is_taken_up_again(monkeypatch):
    monkeypatch.setattr(trie_search, "WHOLE", 0)
    # "0 1" looks best at first and ends badly; "2 3" must be read after all.
    it = TrieSearch(build_trie([[0, 1], [2, 3]]), 4)
    it.update(ROOT, [-1.0, -3.0])
    assert it.frontier(1.0) == [0]
    it.update(0, [-9.0])
    assert it.frontier(1.0) == [1]
    it.update(1, [-0.5])
    assert it.frontier(1.0) == []
    assert it.scores == [-10.0, -3.5]


def test_an_answer_that_begins_another_is_ended_apart():
    it = TrieSearch(build_trie([[0], [0, 1], [0, 1]]), 1)
    it.update(ROOT, [-1.0])
    assert it.scores == [-1.0, -1.0, -1.0]
    it.update(0, [-2.0])
    assert it.scores == [-1.0, -3.0, -3.0]


@pytest.mark.parametrize("architecture", ["llama", "mistral", "mamba"])
def test_it_says_how_much_of_the_labels_is_read(tiny, monkeypatch, architecture):
    monkeypatch.setattr(trie_search, "MOST", 5)
    it = tiny(architecture)
    lm = HFLM("hf:told", str(it.folder), dtype="float32")
    told = []
    lm.progress = lambda *report: told.append(report)
    assert isinstance(lm, Reporting)
    scores = lm.score(PROMPTS, LABELS)
    names, done, totals = zip(*told, strict=True)
    assert {*names} == {"reading labels"}
    assert len({*totals}) == 1
    assert done[0] == 0
    assert done[-1] == totals[0]
    assert len({*done}) >= 4, "several times while it reads"
    assert list(done) == sorted(done)
    np.testing.assert_allclose(scores, it.lm.score(PROMPTS, LABELS), rtol=0, atol=1e-4)


@pytest.mark.parametrize("margin", [inf, 2.0])
def test_a_pass_reads_no_more_than_so_many_nodes(tiny, monkeypatch, margin):
    it = tiny("llama")
    trie = build_trie([it.tokenizer(label)["input_ids"] for label in LABELS])
    assert it.lm.packed
    with torch.inference_mode():
        at_once = score_jobs(it.lm.model(), [Job([5, 6, 7], trie)], margin)
        monkeypatch.setattr(trie_search, "MOST", 7)
        read = []
        in_parts = score_jobs(it.lm.model(), [Job([5, 6, 7], trie)], margin, read.append)
    assert max(read) <= 7
    assert sum(read) <= len(trie.tokens)
    best = max(at_once[0])
    for whole, part in zip(at_once[0], in_parts[0], strict=True):
        if whole >= best - margin:
            assert part == pytest.approx(whole, abs=1e-4)
