"""The stored examples behind a blend's answer add up to the ridges' part of its log-odds."""

import json
import math

import pytest
from cli_runner import LM, ROWS, fails, misused, run

from ragicl import Engine, Policy, TaskError
from ragicl.backends.fake import FakeEncoder, FakeFeaturingLM, FakeLM
from ragicl.calibration.blend import Blend
from ragicl.calibration.conformal import ConformalRecord
from ragicl.index import Index
from ragicl.inference.tuned_settings import Tuned
from ragicl.probes.views import joined
from ragicl.prompting.template import plain_template

TEXT = "sweet steel pear red"
EVERY = len(ROWS)


def opened(folder, lm=None, blend=None, **policy):
    index = Index.open(folder, encoder=FakeEncoder("a"))
    lm = lm or FakeLM()
    settings = Policy(**{"k": 2} | policy)
    tuned = None
    if blend is not None:
        tuned = Tuned(settings.tunable(), None, lm.description, "now", blend, ConformalRecord())
    return Engine(index, lm, plain_template("classify"), settings, tuned)


def ridge_part(probe, vector, label, against, own=None):
    """The ridge's part of a classifier's log-odds, by its values."""
    _, values = probe.answers(vector, [own], probe.labels)
    pool = probe.classifier
    scale = pool.weights[0] * pool.ridge.inverse_temperature
    columns = [probe.labels.index(name) for name in (label, against)]
    return scale * (values[0, columns[0]] - values[0, columns[1]])


@pytest.mark.parametrize("most", [0, 3, EVERY])
@pytest.mark.parametrize("decide", ["blend", "probe"])
def test_named_examples_and_the_rest_are_the_ridges_part(things, decide, most):
    with opened(things, decide=decide) as engine:
        support = engine.explain(TEXT, examples=most).support
        answer = engine.predict(TEXT)
        blender = engine.pipeline.blender
        probe = blender._index_probe.get()
        vector = FakeEncoder("a").encode([TEXT])
    label, against = answer.output, support.against
    expected = blender.blend.vectors * ridge_part(probe, vector, label, against)
    assert len(support.examples) == most
    assert support.total == pytest.approx(expected, abs=1e-4)
    assert (abs(support.rest) < 1e-9) == (most == EVERY)
    odds = math.log(answer.probs[label] / answer.probs[against])
    assert support.log_odds == pytest.approx(odds)


def test_the_strongest_come_first_and_speak_for_their_label(things):
    with opened(things, decide="probe") as engine:
        support = engine.explain(TEXT, label="tool", examples=EVERY).support
    sizes = [abs(own.nats) for own in support.examples]
    assert support.against == "fruit"
    assert sizes == sorted(sizes, reverse=True)
    assert support.examples[0].example.input == "sweet ripe pear red"
    assert support.examples[0].nats < 0
    assert {own.example.output for own in support.examples} == {"fruit", "tool"}


def test_the_other_label_mirrors_the_contributions(things):
    with opened(things, decide="probe") as engine:
        fruit, tool = (
            engine.explain(TEXT, label=label, examples=EVERY).support for label in ("fruit", "tool")
        )
    assert fruit.log_odds == pytest.approx(-tool.log_odds)
    other = {own.example.id: own.nats for own in tool.examples}
    for own in fruit.examples:
        assert own.nats == pytest.approx(-other[own.example.id])


def test_each_source_adds_by_its_own_weight(things):
    blend = Blend(0.0, 0.1, 0.4, 0.7, 0.5)
    with opened(things, FakeFeaturingLM(), blend) as engine:
        explanation = engine.explain(TEXT, examples=EVERY)
        blender = engine.pipeline.blender
        context = blender._context.get()
        states = blender._context._states.of([TEXT], context.draws, context.views)
        asked = {
            "vectors": (blender._index_probe.get(), FakeEncoder("a").encode([TEXT])),
            "features": (blender._lm_probe.get(), blender._features.of([TEXT])),
            "context": (context.classifier, joined(states)),
        }
    for source, (probe, vector) in asked.items():
        added = sum(own.by_source[source] for own in explanation.support.examples)
        part = ridge_part(probe, vector, explanation.label, explanation.support.against)
        assert added == pytest.approx(getattr(blend, source) * part, abs=1e-4)
        assert added != 0
    assert explanation.prompt is None
    assert explanation.influences == ()
    assert explanation.lm == FakeFeaturingLM.description


@pytest.mark.parametrize("text", [ROWS[0]["text"], TEXT])
def test_an_excluded_example_is_never_named(things, text):
    with opened(things, decide="probe") as engine:
        (name,) = [e.id for e in engine.index.sample(EVERY) if e.input == ROWS[0]["text"]]
        whole = engine.explain(text, examples=EVERY).support
        left = engine.explain(text, examples=EVERY, exclude=name).support
        probe = engine.pipeline.blender._index_probe.get()
        vector = FakeEncoder("a").encode([text])
        weight = engine.pipeline.blender.blend.vectors
    assert name in {own.example.id for own in whole.examples}
    assert name not in {own.example.id for own in left.examples}
    assert len(left.examples) == EVERY - 1
    expected = weight * ridge_part(probe, vector, "fruit", left.against, own=name)
    assert left.total == pytest.approx(expected, abs=1e-4)


def test_a_language_model_that_answers_alone_has_no_support(things):
    with opened(things, decide="lm") as engine:
        assert engine.explain(TEXT).support is None
    with opened(things, decide="probe", shortlist=1) as engine:
        assert engine.explain("sweet ripe apple red").support is None, "nothing to choose"


def test_a_number_of_examples_below_0_is_refused(things):
    with opened(things, decide="probe") as engine, pytest.raises(TaskError, match="0 or more"):
        engine.explain(TEXT, examples=-1)
    misused("explain", things, TEXT, "--examples", -1, match="--examples")


def test_the_command_shows_what_the_engine_says(things):
    with opened(things, decide="probe") as engine:
        support = engine.explain(TEXT, examples=2).support
    asked = ("explain", things, TEXT, "--decide", "probe", "--examples", 2)
    row = json.loads(run(*asked, "--format", "json").stdout)
    assert (row["influences"], row["tokens"], row["lm"]) == ([], None, None)
    shown = row["support"]
    assert shown["against"] == support.against
    assert shown["log_odds"] == round(support.log_odds, 6)
    assert shown["rest"] == round(support.rest, 6)
    for got, own in zip(shown["examples"], support.examples, strict=True):
        assert (got["id"], got["input"]) == (own.example.id, own.example.input)
        assert got["nats"] == round(own.nats, 6)
        assert got["by_source"] == {"vectors": round(own.by_source["vectors"], 6)}
    lines = run(*asked).stdout.splitlines()
    assert f"{support.log_odds:+.3f}, {support.total:+.3f} of them" in lines[3]
    assert f"{support.examples[0].nats:+.3f}  vectors" in lines[4]
    assert support.examples[0].example.input in lines[4]
    assert f"{support.rest:+.3f}" in lines[6]


def test_the_command_names_no_examples_of_a_language_model_alone(things):
    row = json.loads(run("explain", things, TEXT, *LM, "--format", "json").stdout)
    assert row["support"] is None
    fails("explain", things, TEXT, *LM, "--label", "cat", match="'cat' is not among")
