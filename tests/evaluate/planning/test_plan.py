"""`ragicl plan`: the bounds beside the index, and what a report's curves say."""

import json

import msgspec
import numpy as np
import pytest
from cli_runner import LM, fails, run
from power_laws import SIZES, law_of, rows_of

from ragicl import Example, Index
from ragicl.backends.fake import FakeEncoder
from ragicl.evaluate.metrics.power_law import examples_needed, fit_power_law
from ragicl.evaluate.planning.bounds import (
    bounded_generation,
    fixed_context,
    generation,
    linear_classification,
)
from ragicl.evaluate.report.serialize import to_json
from ragicl.evaluate.results import Curve, Interval, Point, Report, SetReport

SURE = {"epsilon": 0.1, "delta": 0.05}


@pytest.fixture
def labelled(tmp_path):
    with Index.create(tmp_path / "things", encoder=FakeEncoder()) as index:
        index.add([Example(f"text {n}", f"label {n % 3}") for n in range(30)])
    return tmp_path / "things"


@pytest.fixture
def texts(tmp_path):
    with Index.create(tmp_path / "texts", encoder=FakeEncoder(), kind="generate") as index:
        index.add([Example(f"say {n}", "word " * n) for n in range(1, 8)])
    return tmp_path / "texts"


def planned(*arguments):
    return json.loads(run("plan", *arguments, "--format", "json").stdout)


def asked(plan):
    return [bound["examples"] for bound in plan["bounds"]]


def test_an_index_of_labels_gives_its_figures(labelled):
    plan = planned(labelled)
    assert plan["has"] == 30
    assert asked(plan) == [
        generation(contexts=1, vocabulary=49152, **SURE),
        None,
        linear_classification(dimension=64, epsilon=0.1),
        fixed_context(labels=3, **SURE),
    ]
    assert plan["bounds"][1]["missing"] == "length"


def test_an_index_of_texts_gives_the_length_of_the_longest(texts):
    plan = planned(texts, *LM)
    assert plan["figures"]["length"] == 7
    long = bounded_generation(length=7, vocabulary=49152, **SURE)
    assert asked(plan) == [generation(contexts=1, vocabulary=49152, **SURE), long, None, None]
    assert [bound["missing"] for bound in plan["bounds"]] == ["", "", "dimension", "labels"]


def test_options_come_before_the_index(labelled, texts):
    plan = planned(labelled, "--labels", 2, "--dimension", 9, "--epsilon", 0.2, "--delta", 0.01)
    assert asked(plan)[2:] == [49, fixed_context(labels=2, epsilon=0.2, delta=0.01)]
    # With a length, no tokenizer is asked for.
    assert planned(texts, "--length", 3, "--lm", "gpt9")["figures"]["length"] == 3
    fails("plan", texts, "--lm", "gpt9", match="known: smollm2, hf:NAME")


def test_without_an_index_figures_are_options():
    figures = ["--contexts", 7, "--vocabulary", 100, "--length", 4, "--dimension", 5, "--labels", 2]
    plan = planned(*figures)
    assert asked(plan) == [
        generation(contexts=7, vocabulary=100, **SURE),
        bounded_generation(length=4, vocabulary=100, **SURE),
        59,
        185,
    ]
    assert (plan["index"], plan["has"], plan["report"]) == (None, None, None)
    bare = run("plan").stdout
    assert "the index has" not in bare
    for missing in ("--length", "--dimension", "--labels"):
        assert f"?   give {missing}" in bare


def test_an_index_that_is_empty_lacks_labels(tmp_path):
    Index.create(tmp_path / "empty", encoder=FakeEncoder()).close()
    plan = planned(tmp_path / "empty")
    assert plan["has"] == 0
    assert asked(plan)[3] is None


def test_the_table_is_for_people(labelled):
    shown = run("plan", labelled, "--contexts", 100, "--labels", 2).stdout
    assert "worst-case bounds" in shown
    assert "the index has" in shown
    (line,) = [x for x in shown.splitlines() if x.startswith("  classification, fixed context")]
    assert line.split()[-2:] == ["185", "30"]
    assert "each of 100 contexts" in shown
    assert "the paper's O(1/ε² · ln(1/δ)): 300 if its constant were 1" in shown
    assert "Measured" not in shown


def curve_of(distances, sizes=SIZES, over="pool", note=""):
    fit = None if note else fit_power_law(sizes, distances)
    half = Interval(0.5, 0.4, 0.6)
    return Curve(over, "probe", tuple(Point(size, half, half) for size in sizes), fit, note)


def write_report(folder, *curves):
    found = SetReport(
        "trec6", "classify", 500, 300, 0, 6, "lm", "encoder", {}, methods=(), distances=(),
        curves=curves,
    )  # fmt: skip
    folder.mkdir()
    report = Report((found,), "ragicl evaluate", "today", "here", {})
    (folder / "report.json").write_text(to_json(report))
    return folder


def test_a_measured_curve_is_read_off(tmp_path):
    falling = rows_of(law_of(0.9, 0.5, 0.05))
    folder = write_report(tmp_path / "out", curve_of(falling), curve_of(falling, over="k"))
    plan = planned("--report", folder, "--epsilon", 0.15)
    (found,) = plan["measured"]
    law = fit_power_law(SIZES, falling)
    assert found["examples"] == msgspec.structs.asdict(examples_needed(law, 0.15, 512))
    assert found["law"]["b"] == msgspec.structs.asdict(law.b)
    assert plan == planned("--report", folder / "report.json", "--epsilon", 0.15)
    shown = run("plan", "--report", folder, "--epsilon", 0.15).stdout
    assert f"trec6, probe: {law.a.value:.3g}·n^(-{law.b.value:.2f}) + {law.c.value:.3f}" in shown
    assert f"about {found['examples']['value']:,.0f} examples for 0.15 (95 %: " in shown


def test_an_end_out_of_reach_is_said_to_be(tmp_path):
    folder = write_report(tmp_path / "out", curve_of(rows_of(law_of(0.9, 0.3, 0.0))))
    assert "to more than 5,120)" in run("plan", "--report", folder, "--epsilon", 0.08).stdout


def test_a_curve_that_gives_no_answer_says_why(tmp_path):
    flat = curve_of(rows_of(np.full(6, 0.3)))
    short = curve_of(None, sizes=(16, 32), note="a power law needs 4 sizes or more")
    shown = run("plan", "--report", write_report(tmp_path / "out", flat, short)).stdout
    assert "no answer: the distance does not surely fall with more examples" in shown
    assert "trec6, probe: no fit\n      no answer: a power law needs 4 sizes" in shown
    none = write_report(tmp_path / "none", curve_of(None, over="k", note="not asked for"))
    assert "no curve over the pool's size" in run("plan", "--report", none).stdout


def test_bad_requests(tmp_path, labelled):
    fails("plan", "--epsilon", 0, match="epsilon is 0.0; it must be at least 0.000001 and below 1")
    fails("plan", "--delta", 1, match="delta is 1.0")
    fails("plan", labelled, "--dimension", 0, match="dimension is 0; it must be 1 or more")
    fails("plan", tmp_path / "nowhere", match="there is no index at")
    fails("plan", "--report", tmp_path / "nowhere", match="cannot read the report")
    fails("plan", "--report", tmp_path, match="cannot read the report")
    for text in ("{", "[]", '{"sets": [{}]}', '{"sets": 3}'):
        (tmp_path / "other.json").write_text(text)
        fails("plan", "--report", tmp_path / "other.json", match="is not the report of an evaluat")
