import csv
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner

from ragicl import Example, Index, TaskError
from ragicl.backends.fake import FakeEncoder
from ragicl.cli.main import main
from ragicl.curation import near_duplicates
from ragicl.curation.audit import audit
from ragicl.curation.confident_learning import judge
from ragicl.curation.findings import Copies
from ragicl.curation.formats import COLUMNS, as_csv, as_json, as_text

TOPICS = {"fruit": "sweet ripe juicy", "tool": "sharp steel heavy", "bird": "feather wing song"}
WORDS = 30


def rows_of(topics=TOPICS, words=WORDS):
    return [
        Example(f"{common} w{n} v{n % 7}", label, f"{label}{n}")
        for label, common in topics.items()
        for n in range(words)
    ]


def index_of(path, examples):
    index = Index.create(path, encoder=FakeEncoder())
    index.add(examples)
    return index


@pytest.fixture
def wrong(tmp_path):
    """An index in which three labels are wrong."""
    examples = {example.id: example for example in rows_of()}
    for identity, label in [("fruit3", "tool"), ("tool5", "bird"), ("bird7", "fruit")]:
        old = examples[identity]
        examples[identity] = Example(old.input, label, identity, {"source": "mail"})
    with index_of(tmp_path / "index", list(examples.values())) as index:
        yield index


def test_wrong_labels_are_found_and_the_right_ones_suggested(wrong):
    found = {f.example.id: f.suggested for f in audit(wrong).errors}
    assert found == {"fruit3": "fruit", "tool5": "tool", "bird7": "bird"}


def test_an_audit_changes_nothing(wrong):
    before = wrong.generation, list(wrong)
    audit(wrong)
    assert (wrong.generation, list(wrong)) == before


def test_right_labels_are_not_in_doubt(tmp_path):
    with index_of(tmp_path / "index", rows_of()) as index:
        found = audit(index)
    assert found.errors == ()
    assert found.confusions == ()
    assert (found.rows, found.audited) == (90, 90)


def test_confusions_count_given_and_predicted(wrong):
    worst = audit(wrong).confusions
    assert {(c.label, c.predicted, c.rows, c.of) for c in worst} == {
        ("tool", "fruit", 1, 30),
        ("bird", "tool", 1, 30),
        ("fruit", "bird", 1, 30),
    }


def test_copies_of_one_label_are_groups_and_of_two_labels_pairs(tmp_path):
    extra = [
        Example("Sweet  ripe juicy w1 v1", "fruit", "copy1"),
        Example("ripe sweet juicy v1 w1", "fruit", "copy2"),
        Example("juicy sweet ripe w2 v2", "tool", "opposed"),
    ]
    with index_of(tmp_path / "index", [*rows_of(), *extra]) as index:
        found = audit(index, near=0.99)
    (group,) = found.copies
    assert (group.label, set(group.ids)) == ("fruit", {"fruit1", "copy1", "copy2"})
    (pair,) = found.conflicts
    assert pair.ids == ("fruit2", "opposed")
    assert pair.labels == ("fruit", "tool")
    assert pair.similarity == pytest.approx(1, abs=1e-5)
    reasons = {f.example.id: f.reasons for f in found.findings}
    assert reasons["copy2"] == ("copy",)
    assert reasons["fruit2"] == ("conflict",)
    assert reasons["opposed"] == ("label", "conflict")
    kept = next(f for f in found.findings if f.example.id == "fruit2")
    assert kept.suggested == "fruit"
    assert kept.nearest.example.id == "opposed"


def test_a_copy_with_another_label_shows_behind_many_with_the_same(tmp_path):
    many = [
        Example("the same text", "fruit", f"same{n}") for n in range(near_duplicates.NEIGHBORS + 5)
    ]
    odd = Example("same the text", "tool", "odd")
    with index_of(tmp_path / "index", [*rows_of(), *many, odd]) as index:
        found = audit(index)
    assert found.copies == (Copies("fruit", tuple(example.id for example in many)),)
    assert {pair.ids for pair in found.conflicts} == {("odd", example.id) for example in many}


def test_rare_labels_are_counted_and_nothing_else_is_suggested(tmp_path):
    rare = [Example("never seen anywhere", "rock", "rock1")]
    with index_of(tmp_path / "index", [*rows_of(), *rare]) as index:
        found = audit(index, few=3)
    assert found.rare == {"rock": 1}
    last = next(f for f in found.findings if f.example.id == "rock1")
    assert "rare label" in last.reasons
    assert ("label" in last.reasons) == (last.suggested is not None)


def test_many_examples_are_predicted_in_parts_and_sampled(wrong, monkeypatch):
    monkeypatch.setattr("ragicl.curation.audit.PART", 40)
    assert {f.example.id for f in audit(wrong).errors} == {"fruit3", "tool5", "bird7"}
    monkeypatch.setattr("ragicl.curation.audit.CELLS", 60 * 3)
    found = audit(wrong)
    assert (found.rows, found.audited) == (90, 60)
    assert "90 examples, 60 of them audited" in as_text(found)


def test_progress_counts_every_example(wrong):
    seen = []
    audit(wrong, progress=lambda *step: seen.append(step))
    assert seen == [("comparing", done, 90) for done in range(1, 91)]


def test_few_examples_are_enough(tmp_path):
    with index_of(tmp_path / "index", [Example("a", "x"), Example("b", "y")]) as index:
        found = audit(index)
    assert found.rare == {"x": 1, "y": 1}
    assert len(found.findings) == 2


def test_what_cannot_be_audited_is_an_error(tmp_path):
    with (
        index_of(tmp_path / "one", [Example("a", "x"), Example("b", "x")]) as index,
        pytest.raises(TaskError, match="1 label"),
    ):
        audit(index)
    with index_of(tmp_path / "two", rows_of()) as index, pytest.raises(TaskError, match="near is"):
        audit(index, near=95)


def test_each_label_has_a_threshold_of_its_own():
    """A label that is hard to predict keeps its examples; one that is easy to predict does not."""
    easy = [[0.9, 0.1, 0.0]] * 8 + [[0.1, 0.1, 0.8]]
    hard = [[0.5, 0.4, 0.1]] * 8 + [[0.95, 0.05, 0.0]]
    third = [[0.1, 0.1, 0.8]] * 9
    judged = judge(np.array(easy + hard + third, np.float32), np.repeat([0, 1, 2], 9))
    assert np.flatnonzero(judged.doubted).tolist() == [8, 17]
    assert judged.predicted[[8, 17]].tolist() == [2, 0]
    assert judged.own[[8, 17]] == pytest.approx([0.1, 0.05])


def test_the_least_likely_are_taken_as_many_as_are_counted():
    """One row is confidently another's; of the two in question the less likely one is taken."""
    probs = [[0.9, 0.1]] * 6 + [[0.35, 0.65], [0.2, 0.8]] + [[0.3, 0.7]] * 5 + [[0.1, 0.9]] * 3
    judged = judge(np.array(probs, np.float32), np.array([0] * 8 + [1] * 8))
    assert np.flatnonzero(judged.doubted).tolist() == [7]


def test_csv_is_for_spreadsheets_and_json_has_all(wrong):
    found = audit(wrong)
    raw = as_csv(found)
    assert raw.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"))))
    assert tuple(rows[0]) == COLUMNS
    first = next(row for row in rows if row["id"] == "fruit3")
    assert (first["label"], first["suggested"], first["reasons"]) == ("tool", "fruit", "label")
    assert float(first["confidence"]) > 0.5
    assert first["nearest_label"] == "fruit"
    whole = json.loads(json.dumps(as_json(found)))
    assert [row["id"] for row in whole["findings"]] == [row["id"] for row in rows]
    assert {row["label"] for row in whole["confusions"]} == set(TOPICS)


def test_audited_corrected_and_updated(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["audit", "index", "--out", "audit.csv"]
    said = CliRunner().invoke(main, command, catch_exceptions=False)
    assert said.exit_code == 0
    assert said.stdout == ""
    assert "3 labels are likely wrong" in said.stderr
    assert "fruit3" in said.stderr
    assert "audit.csv: 3 examples to look at" in said.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "audit.csv").read_text("utf-8-sig"))))
    with (tmp_path / "audit.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({**row, "label": row["suggested"]} for row in rows)
    said = CliRunner().invoke(main, ["update", "index", "audit.csv"], catch_exceptions=False)
    assert "3 changed, 0 removed, 0 as they were, 90 examples" in said.stderr
    stored = wrong.get(["fruit3"])["fruit3"]
    assert (stored.output, stored.meta) == ("fruit", {"source": "mail"})
    said = CliRunner().invoke(main, ["audit", "index", "--format", "json"], catch_exceptions=False)
    assert json.loads(said.stdout)["findings"] == []
