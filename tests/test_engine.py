import asyncio
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ragicl import (
    BackendError,
    BudgetError,
    DataError,
    Engine,
    Example,
    Index,
    PlainTemplate,
    Policy,
    TaskError,
)
from ragicl.backends.fake import FakeEncoder, FakeLM
from ragicl.protocols import Classifier, Encoder, Scoring

ROWS = [
    ("my card is lost", "lost card"),
    ("i lost my card today", "lost card"),
    ("card was stolen", "lost card"),
    ("where is my parcel", "late parcel"),
    ("parcel has not come", "late parcel"),
    ("the parcel is late", "late parcel"),
    ("reset my password", "password"),
    ("forgot the password", "password"),
]


@pytest.fixture
def folder(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.add([Example(text, label, id=str(n)) for n, (text, label) in enumerate(ROWS)])
    return tmp_path / "index"


def opened(folder, **policy):
    engine = Engine.open(folder, lm=FakeLM(), policy=Policy(**policy))
    engine.index._encoder = FakeEncoder()  # the same encoder, not opened by its spec
    return engine


def test_stand_ins_satisfy_the_protocols(folder):
    assert isinstance(FakeLM(), Scoring)
    assert isinstance(FakeEncoder(), Encoder)
    with opened(folder) as engine:
        assert isinstance(engine, Classifier)


def test_predict_gives_label_probabilities_neighbours_and_prompt(folder):
    with opened(folder, k=3) as engine:
        answer = engine.predict("lost my card")
    assert answer.output == "lost card"
    assert set(answer.probs) == {"lost card", "late parcel", "password"}
    assert math.isclose(sum(answer.probs.values()), 1, abs_tol=1e-9)
    assert answer.probability == max(answer.probs.values())
    assert [n.rank for n in answer.neighbors] == [0, 1, 2]
    assert answer.prompt.shots == tuple(reversed(answer.neighbors))
    assert answer.prompt.text.endswith("Text: lost my card\nLabel:")
    assert answer.lm == FakeLM.description
    assert set(answer.timings) == {"embed", "search", "compose", "score", "blend"}


def test_vote_needs_no_language_model(folder):
    engine = Engine.open(folder, lm="hf:not-there", policy=Policy(k=3, decide="knn"))
    engine.index._encoder = FakeEncoder()
    with engine:
        answer = engine.predict("where is the parcel")
        assert (answer.output, answer.prompt, answer.lm) == ("late parcel", None, None)
        with pytest.raises(TaskError, match="without a language model"):
            engine.prompt("where is the parcel")


def test_own_example_is_left_out(folder):
    with opened(folder, k=8) as engine:
        assert "0" in {n.example.id for n in engine.predict("my card is lost").neighbors}
        left = engine.predict("my card is lost", exclude="0").neighbors
    assert {n.example.id for n in left} == {str(n) for n in range(1, 8)}


@pytest.mark.parametrize("decide", ["lm", "knn"])
def test_batches_equal_single_predictions(folder, decide, monkeypatch):
    texts = [text for text, _ in ROWS] * 5
    with opened(folder, k=3, decide=decide) as engine:
        single = [engine.predict(text) for text in texts]
        for chunk in (1, 3, 64):
            monkeypatch.setattr("ragicl.engine.CHUNK", chunk)
            batch = list(engine.predict_all(texts))
            assert [p.output for p in batch] == [p.output for p in single]
            assert [p.neighbors for p in batch] == [p.neighbors for p in single]
            backwards = list(engine.predict_all(texts[::-1]))[::-1]
            assert [dict(p.probs) for p in backwards] == [dict(p.probs) for p in single]


def test_labels_restrict_answers_and_demonstrations(folder):
    with opened(folder, k=5, labels=("password", "late parcel")) as engine:
        answer = engine.predict("my card is lost")
    assert set(answer.probs) == {"password", "late parcel"}
    assert {n.example.output for n in answer.neighbors} == {"password", "late parcel"}
    assert len(answer.neighbors) == 5


def test_unknown_label_is_named(folder):
    with (
        opened(folder, labels=("password", "nonsense")) as engine,
        pytest.raises(TaskError, match=r"'nonsense'.*there are late parcel"),
    ):
        engine.predict("x")


def test_one_label_is_no_classifier(tmp_path, encoder):
    with Index.create(tmp_path / "one", encoder=encoder) as index:
        index.add([Example("a", "same"), Example("b", "same")])
    with opened(tmp_path / "one") as engine, pytest.raises(TaskError, match="two or more"):
        engine.predict("a")


def test_empty_index_is_no_classifier(tmp_path, encoder):
    Index.create(tmp_path / "none", encoder=encoder).close()
    with opened(tmp_path / "none") as engine, pytest.raises(TaskError, match="0 label"):
        engine.predict("a")


def test_no_demonstrations(folder):
    with opened(folder, k=0) as engine:
        answer = engine.predict("lost my card")
    assert answer.neighbors == ()
    assert answer.prompt.shots == ()
    assert answer.prompt.text == "Classify each text.\nText: lost my card\nLabel:"


def test_budget_drops_the_farthest(folder):
    with opened(folder, k=8) as engine:
        everything = engine.predict("lost my card").prompt
    with opened(folder, k=8, budget=30) as engine:
        answer = engine.predict("lost my card")
    assert answer.prompt.tokens + 2 <= 30 < everything.tokens
    assert answer.prompt.dropped == 8 - len(answer.prompt.shots) > 0
    assert answer.prompt.shots[-1] == answer.neighbors[0]


def test_query_over_budget_is_refused_or_cut(folder):
    long = "lost card " * 100
    with opened(folder, budget=40) as engine:
        with pytest.raises(BudgetError) as caught:
            engine.predict(long)
        assert caught.value.budget == 40 < caught.value.needed
        mixed = list(engine.try_all(["lost my card", long, "parcel"]))
    assert [isinstance(m, BudgetError) for m in mixed] == [False, True, False]
    with opened(folder, budget=40, truncate=True) as engine:
        prompt = engine.predict(long).prompt
    assert prompt.truncated
    assert prompt.tokens <= 38


def test_teaching_shows_at_the_next_prediction(folder):
    with opened(folder, k=2) as engine:
        (new,) = engine.add([Example("gift voucher broken", "voucher")])
        assert engine.predict("gift voucher broken").output == "voucher"
        engine.update([Example("gift voucher broken", "password", id=new)])
        assert "voucher" not in engine.labels
        engine.remove([new])
        assert new not in {n.example.id for n in engine.predict("gift voucher broken").neighbors}


def test_probs_is_a_distribution_for_each_text(folder):
    with opened(folder) as engine:
        probs = engine.probs(["lost card", "password"])
        assert probs.shape == (2, 3)
        assert engine.labels[int(probs[1].argmax())] == "password"
        assert engine.probs([]).shape == (0, 3)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)


def test_async_and_threads_agree_with_one_thread(folder):
    texts = [text for text, _ in ROWS]

    async def together(engine):
        return await asyncio.gather(*map(engine.apredict, texts))

    with opened(folder, k=3) as engine:
        alone = [engine.predict(text).output for text in texts]
        assert [p.output for p in asyncio.run(together(engine))] == alone
        with ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                assert [p.output for p in pool.map(engine.predict, texts)] == alone


def test_generation_follows_the_nearest_demonstration(texts_folder):
    with opened(texts_folder, k=2) as engine:
        answer = engine.predict("say bye please")
        assert answer.output == "good bye now"
        assert (dict(answer.probs), answer.probability, answer.known_label) == ({}, None, None)
        assert list(engine.stream("say hello you")) == [" hello", " there"]


def test_generated_label_outside_the_set_is_reported(folder):
    pattern = PlainTemplate("Input: {input}\nOutput: {output}")
    engine = Engine(Index.open(folder, encoder=FakeEncoder()), FakeLM(), pattern,
                    Policy(k=1, generate=True))  # fmt: skip
    with engine:
        assert engine.predict("my card is lost").known_label is True
    engine = Engine(Index.open(folder, encoder=FakeEncoder()), FakeLM(), pattern,
                    Policy(k=0, generate=True))  # fmt: skip
    with engine:
        answer = engine.predict("my card is lost")
    assert (answer.output, answer.known_label) == ("nothing", False)


def test_generation_index_has_no_vote(texts_folder):
    with pytest.raises(TaskError, match="vote needs labels"):
        opened(texts_folder, decide="knn")


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": -1},
        {"budget": 0},
        {"max_tokens": 0},
        {"temperature": -1.0},
        {"decide": "vote"},
        {"decide": "knn", "k": 0},
    ],
)
def test_policy_refuses_nonsense(wrong):
    with pytest.raises(TaskError):
        Policy(**wrong)


def test_chat_template_makes_turns(folder):
    engine = Engine.open(folder, lm=FakeLM(), template="chat", policy=Policy(k=1))
    engine.index._encoder = FakeEncoder()
    with engine:
        assert engine.prompt("lost my card").text.startswith(
            "<system>Classify each text.</>\n<user>"
        )


def test_own_pattern_and_unknown_name(folder):
    with pytest.raises(TaskError, match="unknown template 'fancy'"):
        Engine.open(folder, lm=FakeLM(), template="fancy")
    engine = Engine.open(folder, lm=FakeLM(), template="Q {input} A {output}", instruction="")
    engine.index._encoder = FakeEncoder()
    with engine:
        assert engine.prompt("why").text.endswith("\nQ why A")


@pytest.fixture
def clear_cut(tmp_path, encoder):
    """Two topics, far apart, of 60 examples each."""
    with Index.create(tmp_path / "clear", encoder=encoder) as index:
        index.add([Example(f"sun beach sand n{n}", "holiday") for n in range(60)])
        index.add([Example(f"desk mail boss n{n}", "work") for n in range(60)])
    return tmp_path / "clear"


def test_early_exit_answers_where_neighbours_agree(clear_cut):
    with opened(clear_cut, k=4, exit=0.8) as engine:
        assert engine.exit_rule.coverage == 1.0
        sure, unsure = engine.predict_all(["sun beach sand", "sun boss sand mail"])
    assert (sure.output, sure.exited, sure.lm, sure.prompt) == ("holiday", True, None, None)
    if not unsure.exited:
        assert unsure.lm == FakeLM.description
    with opened(clear_cut, k=4) as engine:
        assert not engine.predict("sun beach sand").exited
        assert engine.exit_rule is None


def test_early_exit_asks_the_model_where_votes_are_wrong(folder):
    with opened(folder, k=3, exit=0.95) as engine:
        answers = list(engine.predict_all([text for text, _ in ROWS]))
        assert engine.exit_rule.share is None, "eight examples prove nothing"
    assert not any(answer.exited for answer in answers)


def test_a_shortlist_leaves_the_other_labels_out(folder):
    with opened(folder, k=2, shortlist=4) as engine:
        answer = engine.predict("lost my card password")
        scored = {label for label, share in answer.probs.items() if share > 0}
        assert {n.example.output for n in answer.neighbors} <= scored < set(engine.labels)
        assert math.isclose(sum(answer.probs.values()), 1.0)
        assert answer.lm == FakeLM.description
        recall = engine.shortlist_recall
        assert recall.examples == len(ROWS)
        assert 0 < recall.bound < recall.share <= 1
    with opened(folder) as engine:
        assert engine.shortlist_recall is None


def test_a_shortlist_of_one_label_needs_no_model(folder):
    with opened(folder, k=0, shortlist=1) as engine:
        answer = engine.predict("the parcel is late")
    assert (answer.output, answer.probability) == ("late parcel", 1.0)
    assert (answer.exited, answer.lm) == (True, None)
    assert set(answer.probs) == {label for _, label in ROWS}


def test_fixed_demonstrations_come_first_in_one_piece(folder):
    with opened(folder, k=2, fixed=3) as engine:
        prompts = [engine.prompt(text) for text in ("lost my card", "forgot it")]
        fixed = [[n.example.id for n in p.shots[:3]] for p in prompts]
        assert fixed[0] == fixed[1]
        assert prompts[0].parts[0] == prompts[1].parts[0]
        for prompt in prompts:
            shots = [(n.example.input, n.example.output) for n in prompt.shots]
            query = {"lost my card", "forgot it"} & {prompt.text.splitlines()[-2][6:]}
            assert prompt.text == "".join(engine.template.render(*query, shots))
            assert len(prompt.parts) == 4, "beginning, two neighbours, query"
        own = engine.prompt(ROWS[int(fixed[0][0])][0], exclude=fixed[0][0])
        assert fixed[0][0] not in [n.example.id for n in own.shots]


def test_fixed_demonstrations_are_left_out_where_they_leave_no_room(folder):
    with opened(folder, k=1, fixed=8, budget=30) as engine:
        prompt = engine.prompt("lost my card")
    assert (len(prompt.shots), prompt.dropped) == (1, 8)


def test_clusters_have_fixed_demonstrations_of_their_own(folder):
    texts = [text for text, _ in ROWS] * 3
    with opened(folder, k=1, fixed=2, clusters=3) as engine:
        answers = list(engine.predict_all(texts))
        beginnings = {answer.prompt.parts[0] for answer in answers}
        alone = [engine.predict(text) for text in texts]
    assert len(beginnings) == 3
    assert [a.prompt for a in answers] == [a.prompt for a in alone], "sorted within, not without"
    assert [a.output for a in answers] == [a.output for a in alone]


def test_a_removed_example_is_no_fixed_demonstration(folder):
    with opened(folder, k=1, fixed=2) as engine:
        before = {n.example.id for n in engine.prompt("lost my card").shots[:2]}
        engine.remove([min(before)])
        after = {n.example.id for n in engine.prompt("lost my card").shots[:2]}
    assert min(before) not in after
    assert len(after) == 2


def test_what_is_learnt_holds_until_a_tenth_of_the_examples_has_changed(clear_cut):
    with opened(clear_cut, k=4, exit=0.8) as engine:
        first, size = engine.exit_rule, len(engine.index)
        engine.add([Example("sun sea", "holiday")])
        assert engine.exit_rule is first
        engine.add([Example(f"sun sea {n}", "holiday") for n in range(size // 5)])
        assert engine.exit_rule.sample == len(engine.index)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shortlist": 0},
        {"fixed": -1},
        {"clusters": 0},
        {"clusters": 2},
        {"shortlist": 2, "generate": True},
    ],
)
def test_impossible_shortlists_and_fixed_sets_are_refused(wrong):
    with pytest.raises(TaskError):
        Policy(**wrong)


@pytest.mark.parametrize("wrong", [{"exit": 1.0}, {"exit": 0.9, "k": 0}])
def test_impossible_exits_are_refused(wrong):
    with pytest.raises(TaskError):
        Policy(**wrong)


def test_max_tokens_is_for_written_answers_only(folder):
    with opened(folder, k=8, budget=60, max_tokens=50) as engine:
        assert len(engine.prompt("lost my card").shots) > 3


@pytest.mark.parametrize("text", ["", "  \n", "\ud800", None])
def test_what_is_not_a_text_is_refused(folder, text):
    with opened(folder) as engine, pytest.raises(DataError, match="query"):
        engine.predict(text)


def test_texts_and_exclusions_must_match(folder):
    with opened(folder) as engine:
        with pytest.raises(TaskError, match="list of texts"):
            list(engine.predict_all("one text"))
        with pytest.raises(TaskError, match="list of texts"):
            list(engine.predict_all(["a", "b"], exclude=["0"]))


def test_scores_that_are_no_numbers_are_refused(folder, monkeypatch):
    monkeypatch.setattr(FakeLM, "score", lambda self, p, a, **_: np.full((len(p), len(a)), np.nan))
    with opened(folder) as engine, pytest.raises(BackendError, match="not numbers"):
        engine.predict("lost my card")


def test_a_score_of_the_shortlist_that_is_no_number_is_refused(folder, monkeypatch):
    def spoilt(self, prompts, answers, *, prune_margin, candidate_ids):
        scores = np.full((len(prompts), len(answers)), -np.inf)
        scores[0, candidate_ids[0][0]] = -1.0  # one is good, the others that were asked for are not
        return scores

    monkeypatch.setattr(FakeLM, "score", spoilt)
    with (
        opened(folder, k=2, shortlist=8) as engine,
        pytest.raises(BackendError, match="not numbers"),
    ):
        engine.predict("lost my card")


def test_room_for_texts_grows_with_the_examples(texts_folder):
    with opened(texts_folder, k=1) as engine:
        engine.add([Example("say a lot", "word " * 30)])
        assert len(engine.predict("say a lot").output.split()) == 30
        engine.add([Example("say much more", "more " * 60)])
        assert len(engine.predict("say much more").output.split()) == 60


def test_sets_and_a_shortlist_promise_different_things():
    with pytest.raises(TaskError, match="use one of the two"):
        Policy(set_coverage=0.9, shortlist=5)


def test_deprecated_fields_work_with_a_warning():
    for former, name in (("sets", "set_coverage"), ("answer", "coverage"), ("scope", "ood_level")):
        with pytest.warns(FutureWarning, match=f"{former} is deprecated; use {name}"):
            assert Policy(**{former: 0.9}) == Policy(**{name: 0.9})


def test_a_field_that_no_policy_has_is_named(folder):
    with pytest.raises(TaskError, match="no field 'neighbours'; it has budget, clusters"):
        Engine.open(folder, lm=FakeLM(), neighbours=3)
    with pytest.raises(TaskError, match=r"set_coverage is 1\.5"):
        Policy(set_coverage=1.5)


def test_the_prompt_of_an_ensemble_is_one_of_those_that_are_read(folder):
    with opened(folder, k=2, ensemble=3) as engine:
        shown, answer = engine.prompt("lost card"), engine.predict("lost card")
    assert shown == answer.prompt
    assert len(shown.shots) == 2
    assert len(answer.neighbors) == 6
