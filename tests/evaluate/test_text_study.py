"""Texts: their scores, and the distance at each token of the right output."""

from dataclasses import replace

import numpy as np
import pytest

from ragicl import Engine, Example, Index, Policy
from ragicl.backends.hf.training import trainer
from ragicl.backends.hf.training.api import answer_log_probs
from ragicl.evaluate import text_study
from ragicl.evaluate.metrics.bootstrap import Resampling
from ragicl.evaluate.metrics.distances import total_variation
from ragicl.evaluate.metrics.text_scores import text_rows, text_scores
from ragicl.evaluate.results import SYSTEM
from ragicl.evaluate.run import evaluate
from ragicl.evaluate.task import Task
from ragicl.evaluate.text_study import study_texts
from ragicl.prompting.template import plain_template
from ragicl.records import Query

POOL = [Example(f"how is the weather on day {n}", f"rain {n}", f"e{n}") for n in range(16)]
TEST = tuple(Query(f"the weather of day {n}", f"t{n}", f"rain {n}") for n in range(5))


@pytest.fixture
def task(tmp_path, encoder, tiny, monkeypatch):
    monkeypatch.setattr(trainer, "RATES", {"lora": (3e-2,)})
    monkeypatch.setattr(trainer, "EPOCHS", (2, 2))
    index = Index.create(tmp_path / "index", encoder=encoder, kind="generate")
    index.add(POOL)
    policy = Policy(k=2, max_tokens=4)
    engine = Engine(index, tiny("llama").lm, plain_template("generate"), policy)
    yield Task("days", engine, TEST, tmp_path / "kept")
    engine.close()


def test_scores_of_texts_by_hand():
    rows = text_rows(["a b c", "x", ""], [" a b c ", "a b", "a"])
    np.testing.assert_allclose(rows[0], [1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(rows[1:], 0, atol=1e-6)
    half = text_rows(["the cat sat"], ["the cat ran off"])[0]
    assert half[0] == 0
    assert half[1] == pytest.approx(2 * 2 / (3 + 4))
    assert 0 < half[2] < 1
    scores = text_scores(rows, Resampling(3))
    assert scores.exact_match.value == pytest.approx(1 / 3)


def test_a_study_of_texts(task):
    report = study_texts(task, ["lora"])
    assert [m.name for m in report.methods] == [SYSTEM, "knn-1", "lora"]
    assert report.kind == "generate"
    (distance,) = report.distances
    assert 0 < distance.mean.value < distance.maximum.value <= 1
    assert distance.noise_floor is not None
    by_name = {m.name: m for m in report.methods}
    assert by_name["lora"].cost.query_tokens < by_name[SYSTEM].cost.query_tokens
    assert by_name["knn-1"].cost.query_tokens == 0
    assert len(report.worst) == len(TEST)


def test_the_distance_is_that_of_the_two_models_tokens(task):
    report = study_texts(task, ["lora"], seeds=1)
    tuned = text_study._tuned(task, "lora", 0).lm
    expected = []
    for query in TEST:
        answer = task.engine.template.answer(query.gold)
        prompts = (task.engine.prompt(query.input).parts, task.bare(query.input))
        left, right = (
            np.exp(answer_log_probs(lm, parts, answer)[0])
            for lm, parts in zip((task.lm, tuned), prompts, strict=True)
        )
        expected.append(total_variation(left, right).mean())
    assert report.distances[0].mean.value == pytest.approx(np.mean(expected), abs=1e-4)
    assert report.distances[0].noise_floor is None


def test_what_was_written_is_not_written_again(task, monkeypatch):
    first = study_texts(task, ["lora"])
    monkeypatch.setattr(Engine, "predict_all", lambda *_, **__: pytest.fail("written again"))
    monkeypatch.setattr(text_study, "_row", lambda *_, **__: pytest.fail("compared again"))
    assert study_texts(task, ["lora"]) == first


def test_what_no_training_changes_is_not_written_again_for_another_limit(task, monkeypatch):
    study_texts(task, ["lora"], seeds=1)
    monkeypatch.setattr(Engine, "predict_all", lambda *_, **__: pytest.fail("written again"))
    before = set(task.folder.glob("texts-lora-*"))
    study_texts(replace(task, minutes=60.0), ["lora"], seeds=1)
    assert set(task.folder.glob("texts-lora-*")) > before


def test_trainings_learn_where_a_text_ends(task):
    stop = task.engine.template.stops[0]
    assert [answer.endswith(stop) for _, answer in task.pairs] == [True] * len(task.pool)


def test_an_evaluation_knows_texts_from_labels(task):
    (own,) = evaluate([task], ["lora"], seeds=1).sets
    assert own.kind == "generate"


@pytest.mark.parametrize("damage", ["{", '{"texts": [1]}', "[[[NaN]]]"])
def test_damaged_texts_and_distances_are_made_again(task, damage):
    def figures():
        report = study_texts(task, ["lora"])
        return [distance.mean.value for distance in report.distances], report.worst

    right = figures()
    files = list(task.folder.rglob("rows-*.json"))
    assert len(files) == 3 + 1  # of the writers, and the distances
    for file in files:
        file.write_text(damage)
    assert figures() == right
