"""Groups of similar examples, and an engine that attends to their kept states."""

import numpy as np
import pytest
from conftest import EchoLM
from test_hf import tiny  # noqa: F401 - a fixture

from ragicl import BackendError, Engine, Example, Index, Policy, TaskError
from ragicl.agreement import agreement
from ragicl.groups import ExampleGroups, grouped
from ragicl.prompt import chat_template, plain_template

ROWS = [(f"{word} number {n}", label) for word, label in
        (("parcel", "late"), ("card", "lost"), ("pin", "reset")) for n in range(9)]  # fmt: skip


@pytest.fixture
def index(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.add([Example(text, label, id=str(n)) for n, (text, label) in enumerate(ROWS)])
        yield index


def blocks(index, lm, template=None, **policy):
    template = template or plain_template("classify")
    return Engine(index, lm, template, Policy(attention="blocks", **policy))


@pytest.mark.parametrize("rows", [0, 1, 7, 32, 33, 200])
def test_every_row_is_in_one_group_of_bounded_size(rows):
    vectors = np.random.default_rng(0).standard_normal((rows, 8), dtype=np.float32)
    groups = list(grouped(vectors, 32))
    assert sorted(row for group in groups for row in group) == list(range(rows))
    assert all(0 < len(group) <= 32 for group in groups)
    assert groups == list(grouped(vectors, 32))


def test_equal_vectors_are_grouped_too():
    assert sum(map(len, grouped(np.ones((100, 4), dtype=np.float32), 8))) == 100


def test_similar_rows_share_a_group():
    centres = np.repeat(np.eye(8, dtype=np.float32), 16, axis=0)
    noise = np.random.default_rng(0).normal(scale=0.05, size=centres.shape).astype(np.float32)
    vectors = np.random.default_rng(1).permutation(centres + noise)
    groups = [vectors[group] for group in grouped(vectors, 32)]
    inside = np.mean([(group @ group.T).mean() for group in groups])
    assert inside > 3 * (vectors @ vectors.T).mean()


def test_groups_hold_the_pieces_of_prompts_and_follow_changes(index):
    template = plain_template("classify")
    groups = ExampleGroups(index, template)
    piece = template.render("?", [ROWS[0], ROWS[0]])[-2]
    assert piece in groups(piece)
    assert len(groups(piece)) <= len(ROWS)
    new = template.render("?", [ROWS[0], ("a new one", "lost")])[-2]
    assert groups(new) == (new,)
    index.add([Example("a new one", "lost")])
    assert len(groups(new)) > 1


def test_an_engine_answers_and_says_how_often_as_before(index, tiny):  # noqa: F811
    engine = blocks(index, tiny("llama").lm, k=4, states_gb=0.01)
    prediction = engine.predict("where is my parcel")
    assert prediction.output in engine.labels
    assert prediction.lm.endswith("blocks")
    measured = agreement(engine)
    assert measured.asked == len(ROWS)
    assert 0 <= measured.same <= measured.asked
    assert measured.faster > 0
    assert agreement(blocks(index, engine.lm, k=4, states_gb=0.01)) == measured, "kept on disk"
    assert str(measured).startswith("blocks: same answer as exact on ")


def test_damaged_figures_are_measured_again(index, tiny):  # noqa: F811
    engine = blocks(index, tiny("llama").lm, k=2, states_gb=0.01)
    agreement(engine)
    (file,) = (index.path / "states").glob("agreement-*.json")
    file.write_text('{"asked": 1')
    assert agreement(engine).asked == len(ROWS)


def test_what_cannot_be_done_is_said_at_once(index, tiny):  # noqa: F811
    lm = tiny("llama").lm
    with pytest.raises(TaskError, match="attention exact"):
        Policy(attention="blocks", generate=True)
    with pytest.raises(TaskError, match="one of exact, blocks"):
        Policy(attention="both")
    with pytest.raises(TaskError, match="plain template"):
        blocks(index, lm, chat_template(lambda turns: str(len(turns))))
    with pytest.raises(BackendError, match="attention exact"):
        blocks(index, EchoLM()).predict("x")


def test_groups_hold_examples_with_the_right_metadata_alone(tmp_path, encoder):
    with Index.create(tmp_path / "teams", encoder=encoder) as teams:
        teams.add(
            [Example(text, label, meta={"team": n % 2}) for n, (text, label) in enumerate(ROWS)]
        )
        template = plain_template("classify")
        groups = ExampleGroups(teams, template, where=(("team", "1"),))
        allowed = {text for text, _ in ROWS[1::2]}
        piece = template.render("", [ROWS[1]] * 2)[-2]
        own = groups(piece)
    assert len(own) == len(allowed) == 13
    assert all(any(f"Text: {text}\n" in shot for text in allowed) for shot in own)
