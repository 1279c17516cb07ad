"""An evaluation from end to end, with stand-ins; what was done once is not done again."""

from dataclasses import replace

import numpy as np
import pytest
from cards import POOL, TEST, WORDS

from ragicl import Engine, Example, Index, Policy
from ragicl.backends.fake import FakeEncoder, FakeFeaturingLM, FakeLM
from ragicl.errors import BackendError, BudgetError, DataError, TaskError
from ragicl.evaluate import answer_cache
from ragicl.evaluate.comparison import Sample
from ragicl.evaluate.label_study import study_labels
from ragicl.evaluate.metrics.distances import total_variation
from ragicl.evaluate.references.registry import answers, chosen, seeds_of, standing
from ragicl.evaluate.results import ICL, SYSTEM
from ragicl.evaluate.run import evaluate
from ragicl.evaluate.suite import rows_of
from ragicl.evaluate.task import Reference, Task
from ragicl.prompting.template import plain_template
from ragicl.records import Query


@pytest.fixture
def task(tmp_path, encoder):
    index = Index.create(tmp_path / "index", encoder=encoder)
    index.add(POOL)
    engine = Engine(index, FakeLM(), plain_template("classify"), Policy(k=3))
    yield Task("support", engine, tuple(TEST), tmp_path / "kept")
    engine.close()


def test_a_study_measures_every_method(task):
    report = study_labels(task, chosen(["probe"], "classify"), curves=["pool", "k", "budget"])
    names = [method.name for method in report.methods]
    assert names == [SYSTEM, ICL, "majority", "knn-1", "knn", "random-icl", "probe"]
    by_name = {method.name: method for method in report.methods}
    assert by_name["knn"].scores.accuracy.value > by_name["majority"].scores.accuracy.value
    assert by_name[SYSTEM].against is None
    assert by_name["knn"].against.difference.value == pytest.approx(
        by_name["knn"].scores.accuracy.value - by_name[SYSTEM].scores.accuracy.value
    )
    assert by_name[SYSTEM].cost.query_tokens > by_name["knn"].cost.query_tokens == 0
    assert report.distances[0].reference == "probe", "it stands for fine-tuning"
    floors = {d.reference: d.noise_floor for d in report.distances}
    assert floors["random-icl"] is not None
    assert floors["probe"] is None
    means = {d.reference: d.mean for d in report.distances}
    alone = {d.reference: d.icl for d in report.distances}
    assert alone[ICL] is None, "it is at 0 from itself"
    for name, found in ((SYSTEM, means), (ICL, alone)):
        apart = total_variation(answers(task, name).probs, answers(task, "probe").probs)
        assert found["probe"].value == pytest.approx(apart.mean(), abs=1e-6)
    assert means["probe"] != alone["probe"]
    assert (report.leaked, report.rows, report.pool, report.labels) == (1, 16, 24, 3)
    assert by_name[SYSTEM].clean is not None
    assert [c.over for c in report.curves] == ["pool", "k", "budget"]
    assert [p.size for p in report.curves[0].points] == [12, 24]
    assert "4" in report.curves[0].note, "too few sizes to fit"
    assert len(report.worst) == 10
    assert [i.distance for i in report.worst] == sorted(i.distance for i in report.worst)[::-1]


def test_the_whole_pool_of_a_curve_is_the_language_model_alone(task):
    report = study_labels(task, chosen(["probe"], "classify"), curves=["pool"])
    whole = report.curves[0].points[-1]
    assert whole.size == len(POOL)
    assert whole.distance.value == pytest.approx(report.distances[0].icl.value)
    (icl,) = (m for m in report.methods if m.name == ICL)
    assert whole.accuracy.value == pytest.approx(icl.scores.accuracy.value)


def test_a_reference_against_itself_is_at_no_distance(task):
    from ragicl.evaluate.metrics.distances import total_variation

    for name in (SYSTEM, ICL, "knn", "random-icl"):
        own = answers(task, name).probs
        assert total_variation(own, answers(task, name).probs).max() == 0


def test_a_probe_of_shuffled_labels_is_far_away(task, tmp_path, encoder):
    """The labels' names moved in a circle: what was learnt is as sure, and always other."""
    turned = dict(zip(WORDS, [*list(WORDS)[1:], *list(WORDS)[:1]], strict=True))
    with Index.create(tmp_path / "turned", encoder=encoder) as index:
        index.add([Example(e.input, turned[e.output], e.id) for e in POOL])
        engine = Engine(index, FakeLM(), plain_template("classify"), Policy(k=3))
        other = Task("turned", engine, tuple(TEST), tmp_path / "kept")
        from ragicl.evaluate.metrics.distances import total_variation

        mine, theirs = answers(task, "probe").probs, answers(other, "probe").probs
        assert total_variation(mine, theirs).mean() > 0.5


def test_leaks_are_found_but_for_case_and_punctuation(task):
    assert Sample(task).leaked.tolist() == [False] * 15 + [True]


def test_what_was_answered_is_not_asked_again(task, monkeypatch):
    first = study_labels(task, chosen(["probe"], "classify"), curves=["pool"])
    monkeypatch.setattr(Engine, "prompt", _shown(task))
    for module, name in ((FakeLM, "score"), (FakeEncoder, "encode")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("asked again"))
    assert study_labels(task, chosen(["probe"], "classify"), curves=["pool"]) == first


def _shown(task):
    """The report shows demonstrations: retrieval, without the models."""
    original = {text: task.engine.prompt(text) for text in task.texts}
    return lambda self, text: original[text]


def test_a_killed_evaluation_goes_on_where_it_stopped(task, monkeypatch):
    monkeypatch.setattr(answer_cache, "ROWS", 4)
    asked: list[str] = []

    def ours(stop):
        def probs(texts):
            if len(asked) == stop:
                raise KeyboardInterrupt
            asked.extend(texts)
            return task.engine.probs(texts)

        return lambda: Reference(task.labels, probs)

    with pytest.raises(KeyboardInterrupt):
        answer_cache.answers_of(task, "ours", ours(8))
    found = answer_cache.answers_of(task, "ours", ours(None))
    assert asked == task.texts, "each row once"
    np.testing.assert_allclose(found.probs, task.engine.probs(task.texts), atol=1e-6)


def damaged(whole: bytes, random: np.random.Generator) -> bytes:
    """Return content of the same name that something has gone wrong with."""
    data = bytearray(whole)
    data[random.integers(len(data))] ^= random.integers(1, 256)
    cut = bytes(data[: random.integers(len(data))])
    return [bytes(data), cut, b"", b"{}", b"[]", b"null"][random.integers(6)]


def test_damaged_answers_are_made_again(task, monkeypatch):
    monkeypatch.setattr(answer_cache, "ROWS", 4)
    random = np.random.default_rng(0)

    def made():
        fit = lambda: Reference(task.labels, task.engine.probs, seconds=2.0)  # noqa: E731
        return answer_cache.answers_of(task, "ours", fit)

    right = made()
    (folder,) = task.folder.glob("ours-*")
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        for _ in range(40):
            file.write_bytes(damaged(whole, random))
            found = made()
            np.testing.assert_allclose(found.probs, right.probs, atol=1e-6)
            assert found.settings == right.settings
            assert found.cost.train_seconds >= 0


def test_other_pools_and_policies_have_answers_of_their_own(task):
    before = answers(task, SYSTEM).probs
    engine = Engine(task.engine.index, FakeLM(), plain_template("classify"), Policy(k=1))
    assert np.abs(answers(replace(task, engine=engine), SYSTEM).probs - before).max() > 0.01
    task.engine.add([Example("my card is odd", "late", "odd")])
    assert replace(task).identity != task.identity


def test_unknown_names_are_refused():
    for kind in ("classify", "generate"):
        with pytest.raises(TaskError, match="unknown reference 'prob'; known: icl"):
            chosen(["prob"], kind)


def test_references_of_the_other_kind_are_left_out():
    assert chosen(["probe", "lora"], "generate") == ("lora",)
    assert "probe" in chosen(["probe"], "classify")
    assert chosen(None, "generate") == ("lora",)
    assert chosen(None, "classify")[-2:] == ("probe", "lora")


def test_the_reference_that_stands_for_tuning():
    assert standing(["majority", "knn", "probe", "lora", "full"]) == "full"
    assert standing(["majority", "knn"]) == "knn"
    assert list(seeds_of("probe", 3)) == [0]
    assert list(seeds_of("lora", 3)) == [0, 1, 2]


def test_models_that_cannot_be_tuned_say_so(task):
    with pytest.raises(BackendError, match="fake:2000 cannot be fine-tuned"):
        answers(task, "lora")


@pytest.mark.parametrize("name", ["bare-states", "icl-states"])
def test_hidden_states_are_a_reference_where_the_model_shows_them(task, name):
    with pytest.raises(BackendError, match="shows no hidden states"):
        answers(task, name)
    engine = task.engine
    own = Engine(engine.index, FakeFeaturingLM(), engine.template, engine.policy)
    shown = replace(task, engine=own)
    found = answers(shown, name).probs
    assert found.sum(axis=1) == pytest.approx(np.ones(len(task.test)), abs=1e-5)
    known = task.gold >= 0
    assert (found.argmax(axis=1) == task.gold)[known].mean() > 0.8


@pytest.mark.parametrize("name", ["two-stage", "multi-task"])
def test_references_of_several_sets_need_them_before_anything_runs(task, name):
    with pytest.raises(TaskError, match="--task FILE"):
        evaluate([task], ["probe", name])
    assert not task.folder.exists()


def test_a_test_row_that_does_not_fit_is_refused_before_anything_runs(task):
    long = replace(task, test=(*TEST, Query("word " * 3000, "long", "late")))
    with pytest.raises(BudgetError):
        evaluate([long], ["probe"])
    assert not task.folder.exists()


def test_some_labels_alone(task):
    policy = Policy(k=3, labels=("late", "lost"))
    engine = Engine(task.engine.index, FakeLM(), plain_template("classify"), policy)
    (own,) = evaluate([replace(task, engine=engine)], ["probe"], curves=["pool"]).sets
    assert (own.pool, own.labels) == (16, 2)


def test_references_learn_from_what_the_filter_lets_through(task, encoder, tmp_path):
    with Index.create(tmp_path / "teams", encoder=encoder) as teams:
        teams.add([replace(e, meta={"team": n % 2}) for n, e in enumerate(POOL)])
        policy = Policy(k=3, where=(("team", "1"),))
        engine = Engine(teams, FakeLM(), plain_template("classify"), policy)
        own = replace(task, engine=engine, folder=tmp_path / "filtered")
        assert own.pool == [replace(e, meta={"team": 1}) for e in POOL[1::2]]
        assert np.array_equal(own.vectors, encoder.encode([e.input for e in POOL[1::2]]))
        mine = {method.name for method in study_labels(own, chosen([], "classify")).methods}
    assert {SYSTEM, "knn", "random-icl"} <= mine


def test_what_a_curve_cannot_measure_is_noted(task):
    policy = Policy(k=3, budget=300)
    template = plain_template("classify", "word " * 80)
    engine = Engine(task.engine.index, FakeLM(), template, policy)
    found = study_labels(replace(task, engine=engine), chosen(["probe"], "classify"),
                         curves=["budget"]).curves[0]  # fmt: skip
    assert [p.size for p in found.points] == [128, 256, 512, 1024]
    assert found.note.startswith("64: ")


def test_tokens_are_those_of_all_rows_after_a_kill(task, monkeypatch):
    monkeypatch.setattr(answer_cache, "ROWS", 4)
    whole = answers(task, SYSTEM).cost.query_tokens
    again = replace(task, folder=task.folder / "again")
    original, asked = Engine.predict_all, []

    def killed(self, texts, **options):
        if len(asked) == 2:
            asked.append("killed")
            raise KeyboardInterrupt
        asked.append(texts)
        return original(self, texts, **options)

    monkeypatch.setattr(Engine, "predict_all", killed)
    with pytest.raises(KeyboardInterrupt):
        answers(again, SYSTEM)
    assert answers(again, SYSTEM).cost.query_tokens == pytest.approx(whole)


def test_one_evaluation_at_a_time_in_a_folder(tmp_path):
    from ragicl.evaluate.prepare import held

    with (
        held(tmp_path / "x"),
        pytest.raises(DataError, match="another evaluation"),
        held(tmp_path / "x"),
    ):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"), held(tmp_path / "file"):
        pass
    with pytest.raises(DataError, match="what was done is kept"), held(tmp_path / "x"):
        raise OSError(28, "No space left on device")


def test_the_pool_may_lack_a_test_label(task):
    strange = replace(task, test=(*TEST, Query("a bird", "x", "birds")))
    report = study_labels(strange, chosen([], "classify"))
    assert report.rows == 17
    with pytest.raises(TaskError, match="no test row"):
        study_labels(replace(task, test=(Query("a bird", "x", "birds"),)), chosen([], "classify"))


def test_every_test_row_needs_its_right_output():
    with pytest.raises(TaskError, match="row b has no right output"):
        rows_of([Query("x", "a", "y"), Query("x", "b")], None)
    rows = [Query(str(n), str(n), "y") for n in range(50)]
    some = rows_of(rows, 7)
    assert some == rows_of(rows, 7)
    assert [int(q.id) for q in some] == sorted(int(q.id) for q in some)
    assert rows_of(rows, 70) == tuple(rows)


def test_evaluate_reports_all_sets(task):
    seen = []
    report = evaluate([task, task], ["probe"], command="ragicl evaluate …", so_far=seen.append)
    assert [len(some.sets) for some in seen] == [1, 2]
    own = report.sets[0]
    assert own.recommendation
    assert report.versions["torch"]
    for wrong in ({"seeds": 0}, {"curves": ["rows"]}):
        with pytest.raises(TaskError):
            evaluate([task], ["probe"], **wrong)
