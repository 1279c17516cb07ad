import json

import numpy as np
import pytest
from click.testing import CliRunner

from ragicl import Example, Index, TaskError
from ragicl.backends.fake import FakeEncoder
from ragicl.cli.main import main
from ragicl.curation import vote_k as module
from ragicl.curation.vote_k import Choice, embedded, nearest_rows, neighbors_for, suggest, vote_k
from ragicl.records import Query

NONE = np.empty((0, 16), np.float32)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clusters(sizes, seed=0, spread=0.15):
    """Return unit vectors around as many centres as there are sizes, and each one's centre."""
    draw = np.random.default_rng(seed)
    centres = unit(draw.normal(size=(len(sizes), 16)))
    own = np.repeat(np.arange(len(sizes)), sizes)
    return unit(centres[own] + spread * draw.normal(size=(len(own), 16))), own


@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_covered_better_than_by_chance(seed):
    sizes = [300, 60, 40, 40, 40, 40, 40, 40]
    pool, own = clusters(sizes, seed)
    chosen = {int(own[choice.row]) for choice in vote_k(pool, NONE, len(sizes))}
    draw = np.random.default_rng(seed)
    drawn = [draw.choice(len(pool), len(sizes), replace=False) for _ in range(200)]
    assert len(chosen) > 1 + np.mean([len(set(own[rows])) for rows in drawn])


def test_the_first_choice_is_the_row_most_others_are_near_to():
    pool, own = clusters([60, 10])
    first = vote_k(pool, NONE, 1)[0]
    edges = nearest_rows(pool, pool, neighbors_for(len(pool)))
    votes = np.bincount(edges.ravel(), minlength=len(pool))
    assert first == Choice(int(votes.argmax()), int(votes.max()), int(votes.max()))
    assert own[first.row] == 0


def test_a_vote_shrinks_tenfold_with_each_choice(monkeypatch):
    """Worked out by hand: row 2, with three votes, has to wait for row 7, with two."""
    edges = np.array([[1, 3], [0, 3], [7, 0], [1, 2], [1, 2], [1, 2], [7, 3], [6, 4]])
    monkeypatch.setattr(module, "nearest_rows", lambda pool, among, k: edges)
    chosen = vote_k(np.zeros((8, 16), np.float32), NONE, 3)
    assert chosen == [Choice(1, 4, 4), Choice(7, 2, 2), Choice(2, 3, 0)]


def test_near_duplicates_are_not_chosen_together():
    pool, _ = clusters([40] * 5)
    copies = np.concatenate([pool, pool])
    rows = [choice.row % len(pool) for choice in vote_k(copies, NONE, 10)]
    assert len(set(rows)) == 10


def test_what_is_near_labelled_rows_comes_last():
    pool, own = clusters([50, 50, 50])
    labelled = pool[own == 0][:20] + 0.001
    chosen = [int(own[choice.row]) for choice in vote_k(pool, unit(labelled), 4)]
    assert set(chosen) == {1, 2}
    choices = vote_k(pool, unit(labelled), 2)
    assert all(choice.new > 0 for choice in choices)


@pytest.mark.parametrize("rows", [0, 1, 2, 5])
def test_a_small_pool_is_chosen_whole(rows):
    pool = unit(np.random.default_rng(0).normal(size=(rows, 16)))
    assert sorted(choice.row for choice in vote_k(pool, NONE, 10)) == list(range(rows))


def test_nearest_rows_do_not_depend_on_the_chunks(monkeypatch):
    pool, _ = clusters([30, 30])
    others, _ = clusters([20], seed=3)
    among = np.concatenate([pool, others])
    similar = pool @ among.T
    np.fill_diagonal(similar, -2)
    expected = np.sort(np.argsort(-similar, axis=1)[:, :7], axis=1)
    monkeypatch.setattr(module, "CELLS", 7 * len(among))
    assert (np.sort(nearest_rows(pool, among, 7), axis=1) == expected).all()


def test_embedding_reports_what_is_done(monkeypatch):
    monkeypatch.setattr(module, "TOGETHER", 4)
    done = []
    texts = [f"text {n}" for n in range(10)]
    vectors = embedded(FakeEncoder(), texts, lambda *step: done.append(step))
    assert done == [("embedding", 4, 10), ("embedding", 8, 10), ("embedding", 10, 10)]
    assert (vectors == FakeEncoder().encode(texts)).all()


def test_an_index_brings_its_own_encoder(tmp_path):
    with Index.create(tmp_path / "index", encoder="fake:b") as index:
        index.add([Example("red apple", "fruit"), Example("green apple", "fruit")])
    pool = [Query("red green apple"), Query("steel saw"), Query("steel hammer saw")]
    choices = suggest(pool, 2, index=tmp_path / "index")
    assert choices[0].row != 0
    with pytest.raises(TaskError, match="has an encoder of its own"):
        suggest(pool, 2, index=tmp_path / "index", encoder="fake:a")


def run(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_the_command_writes_rows_to_label(tmp_path):
    rows = [{"text": f"{topic} {n}"} for topic in ("red apple", "steel saw") for n in range(20)]
    rows[3]["id"] = "mine"
    pool = tmp_path / "pool.jsonl"
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = run("suggest", pool, "--encoder", "fake:a", "--n", 4)
    chosen = [json.loads(line) for line in said.stdout.splitlines()]
    assert len(chosen) == 4
    assert {row["text"].split()[0] for row in chosen[:2]} == {"red", "steel"}
    assert all(row["why"].startswith("near ") for row in chosen)
    out = tmp_path / "label.jsonl"
    run("suggest", pool, "--encoder", "fake:a", "--n", 99, "--out", out)
    whole = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(whole) == 40
    assert [row.get("id") for row in whole if row["text"] == rows[3]["text"]] == ["mine"]
    assert sum("id" in row for row in whole) == 1


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    pool = tmp_path / "pool.jsonl"
    pool.write_text('{"text": "a"}\n{"text": "b"}\n')
    command = ["suggest", str(pool), "--encoder", "fake:a", "--out", str(pool / "x" / "y.jsonl")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "cannot write" in result.stderr
    assert pool.read_text() == '{"text": "a"}\n{"text": "b"}\n'
