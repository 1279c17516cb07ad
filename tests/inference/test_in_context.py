"""What a demonstration read before every text does to a blend's answer."""

import json
import math

import pytest
from cli_runner import LM, fails, run
from test_support import TEXT, opened

from ragicl import TaskError
from ragicl.backends.fake import FakeEncoder, FakeFeaturingLM, FakeLM
from ragicl.calibration.blend import Blend

BLEND = Blend(0.0, 0.1, 0.4, 0.0, 0.6)


class ColouredLM(FakeFeaturingLM):
    """What comes before a text colours its states."""

    def states(self, prompts, shares):
        before = FakeEncoder("before").encode([parts[0] for parts in prompts])
        return super().states(prompts, shares) + 0.5 * before[:, None, None]


def test_the_change_is_that_of_a_blend_without_the_demonstration(things, monkeypatch):
    with opened(things, ColouredLM(), BLEND) as engine:
        explanation = engine.explain(TEXT, context=True)
        whole = engine.predict(TEXT)
        context = engine.pipeline.blender._context
        read = dict(context.without_each_shot(TEXT, engine.labels))
        assert [own.example.id for own in explanation.in_context] == [shot.id for shot in read]
        label, against = explanation.label, explanation.support.against
        for own, (shot, probs) in zip(explanation.in_context, read.items(), strict=True):
            monkeypatch.setattr(context, "probs", lambda *_, own=probs: own[None])
            without = engine.predict(TEXT).probs
            odds = math.log(whole.probs[label] / whole.probs[against])
            change = odds - math.log(without[label] / without[against])
            assert own.log_odds_change == pytest.approx(change, abs=1e-5)
            assert own.probability_without == pytest.approx(without[label], abs=1e-6)
            assert own.output_without == max(without, key=without.get)
            assert (own.example.input, own.example.output) == (shot.input, shot.output)
    assert any(abs(own.log_odds_change) > 1e-4 for own in explanation.in_context)


def test_what_the_model_does_not_read_changes_nothing(things):
    """The fake model's states do not depend on what comes before a text."""
    with opened(things, FakeFeaturingLM(), BLEND) as engine:
        explanation = engine.explain(TEXT, context=True)
    assert explanation.in_context
    for own in explanation.in_context:
        assert own.log_odds_change == pytest.approx(0, abs=1e-5)
        assert own.probability_without == pytest.approx(explanation.probability, abs=1e-5)


def test_nothing_is_left_out_unless_asked(things):
    with opened(things, ColouredLM(), BLEND) as engine:
        assert engine.explain(TEXT).in_context == ()


def test_what_cannot_be_left_out_is_refused(things):
    refused = pytest.raises(TaskError, match="exclude no example")
    with opened(things, ColouredLM(), BLEND) as engine, refused:
        engine.explain(TEXT, context=True, exclude="0")
    refused = pytest.raises(TaskError, match="no states in context")
    with opened(things, FakeLM()) as engine, refused:
        engine.explain(TEXT, context=True)
    fails("explain", things, TEXT, *LM, "--context", match="no states in context")


def test_the_command_shows_what_adds_most(things, monkeypatch):
    monkeypatch.setattr("ragicl.backends.fake.open_lm", lambda *_, **__: ColouredLM())
    with opened(things, ColouredLM()) as engine:
        found = engine.explain(TEXT, context=True).in_context
    asked = ("explain", things, TEXT, *LM, "--decide", "blend", "--context")
    rows = json.loads(run(*asked, "--format", "json").stdout)["in_context"]
    for row, own in zip(rows, found, strict=True):
        assert (row["id"], row["output"]) == (own.example.id, own.example.output)
        assert row["log_odds_change"] == round(own.log_odds_change, 6)
        assert row["probability_without"] == round(own.probability_without, 6)
        assert row["output_without"] == own.output_without
    strongest = max(found, key=lambda own: abs(own.log_odds_change))
    shown = run(*asked).stdout.splitlines()
    first = next(n for n, line in enumerate(shown) if "read before every text" in line) + 1
    assert f"{strongest.log_odds_change:+.3f}" in shown[first]
    assert strongest.example.input in shown[first]
