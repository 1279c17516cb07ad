import numpy as np
import pytest

import ragicl.probes.index_probe
from ragicl import Example, Index, TaskError
from ragicl.backends.fake import FakeEncoder
from ragicl.probes.index_probe import IndexProbe


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", encoder=FakeEncoder()) as index:
        index.add(
            [Example(f"sweet apple {i}", "fruit", f"f{i}") for i in range(8)]
            + [Example(f"steel saw {i}", "tool", f"t{i}") for i in range(8)]
        )
        yield index


def labels_of(index):
    return lambda: tuple(index.labels())


def asked(probe, text, own=None):
    fitted = probe.get()
    probs, _ = fitted.answers(FakeEncoder().encode([text]), [own], fitted.labels)
    return dict(zip(fitted.labels, probs[0], strict=True))


def test_a_taught_label_counts_at_once(index):
    probe = IndexProbe(index, labels_of(index))
    assert asked(probe, "steel saw")["tool"] > 0.7
    index.add([Example(f"blue whale {i}", "animal") for i in range(4)])
    assert asked(probe, "blue whale")["animal"] > 0.5


def test_an_example_is_left_out_of_its_own_evidence(index):
    index.add([Example("odd one", "tool", "odd"), Example("odd two", "fruit")])
    probe = IndexProbe(index, labels_of(index))
    assert asked(probe, "odd one")["tool"] > asked(probe, "odd one", "odd")["tool"] + 0.1


def test_a_large_index_is_refitted_after_many_changes(index, monkeypatch):
    monkeypatch.setattr(ragicl.probes.index_probe, "SMALL", 0)
    probe = IndexProbe(index, labels_of(index))
    fitted = probe.get()
    index.add([Example("one more apple", "fruit")])
    assert probe.get() is fitted
    index.add([Example(f"many more apples {i}", "fruit") for i in range(5)])
    assert probe.get() is not fitted


def test_a_percentile_ranks_a_text_among_the_examples(index):
    fitted = IndexProbe(index, labels_of(index)).get()
    vectors = FakeEncoder().encode(["sweet apple 3", "sweet thing", "neutrino flux"])
    others = index.vectors()[1]
    _, values = fitted.answers(vectors, [None] * 3, fitted.labels)
    shares = fitted.percentiles(values, (vectors @ others.T).max(1))
    assert shares[0] > 0.5 > shares[1] >= shares[2] == 0
    assert np.all((shares >= 0) & (shares <= 1))


def test_another_example_that_is_left_out_does_not_answer_for_the_text(index):
    probe = IndexProbe(index, labels_of(index))
    assert asked(probe, "steel saw", "f1") == asked(probe, "steel saw")


def test_only_examples_that_are_asked_for_are_learned_from(index):
    wrong = [Example(f"steel saw again {i}", "fruit", meta={"by": "x"}) for i in range(30)]
    index.add([*wrong, Example("red wine", "drink", meta={"by": "x"})])
    kept = [Example(f"steel saw of {i}", "tool", meta={"by": "y"}) for i in range(4)]
    index.add([*kept, Example("sweet pear", "fruit", meta={"by": "y"})])
    where = IndexProbe(index, lambda: ("fruit", "tool"), (("by", "y"),))
    assert {example.meta["by"] for example in where.get().examples} == {"y"}
    assert asked(where, "steel saw")["tool"] > 0.5
    with pytest.raises(TaskError, match="labels"):
        IndexProbe(index, lambda: ("drink", "tool"), (("by", "z"),)).get()


def test_rare_labels_are_found_in_a_large_index(index, monkeypatch):
    index.add([Example("blue whale", "animal"), Example("grey wolf", "animal", "w")])
    monkeypatch.setattr(ragicl.probes.index_probe, "LEARN_FROM", 4)
    fitted = IndexProbe(index, lambda: ("animal", "tool")).get()
    assert sum(example.output == "animal" for example in fitted.examples) >= 1


def test_corrected_examples_are_learned_again(index, monkeypatch):
    monkeypatch.setattr(ragicl.probes.index_probe, "SMALL", 0)
    probe = IndexProbe(index, labels_of(index))
    assert asked(probe, "steel saw 3")["tool"] > 0.7
    index.update([Example(f"steel saw {i}", "fruit", f"t{i}") for i in range(7)])
    assert asked(probe, "steel saw 3")["tool"] < 0.5


def test_a_label_taught_since_is_as_likely_as_the_least_likely_one(index):
    fitted = IndexProbe(index, labels_of(index)).get()
    vectors = FakeEncoder().encode(["sweet apple"])
    probs = fitted.answers(vectors, [None], ("animal", "fruit", "tool"))[0][0]
    assert probs.sum() == pytest.approx(1)
    assert probs[1] > 2 * probs[0]


def test_a_sample_is_as_typical_as_the_whole_index_makes_it(index, monkeypatch):
    index.add([Example(f"sweet apple {i}", "fruit") for i in range(8, 60)])
    whole = IndexProbe(index, labels_of(index)).get()
    monkeypatch.setattr(ragicl.probes.index_probe, "LEARN_FROM", 20)
    sampled = IndexProbe(index, labels_of(index)).get()
    assert len(sampled.nearness) == len(sampled.examples) == 20
    alone = sampled.vectors @ sampled.vectors.T - 2 * np.eye(20)
    own = np.sort(alone.max(axis=1) + sampled.classifier.ridge.loo_values.max(axis=1))
    assert sampled.nearness.mean() > own.mean() + 0.005
    assert len(whole.nearness) == 68


def test_the_classifier_is_kept(index, monkeypatch):
    heard = []
    progress = lambda what, done, total: heard.append((done, total))  # noqa: E731
    first = IndexProbe(index, labels_of(index)).get(progress)
    monkeypatch.setattr(ragicl.probes.ensemble, "fit_classifier", None)
    again = IndexProbe(index, labels_of(index)).get(progress)
    assert heard == [(0, len(index)), (len(index), len(index))], "of what takes a while alone"
    assert again.classifier.loo_probs.tolist() == first.classifier.loo_probs.tolist()


@pytest.mark.parametrize(("text", "own"), [("sweet saw", None), ("odd one", "odd")])
def test_contributions_sum_to_the_ridges_part_of_the_log_odds(index, text, own):
    index.add([Example("odd one", "tool", "odd"), Example("odd two", "fruit", "even")])
    index.add([Example(f"blue whale {i}", "animal") for i in range(4)])
    fitted = IndexProbe(index, labels_of(index)).get()
    (vector,) = FakeEncoder().encode([text])
    added = fitted.contributions(vector, own, "tool", "fruit")
    _, values = fitted.answers(vector[None], [own], fitted.labels)
    pool = fitted.classifier
    part = pool.weights[0] * pool.ridge.inverse_temperature * values[0]
    tool, fruit = (part[fitted.labels.index(name)] for name in ("tool", "fruit"))
    assert added.sum() == pytest.approx(tool - fruit, abs=1e-4)
    outputs = np.array([example.output for example in fitted.examples])
    assert not added[outputs == "animal"].any()
    assert added[outputs == "tool"].sum() > 0 or own
    if own:
        assert added[fitted.rows["odd"]] == 0
        assert added[fitted.rows["even"]] < added[outputs == "fruit"].mean()
