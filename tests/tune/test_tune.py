import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

import ragicl.tune.search as search
from ragicl import (
    BackendError,
    CorruptError,
    Engine,
    Example,
    Index,
    LockedError,
    Policy,
    TaskError,
)
from ragicl.backends.fake import FakeEncoder, FakeFeaturingLM, FakeLM
from ragicl.calibration.blend import Blend, Evidence, Fitted, fit_blend
from ragicl.calibration.conformal import ConformalRecord
from ragicl.cli.main import main
from ragicl.inference.blender import default_blend
from ragicl.inference.tuned_settings import Tuned, tuned_for
from ragicl.tune import Candidate, tune
from ragicl.tune.fit import best_calibration, fit_calibrations, fit_lm_free
from ragicl.tune.held_out import VOTERS
from ragicl.tune.logprob_cache import NAME, LogProbCache

FEW = (Candidate(4), Candidate(2), Candidate(4, order="nearest-first"), Candidate(2, ensemble=2))
KINDS = {"fruit": "apple pear plum sweet ripe", "tool": "hammer saw drill steel sharp"}
TEXTS = [
    (f"{' '.join(np.random.default_rng(i).permutation(words.split())[:3])} {i}", label)
    for label, words in KINDS.items()
    for i in range(30)
]


class Counting(FakeLM):
    """Notes how many prompts it was asked about."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def score(self, prompts, answers, **options):
        self.asked += len(prompts)
        return super().score(prompts, answers, **options)


@pytest.fixture
def folder(tmp_path):
    with Index.create(tmp_path / "index", encoder=FakeEncoder()) as index:
        index.add([Example(text, label) for text, label in TEXTS])
    return tmp_path / "index"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(search, "FIRST", 8)


def opened(folder, lm=None, **chosen):
    engine = Engine.open(folder, lm=lm or Counting(), **chosen)
    engine.index._encoder = FakeEncoder()
    return engine


def test_candidates_are_halved_and_the_best_sees_all_examples(folder):
    seen = []
    with opened(folder) as engine:
        tuned = tune(engine, 5, candidates=FEW, progress=lambda *step: seen.append(step))
    trials = tuned.evidence["trials"]
    assert [t["rows"] for t in trials] == [8] * 4 + [16] * 2 + [60]
    went_on = {t["candidate"] for t in trials[4:6]}
    better = [t["loss"] for t in trials[:4] if t["candidate"] in went_on]
    assert max(better) <= min(t["loss"] for t in trials[:4] if t["candidate"] not in went_on)
    assert len(better) == 2
    assert trials[-1]["candidate"] in {t["candidate"] for t in trials[4:6]}
    assert tuned.policy["voters"] in VOTERS
    assert tuned.evidence["blend"]["accuracy"] > 0.9
    assert len(tuned.record.right) == tuned.evidence["rows"] == 60
    assert seen[-1][1:] == (60, 60)


def test_the_quickest_of_those_as_good_as_the_best_is_chosen():
    draw = np.random.default_rng(0)
    usual = draw.random(50)

    def trial(number, worse, noise):
        losses = usual + worse + noise * draw.normal(size=50)
        return search.Trial(Candidate(number), losses, 1.0)

    best, alike, worse = trial(16, 0, 0), trial(4, 0.01, 0.3), trial(2, 0.5, 0.1)
    assert search.cheapest([worse, best, alike]).k == 4
    assert search.cheapest([worse, best]).k == 16


def fitted(right):
    held = np.stack([right, 1 - right], axis=1)
    return Fitted(Blend(), held, float(-np.log(right).mean()))


@pytest.mark.parametrize(
    ("without", "index", "chosen"),
    [
        (0.0, -0.3, "without"),  # as good as the best, as far as 50 rows can tell
        (-0.3, -0.3, "batch"),
        (0.0, 0.1, "index"),  # the best, and takes no language model at all
        (0.1, -0.3, "without"),
    ],
)
def test_demonstrations_are_read_only_where_that_helps(without, index, chosen):
    draw = np.random.default_rng(0)
    right = draw.uniform(0.4, 0.6, 50)
    calibrations = {
        "batch": fitted(right + 0.001),
        "without": fitted(right + without + 0.05 * draw.normal(size=50)),
        "index": fitted(right + index),
    }
    lm_free = {name: calibrations[name] for name in ("without", "index")}
    assert best_calibration(calibrations, np.zeros(50, dtype=np.int64), lm_free) == chosen


def test_all_rows_choose_among_the_blends_without_prompts():
    few, gold = slice(20), np.zeros(400, dtype=np.int64)
    right = np.full(400, 0.8)
    lucky = np.concatenate([np.full(20, 0.9), np.full(380, 0.5)])
    lm_free = {"without": fitted(right), "index": fitted(lucky)}
    shown = {"none": fitted(right[few] - 0.1)}
    shown |= {"without": fitted(right[few]), "index": fitted(lucky[few])}
    assert best_calibration(shown, gold[few], lm_free) == "without"


def test_what_all_rows_tell_is_kept_where_the_model_saw_few():
    draw = np.random.default_rng(0)
    gold = draw.integers(0, 2, 400)
    right = np.where(draw.random(400) < 0.9, 0.8, 0.2)
    vectors = np.where(np.eye(2)[gold] == 1, right[:, None], 1 - right[:, None])
    known = Evidence(vectors=vectors.astype(np.float32))
    lm_free = fit_lm_free(known, gold, ("a", "b"))
    noise = np.log(draw.dirichlet([1, 1], 20)).astype(np.float32)
    shown = dataclasses.replace(known.of(slice(20)), lm=noise)
    calibrations = fit_calibrations(shown, gold[:20], ("a", "b"), {}, lm_free)
    assert calibrations["without"].blend == lm_free["without"].blend
    np.testing.assert_array_equal(
        calibrations["without"].held_out, lm_free["without"].held_out[:20]
    )
    usual = lm_free["without"].blend.vectors
    assert abs(calibrations["none"].blend.vectors - usual) < 0.1, "20 rows do not outweigh 400"
    alone = fit_blend(shown, gold[:20], ("a", "b")).blend.vectors
    assert abs(alone - usual) > 0.3


def test_a_blend_in_context_does_not_read_the_bare_text_too():
    gold = np.array([0, 1] * 30)
    sure = np.where(np.eye(2)[gold] > 0, 0.8, 0.2).astype(np.float32)
    lm_free = fit_lm_free(Evidence(vectors=sure, features=sure, context=sure), gold, ("a", "b"))
    assert lm_free["without"].blend.features == 0 < lm_free["without"].blend.context
    assert lm_free["bare"].blend.context == 0 < lm_free["bare"].blend.features
    assert lm_free["index"].blend.features == lm_free["index"].blend.context == 0
    without = fit_lm_free(Evidence(vectors=sure, features=sure), gold, ("a", "b"))["without"]
    assert without.blend.features > 0


def test_an_index_tuned_by_another_version_opens_with_another_model(folder):
    with opened(folder) as engine:
        engine.index.keep_tuned({"lm": engine.lm.description, "blend": {"ridge": 1.0}})
        other = FakeLM()
        other.description = "another model"
        assert tuned_for(engine.index, other) is None
        with pytest.raises(CorruptError, match="--forget"):
            tuned_for(engine.index, engine.lm)


def test_what_version_0_1_0_tuned_can_still_be_read():
    blend = {"lm": 0.1, "vote": 0.05, "vectors": 0.5, "features": 0.6, "offsets": {"a": 0.5}}
    saved = {
        "policy": {
            "k": 8,
            "select": "nearest",
            "order": "nearest-last",
            "ensemble": 1,
            "voters": 9,
        },
        "template": None,
        "lm": "a model",
        "calibration": "batch",
        "blend": blend,
        "record": {"right": [0.1, 0.9], "likeliest": [0.6, 0.9]},
        "evidence": {"examples": 2},
    }
    tuned = Tuned.from_json(saved, Path())
    assert tuned.blend.weights == (0.1, 0.05, 0.5, 0.6, 0.0)
    assert tuned.record.quantile(0.5) == 0.1
    saved["blend"] = blend | {"context": 0.0}
    assert json.loads(json.dumps(tuned.as_json())) == saved


def test_no_example_is_its_own_evidence(folder):
    # Random labels: with itself among its evidence, an example would look easy.
    draw = np.random.default_rng(0)
    with opened(folder) as engine:
        engine.remove([example.id for example in engine.index])
        engine.add(
            [Example(f"{draw.integers(1e9)} word", draw.choice(["x", "y"])) for _ in range(80)]
        )
        tuned = tune(engine, 5, candidates=FEW[:2])
    assert tuned.evidence["blend"]["accuracy"] < 0.7
    assert tuned.evidence["blend"]["loss"] > 0.6


def test_a_second_run_asks_only_what_is_new(folder):
    with opened(folder, first := Counting()) as engine:
        before = tune(engine, 5, candidates=FEW)
    with opened(folder, second := Counting()) as engine:
        after = tune(engine, 5, candidates=FEW)
        content_free = 2 * min(12, 60)
        assert second.asked <= content_free < first.asked
        assert after.blend == before.blend
        engine.add([Example("a new sweet plum", "fruit")])
    with opened(folder, third := Counting()) as engine:
        tune(engine, 5, candidates=FEW)
    assert third.asked > 100, "other examples: what was kept is of no use"


def test_a_killed_run_loses_one_line_at_most(folder):
    with opened(folder) as engine:
        whole = tune(engine, 5, candidates=FEW)
    file = folder / NAME
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])
    with opened(folder) as engine:
        again = tune(engine, 5, candidates=FEW)
    assert again.blend == whole.blend
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert sum(len(line["said"]) for line in lines[1:]) == 4 * 8 + 2 * 8 + (60 - 16)


def test_time_ends_the_search(folder):
    with opened(folder) as engine:
        tuned = tune(engine, 1e-9, candidates=FEW)
    trials = tuned.evidence["trials"]
    assert [(t["candidate"], t["rows"]) for t in trials] == [(FEW[0].name, 8)] * 2


def test_what_was_tuned_is_used_from_then_on(folder):
    with opened(folder) as engine:
        assert engine.tuned is None
        tuned = tune(engine, 5, candidates=(Candidate(3, "balanced"),))
        tuned = replace(tuned, blend=replace(default_blend(None), lm=0.5))
        engine.index.keep_tuned(tuned.as_json())
    assert (
        Tuned.from_json(json.loads((folder / "manifest.json").read_text())["tuned"], folder)
        == tuned
    )
    with opened(folder) as engine:
        assert (engine.policy.retrieval.k, engine.policy.retrieval.select) == (3, "balanced")
        assert engine.tuned == tuned
    with opened(folder, k=5) as engine:
        assert (engine.policy.retrieval.k, engine.policy.retrieval.select) == (5, "balanced"), (
            "what is given comes first"
        )
    with opened(folder, policy=Policy()) as engine:
        assert engine.policy == Policy()
    other = FakeLM()
    other.description = "another model"
    with opened(folder, other) as engine:
        assert (engine.tuned, engine.policy) == (None, Policy())


def test_a_model_without_weight_is_not_asked(folder):
    with opened(folder) as engine:
        tuned = tune(engine, 5, candidates=FEW[:1])
        kept = replace(tuned, blend=replace(default_blend(None), lm=0.0)).as_json()
        engine.index.keep_tuned(kept)
    with opened(folder, lm := Counting()) as engine:
        answer = engine.predict("sweet ripe apple")
    assert (answer.output, answer.prompt, answer.lm, lm.asked) == ("fruit", None, None, 0)


def test_sets_and_abstention_go_by_what_was_recorded(folder):
    with opened(folder) as engine:
        engine.index.keep_tuned(tune(engine, 5, candidates=FEW[:1]).as_json())
    with opened(folder, set_coverage=0.9, coverage=0.5) as engine:
        own = [example.id for example in engine.index]
        answers = list(engine.predict_all([text for text, _ in TEXTS], exclude=own))
        held = [label in a.label_set for a, (_, label) in zip(answers, TEXTS, strict=True)]
        assert np.mean(held) >= 0.9
        assert 0 < sum(a.abstained for a in answers) < len(answers)
    with (
        opened(folder, decide="blend", set_coverage=0.999) as engine,
        pytest.raises(TaskError, match="999"),
    ):
        engine.predict("sweet apple")


def test_promises_hold_for_what_was_tuned_alone(folder):
    with opened(folder) as engine:
        engine.index.keep_tuned(tune(engine, 5, candidates=FEW[:1]).as_json())
    for chosen in ({"k": 1}, {"labels": ("fruit", "tool")}, {"budget": 90}):
        with opened(folder, set_coverage=0.9, **chosen) as engine:
            with pytest.raises(TaskError, match=f"another {next(iter(chosen))}"):
                engine.predict("sweet apple")
            assert engine.tuned.blend.vectors > 0, "the blend itself is used"
    with opened(folder, coverage=0.9) as engine:
        engine.add([Example("a new sweet plum", "fruit")])
        assert engine.predict("sweet apple").output == "fruit"
        engine.remove([example.id for example in list(engine.index)[:20]])
        with pytest.raises(TaskError, match="60 examples, and 41 are left"):
            engine.predict("sweet apple")


def test_strange_texts_are_out_of_scope(folder):
    with opened(folder, ood_level=0.05) as engine:
        own, strange = engine.predict_all(["sweet ripe pear", "quantum flux of neutrinos"])
    assert own.percentile > 0.3 > 0.05 > strange.percentile
    assert (own.out_of_scope, strange.out_of_scope) == (False, True)


def test_too_few_examples_and_texts_to_write_are_refused(folder, tmp_path):
    with opened(folder) as engine:
        engine.remove([example.id for example in list(engine.index)[5:-4]])
        with pytest.raises(TaskError, match="9 examples are too few"):
            tune(engine, 1)
    with Index.create(tmp_path / "texts", encoder=FakeEncoder(), kind="generate") as index:
        index.add([Example("say hello", "hello you"), Example("say bye", "good bye")])
    with opened(tmp_path / "texts") as engine, pytest.raises(TaskError, match="labels"):
        tune(engine, 1)


def test_command_tunes_shows_and_forgets(folder, monkeypatch):
    def run(*arguments):
        result = CliRunner().invoke(main, [str(a) for a in (*arguments, "--lm", "fake:2000")])
        assert result.exit_code == 0, result.output
        return result

    text = run("tune", folder, "--minutes", 0.001).stdout
    assert "chosen: " in text
    assert "weights: language model" in text
    manifest = json.loads((folder / "manifest.json").read_text())
    assert f"{manifest['tuned']['evidence']['blend']['accuracy']:.3f}" in text
    row = json.loads(run("predict", folder, "sweet apple", "--set-coverage", 0.8).stdout)
    assert row["label_set"][0] == row["output"] == "fruit"
    assert "forgotten" in run("tune", folder, "--forget").stderr
    assert json.loads((folder / "manifest.json").read_text())["tuned"] is None


def test_as_many_vote_as_were_found_best(folder):
    with opened(folder, voters=1, k=8) as engine:
        (found,) = engine.pipeline.retriever.find(["sweet apple"], [None], {})
        vote = engine.pipeline.blender.evidence([found], engine.labels).vote
    assert sorted(vote[0]) == [0, 1]
    assert len(found.neighbors) == 8


def test_labels_may_be_taught_while_a_text_is_scored(folder):
    class Taught(FakeLM):
        def score(self, *arguments, **options):
            self.engine.add([Example("blue whale", "animal")])
            return super().score(*arguments, **options)

    with opened(folder, lm := Taught()) as lm.engine:
        first = lm.engine.predict("sweet apple")
        assert set(first.probs) == {"fruit", "tool"}
        assert set(lm.engine.predict("sweet apple").probs) == {"animal", "fruit", "tool"}


def test_an_early_exit_keeps_what_was_promised(folder):
    with opened(folder) as engine:
        copies = [Example(f"{text} {i}", label) for text, label in TEXTS for i in range(9)]
        engine.add(copies)
        engine.index.keep_tuned(tune(engine, 5, candidates=FEW[:1]).as_json())
    with opened(folder, exit=0.9, set_coverage=0.9, ood_level=0.05) as engine:
        own, strange = engine.predict_all([f"{TEXTS[0][0]} 3", "quantum flux of neutrinos"])
    assert own.exited
    assert own.label_set == ("fruit",)
    assert own.percentile > 0.05 > strange.percentile
    assert (own.out_of_scope, strange.out_of_scope) == (False, True)


def test_without_a_model_the_voters_are_shown_and_a_shortlist_holds(folder):
    with opened(folder) as engine:
        engine.add([Example("grey quartz", "stone")])
        tuned = tune(engine, 5, candidates=FEW[:1])
        kept = replace(tuned, blend=replace(default_blend(None), lm=0.0)).as_json()
        engine.index.keep_tuned(kept)
    with opened(folder, shortlist=1, voters=3, select="random") as engine:
        answer = engine.predict("grey quartz")
    assert answer.probs == {"fruit": 0, "stone": 1, "tool": 0}
    assert answer.neighbors[0].example.output == "stone"
    assert len(answer.neighbors) == 3


def test_what_was_tuned_is_for_labels(folder):
    with opened(folder) as engine:
        engine.index.keep_tuned(tune(engine, 5, candidates=FEW[-1:]).as_json())
    with opened(folder, generate=True) as engine:
        assert engine.policy.prompt.ensemble == 1
        assert engine.predict("sweet apple").output


def test_what_cannot_be_read_can_be_forgotten(folder):
    with opened(folder) as engine:
        engine.index.keep_tuned(
            tune(engine, 5, candidates=FEW[:1]).as_json() | {"policy": {"x": 1}}
        )
    with pytest.raises(CorruptError, match="--forget"):
        opened(folder)
    result = CliRunner().invoke(main, ["tune", str(folder), "--forget"])
    assert result.exit_code == 0, result.output
    with opened(folder) as engine:
        assert engine.tuned is None


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"blend": {"lm": "much"}}, "Expected `float`, got `str` - at `$.blend.lm`"),
        ({"blend": {"senses": 1.0}}, "unknown field `senses` - at `$.blend`"),
        ({"record": {"right": [0.1, None]}}, "got `null` - at `$.record.right"),
        ({"calibration": 3}, "Expected `str`, got `int` - at `$.calibration`"),
        ({"later": 1}, "unknown field `later`"),
        ({"policy": {"k": "4"}}, "Expected `int`, got `str` - at `$.k`"),
        ({"policy": {"select": "best"}}, "Invalid enum value 'best' - at `$.select`"),
        ({"policy": {"voters": 0}}, "voters is 0; it must be 1 or more"),
    ],
)
def test_what_is_wrong_in_a_tuned_record_is_named(folder, changes, wrong):
    with opened(folder) as engine:
        kept = Tuned({}, None, engine.lm.description, "batch", Blend(), ConformalRecord())
        engine.index.keep_tuned(kept.as_json() | changes)
    with pytest.raises(CorruptError) as caught:
        opened(folder)
    for part in (wrong, str(folder / "manifest.json"), f"`ragicl tune {folder} --forget`"):
        assert part in str(caught.value)


def test_a_tuned_record_without_a_field_is_named(folder):
    with opened(folder) as engine:
        engine.index.keep_tuned({"lm": engine.lm.description, "policy": {}, "template": None})
    with pytest.raises(CorruptError, match="missing required field `calibration`"):
        opened(folder)


def test_a_damaged_line_costs_what_follows_it(folder):
    with opened(folder) as engine:
        whole = tune(engine, 5, candidates=FEW)
    lines = (folder / NAME).read_bytes().splitlines(keepends=True)
    (folder / NAME).write_bytes(b"".join([*lines[:2], lines[2][:40] + lines[3], *lines[4:]]))
    with opened(folder, lm := Counting()) as engine:
        assert tune(engine, 5, candidates=FEW).blend == whole.blend
    assert lm.asked > 60


def test_one_process_tunes_at_a_time(folder):
    with (
        opened(folder) as engine,
        LogProbCache(engine),
        pytest.raises(LockedError, match="another process is tuning"),
    ):
        tune(engine, 5, candidates=FEW)
    with opened(folder) as engine:
        assert tune(engine, 5, candidates=FEW[:1]).evidence["rows"] == 60


def test_another_seed_goes_on_from_what_is_known(folder):
    with opened(folder) as engine:
        tune(engine, 1e-9, candidates=FEW[:1], seed=0)
    with opened(folder) as engine:
        tuned = tune(engine, 1e-9, candidates=FEW[:1], seed=1)
    assert 8 <= tuned.evidence["trials"][-1]["rows"] < 60


def test_a_model_without_a_chat_format_is_tuned_without(folder):
    class Plain(FakeLM):
        def chat(self, messages):
            raise BackendError("no chat format")

    chat = Candidate(4, template="chat")
    with opened(folder, Plain()) as engine:
        tuned = tune(engine, 5, candidates=(chat, Candidate(4)))
        assert {trial["candidate"] for trial in tuned.evidence["trials"]} == {Candidate(4).name}
        with pytest.raises(BackendError, match="no chat format"):
            tune(engine, 5, candidates=(chat, Candidate(2, template="chat")))


def test_texts_that_do_not_fit_do_not_end_it(folder):
    with opened(folder) as engine:
        engine.add([Example(f"{'apple ' * 3000}{i}", "fruit") for i in range(30)])
        engine.add([Example(f"{'x' * 30} {i}", "tool") for i in range(3)])
        tuned = tune(engine, 5, candidates=FEW[:2])
    assert tuned.evidence["rows"] == 93


def test_the_template_that_was_asked_for_is_kept(folder):
    pattern = "Text: {input}\nKind: {output}"
    command = ["tune", str(folder), "--lm", "fake:2000", "--minutes", "0.0001"]
    result = CliRunner().invoke(main, [*command, "--template", pattern])
    assert result.exit_code == 0, result.output
    with opened(folder) as engine:
        assert engine.tuned is not None
        assert "".join(engine.template.render("x", [])).endswith("Text: x\nKind:")


def test_states_in_context_are_tried_and_used_from_then_on(folder):
    with opened(folder, FakeFeaturingLM()) as engine:
        tuned = tune(engine, 5, candidates=FEW)
        assert "context" in tuned.evidence["alone"]
        assert {"without", "bare", "index"} <= set(tuned.evidence["calibrations"])
        assert set(tuned.evidence["lm_free"]) == {"without", "bare", "index"}
        reading = replace(tuned, blend=Blend(0.0, 0.0, 0.2, 0.2, 0.9))
        engine.index.keep_tuned(reading.as_json())
    with opened(folder, FakeFeaturingLM()) as engine:
        assert engine.tuned.blend.context == 0.9
        found = engine.predict(TEXTS[0][0])
        assert found.output == TEXTS[0][1]
        assert found.lm == FakeFeaturingLM.description
        assert found.prompt is None
        kept = engine.predict(TEXTS[0][0])
        assert kept.probs == found.probs


def test_a_model_that_shows_no_states_is_tuned_without(folder):
    with opened(folder) as engine:
        tuned = tune(engine, 5, candidates=FEW)
    assert not {"context", "features"} & set(tuned.evidence["alone"])
    assert tuned.blend.context == 0
