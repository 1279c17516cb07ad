"""Kept states of demonstrations: turned where they stand, exact where they must be, bounded."""

import numpy as np
import pytest
import torch
from test_hf import ANSWERS, tiny  # noqa: F401 - a fixture

from ragicl.backends.hf import blocks
from ragicl.backends.hf.block_store import (
    SUFFIX,
    Block,
    BlockFolder,
    BlockStore,
    SmallBlock,
    size_of,
)
from ragicl.backends.hf.blocks import Blocks, identity_of
from ragicl.backends.hf.packed import Piece, Reading
from ragicl.backends.hf.rotary import frequencies_of, turn
from ragicl.errors import BackendError

HEAD = "Classify each text."
SHOTS = [
    f"\nText: {text}\nLabel: {label}"
    for text, label in [
        ("what is on my calendar today", "calendar"),
        ("move the meeting with bob", "calendar update"),
        ("play some jazz music please", "play music"),
        ("will it rain in Paris", "weather query"),
        ("set an alarm for 12:30", "alarm set"),
    ]
]
QUERY = "\nText: will it rain today\nLabel:"
IDS = list(range(5, 25))


@pytest.fixture
def whole(monkeypatch):
    """Nothing of a demonstration is read anew."""
    monkeypatch.setattr(blocks, "ENDS", 0)
    monkeypatch.setattr(blocks, "NEAREST", 0)
    monkeypatch.setattr(blocks, "TEMPERATURE", 1.0)


def alone(text):
    return (text,)


def together(text):
    return SHOTS


def block(size, fill=1.0):
    return Block(torch.full((2, 2, size, 4), fill), torch.full((2, 2, size, 4), -fill))


def states(model, start):
    reading = Reading(model)
    reading.read([Piece(IDS, range(start, start + len(IDS)))], last=True)
    return reading.states().layers


@pytest.mark.parametrize("shift", [1, 60, 300])
def test_turned_keys_are_those_of_reading_further_on(tiny, shift):  # noqa: F811
    lm = tiny("llama").lm
    assert lm.packed
    model = lm.model()
    by = torch.full((len(IDS),), shift, device=model.device)
    with torch.inference_mode():
        pairs = zip(states(model, 0), states(model, shift), strict=True)
        for (key, value), (moved_key, moved_value) in pairs:
            turned = turn(key, by, frequencies_of(model))
            torch.testing.assert_close(turned, moved_key, rtol=0, atol=1e-4)
            back = turn(turned, -by, frequencies_of(model))
            torch.testing.assert_close(back, key, rtol=0, atol=1e-4)
            torch.testing.assert_close(value, moved_value, rtol=0, atol=1e-4)


def test_one_block_is_exact(tiny, whole):  # noqa: F811
    lm = tiny("llama").lm
    prompts = [[HEAD, SHOTS[0], QUERY], [HEAD, SHOTS[3], QUERY], [HEAD, QUERY], [HEAD + QUERY]]
    kept = lm.with_blocks(alone)
    for _ in range(2):
        scores = kept.score(prompts, ANSWERS)
        np.testing.assert_allclose(scores, lm.score(prompts, ANSWERS), rtol=0, atol=1e-4)


def test_a_prompt_of_a_group_in_its_order_is_exact(tiny, whole):  # noqa: F811
    lm = tiny("llama").lm
    prompts = [[HEAD, *SHOTS, QUERY]]
    scores = lm.with_blocks(together).score(prompts, ANSWERS)
    np.testing.assert_allclose(scores, lm.score(prompts, ANSWERS), rtol=0, atol=1e-4)
    other = lm.with_blocks(alone).score(prompts, ANSWERS)
    assert np.abs(other - lm.score(prompts, ANSWERS)).max() > 1e-3, "the group makes the difference"


@torch.inference_mode()
def test_a_lower_temperature_sharpens_demonstrations_and_nothing_else(
    tiny,  # noqa: F811
    whole,
    monkeypatch,
):
    lm = tiny("llama").lm
    kept = lm.with_blocks(alone)
    prompt = [HEAD, SHOTS[0], QUERY]
    sources = {}
    layout = blocks._lay_out(kept._sources(prompt, lm.tokens.split(prompt, ANSWERS)), sources)
    usual = kept._blocks._states([layout], sources).layers[1]
    monkeypatch.setattr(blocks, "TEMPERATURE", 0.5)
    keys, values = kept._blocks._states([layout], sources).layers[1]
    head = len(lm.tokens.encode([HEAD]))
    torch.testing.assert_close(keys[:, :, :head], usual[0][:, :, :head])
    torch.testing.assert_close(keys[:, :, head:], 2 * usual[0][:, :, head:])
    torch.testing.assert_close(values, usual[1])


def test_reading_all_anew_is_exact(tiny, monkeypatch):  # noqa: F811
    lm = tiny("llama").lm
    prompts = [[HEAD, *SHOTS, QUERY], [HEAD, *SHOTS[::-1], QUERY]]
    expected = lm.score(prompts, ANSWERS)
    for name, value in (("ENDS", 1000), ("NEAREST", len(SHOTS))):
        with monkeypatch.context() as patch:
            patch.setattr(blocks, name, value)
            scores = lm.with_blocks(alone).score(prompts, ANSWERS)
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)


def test_scores_do_not_depend_on_what_was_asked_before(tiny):  # noqa: F811
    lm = tiny("llama").lm
    prompts = [[HEAD, *SHOTS[i:], *SHOTS[:i], QUERY] for i in range(4)]
    first, second = lm.with_blocks(together), lm.with_blocks(together)
    forwards = first.score(prompts, ANSWERS)
    backwards = [second.score([prompt], ANSWERS)[0] for prompt in reversed(prompts)][::-1]
    np.testing.assert_allclose(forwards, backwards, rtol=0, atol=1e-4)


def test_pruning_finds_the_same_answer(tiny):  # noqa: F811
    kept = tiny("llama").lm.with_blocks(together)
    prompts = [[HEAD, *SHOTS, QUERY]]
    every, few = kept.score(prompts, ANSWERS), kept.score(prompts, ANSWERS, floor=1.0)
    assert every.argmax() == few.argmax()
    np.testing.assert_allclose(every.max(), few.max(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("architecture", ["gpt2", "neox", "bloom", "mistral"])
def test_other_models_say_what_to_do(tiny, architecture):  # noqa: F811
    with pytest.raises(BackendError, match="--attention exact"):
        tiny(architecture).lm.with_blocks(alone)


def test_memory_is_bounded_and_the_oldest_go_first():
    store = BlockStore(memory=2 * size_of(block(3)))
    for key in ("a", "b", "a", "c"):
        store.get([key], lambda keys: [block(3) for _ in keys])
    assert store.bytes == 2 * size_of(block(3))
    assert store.computed == 3
    store.get(["a", "c"], lambda keys: pytest.fail("kept"))
    store.get(["b", "a", "c", "b"], lambda keys: [block(3) for _ in keys])
    assert store.bytes <= 2 * size_of(block(3))


def test_another_process_finds_states_on_disk(tmp_path):
    BlockStore(folder=BlockFolder(tmp_path, "x", 10**6)).get(["a"], lambda _: [block(3, 0.25)])
    store = BlockStore(folder=BlockFolder(tmp_path, "x", 10**6))
    found = store.get(["a"], lambda keys: pytest.fail("on disk"))["a"]
    assert store.computed == 0
    torch.testing.assert_close(found.keys, block(3, 0.25).keys)
    assert BlockFolder(tmp_path, "y", 10**6).read("a") is None, "another model's states"


@pytest.mark.parametrize("damage", [b"", b"no states", "cut", "flipped"])
def test_damaged_states_are_computed_again(tmp_path, damage):
    folder = BlockFolder(tmp_path, "x", 10**6)
    folder.write("a", block(3))
    (file,) = folder.path.glob(f"*{SUFFIX}")
    whole = file.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    file.write_bytes({"cut": whole[:-9], "flipped": flipped}.get(damage, damage))
    store = BlockStore(folder=BlockFolder(tmp_path, "x", 10**6))
    found = store.get(["a"], lambda _: [block(3, 0.5)])["a"]
    assert store.computed == 1
    torch.testing.assert_close(found.keys, block(3, 0.5).keys)
    assert BlockFolder(tmp_path, "x", 10**6).read("a") is not None, "mended"


def test_the_folder_is_bounded_and_may_be_read_only(tmp_path):
    folder = BlockFolder(tmp_path, "x", 2000)
    for key in "abcdef":
        folder.write(key, block(3))
    files = list(folder.path.iterdir())
    assert 0 < len(files) < 6
    assert sum(file.stat().st_size for file in files) <= 2000
    (tmp_path / "file").write_text("in the way")
    blocked = BlockFolder(tmp_path / "file", "x", 10**6)
    blocked.write("a", block(3))
    assert blocked.read("a") is None


def test_models_are_told_apart(tiny):  # noqa: F811
    model = tiny("llama").lm.model()
    before = identity_of(model)
    assert identity_of(model) == before
    with torch.no_grad():
        model.model.norm.weight += 1
        assert identity_of(model) != before
        model.model.norm.weight -= 1


def test_states_on_disk_give_the_same_scores(tiny, tmp_path):  # noqa: F811
    lm = tiny("llama").lm
    prompts = [[HEAD, *SHOTS, QUERY]]
    first = lm.with_blocks(together, tmp_path, 10**8).score(prompts, ANSWERS)
    again = lm.with_blocks(together, tmp_path, 10**8)
    np.testing.assert_array_equal(again.score(prompts, ANSWERS), first)
    assert isinstance(again._blocks, Blocks)
    assert again._blocks._store.computed == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states_in_8_bits_are_near_and_take_less_room(dtype):
    torch.manual_seed(0)
    own = Block(*(torch.randn(2, 2, 2, 9, 64) * 10).to(dtype))
    own.keys[0, 0, 0] = 0
    small = SmallBlock.of(own)
    assert size_of(small) < 0.55 * size_of(own)
    for states, rounded in zip(own, small.block(), strict=True):
        assert rounded.dtype == dtype
        step = states.abs().amax(-1, keepdim=True).float() / 127
        assert ((states.float() - rounded.float()).abs() <= 1.01 * step + 1e-6).all()
    assert not small.block().keys[0, 0, 0].any()


def test_scores_from_states_in_8_bits_are_near_and_the_same_from_disk(tiny, tmp_path):  # noqa: F811
    lm = tiny("llama").lm
    prompts = [[HEAD, *SHOTS, QUERY]]
    first = lm.with_blocks(together, tmp_path, 10**8, int8=True)
    scores = first.score(prompts, ANSWERS)
    again = lm.with_blocks(together, tmp_path, 10**8, int8=True)
    np.testing.assert_array_equal(again.score(prompts, ANSWERS), scores)
    assert again._blocks._store.computed == 0
    whole = lm.with_blocks(together, tmp_path, 10**8)
    np.testing.assert_allclose(whole.score(prompts, ANSWERS), scores, rtol=0.02, atol=0.05)
    assert whole._blocks._store.computed > 0, "the two forms are told apart on disk"
    assert first.description.endswith("blocks-int8")
