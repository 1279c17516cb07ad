"""Language models without likelihoods: a label by choice or generation, and no probability."""

import json

import numpy as np
import pytest
from cli_runner import ROWS, fails, lines, run, write_rows

from ragicl import BackendError, Engine, Policy, TaskError
from ragicl.backends.fake import FakeChoosingLM, FakeEncoder, FakeTextLM
from ragicl.inference.choice import choose, matched
from ragicl.integrations.sklearn import ICLClassifier
from ragicl.tune import tune

TEXT = ("--lm", "fake-text:2000")
ALONE = (*TEXT, "--decide", "lm")
NONE_GIVEN = "fake-text:2000 gives no label likelihoods"
LEFT_OUT = f"{NONE_GIVEN}: the blend leaves it out; --decide lm asks it for a label"
OPTIONS = {"max_tokens": 3, "stop": (), "temperature": 0.0, "seed": 0}


class Wandering(FakeTextLM):
    """Generates what is no label."""

    def generate_batch(self, prompts, **options):
        return [" some other thing"] * len(prompts)


@pytest.mark.parametrize(
    ("text", "output"),
    [(" Card Lost.", "card lost"), ("card\n lost", "card lost"), (" late ", "late"), ("x", "x")],
)
def test_case_white_space_and_a_full_stop_do_not_matter(text, output):
    assert matched(text, ("card lost", "late")) == output


def test_each_prompt_is_held_to_its_own_choices():
    asked = []

    class Noting(FakeChoosingLM):
        def choose(self, prompts, choices):
            asked.append((len(prompts), tuple(choices)))
            return super().choose(prompts, choices)

    prompts, choices = [["a b b"], ["b b a"], ["b c"]], [("a", "b"), ("a", "c"), ("a", "b")]
    assert choose(Noting(), prompts, choices, OPTIONS) == (["b", "a", "b"], "choice")
    assert asked == [(2, ("a", "b")), (1, ("a", "c"))]


def test_a_label_is_generated_and_the_row_says_so(things):
    result = run("predict", things, "a sweet apple", "steel saw", *ALONE, "--k", 1, "--probs")
    assert result.stderr == ""
    for row, label in zip(lines(result), ("fruit", "tool"), strict=True):
        assert (row["output"], row["decided_by"], row["known_label"]) == (label, "generation", True)
        assert row["lm"] == "fake text model, for tests"
        assert "probability" not in row
        assert row["probs"] == {}


def test_a_label_is_chosen_where_the_model_can_be_held_to_one(things):
    options = ("--lm", "fake-choice:2000", "--decide", "lm", "--k", 3)
    (row,) = lines(run("predict", things, "a sweet apple", *options))
    assert (row["output"], row["decided_by"], row["known_label"]) == ("fruit", "choice", True)
    assert "probability" not in row


def test_a_blend_leaves_the_model_out_and_says_so(things):
    result = run("predict", things, "a sweet apple", *TEXT)
    assert result.stderr.splitlines() == [LEFT_OUT]
    (row,) = lines(result)
    assert (row["output"], row["decided_by"], row["lm"]) == ("fruit", "probe", None)
    probed = run("predict", things, "a sweet apple", "--decide", "probe")
    assert probed.stderr == ""
    (same,) = lines(probed)
    assert same["probability"] == row["probability"]


def test_text_that_is_no_label_stays_what_it_is(things):
    with Engine.open(things, lm=Wandering(), decide="lm", k=2) as engine:
        answer = engine.predict("a sweet apple")
    assert (answer.output, answer.known_label) == ("some other thing", False)
    assert (answer.probs, answer.probability) == ({}, None)


def test_a_shortlist_holds_the_model_to_its_labels(work):
    rows = [*ROWS, *({"text": f"sweet saw {n}", "label": "toy"} for n in range(6))]
    write_rows(work / "three.jsonl", rows)
    run("index", "three.jsonl", "--encoder", "fake:a")
    ask = ("predict", "indexes/three", "sweet ripe saw toy toy toy tool tool tool", "--k", 9)
    for lm in ("fake-text:2000", "fake-choice:2000"):
        options = ("--lm", lm, "--decide", "lm", "--shortlist", 9)
        (row,) = lines(run(*ask, *options))
        near = {n["output"] for n in row["neighbors"]}
        assert len(near) == 2
        assert row["output"] in near
        assert row["known_label"] is True


def test_neighbours_that_agree_answer_and_the_model_the_rest(work):
    rows = [{**row, "text": f"{row['text']} n{n}"} for n in range(5) for row in ROWS]
    write_rows(work / "many.jsonl", rows)
    run("index", "many.jsonl", "--encoder", "fake:a")
    files = ("--file", "many.jsonl", "--exclude-self")
    found = lines(run("predict", "indexes/many", *files, *ALONE, "--exit", 0.8))
    assert {row["decided_by"] for row in found} <= {"vote", "generation"}
    for row in found:
        assert ("probability" in row) == (row["decided_by"] == "vote") == ("exited" in row)


def test_likelihoods_that_are_needed_are_an_error(things, work):
    for arguments in (
        ("explain", things, "a sweet apple", *TEXT),
        ("tune", things, *TEXT),
        ("evaluate", things, "--test", "things.jsonl", "--out", "report", *TEXT),
    ):
        fails(*arguments, match=NONE_GIVEN)
    row = run("explain", things, "x", *TEXT, "--decide", "blend", "--format", "json").stdout
    assert json.loads(row)["support"]["examples"], "the blend needs none"
    for decide in ("lm", "blend"):
        options = ("--ensemble", 3, "--decide", decide)
        fails("predict", things, "x", *TEXT, *options, match="an ensemble averages label")
    fails("predict", things, "x", *TEXT, "--set-coverage", 0.9, match="ragicl tune")
    fails("predict", things, "x", *ALONE, "--set-coverage", 0.9, match="go by the blend")
    with Engine.open(things, lm=FakeTextLM()) as engine, pytest.raises(BackendError):
        tune(engine, 1)


def test_a_measurement_names_its_stages(things):
    measured = {
        options: json.loads(
            run("bench", things, "--queries", 3, *options, "--format", "json").stdout
        )
        for options in (TEXT, ALONE)
    }
    assert "generate" in measured[ALONE]["single"]
    assert measured[ALONE]["tokens"] > measured[TEXT]["tokens"] == 0
    assert run("bench", things, "--queries", 3, *ALONE).stdout.startswith("3 queries, ")


def test_an_engine_makes_no_distribution_up(things):
    with Engine.open(things, lm=FakeTextLM(), decide="lm", k=2) as engine:
        with pytest.raises(TaskError, match="gives no label likelihoods; decide by blend"):
            engine.probs(["a sweet apple"])
        (shown,) = engine.predict_with(["x"], [engine.index.search(["apple"], 1)[0]])
        assert (shown.output, shown.decided_by) == ("fruit", "generation")
    with Engine.open(things, lm=FakeTextLM()) as engine:
        np.testing.assert_allclose(engine.probs(["a sweet apple"]).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("lm", [FakeTextLM(), FakeChoosingLM()])
def test_the_estimator_predicts_classes_and_no_probabilities(lm):
    texts, kinds = [row["text"] for row in ROWS], [row["label"] for row in ROWS]
    made = ICLClassifier(FakeEncoder(), lm, decide="lm", k=1).fit(texts, kinds)
    assert made.predict(["a sweet ripe apple", "sharp steel saw"]).tolist() == ["fruit", "tool"]
    with pytest.raises(TaskError, match="gives no label likelihoods"):
        made.predict_proba(["a sweet ripe apple"])
    blend = ICLClassifier(FakeEncoder(), lm).fit(texts, kinds)
    assert blend.predict_proba(["a sweet ripe apple"]).sum() == pytest.approx(1)


def test_the_estimator_makes_no_class_of_other_text():
    made = ICLClassifier(FakeEncoder(), Wandering(), decide="lm", k=1).fit(["a", "b"], [0, 1])
    with pytest.raises(TaskError, match="generated 'some other thing', which is no class"):
        made.predict(["a"])


def test_an_ensemble_is_refused_before_anything_is_asked(things):
    with pytest.raises(TaskError, match="fake-text:2000 gives none; leave ensemble at 1"):
        Engine.open(things, lm=FakeTextLM(), policy=Policy(ensemble=2))
    Engine.open(things, decide="knn", ensemble=2).close()
