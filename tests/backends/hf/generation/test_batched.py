"""Texts written together are those written one at a time, whoever is beside them."""

import pytest
from tiny_models import PACKABLE, PROMPT, TOKENIZERS

from ragicl.backends.hf.generation import batched
from ragicl.backends.hf.lm import HFLM
from ragicl.errors import BudgetError

PROMPTS = [[PROMPT[:n], "Label:"] for n in (3, 20, 50, 80, 60, 40, 10, 5, 33, 71, 9)]
OPTIONS = [
    {},
    {"stop": ["a", "\n"]},
    {"temperature": 1.2, "seed": 3},
    {"temperature": 1.2, "seed": 4, "stop": ["e", ""]},
]


def one_by_one(lm, prompts, **options):
    return ["".join(lm.stream(parts, **options)) for parts in prompts]


@pytest.fixture
def passes(monkeypatch):
    """The rows of every pass, as (tokens read, rows)."""
    seen, forward = [], batched.forward

    def record(model, tokens, positions, segments, *rest, **options):
        seen.append((len(tokens), len(segments)))
        return forward(model, tokens, positions, segments, *rest, **options)

    monkeypatch.setattr(batched, "forward", record)
    return seen


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("architecture", "tokenizer"), [*zip(PACKABLE, TOKENIZERS, strict=True)])
def test_texts_are_those_of_generate(tiny, passes, architecture, tokenizer, options):
    lm = tiny(architecture, tokenizer).lm
    texts = lm.generate_batch(PROMPTS, max_tokens=20, **options)
    assert texts == one_by_one(lm, PROMPTS, max_tokens=20, **options)
    assert len(set(texts)) > 1
    assert max(rows for _, rows in passes) == batched.SLOTS < len(PROMPTS)


def test_a_sample_does_not_depend_on_the_texts_beside_it(tiny):
    lm, options = tiny("llama").lm, {"max_tokens": 12, "temperature": 1.5, "seed": 7}
    texts = lm.generate_batch(PROMPTS, **options)
    assert lm.generate_batch(PROMPTS[::-1], **options) == texts[::-1]
    assert lm.generate_batch(PROMPTS[2:5], **options) == texts[2:5]


@pytest.mark.parametrize(
    ("setting", "value"), [("SLOTS", 2), ("CACHE_BYTES", 0), ("BATCH_TOKENS", 9)]
)
def test_limits_are_kept_and_change_no_text(tiny, passes, monkeypatch, setting, value):
    lm = tiny("llama").lm
    expected = lm.generate_batch(PROMPTS, max_tokens=10)
    passes.clear()
    monkeypatch.setattr(batched, setting, value)
    assert lm.generate_batch(PROMPTS, max_tokens=10) == expected
    most = max(rows for _, rows in passes)
    assert most == {"SLOTS": 2, "CACHE_BYTES": 1, "BATCH_TOKENS": batched.SLOTS}[setting]
    if setting == "BATCH_TOKENS":  # no pass begins two prompts
        longest = max(lm.count(parts) for parts in PROMPTS)
        assert max(tokens for tokens, _ in passes) < longest + most


def test_a_text_that_ends_is_read_no_more(tiny, passes):
    it = tiny("gpt2")
    text = it.greedy("".join(PROMPTS[0]), 30)
    prompts, stop = [PROMPTS[0], *PROMPTS], [text[:1]]
    assert it.lm.generate_batch(prompts, max_tokens=30, stop=stop)[0] == ""
    passes.clear()
    it.lm.generate_batch([PROMPTS[0]] * 12, max_tokens=30, stop=[text[:2]])
    written = sum(tokens for tokens, _ in passes) - 12 * it.lm.count(PROMPTS[0])
    assert written < 12 * 20
    assert len(passes) < 50


def test_end_tokens_end_a_text(tiny, monkeypatch):
    it = tiny("neox")
    lm = HFLM("hf:ended", str(it.folder), dtype="float32")
    whole = lm.generate_batch(PROMPTS, max_tokens=16)
    every_seventh = list(range(0, len(it.tokenizer), 7))
    monkeypatch.setattr(lm.model().generation_config, "eos_token_id", every_seventh)
    texts = lm.generate_batch(PROMPTS, max_tokens=16)
    assert texts == one_by_one(lm, PROMPTS, max_tokens=16)
    assert sum(map(len, texts)) < sum(map(len, whole))


def test_a_models_own_way_of_writing_is_left_out(tiny, monkeypatch):
    it = tiny("llama")
    lm = HFLM("hf:penalty", str(it.folder), dtype="float32")
    config = lm.model().generation_config
    for name, value in {
        "repetition_penalty": 9.0,
        "no_repeat_ngram_size": 1,
        "num_beams": 2,
    }.items():
        monkeypatch.setattr(config, name, value)
    texts = [it.greedy("".join(parts), 12) for parts in PROMPTS]
    assert lm.generate_batch(PROMPTS, max_tokens=12) == texts
    assert one_by_one(lm, PROMPTS, max_tokens=12) == texts


def test_models_that_cannot_be_packed_write_one_by_one(tiny, passes):
    lm = tiny("mistral").lm
    assert lm.generate_batch(PROMPTS[:3], max_tokens=9) == one_by_one(lm, PROMPTS[:3], max_tokens=9)
    assert not passes


def test_no_prompts_and_prompts_that_are_too_long(tiny):
    lm = tiny("llama").lm
    assert lm.generate_batch([], max_tokens=3) == []
    with pytest.raises(BudgetError):
        lm.generate_batch([["a"], ["play jazz " * 400]], max_tokens=3)
