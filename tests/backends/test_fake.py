"""The fakes for users' own tests do what their documentation and the protocols say."""

import doctest

import numpy as np
import pytest

from ragicl import Engine, Example, Index
from ragicl.backends import fake, open_encoder, open_lm
from ragicl.backends.capabilities import as_scoring, chat_format
from ragicl.backends.fake import FakeChoosingLM, FakeEncoder, FakeFeaturingLM, FakeLM, FakeTextLM
from ragicl.errors import BackendError
from ragicl.protocols import LM, ChatFormatting, Choosing, Encoder, Featuring, Scoring

OPTIONAL = (Scoring, ChatFormatting, Featuring, Choosing)
PROMPT = ["Text: a\nLabel: play music now\nText: b\nLabel:"]


def test_examples_in_the_documentation_hold():
    assert doctest.testmod(fake) == doctest.TestResults(failed=0, attempted=4)


@pytest.mark.parametrize(
    ("made", "protocols"),
    [
        (FakeTextLM(), ()),
        (FakeChoosingLM(), (Choosing,)),
        (FakeLM(), (Scoring, ChatFormatting)),
        (FakeFeaturingLM(), (Scoring, ChatFormatting, Featuring)),
    ],
)
def test_each_satisfies_the_protocols_it_says(made, protocols):
    assert isinstance(made, LM)
    assert tuple(p for p in OPTIONAL if isinstance(made, p)) == protocols
    again = open_lm(made.spec)
    assert (type(again), again.spec, again.window) == (type(made), made.spec, made.window)


def test_an_encoder_is_opened_again_by_its_spec():
    made = FakeEncoder("c")
    assert isinstance(made, Encoder)
    again = open_encoder(made.spec)
    assert (again.fingerprint, again.description) == (made.fingerprint, made.description)
    vectors = made.encode(["my card", "My CARD", "your parcel", ""])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0], atol=1e-6)
    assert vectors.dtype == np.float32
    assert np.abs(vectors - FakeEncoder("d").encode(["my card"])).max() > 0.1


@pytest.mark.parametrize("spec", ["fake:x", "fake-text:", "fake-features:-3"])
def test_a_window_that_is_no_number_is_refused(spec):
    with pytest.raises(BackendError):
        open_lm(spec)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_tokens": 9}, " play music now"),
        ({"max_tokens": 2}, " play music"),
        ({"max_tokens": 9, "stop": ["", " now"]}, " play music"),
        ({"max_tokens": 9, "stop": ["w", "usic"]}, " play m"),
    ],
)
def test_the_last_answer_is_repeated_up_to_a_stop_string(options, text):
    lm = FakeTextLM()
    assert "".join(lm.stream(PROMPT, **options)) == text
    assert lm.generate_batch([PROMPT, ["", ""]], **options)[0] == text
    assert lm.generate_batch([["Label:"]], max_tokens=3) == [" nothing"]


def test_a_model_without_likelihoods_or_chat_format_is_refused_by_name():
    lm = FakeTextLM(70)
    with pytest.raises(BackendError, match="fake-text:70 gives no label likelihoods; use a local"):
        as_scoring(lm)
    chat = chat_format(lm)
    with pytest.raises(BackendError, match="fake-text:70 has no chat format; use the plain"):
        chat([])
    assert chat_format(None) is None
    assert as_scoring(FakeLM()).spec == "fake:2000"
    assert chat_format(FakeLM())([{"role": "user", "content": "x"}]) == "<user>x</>\n<assistant>"


def test_an_engine_runs_on_fakes_alone(tmp_path):
    with Index.create(tmp_path / "index", encoder=FakeEncoder()) as index:
        index.add([Example("my card is lost", "card"), Example("where is my parcel", "parcel")])
    for lm in (FakeTextLM(), FakeChoosingLM(), FakeLM(), FakeFeaturingLM()):
        with Engine.open(tmp_path / "index", lm=lm, decide="lm", k=1) as engine:
            assert engine.predict("a lost card").output == "card"
