"""The comparison with peers: the workers' protocol, taking turns, going on, and the table."""

import json
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from peers_report import report, widest
from peers_run import Limits, PeerError, Results, Worker, run
from peers_setup import SCORERS, Scorer

BENCHMARKS = str(Path(__file__).parents[1] / "eval" / "benchmarks")
EXACT, DEFAULT = Scorer("ragicl_exact", "float32"), Scorer("ragicl", "float32")
CAPPR, LANGCHAIN = Scorer("cappr", "float32"), Scorer("langchain", "float32")
FAKE = f"""
import sys
sys.path.insert(0, {BENCHMARKS!r})
from peers_worker import serve

def answer(query):
    if query == "bad":
        raise ValueError("no such text")
    return {{"prediction": query.upper()}}

serve(answer, ["a", "b", "bad"], {{"version": "1", "transformers": "5"}}, sys.stdin, sys.stdout)
"""
NO_LIMIT = Limits(least=9, seconds=0, end=float("inf"))


class Stub:
    """A worker that answers at once what it is told to."""

    facts: ClassVar = {"version": "1", "transformers": "5"}

    def __init__(self, cpu=1.0):
        self.cpu = cpu

    def ask(self, query):
        return {"prediction": "a", "seconds": 1.0, "cpu": self.cpu}

    def end(self):
        pass


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_worker_tells_its_versions_and_answers_by_number(tmp_path):
    worker = Worker([sys.executable, "-c", FAKE], tmp_path / "fake.log")
    assert worker.facts == {"version": "1", "transformers": "5"}
    answered = worker.ask(1)
    assert answered["prediction"] == "B"
    assert answered["seconds"] >= 0
    with pytest.raises(PeerError, match=r"fake\.log"):
        worker.ask(2)
    assert "no such text" in (tmp_path / "fake.log").read_text()


def test_scorers_take_turns_and_one_that_fails_leaves_the_others(tmp_path):
    def start(scorer):
        if scorer == LANGCHAIN:
            raise PeerError("not on this machine")
        return Stub()

    results = Results(tmp_path / "results.jsonl")
    run(range(2), [EXACT, LANGCHAIN, CAPPR], results, NO_LIMIT, start)
    asked = [(row["query"], row["scorer"]) for row in rows(tmp_path / "results.jsonl")]
    assert asked == [(0, EXACT.name), (0, CAPPR.name), (1, EXACT.name), (1, CAPPR.name)]
    assert results.errors == {LANGCHAIN.name: "not on this machine"}


def test_what_was_answered_is_not_asked_again_until_it_is_forgotten(tmp_path):
    path = tmp_path / "results.jsonl"
    run([0], [EXACT, CAPPR], Results(path), NO_LIMIT, lambda _: Stub())
    results = Results(path)
    results.forget([CAPPR])
    started = []
    run([0], [EXACT, CAPPR], results, NO_LIMIT, lambda s: started.append(s) or Stub())
    assert started == [CAPPR]
    assert [row["scorer"] for row in rows(path)] == [EXACT.name, CAPPR.name]


def test_a_disturbed_answer_is_not_kept(tmp_path):
    path = tmp_path / "results.jsonl"
    run([0], [EXACT], Results(path), NO_LIMIT, lambda _: Stub(cpu=0.5))
    assert not path.exists()
    run([0], [EXACT], Results(path), NO_LIMIT, lambda _: Stub(cpu=0.9))
    assert len(rows(path)) == 1


def test_limits():
    slow = {0: {"seconds": 50.0}, 1: {"seconds": 70.0}}
    limits = Limits(least=3, seconds=100, end=float("inf"))
    assert limits.allow(slow, 2)
    assert not limits.allow(slow, 1)
    assert not limits.allow(slow, 3)
    assert not Limits(least=3, seconds=1e9, end=0.0).allow({}, 0)


def test_the_table_compares_with_ragicl(tmp_path):
    queries = [{"tokens": 10, "shots": 2, "gold": "a"}, {"tokens": 20, "shots": 3, "gold": "b"}]
    results = Results(tmp_path / "results.jsonl")
    for scorer, seconds, predictions, scores in (
        (EXACT, 0.5, "ab", [-1.0, -2.0]),
        (DEFAULT, 0.25, "ab", [-1.0, -2.0]),
        (CAPPR, 1.0, "bb", [-101.0, -102.0]),
        (LANGCHAIN, 2.0, ["a", "none"], None),
    ):
        for number in range(2):
            row = {"scorer": scorer.name, "query": number, "prediction": predictions[number]}
            facts = {"seconds": seconds, "version": "1.2", "transformers": "5.0"}
            results.add({**row, **facts, **({"scores": scores} if scores else {})})
    results.errors["dspy-float32"] = "not installed"
    text = report({"labels": ["a", "b"], "queries": queries}, results)
    table = {tuple(cells[1:2] + cells[3:4]): cells for cells in map(split, text.splitlines())}
    cappr, langchain = table["cappr", "float32"], table["langchain", "float32"]
    assert "2 queries of 10 to 20 tokens (median 15), 2 to 3 demonstrations" in text
    assert cappr[4:11] == ["2", "1.000", "2.0", "4.0", "1 of 2", "0.0000", "0.50"]
    assert "by the sum over a label's tokens 2 of 2 the same" in cappr[11]
    assert langchain[4:11] == ["2", "2.000", "4.0", "8.0", "1 of 2", "", "0.50"]
    assert "1 of its answers are no label" in langchain[11]
    assert table["dspy", "float32"][11] == "not installed"


def test_differences_are_of_normalised_scores_of_labels_that_matter():
    assert widest([-5.0, -6.0, -90.0], [-1.0, -2.0, -40.0]) == pytest.approx(0, abs=1e-9)
    assert widest([-1.0, -1.0], [-1.0, -2.0]) == pytest.approx(0.62, abs=0.01)


def test_each_scorer_has_one_name():
    names = [scorer.name for scorer in SCORERS]
    assert len(set(names)) == len(names)


def split(line):
    return [cell.strip() for cell in line.split("|")]
