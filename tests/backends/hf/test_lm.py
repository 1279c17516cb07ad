"""The Hugging Face backend, on tiny random models: scores, texts, tokens, errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import (
    ANSWERS,
    PACKABLE,
    PROMPT,
    TOKENIZERS,
    WINDOW,
    Open,
    needs_packaged,
    save_tiny_model,
    slow_scores,
    tokenizer_of,
)
from tokenizers import Tokenizer, models
from transformers import (
    PreTrainedTokenizerFast,
)

from ragicl.backends import open_lm
from ragicl.backends.defaults import SMOLLM2
from ragicl.backends.hf import loading, unpacking
from ragicl.backends.hf.generation.streaming import GumbelSampling, until_stop
from ragicl.backends.hf.lm import HFLM
from ragicl.backends.hf.scoring import batching, routes
from ragicl.backends.hf.scoring.packed_scoring import Job, score_jobs
from ragicl.backends.hf.scoring.reference_scoring import score_unpacked
from ragicl.backends.hf.scoring.trie import ROOT, build_trie
from ragicl.backends.hf.tokenization import Split, Tokens
from ragicl.errors import BackendError, BudgetError
from ragicl.prompting.template import chat_template

# ---------------------------------------------------------------------------------- scoring


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("architecture", PACKABLE)
def test_packed_scores_are_those_of_one_pass_per_label(
    tiny: Open, architecture: str, tokenizer: str
) -> None:
    it = tiny(architecture, tokenizer)
    prompts = [PROMPT, "Text: play some jazz music\nLabel:", "Label: "]
    scores = it.lm.score([[p[:9], p[9:]] for p in prompts], ANSWERS)
    assert it.lm.packed
    assert scores.dtype == np.float32
    expected = [it.reference(prompt, ANSWERS) for prompt in prompts]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-3)


def test_one_token_answers_need_one_pass_only(tiny: Open) -> None:
    it = tiny()
    assert all(len(it.tokenizer.encode(answer)) == 1 for answer in "xyz")
    expected = [it.reference(PROMPT, list("xyz"))]
    np.testing.assert_allclose(it.lm.score([[PROMPT]], list("xyz")), expected, atol=1e-3)


def test_prompts_with_and_without_answer_nodes_share_a_pass(tiny: Open) -> None:
    model = tiny().lm.model()
    assert tiny().lm.packed
    prompts, answers = [[5, 9, 30], [7, 7, 8, 1], [40]], [[[3]], [[3, 4], [3, 4, 5]], [[9], [8]]]
    with torch.inference_mode():
        jobs = [Job(p, build_trie(a)) for p, a in zip(prompts, answers, strict=True)]
        fast = score_jobs(model, jobs, inf)
        slow = [score_unpacked(model, p, a) for p, a in zip(prompts, answers, strict=True)]
    for row, expected in zip(fast, slow, strict=True):
        np.testing.assert_allclose(row, expected, atol=1e-3)


def test_trie_reads_shared_beginnings_once_and_no_last_token() -> None:
    trie = build_trie([[1, 2, 3], [1, 2], [1, 2, 4, 5], [6]])
    assert trie.tokens == (1, 2, 4)
    assert trie.parents == (ROOT, 0, 1)
    assert trie.depths == (0, 1, 2)
    assert trie.followers[ROOT] == {1: ((0, 0), (0, 1), (0, 2)), 6: ((None, 3),)}
    assert trie.followers[0] == {2: ((1, 0), (None, 1), (1, 2))}


def test_trie_of_some_answers_keeps_their_numbers() -> None:
    trie = build_trie([[1, 2], [3], [1, 4, 5]], candidate_ids=(2, 1))
    assert trie.tokens == (1, 4)
    assert trie.size == 3
    assert trie.followers[ROOT] == {3: ((None, 1),), 1: ((0, 2),)}
    assert (trie.followers[0], trie.followers[1]) == ({4: ((1, 2),)}, {5: ((None, 2),)})


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mistral"])
def test_scores_do_not_depend_on_batches_or_order(tiny: Open, architecture: str) -> None:
    it = tiny(architecture)
    texts = ["play jazz", "will it rain in Paris today?", "alarm", "move the meeting " * 9, "ok"]
    prompts = [[f"Text: {text}\nLabel:"] for text in texts]
    one_by_one = HFLM("hf:small", str(it.folder), dtype="float32", batch_tokens=1)
    few = HFLM("hf:some", str(it.folder), dtype="float32", batch_tokens=150)
    expected = it.lm.score(prompts, ANSWERS)
    for scores in (
        one_by_one.score(prompts, ANSWERS),
        few.score(prompts, ANSWERS),
        it.lm.score(prompts[::-1], ANSWERS)[::-1],
    ):
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)
        assert (scores.argmax(axis=1) == expected.argmax(axis=1)).all()


def test_logits_held_at_once_are_bounded(tiny: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    it = tiny()
    splits, tries = [Split([1, 2, 3, 4], ())] * 5, [build_trie([[1, 2, 3]])] * 5
    monkeypatch.setattr(batching, "BATCH_LOGITS", 2 * 3 * len(it.tokenizer))
    options = {"vocabulary": len(it.tokenizer), "max_tokens": 4096}
    found = batching.batches(splits, [()] * 5, tries, **options)
    assert [len(batch) for batch in found] == [2, 2, 1]


def test_unpacked_scoring_keeps_few_logits(tiny: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    it, kept = tiny("recurrentgemma"), []
    model = it.lm.model()
    assert it.lm.route() == "unpacked"
    forward = model.forward
    lengths = [len(ids) for ids in it.tokenizer([PROMPT, *ANSWERS])["input_ids"]]

    def record(*args, logits_to_keep=0, **options):  # the name is what the library looks at
        output = forward(*args, logits_to_keep=logits_to_keep, **options)
        kept.append(output.logits.shape[1])
        return output

    monkeypatch.setattr(model, "forward", record)
    it.lm.score([[PROMPT]], ANSWERS)
    assert kept
    assert max(kept) <= max(lengths[1:]) + 1 < lengths[0]


def test_no_prompts_or_no_answers_give_an_empty_table(tiny: Open) -> None:
    assert tiny().lm.score([], ANSWERS).shape == (0, len(ANSWERS))
    assert tiny().lm.score([[PROMPT], ["a"]], []).shape == (2, 0)


def test_packing_that_changes_scores_is_not_used(
    tiny: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = tiny()
    lm = HFLM("hf:other", str(it.folder), dtype="float32")
    usual = lm.model().config._attn_implementation
    with monkeypatch.context() as patch:
        patch.setattr(routes, "score_jobs", lambda *_: [[0.0, -1.0, -2.0]] * 3)
        assert not lm.packed
    assert lm.model().config._attn_implementation == usual
    expected = it.reference(PROMPT, ANSWERS)
    np.testing.assert_allclose(lm.score([[PROMPT]], ANSWERS)[0], expected, atol=1e-3)


def test_packing_is_held_against_the_models_own_attention(tiny: Open) -> None:
    """A model that needs more than sdpa gives (here: eager with a twist) must stay unpacked."""
    it = tiny()
    lm = HFLM("hf:eager", str(it.folder), dtype="float32")
    model = lm.model()
    model.set_attn_implementation("eager")
    own = type(model.model.layers[0].self_attn).forward

    def twisted(self, hidden_states, *args, **options):
        scale = 3.0 if self.config._attn_implementation == "eager" else 1.0
        return own(self, hidden_states * scale, *args, **options)

    for layer in model.model.layers:
        layer.self_attn.forward = twisted.__get__(layer.self_attn)
    assert not lm.packed
    assert model.config._attn_implementation == "eager"


def test_eight_threads_score_and_count_as_one_does(tiny: Open) -> None:
    it = tiny("llama", "metaspace")
    lm = open_lm(f"hf:{it.folder}", dtype="float32")  # fresh: the threads also load the weights
    texts = [f"{PROMPT} {'music ' * n}" for n in range(8)]
    expected = [(it.lm.score([[t]], ANSWERS), it.lm.count([t])) for t in texts]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            found = list(pool.map(lambda t: (lm.score([[t]], ANSWERS), lm.count([t])), texts))
            for (scores, count), (right, number) in zip(found, expected, strict=True):
                np.testing.assert_allclose(scores, right, atol=1e-4)
                assert count == number


# ---------------------------------------------------------------------------------- tokens

WORDS = ["Label", ":", " ", "  ", "\n", "\n\n", "calendar", " update", "Text", "music", "don", "'t"]
WORDS += ["12", "7", "é", "e\u0301", "日本", "🙂", "aa", "x", ".", "\t", "the meeting with bob"]
pieces = st.lists(st.sampled_from(WORDS), max_size=25).map("".join)
texts = pieces | st.text(max_size=12) | st.tuples(pieces, st.text(max_size=4)).map("".join)
answer_lists = st.lists(texts.filter(bool), min_size=1, max_size=4)


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(deadline=None, max_examples=150)
@given(prompt=texts, answers=answer_lists)
def test_split_is_the_whole_texts_own_segmentation(
    kind: str, prompt: str, answers: list[str]
) -> None:
    tokenizer = tokenizer_of(kind)
    ids, suffixes, _ = Tokens(tokenizer).split([prompt], answers)
    for answer, suffix in zip(answers, suffixes, strict=True):
        assert [*ids, *suffix] == tokenizer(prompt + answer)["input_ids"]
        assert suffix


SHOTS = st.tuples(pieces, pieces).map(lambda shot: f"\nText: {shot[0]}\nLabel: {shot[1]}")


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(deadline=None, max_examples=100)
@given(prompts=st.lists(st.tuples(pieces, st.lists(SHOTS, max_size=4)), min_size=1, max_size=5))
def test_ids_kept_for_parts_are_those_of_the_text(
    kind: str, prompts: list[tuple[str, list[str]]]
) -> None:
    tokenizer = tokenizer_of(kind)
    tokens = Tokens(tokenizer)
    for instruction, shots in prompts:
        parts = [instruction, *shots, "\nText: x\nLabel:"]
        assert tokens.encode(parts) == tokenizer("".join(parts))["input_ids"]
        ids, (suffix,), first = tokens.split(parts, [" play music"])
        assert [*ids, *suffix] == tokenizer("".join(parts) + " play music")["input_ids"]
        assert first == 0 or ids[:first] == tokenizer(parts[0])["input_ids"]


def test_parts_are_kept_where_the_tokenizer_joins_them_and_not_elsewhere() -> None:
    parts = ["Classify.", "\nText: a\nLabel: play", "\nText: b\nLabel:"]
    for kind, stable in (("bytes", True), ("metaspace", False)):
        tokens = Tokens(tokenizer_of(kind))
        tokens.encode(parts)
        assert tokens.prefix_stable is stable
    tokens = Tokens(tokenizer_of("bytes"))
    assert tokens.encode(["Cla", "ssify"]) == tokenizer_of("bytes")("Classify")["input_ids"]
    assert not tokens.prefix_stable


@pytest.mark.parametrize("length", range(1, 26))
def test_answer_that_changes_tokens_far_back_in_the_prompt(length: int) -> None:
    tokenizer = chain_tokenizer()
    ids, suffixes, _ = Tokens(tokenizer).split(
        [LETTERS[:length]], [LETTERS[length], LETTERS[length:]]
    )
    for suffix, end in zip(suffixes, (length + 1, 26), strict=True):
        assert [*ids, *suffix] == tokenizer(LETTERS[:end])["input_ids"]


LETTERS = "abcdefghijklmnopqrstuvwxyz"


@cache
def chain_tokenizer() -> PreTrainedTokenizerFast:
    """Pairs join from the right, so that one more letter shifts every pair before it."""
    merges = [(left, right) for left, right in pairwise(LETTERS)][::-1]
    tokens = [*LETTERS, *(left + right for left, right in merges)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocabulary, merges)))


def test_prompt_and_answer_that_merge_are_scored_merged(tiny: Open) -> None:
    it = tiny("llama", "merging")
    ids, (suffix,), _ = it.lm.tokens.split([PROMPT], [" calendar\n"])
    assert len(ids) < len(it.tokenizer(PROMPT)["input_ids"])
    assert any(": " in it.tokenizer.decode([token]) for token in suffix)


@pytest.mark.parametrize("kind", ["bytes", "metaspace"])
def test_prompt_is_shared_whole_where_nothing_merges(kind: str) -> None:
    ids, _, _ = Tokens(tokenizer_of(kind)).split([PROMPT], ANSWERS[:5])
    assert ids == tokenizer_of(kind)(PROMPT)["input_ids"]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_count_is_the_tokenizers_own(tiny: Open, kind: str) -> None:
    it = tiny("llama", kind)
    for text in (PROMPT, "", "日本 🙂", *ANSWERS):
        assert it.lm.count([text[:3], text[3:]]) == len(it.tokenizer(text)["input_ids"])


CHAT = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "[{{ m.role }}] {{ m.content }}<|end|>\n{% endfor %}[assistant] "
)


@pytest.fixture
def chatting(tiny: Open) -> HFLM:
    lm = HFLM("hf:chat", str(tiny("llama", "metaspace").folder), dtype="float32")
    lm._tokenizer.chat_template = CHAT
    return lm


def test_chat_text_begins_with_one_bos(chatting: HFLM) -> None:
    text = chatting.chat([{"role": "user", "content": "will it rain"}])
    assert text == "<s>[user] will it rain<|end|>\n[assistant] "
    plain = chatting._tokenizer(text, add_special_tokens=False)["input_ids"]
    assert plain.count(chatting._tokenizer.bos_token_id) == 1
    assert chatting.count([text]) == len(plain)
    ids, (suffix,), _ = chatting.tokens.split([text], ["calendar"])
    whole = chatting._tokenizer(text + "calendar", add_special_tokens=False)["input_ids"]
    assert [*ids, *suffix] == whole


def test_chat_format_that_refuses_a_message_is_explained(chatting: HFLM) -> None:
    with pytest.raises(BackendError, match=r"^hf:chat .*System role not supported.*$"):
        chatting.chat([{"role": "system", "content": "be brief"}])


def test_model_without_chat_format_says_so(tiny: Open) -> None:
    with pytest.raises(BackendError, match="no chat template; use the plain template"):
        tiny().lm.chat([{"role": "user", "content": "hello"}])


# ---------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(("architecture", "tokenizer"), [*zip(PACKABLE, TOKENIZERS, strict=True)])
def test_greedy_text_is_that_of_the_models_own_generate(
    tiny: Open, architecture: str, tokenizer: str
) -> None:
    it = tiny(architecture, tokenizer)
    before = "".join(it.lm.stream([PROMPT], max_tokens=20))
    it.lm.score([[PROMPT]], ANSWERS)  # switches packing on
    after = "".join(it.lm.stream([PROMPT[:5], PROMPT[5:]], max_tokens=20))
    assert before == after == it.greedy(PROMPT, 20)
    assert before


def sample(lm: HFLM, seed: int, tokens: int = 16) -> str:
    return "".join(lm.stream([PROMPT], max_tokens=tokens, temperature=1.5, seed=seed))


def test_seeds_repeat_and_differ_while_other_threads_sample(tiny: Open) -> None:
    lm = tiny("neox").lm
    alone = [sample(lm, seed) for seed in range(3)]
    assert len(set(alone)) == 3
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda seed: sample(lm, seed), range(3))) == alone


def test_samples_follow_the_models_probabilities() -> None:
    scores = torch.tensor([1.0, 2.0, 3.0]).expand(20_000, 3)
    sampled = GumbelSampling(temperature=2.0, seed=7)(torch.empty(0), scores).argmax(dim=-1)
    shares = torch.bincount(sampled, minlength=3) / len(scores)
    torch.testing.assert_close(shares, (scores[0] / 2).softmax(-1), atol=0.015, rtol=0)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_stop_string_cuts_where_it_begins(tiny: Open, width: int) -> None:
    it = tiny("gpt2")
    whole = it.greedy(PROMPT, 24)
    for at in range(1, len(whole) - width):
        stop = whole[at : at + width]
        written = "".join(until_stop(list(whole), [stop, "never there"]))
        assert written == whole[: whole.index(stop)]
    stop = whole[len(whole) // 2 :][:width]
    written = "".join(it.lm.stream([PROMPT], max_tokens=24, stop=[stop]))
    assert written == whole[: whole.index(stop)]


def cut(text: str, stops: Sequence[str]) -> str:
    """Read letter by letter up to the first stop string that is complete."""
    for end in range(1, len(text) + 1):
        if ended := [s for s in stops if s and text[:end].endswith(s)]:
            return text[: end - max(map(len, ended))]
    return text


@settings(deadline=None, max_examples=400)
@given(
    pieces=st.lists(st.text("abc", max_size=4), max_size=12),
    stops=st.lists(st.text("abc", max_size=4), max_size=3),
)
def test_text_up_to_a_stop_does_not_depend_on_the_pieces(
    pieces: list[str], stops: list[str]
) -> None:
    assert "".join(until_stop(pieces, stops)) == cut("".join(pieces), stops)
    assert "".join(until_stop(["".join(pieces)], stops)) == cut("".join(pieces), stops)


def test_text_is_not_held_back_without_need() -> None:
    written = until_stop(iter(["one ", "two\n", "three"]), ["\nText:"])
    assert [next(written), next(written)] == ["one ", "two"]


def test_closing_the_text_early_ends_its_thread(tiny: Open) -> None:
    lm = tiny("llama", "merging").lm
    before = set(threading.enumerate())
    pieces = lm.stream([PROMPT], max_tokens=400)
    next(pieces)
    assert set(threading.enumerate()) - before
    pieces.close()
    assert not set(threading.enumerate()) - before


def test_failure_in_the_worker_reaches_the_reader(
    tiny: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = HFLM("hf:failing", str(tiny().folder), dtype="float32")

    def fail(**_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(lm.model(), "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(lm.stream(["Text"], max_tokens=3))


# ---------------------------------------------------------------------------------- errors


def one_line_error(open_it: Callable[[], object]) -> str:
    with pytest.raises(BackendError) as caught:
        open_it()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("spec", ["gguf:x", "hf", "hf:", "smollm2:x", "", ":x", "llama"])
def test_unknown_kinds_are_named_with_the_known_ones(spec: str) -> None:
    message = one_line_error(lambda: open_lm(spec))
    assert message.startswith(f"unknown language model {spec!r}; known: smollm2, hf:NAME")


def test_missing_model_and_folder_without_one(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        message = one_line_error(lambda folder=folder: open_lm(f"hf:{folder}", dtype="float32"))
        assert message.startswith(f"cannot load the language model '{folder}': ")
        assert message.endswith("; give a hub name or a model folder")


def test_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    save_tiny_model(tmp_path, "llama", tokenizer_of("bytes"))
    for file in tmp_path.glob("tokenizer*"):
        file.unlink()
    message = one_line_error(lambda: open_lm(f"hf:{tmp_path}", dtype="float32"))
    assert "tokenizer" in message


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_damaged_files_are_an_error_in_one_line(tmp_path: Path, file: str) -> None:
    save_tiny_model(tmp_path, "llama", tokenizer_of("bytes"))
    damaged = tmp_path / file
    damaged.write_bytes(damaged.read_bytes()[:100])

    def use() -> object:
        return open_lm(f"hf:{tmp_path}", dtype="float32").score([["a b"]], ["c"])

    assert f"'{tmp_path}'" in one_line_error(use)


def test_prompt_longer_than_the_window_has_both_numbers(tiny: Open) -> None:
    it = tiny()
    prompt, answers = "x" * WINDOW, ["a", "b\n"]
    needed = len(it.tokenizer(prompt + "b\n")["input_ids"])
    assert needed == WINDOW + 2
    with pytest.raises(BudgetError, match=rf"takes {needed} tokens.* reads {WINDOW}$") as caught:
        it.lm.score([["short"], [prompt]], answers)
    assert (caught.value.needed, caught.value.budget) == (needed, WINDOW)
    assert it.lm.score([[prompt[:-2]]], answers).shape == (1, 2)  # exactly the window


def test_empty_prompt_cannot_be_scored_without_a_first_token(tiny: Open) -> None:
    with pytest.raises(BackendError, match="empty prompt; add an instruction"):
        tiny().lm.score([[""]], ["a"])
    it = tiny("llama", "metaspace")  # its BOS token is something to read
    np.testing.assert_allclose(it.lm.score([[""]], ["a"]), [it.reference("", ["a"])], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_dtype_by_name(tiny: Open, name: str, dtype: torch.dtype) -> None:
    assert loading.choose_dtype(name) == dtype
    lm = HFLM("hf:tiny", str(tiny().folder), dtype=name)
    assert lm.description == f"hf:tiny, {name}"
    assert lm.model().dtype == dtype
    assert lm.packed


def test_auto_dtype_is_one_of_the_known_and_others_are_refused() -> None:
    assert loading.choose_dtype("auto") in loading.DTYPES.values()
    message = one_line_error(lambda: loading.choose_dtype("float16"))
    assert message == "unknown dtype 'float16'; known: auto, float32, bfloat16"


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_auto_takes_bfloat16_only_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    monkeypatch.setattr(loading, "_product", lambda dtype: dtype)
    disturbed = iter([9.0] * 10)  # the first turns, by other work
    own = {torch.float32: factor, torch.bfloat16: 1.0}
    monkeypatch.setattr(loading, "_seconds", lambda dtype: next(disturbed, own[dtype]))
    expected = torch.bfloat16 if factor > loading.FASTER else torch.float32
    assert loading._timed_cpu_dtype() == expected


def test_auto_is_the_same_type_in_every_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAGICL_CACHE", str(tmp_path / "cache"))
    timed = iter([torch.bfloat16, torch.float32])
    monkeypatch.setattr(loading, "_timed_cpu_dtype", lambda: next(timed))
    assert loading._faster_cpu_dtype.__wrapped__() == torch.bfloat16
    assert loading._faster_cpu_dtype.__wrapped__() == torch.bfloat16
    (file,) = (tmp_path / "cache").iterdir()
    file.write_text("float8")
    assert loading._faster_cpu_dtype.__wrapped__() == torch.float32


# ---------------------------------------------------------------------------------- unpacking


@pytest.fixture
def packed_file(tiny: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for a GGUF file: whoever loads it gets the tiny model."""
    it = tiny()
    file = tmp_path / "model" / "tiny.gguf"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    monkeypatch.setenv("RAGICL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        unpacking.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: it.model
    )
    monkeypatch.setattr(unpacking.AutoTokenizer, "from_pretrained", lambda *_, **__: it.tokenizer)
    return file


def test_unpacked_copy_is_made_once(packed_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Path(unpacking.unpacked_copy(packed_file))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        file.name for file in copy.iterdir()
    }
    monkeypatch.setattr(unpacking, "_unpack", lambda *_: pytest.fail("unpacked a second time"))
    assert unpacking.unpacked_copy(packed_file) == str(copy)
    assert folders(copy.parent) == [copy]


def test_other_content_gets_another_copy(packed_file: Path) -> None:
    first = unpacking.unpacked_copy(packed_file)
    packed_file.write_bytes(b"other weights")
    assert unpacking.unpacked_copy(packed_file) != first


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("disk full"), BackendError),
        (RuntimeError("unreadable"), BackendError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_interrupted_unpacking_leaves_nothing(
    packed_file: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, expected: type
) -> None:
    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(unpacking.AutoTokenizer, "from_pretrained", fail)
        with pytest.raises(expected):
            unpacking.unpacked_copy(packed_file)
    assert folders(loading.cache_folder()) == []
    assert Path(unpacking.unpacked_copy(packed_file), "config.json").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "sums.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_copy_is_unpacked_again(packed_file: Path, name: str, damage: str) -> None:
    copy = Path(unpacking.unpacked_copy(packed_file))
    whole = {file.name: file.read_bytes() for file in copy.iterdir()}
    file = copy / name
    if damage == "gone":
        file.unlink()
    else:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data if damage == "flip" else data[:-5])
    assert unpacking.unpacked_copy(packed_file) == str(copy)
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == whole


def test_drafts_of_killed_processes_are_removed(packed_file: Path) -> None:
    left = unpacking.cache_folder() / ".unpacking-killed"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    copy = Path(unpacking.unpacked_copy(packed_file))
    assert folders(copy.parent) == [copy]


def folders(cache: Path) -> list[Path]:
    return [own for own in cache.iterdir() if own.is_dir()]


def test_full_disk_while_saving_is_explained(
    packed_file: Path, tiny: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    def fail(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr(type(tiny().model), "save_pretrained", fail)
    message = one_line_error(lambda: unpacking.unpacked_copy(packed_file))
    assert "No space left" in message
    assert "RAGICL_CACHE" in message


def test_cache_folder_that_cannot_be_written_is_named(
    packed_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGICL_CACHE", str(packed_file / "below-a-file"))
    message = one_line_error(lambda: unpacking.unpacked_copy(packed_file))
    assert message.startswith(f"cannot write the unpacked model to {packed_file / 'below-a-file'}")
    assert message.endswith("make room there, or set RAGICL_CACHE to another folder")


def test_cache_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAGICL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert loading.cache_folder() == tmp_path / "ragicl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert loading.cache_folder() == Path.home() / ".cache" / "ragicl"


# ---------------------------------------------------------------------------------- packaged


@pytest.fixture(scope="module")
def smollm2() -> HFLM:
    lm = open_lm("smollm2", dtype="float32")
    assert isinstance(lm, HFLM)
    return lm


@needs_packaged
@pytest.mark.packaged
def test_packaged_model_scores_as_one_pass_per_label(smollm2: HFLM) -> None:
    labels = ["calendar", "calendar update", "weather", "reminder set for tomorrow at noon"]
    answers = [f" {label}\n" for label in labels]
    assert max(len(smollm2._tokenizer(answer)["input_ids"]) for answer in answers) >= 6
    prompt = "Classify each text.\nText: is it sunny in Rome\nLabel: weather\nText: rain?\nLabel:"
    with pytest.MonkeyPatch.context() as patch:
        scores = smollm2.score([[prompt], ["Text: move my dentist\nLabel:"]], answers)
        assert smollm2.packed
        patch.setattr(smollm2.model().config, "_attn_implementation", "sdpa")
        expected = slow_scores(smollm2.model(), smollm2._tokenizer, prompt, answers)
    np.testing.assert_allclose(scores[0], expected, rtol=0, atol=1e-3)
    assert labels[int(scores[0].argmax())] == "weather"


@needs_packaged
@pytest.mark.packaged
def test_packaged_model_has_a_chat_format(smollm2: HFLM) -> None:
    template = chat_template(smollm2.chat, "Be brief.")
    (text,) = template.render("hello", [("hi", "greeting")])
    assert template.ending == "<|im_end|>"
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\ngreeting<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert smollm2.count([text]) == len(smollm2._tokenizer(text)["input_ids"])


@needs_packaged
@pytest.mark.packaged
def test_packaged_model_is_described_by_file_and_precision(smollm2: HFLM) -> None:
    assert Path(SMOLLM2.file).name in smollm2.description
    assert SMOLLM2.package in smollm2.description
    assert smollm2.description.endswith(", float32")
    assert (smollm2.spec, smollm2.window) == ("smollm2", 8192)
