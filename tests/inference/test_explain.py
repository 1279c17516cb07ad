"""Leave-one-out influences are those of independent predictions."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from ragicl import BackendError, Engine, Example, Index, Policy, TaskError
from ragicl.backends.fake import FakeEncoder, FakeLM
from ragicl.cli.main import main

ROWS = [
    ("my card is lost", "lost card"),
    ("i lost my card today", "lost card"),
    ("where is my parcel", "late parcel"),
    ("parcel has not come", "late parcel"),
    ("reset my password", "login"),
    ("forgot the password", "login"),
]
TEXT = "lost my card password"


@pytest.fixture
def folder(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.add([Example(text, label, id=str(n)) for n, (text, label) in enumerate(ROWS)])
    return tmp_path / "index"


class CountingLM(FakeLM):
    """Keeps how many prompts each call scores, and with which prune_margin."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def score(self, prompts, answers, *, prune_margin=None, candidate_ids=None):
        self.calls.append((len(prompts), prune_margin))
        return super().score(
            prompts, answers, prune_margin=prune_margin, candidate_ids=candidate_ids
        )


ALONE = ["--decide", "lm", "--lm", "fake:4000"]


def opened(folder, lm=None, template="plain", **policy):
    engine = Engine.open(
        folder, lm=lm or FakeLM(), template=template, policy=Policy(**{"decide": "lm"} | policy)
    )
    engine.index._encoder = FakeEncoder()
    return engine


@pytest.mark.parametrize("template", ["plain", "chat", "{input} is {output}"])
@pytest.mark.parametrize("label", [None, "late parcel"])
def test_influence_is_the_difference_of_two_predictions(folder, template, label):
    with opened(folder, template=template, k=4) as engine:
        explanation = engine.explain(TEXT, label=label)
        whole = engine.predict(TEXT)
        near = list(whole.neighbors)
        assert explanation.prompt == whole.prompt
        assert [i.neighbor for i in explanation.influences] == near[::-1], "prompt order"
        for influence in explanation.influences:
            others = [n for n in near if n != influence.neighbor]
            (without,) = engine.predict_with([TEXT], [others])
            asked = label or whole.output
            change = math.log(whole.probs[asked]) - math.log(without.probs[asked])
            assert math.isclose(influence.log_prob_change, change, abs_tol=1e-9)
            assert influence.output_without == without.output
    assert explanation.label == asked
    assert explanation.output == whole.output
    assert math.isclose(explanation.probability, whole.probs[asked])
    assert explanation.lm == FakeLM.description


def test_what_holds_the_label_speaks_for_it_and_the_others_against(folder):
    with opened(folder, k=5) as engine:
        explanation = engine.explain(TEXT, label="login")
    for influence in explanation.influences:
        holds = influence.neighbor.example.output == "login"
        assert (influence.log_prob_change > 0) == holds
    assert {i.neighbor.example.output for i in explanation.influences} > {"login"}


def test_a_flip_names_the_label_that_would_win(folder):
    with opened(folder, k=2) as engine:
        explanation = engine.explain("card is lost")
    assert {i.output_without for i in explanation.influences} == {explanation.output}
    assert explanation.output == "lost card"
    assert explanation.flips == (), "the other demonstration has the same label"
    with opened(folder, k=1) as engine:
        explanation = engine.explain("forgot the password")
    (flip,) = explanation.flips
    assert explanation.output == "login"
    assert flip.output_without == "late parcel", "the first of equals"


def test_all_prompts_are_scored_to_their_end_in_one_call(folder):
    lm = CountingLM()
    with opened(folder, lm, k=4) as engine:
        engine.explain(TEXT)
    assert lm.calls == [(5, None)]


def test_only_what_is_in_the_prompt_is_explained(folder):
    with opened(folder, k=6, budget=30) as engine:
        explanation = engine.explain(TEXT)
        assert 0 < len(explanation.influences) < 6
        assert tuple(i.neighbor for i in explanation.influences) == explanation.prompt.shots
        assert explanation.prompt.dropped == 6 - len(explanation.influences)
    with opened(folder, k=0) as engine:
        assert engine.explain(TEXT).influences == ()


def test_fixed_demonstrations_stay_in_every_prompt(folder, monkeypatch):
    asked = []
    score = FakeLM.score

    def record(self, prompts, answers, **options):
        asked.extend(prompts)
        return score(self, prompts, answers, **options)

    monkeypatch.setattr(FakeLM, "score", record)
    with opened(folder, k=2, fixed=2) as engine:
        explanation = engine.explain(TEXT)
    assert len(explanation.prompt.shots) == 4
    assert tuple(i.neighbor for i in explanation.influences) == explanation.prompt.shots[2:]
    beginning, far, near, query = explanation.prompt.parts
    assert [tuple(parts) for parts in asked] == [
        (beginning, far, near, query), (beginning, near, query), (beginning, far, query),
    ]  # fmt: skip


def test_an_excluded_example_is_no_demonstration(folder):
    with opened(folder, k=6) as engine:
        explanation = engine.explain("my card is lost", exclude="0")
    assert {i.neighbor.example.id for i in explanation.influences} == set("12345")


def test_a_written_answer_is_explained_by_its_likelihood(texts_folder):
    with opened(texts_folder, k=2) as engine:
        explanation = engine.explain("say hello")
        answer = engine.predict("say hello").output
        parts = [explanation.prompt.parts]
        shots = [(n.example.input, n.example.output) for n in explanation.prompt.shots]
        parts += [engine.template.render("say hello", [s]) for s in reversed(shots)]
        scores = engine.lm.score(parts, [engine.template.answer(answer)])[:, 0]
    assert explanation.label == explanation.output == answer == "hello there"
    assert explanation.log_prob == scores[0]
    changes = [i.log_prob_change for i in explanation.influences]
    assert np.allclose(changes, scores[0] - scores[1:])
    assert changes[0] == 0 < changes[1]
    assert {i.output_without for i in explanation.influences} == {None}
    assert explanation.flips == ()


def test_any_text_can_be_explained_where_texts_are_written(texts_folder):
    with opened(texts_folder, k=2) as engine:
        explanation = engine.explain("say hello", label="good bye now")
    bye, hello = (i.log_prob_change for i in explanation.influences)
    assert bye > hello == 0


def test_a_blend_is_explained_by_its_own_probabilities(folder):
    with opened(folder, k=4, decide="blend", voters=4) as engine:
        explanation = engine.explain(TEXT, label="login")
        assert math.isclose(explanation.probability, engine.predict(TEXT).probs["login"])
    with opened(folder, k=4) as alone:
        raw = alone.explain(TEXT, label="login")
    # The model has a small share of a blend; a vote less moves it too.
    for own, other in zip(explanation.influences, raw.influences, strict=True):
        assert own.neighbor == other.neighbor
        assert own.log_prob_change != other.log_prob_change


def test_a_vote_has_nothing_to_explain(folder):
    with (
        opened(folder, k=3, decide="knn") as engine,
        pytest.raises(TaskError, match="decide by lm"),
    ):
        engine.explain(TEXT)


def test_a_label_that_cannot_be_chosen_is_refused(folder):
    with opened(folder, k=3) as engine, pytest.raises(TaskError, match="'cat' is not among"):
        engine.explain(TEXT, label="cat")
    with opened(folder, k=1, shortlist=1) as engine:
        assert engine.explain("reset my password", label="login").probability == 1
        with pytest.raises(TaskError, match="'lost card' is not among"):
            engine.explain("reset my password", label="lost card")


def test_scores_of_an_answer_that_are_no_numbers_are_refused(texts_folder, monkeypatch):
    monkeypatch.setattr(FakeLM, "score", lambda self, p, a, **_: np.full((len(p), len(a)), np.nan))
    with opened(texts_folder) as engine, pytest.raises(BackendError, match="not numbers"):
        engine.explain("say hello")


def run(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_command_shows_what_the_engine_says(folder):
    with opened(folder, k=3) as engine:
        explanation = engine.explain(TEXT, label="login")
    asked = [
        "explain",
        folder,
        TEXT,
        "--label",
        "login",
        "--k",
        3,
        "--decide",
        "lm",
        "--lm",
        "fake:4000",
    ]
    row = json.loads(run(*asked, "--format", "json"))
    assert (row["label"], row["output"]) == ("login", "lost card")
    assert row["log_prob"] == round(explanation.log_prob, 6)
    for got, influence in zip(row["influences"], explanation.influences, strict=True):
        assert got["id"] == influence.neighbor.example.id
        assert got["similarity"] == influence.neighbor.similarity
        assert got["log_prob_change"] == round(influence.log_prob_change, 6)
        assert got["output_without"] == influence.output_without
    lines = run(*asked).splitlines()
    assert lines[:3] == [TEXT, "  => lost card", "  explained: login"]
    strongest = max(explanation.influences, key=lambda i: abs(i.log_prob_change))
    assert f"{strongest.log_prob_change:+.3f}" in lines[4]
    assert strongest.neighbor.example.input in lines[4]


def test_command_names_the_label_without_a_demonstration(folder):
    shown = run(
        "explain", folder, "forgot the password", "--k", 1, "--decide", "lm", "--lm", "fake:4000"
    )
    assert shown.splitlines()[-1].strip() == "without it: late parcel"
