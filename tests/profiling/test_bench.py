import json

import pytest
from click.testing import CliRunner

from ragicl import Engine, Example, Index, PlainTemplate, Policy, TaskError
from ragicl.backends.fake import FakeEncoder, FakeLM
from ragicl.cli.main import main
from ragicl.profiling.bench import bench, table


@pytest.fixture
def folder(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.add([Example(f"text number {n}", f"label {n % 3}") for n in range(30)])
    return tmp_path / "index"


def engine_of(folder, lm, **policy):
    index = Index.open(folder, encoder=FakeEncoder())
    return Engine(index, lm, PlainTemplate("T: {input}\nL: {output}"), Policy(k=2, **policy))


def test_a_model_is_held_against_its_prefill_and_the_machine(folder, tiny, monkeypatch):
    monkeypatch.setattr("ragicl.backends.hf.roofline.SECONDS", 0.01)
    monkeypatch.setattr("ragicl.backends.hf.roofline.BLOCK", 2**16)
    lm = tiny("llama").lm
    with engine_of(folder, lm, decide="lm") as engine:
        measured = bench(engine, 5)
    assert measured.queries == 5
    assert set(measured.single) == {"embed", "search", "compose", "score"}
    assert measured.total == pytest.approx(sum(measured.single.values()))
    assert measured.ratio > 0
    assert measured.prefill > 0
    assert measured.route == "packed"
    assert measured.prefix_stable is lm.prefix_stable
    assert "token ids are" in table(measured)
    assert 0 < measured.used < 1
    assert measured.peak > 50
    assert "x the bare prefill" in table(measured)


def test_a_model_that_reads_in_context_scores_no_prompts(folder, tiny):
    with engine_of(folder, tiny("llama").lm) as engine:
        assert set(bench(engine, 5).single) == {"embed", "search", "blend"}


def test_operations_are_those_of_the_layers(tiny):
    lm = tiny("llama").lm
    config = lm.model().config
    layers = sum(p.numel() for n, p in lm.model().named_parameters() if "layers" in n)
    norm = config.hidden_size
    embeddings = config.vocab_size * config.hidden_size
    attention = 2 * config.num_hidden_layers * config.hidden_size * 100**2
    expected = 2 * (layers + norm) * 100 + 2 * embeddings + attention
    assert lm.flops(100) == pytest.approx(expected)


def test_a_vote_and_a_strange_model_are_measured_too(folder):
    with engine_of(folder, None, decide="knn") as engine:
        measured = bench(engine, 4)
    assert (measured.lm, measured.prefill, measured.tokens) == (None, None, 0)
    with engine_of(folder, FakeLM()) as engine:
        assert bench(engine, 4).used is None


def test_command_writes_json(folder):
    arguments = ["bench", str(folder), "--lm", "fake:2000", "--queries", "3"]
    result = CliRunner().invoke(main, [*arguments, "--format", "json"])
    assert json.loads(result.stdout)["queries"] == 3


def test_too_few_examples(tmp_path, encoder):
    with Index.create(tmp_path / "one", encoder=encoder) as index:
        index.add([Example("a", "b")])
    with (
        engine_of(tmp_path / "one", None, decide="knn") as engine,
        pytest.raises(TaskError, match="too few"),
    ):
        bench(engine, 4)
