"""States in context: who demonstrates, who fits, who judges."""

from dataclasses import replace

import numpy as np
import pytest

from ragicl.backends.fake import FakeEncoder, FakeFeaturingLM
from ragicl.index import Index
from ragicl.probes import context, state_cache
from ragicl.probes.context import Context
from ragicl.probes.demonstrations import draw
from ragicl.probes.views import VIEWS, joined
from ragicl.protocols import no_progress
from ragicl.records import Example

WORDS = {"fruit": "apple pear plum fig", "tool": "saw file drill plane"}
EXAMPLES = [
    Example(f"{word} green number {n}", label, id=f"{label}-{word}-{n}")
    for label, words in WORDS.items()
    for n, word in enumerate(words.split() * 4)
]
LABELS = ("fruit", "tool")


class Counted(FakeFeaturingLM):
    """Notes what it reads; what comes before a text colours its states."""

    def __init__(self):
        super().__init__()
        self.read = []

    def states(self, prompts, shares):
        self.read += ["".join(parts) for parts in prompts]
        before = FakeEncoder("before").encode([parts[0] for parts in prompts])
        return super().states(prompts, shares) + 0.5 * before[:, None, None]


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", encoder=FakeEncoder()) as index:
        index.add(EXAMPLES)
        yield index


def words(example):
    return len(example.input.split())


def opened(index, lm=None):
    return Context(index, lm or Counted(), lambda: LABELS)


def test_a_draw_tells_nothing_of_its_own_examples(index):
    """A demonstration's state is the mean over the draws that do not hold its text and label."""
    own = opened(index)
    fitted = own.get()
    draws = fitted.draws
    assert len(draws) == context.DRAWS
    for shots in draws:
        assert {shot.output for shot in shots} == set(LABELS)
    texts = [shot.input for shots in draws for shot in shots]
    assert len(texts) == len(set(texts)), "no text is in two draws"
    places = {example.id: row for example, row in zip(EXAMPLES, range(len(EXAMPLES)), strict=True)}
    everything = own._states.keep([e.input for e in EXAMPLES], draws, no_progress)
    for d, shots in enumerate(draws):
        others = tuple(draw for e, draw in enumerate(draws) if e != d)
        expected = own._states.keep([e.input for e in EXAMPLES], others, no_progress)
        for shot in shots:
            row = places[shot.id]
            np.testing.assert_allclose(everything[row], expected[row], atol=1e-6)
            read = own._states.of([shot.input], draws, fitted.views)
            np.testing.assert_allclose(
                read[0], expected[row][[VIEWS.index(v) for v in fitted.views]], atol=1e-6
            )


def test_a_text_that_repeats_a_demonstration_is_read_by_the_other_draws(tmp_path):
    again = [replace(example, id=f"{example.id}-again") for example in EXAMPLES]
    with Index.create(tmp_path / "other", encoder=FakeEncoder()) as index:
        index.add([*EXAMPLES, *again])
        own = opened(index)
        draws = own.get().draws
        texts = [shot.input for shots in draws for shot in shots]
        assert len(texts) == len(set(texts))
        shot = draws[1][0]
        read = own._states.of([shot.input], draws, own.get().views)
        others = own._states.of([shot.input], (draws[0], draws[2]), own.get().views)
        np.testing.assert_allclose(read, others, atol=1e-6)


def test_an_excluded_example_is_left_out_of_what_judges_it(tmp_path):
    wrong = Example("apple green number 3", "tool", id="wrong")
    with Index.create(tmp_path / "other", encoder=FakeEncoder()) as index:
        index.add([*EXAMPLES, wrong])
        own = opened(index)
        left_out = own.probs([wrong.input], ["wrong"], LABELS)[0]
        assert left_out[0] > 0.6, "by the others, it is a fruit"
        assert left_out[0] > own.probs([wrong.input], [None], LABELS)[0][0]


def test_the_same_draws_and_views_are_used_again_and_nothing_is_read(index):
    first = opened(index).get()
    lm = Counted()
    again = opened(index, lm)
    assert again.get().views == first.views
    assert again.get().draws == first.draws
    assert lm.read == []
    again.probs(["a new text"], [None], LABELS)
    assert len(lm.read) == context.DRAWS


def test_views_are_chosen_again_when_the_examples_have_doubled(index, monkeypatch):
    chosen = []
    best = context.best_views
    monkeypatch.setattr(context, "best_views", lambda *a: chosen.append(a[2]) or best(*a))
    opened(index).get()
    index.add([Example(f"red {n} {e.input}", e.output) for n in (1, 2) for e in EXAMPLES[:15]])
    opened(index).get()
    assert len(chosen) == 1
    index.add([Example(f"blue {n} {e.input}", e.output) for n in (1, 2) for e in EXAMPLES])
    opened(index).get()
    assert len(chosen) == 2


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"draws":[],"views":[],"examples":1}'])
def test_damaged_demonstrations_are_drawn_again(index, damage):
    first = opened(index).get()
    (file,) = (index.path / state_cache.FOLDER).glob("*.json")
    file.write_bytes(damage)
    assert opened(index).get().draws == first.draws


def test_a_killed_preparation_resumes(index, monkeypatch):
    monkeypatch.setattr(state_cache, "BATCH", 4)
    monkeypatch.setattr(state_cache, "SAVED", 1)
    lm = Counted()
    whole = len(EXAMPLES) * context.DRAWS

    def killed(self, prompts, shares):
        if len(self.read) >= 40:
            raise KeyboardInterrupt
        self.read += prompts
        return FakeFeaturingLM.states(self, prompts, shares)

    monkeypatch.setattr(Counted, "states", killed)
    with pytest.raises(KeyboardInterrupt):
        opened(index, lm).get()
    done = len(lm.read)
    monkeypatch.undo()
    other = Counted()
    opened(index, other).get()
    assert len(other.read) == whole - done


def test_a_removed_demonstration_is_replaced_and_the_cost_said(index, caplog):
    own = opened(index)
    before = own.get().draws
    index.remove([before[1][0].id])
    lm = Counted()
    after = opened(index, lm).get().draws
    assert after[0] == before[0]
    assert after[2] == before[2]
    assert before[1][0] not in after[1]
    assert len(lm.read) == len(EXAMPLES) - 1
    assert f"{len(EXAMPLES) - 1} examples are read again" in caplog.text


def test_a_label_seen_once_is_left_to_the_fit():
    once = Example("a lone word", "odd", id="odd")
    shots = draw([*EXAMPLES, once], 0, (), words, 1000)
    assert {shot.output for shot in shots} == set(LABELS)


def test_demonstrations_take_no_more_than_the_room():
    assert len(draw(EXAMPLES, 0, (), words, 1000)) == 2
    assert len(draw(EXAMPLES, 0, (), words, 5)) == 1
    assert draw(EXAMPLES, 0, (), words, 3) == ()


def test_a_short_example_demonstrates_rather_than_a_long_one():
    long = [Example("apple " * 200, "fruit", id=f"long-{n}") for n in range(40)]
    shots = draw([*long, *EXAMPLES], 0, (), words, 1000)
    assert {shot.output for shot in shots} == set(LABELS)
    assert not any(shot.id.startswith("long") for shot in shots)


def test_a_text_longer_than_is_read_is_cut(index):
    probs = opened(index).probs(["apple " * 5000], [None], LABELS)
    assert probs.sum() == pytest.approx(1)


def test_a_model_of_transformers_gives_the_same_in_any_batch(index, tiny):
    own = opened(index, tiny("llama").lm)
    texts = ["red apple", "a saw of steel", "plum"]
    together = own.probs(texts, [None] * 3, LABELS)
    alone = np.concatenate([own.probs([text], [None], LABELS) for text in texts[::-1]])[::-1]
    np.testing.assert_allclose(alone, together, atol=1e-3)


def test_without_a_demonstration_the_text_is_read_after_the_others(index):
    own = opened(index)
    fitted = own.get()
    text = "a green apple or a saw"
    seen = list(own.without_each_shot(text, LABELS))
    assert [shot for shot, _ in seen] == [shot for shots in fitted.draws for shot in shots]
    for shot, probs in seen:
        draws = tuple(tuple(s for s in shots if s != shot) for shots in fitted.draws)
        vectors = joined(own._states.of([text], draws, fitted.views))
        expected = fitted.classifier.answers(vectors, [None], LABELS)[0][0]
        np.testing.assert_allclose(probs, expected, atol=1e-3)
        assert np.abs(probs - own.probs([text], [None], LABELS)[0]).max() > 1e-6
