"""`ragicl evaluate`: of an index, of a suite; suites and what is drawn from their files."""

import json

import pytest
from cards import POOL, TEST, WORDS
from click.testing import CliRunner

from ragicl import Engine, Index, Policy
from ragicl.backends.fake import FakeEncoder, FakeLM
from ragicl.cli.main import main
from ragicl.errors import DataError, TaskError
from ragicl.evaluate.prepare import Limits, suite_tasks
from ragicl.evaluate.report.serialize import load_report
from ragicl.evaluate.suite import pool_of, read_suite
from ragicl.prompting.template import plain_template


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def files(tmp_path):
    write(tmp_path / "train.jsonl", [{"text": e.input, "label": e.output} for e in POOL])
    write(tmp_path / "test.jsonl", [{"text": q.input, "label": q.gold} for q in TEST])
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_the_command_writes_a_report_of_an_index(files):
    index, out = files / "index", files / "report"
    made = run("index", files / "train.jsonl", "--out", index, "--encoder", "fake:a")
    assert made.exit_code == 0, made.output
    told = run("evaluate", index, "--test", files / "test.jsonl", "--out", out, "--rows", 9,
               "--reference", "probe", "--lm", "fake:900", "--k", 2)  # fmt: skip
    assert told.exit_code == 0, told.output
    assert "Most accurate:" in told.stderr
    report = load_report(out / "report.json")
    assert report.sets[0].rows == 9
    assert report.command.startswith("ragicl")
    assert (out / "report.html").read_text().count("knn") > 3


SUITE = """
references = ["probe"]

[engine]
k = 2
lm = "fake:900"

[[set]]
name = "one"
train = "train.jsonl"
test = "test.jsonl"
per_class = 4

[[set]]
name = "two"
train = "train.jsonl"
test = "test.jsonl"
pool = 20
rows = 10
"""


def test_the_command_runs_a_suite(files, monkeypatch):
    monkeypatch.setattr("ragicl.evaluate.prepare.build", _with_stand_in)
    (files / "suite.toml").write_text(SUITE)
    told = run("evaluate", files / "suite.toml", "--data", files, "--out", files / "report")
    assert told.exit_code == 0, told.output
    one, two = load_report(files / "report" / "report.json").sets
    assert (one.name, one.pool, one.rows) == ("one", 12, 16)
    assert (two.name, two.pool, two.rows) == ("two", 20, 10)
    assert one.policy["k"] == 2


def test_some_sets_of_a_suite_alone(files, monkeypatch):
    monkeypatch.setattr("ragicl.evaluate.prepare.build", _with_stand_in)
    (files / "suite.toml").write_text(SUITE)
    suite = ["evaluate", files / "suite.toml", "--data", files, "--out", files / "report"]
    told = run(*suite, "--only", "two")
    assert told.exit_code == 0, told.output
    (two,) = load_report(files / "report" / "report.json").sets
    assert two.name == "two"
    told = run(*suite, "--only", "three")
    assert told.exit_code == 1
    assert "no set 'three'; it has one, two" in told.output
    for target, only in ((files / "suite.toml", ","), (files / "index", "two")):
        told = run("evaluate", target, "--test", "x", "--out", files / "report", "--only", only)
        assert told.exit_code == 2
        assert "--only takes the names of sets" in told.output
    lent = suite_tasks(
        read_suite(files / "suite.toml"),
        files,
        files / "report",
        lambda path, own: Engine(
            Index.open(path, encoder=FakeEncoder()), FakeLM(), plain_template("classify"), Policy()
        ),
        Limits(None, None, lambda name, done, of: None),
        only=("two",),
    )[0]
    assert [(name, len(pool)) for name, pool in lent.others.items()] == [("one", 12)]


def _with_stand_in(data, path, **options):
    from ragicl.index.build import build

    return build(data, path, encoder="fake:a", **options)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", TaskError, "names no data set"),
        ("sets = [", DataError, "cannot read the suite"),
        ('x = 1\n[[set]]\nname="a"\ntrain="b"\ntest="c"', TaskError, "has 'x'"),
        ('[[set]]\nname="a"\ntrain="b"\ntest="c"\npools=3', TaskError, "has 'pools'"),
        ('[[set]]\nname="a"\ntrain="b"', TaskError, "no 'test'"),
        ('[[set]]\nname="a"\ntrain="b"\ntest="c"\n' * 2, TaskError, "same name"),
    ],
)
def test_bad_suites_are_refused(tmp_path, text, error, said):
    (tmp_path / "suite.toml").write_text(text)
    with pytest.raises(error, match=said):
        read_suite(tmp_path / "suite.toml")


def test_pools_are_drawn_by_seed_and_by_class(files):
    (files / "suite.toml").write_text(SUITE)
    one, two = read_suite(files / "suite.toml").sets
    drawn = list(pool_of(one, files, files / "out").examples())
    assert sorted(e.output for e in drawn) == sorted([*WORDS] * 4)
    assert pool_of(one, files, files / "out").name == pool_of(one, files, files / "out").name
    assert len(list(pool_of(two, files, files / "out").examples())) == 20


def test_an_evaluation_without_test_rows_is_refused(files):
    told = run("evaluate", files / "index", "--out", files / "report")
    assert told.exit_code == 2
    assert "--test FILE" in told.output
