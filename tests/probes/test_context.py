"""States in context: who demonstrates, who fits, who judges."""

import numpy as np
import pytest

from ragicl.backends.fake import FakeEncoder, FakeFeaturingLM
from ragicl.index import Index
from ragicl.probes import context, state_cache
from ragicl.probes.context import Context, mean_of_known
from ragicl.probes.demonstrations import draw
from ragicl.records import Example

WORDS = {"fruit": "apple pear plum fig", "tool": "saw file drill plane"}
EXAMPLES = [
    Example(f"{word} green number {n}", label, id=f"{label}-{word}-{n}")
    for label, words in WORDS.items()
    for n, word in enumerate(words.split() * 4)
]
LABELS = ("fruit", "tool")


class Counted(FakeFeaturingLM):
    """Notes what it reads."""

    def __init__(self):
        super().__init__()
        self.read = []

    def states(self, prompts, shares):
        self.read += ["".join(parts) for parts in prompts]
        return super().states(prompts, shares)


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", encoder=FakeEncoder()) as index:
        index.add(EXAMPLES)
        yield index


def words(example):
    return len(example.input.split())


def opened(index, lm=None):
    return Context(index, lm or Counted(), lambda: LABELS)


def test_demonstrations_neither_fit_nor_judge(index):
    own = opened(index)
    fitted = own.get()
    draws = fitted.shown
    assert len(draws) == context.DRAWS
    for shots, part in zip(draws, fitted.draws, strict=True):
        shown = {shot.id for shot in shots}
        assert {shot.output for shot in shots} == set(LABELS)
        assert shown == part.demonstrated
        assert not shown & set(part.rows)
        assert len(part.rows) == len(EXAMPLES) - len(shown)
    ids = [shot.id for shots in draws for shot in shots]
    assert len(ids) == len(set(ids)), "no example is in two draws"


def test_a_demonstration_is_judged_by_the_other_draws_alone(index):
    own = opened(index)
    fitted = own.get()
    draws = fitted.shown
    shot = draws[0][0]
    states = own._states([shot.input], draws, fitted.share)
    each = [part.logits(states[:, d], [shot.id])[0] for d, part in enumerate(fitted.draws)]
    assert np.isnan(each[0]).all()
    assert np.isfinite(each[1:]).all()
    probs = own.probs([shot.input], [shot.id], LABELS)[0]
    expected = np.exp(np.mean(each[1:], axis=0))
    np.testing.assert_allclose(probs, expected / expected.sum(), rtol=1e-5)


def test_an_excluded_example_is_left_out_of_what_judges_it(tmp_path):
    wrong = Example("apple green number 3", "tool", id="wrong")
    with Index.create(tmp_path / "other", encoder=FakeEncoder()) as index:
        index.add([*EXAMPLES, wrong])
        own = opened(index)
        left_out = own.probs([wrong.input], ["wrong"], LABELS)[0]
        assert left_out[0] > 0.6, "by the others, it is a fruit"
        assert left_out[0] > own.probs([wrong.input], [None], LABELS)[0][0]


def test_texts_of_no_draw_have_uniform_probabilities():
    logits = np.array([[[1.0, 3.0], [np.nan, np.nan]], [[3.0, 1.0], [np.nan, np.nan]]])
    np.testing.assert_array_equal(mean_of_known(logits), [[2.0, 2.0], [0.0, 0.0]])


def test_the_same_draws_and_depth_are_used_again_and_nothing_is_read(index):
    first = opened(index)
    share = first.get().share
    draws = first.get().shown
    lm = Counted()
    again = opened(index, lm)
    assert again.get().share == share
    assert again.get().shown == draws
    assert lm.read == []
    again.probs(["a new text"], [None], LABELS)
    assert len(lm.read) == context.DRAWS


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
    before = own.get().shown
    index.remove([before[1][0].id])
    lm = Counted()
    after = opened(index, lm).get().shown
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
