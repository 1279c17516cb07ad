"""An index that another one takes the place of while it is open: noticed, and left alone."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ragicl import Engine, Example, Index, NoIndexError, ReplacedError, StoreError
from ragicl.backends.fake import FakeEncoder, FakeFeaturingLM
from ragicl.index.vectors.faiss_index import saved_footer
from ragicl.probes.lm_features import Features

OLD = [Example(f"{word} {n}", word, f"{word}{n}") for word in ("apple", "saw") for n in range(8)]
NEW = [Example(f"{word} {n}", word, f"{word}{n}") for word in ("rain", "snow") for n in range(8)]

Replacing = Callable[[Path, Path], None]


def made(path: Path, examples: list[Example]) -> Path:
    with Index.create(path, encoder="fake:a") as index:
        index.add(examples)
        index.save_vectors()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "index", OLD)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return made(tmp_path / "other", NEW)


def indexed_again(folder: Path, other: Path) -> None:
    shutil.rmtree(folder)
    made(folder, NEW)


def moved_in(folder: Path, other: Path) -> None:
    shutil.rmtree(folder)
    other.rename(folder)


def database_moved_in(folder: Path, other: Path) -> None:
    (other / "examples.db").replace(folder / "examples.db")


def database_copied_over(folder: Path, other: Path) -> None:
    before = (folder / "examples.db").stat().st_ino
    shutil.copyfile(other / "examples.db", folder / "examples.db")
    assert (folder / "examples.db").stat().st_ino == before


def everything_copied_over(folder: Path, other: Path) -> None:
    shutil.copytree(other, folder, dirs_exist_ok=True)


REPLACING = [
    indexed_again,
    moved_in,
    database_moved_in,
    database_copied_over,
    everything_copied_over,
]
WAYS = pytest.mark.parametrize("replace", REPLACING, ids=[own.__name__ for own in REPLACING])
USES: dict[str, Callable[[Engine], object]] = {
    "predict": lambda engine: engine.predict("apple 1"),
    "probs": lambda engine: engine.probs(["apple 1"]),
    "labels": lambda engine: engine.labels,
    "load": lambda engine: engine.load(),
    "explain": lambda engine: engine.explain("apple 1"),
    "search": lambda engine: engine.index.search(["apple 1"], 1),
    "get": lambda engine: engine.index.get(["apple1"]),
    "iter": lambda engine: list(engine.index),
    "len": lambda engine: len(engine.index),
    "add": lambda engine: engine.add([Example("pear", "apple", "apple0")]),
    "add_new": lambda engine: engine.add([Example("pear", "apple")]),
    "update": lambda engine: engine.update([Example("pear", "apple", "apple0")]),
    "remove": lambda engine: engine.remove(["apple0"]),
    "mark": lambda engine: engine.index.mark(complete=False),
    "keep_tuned": lambda engine: engine.index.keep_tuned({}),
    "save_vectors": lambda engine: engine.index.save_vectors(),
}


def content(folder: Path) -> dict[str, bytes]:
    """Return the files of an index; those of SQLite's log come and go."""
    logs = ("examples.db-wal", "examples.db-shm")
    files = (file for file in folder.rglob("*") if file.is_file() and file.name not in logs)
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def assert_answers_as_the_new_one(folder: Path) -> None:
    with Engine.open(folder, decide="knn", k=3) as engine:
        assert list(engine.index) == NEW
        assert [engine.predict(e.input).output for e in NEW] == [e.output for e in NEW]
        found = engine.index.search([e.input for e in NEW], 1)
        assert [own[0].example for own in found] == NEW


@WAYS
@pytest.mark.parametrize("use", USES)
def test_a_replaced_index_is_noticed_and_nothing_is_written_to_the_new_one(
    folder: Path, other: Path, replace: Replacing, use: str
) -> None:
    engine = Engine.open(folder, lm=FakeFeaturingLM(), decide="blend")
    engine.predict("apple 1")
    replace(folder, other)
    before = content(folder)
    with pytest.raises(ReplacedError) as caught:
        USES[use](engine)
    assert str(folder) in str(caught.value)
    assert "open the index again" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ReplacedError):  # and again
        USES[use](engine)
    engine.close()
    assert content(folder) == before
    assert_answers_as_the_new_one(folder)


@WAYS
@pytest.mark.parametrize("searched", [False, True])
def test_what_was_added_before_does_not_go_into_the_new_one(
    folder: Path, other: Path, replace: Replacing, searched: bool
) -> None:
    index = Index.open(folder)
    index.add([Example(f"pear {n}", "apple") for n in range(50)])
    if searched:
        index.search(["pear 1"], 3)
    replace(folder, other)
    before = content(folder)
    index.close()
    assert content(folder) == before
    assert_answers_as_the_new_one(folder)


@pytest.mark.parametrize("use", USES)
def test_a_removed_index_is_noticed_and_not_made_again(folder: Path, use: str) -> None:
    engine = Engine.open(folder, lm=FakeFeaturingLM(), decide="blend")
    engine.predict("apple 1")
    engine.add([Example("pear", "apple")])
    shutil.rmtree(folder)
    with pytest.raises(NoIndexError, match="no longer exists; build the index again"):
        USES[use](engine)
    engine.close()
    assert not folder.exists()


@pytest.mark.parametrize("replace", [indexed_again, database_copied_over])
def test_an_index_replaced_while_its_examples_are_embedded_gets_none_of_them(
    folder: Path, other: Path, replace: Replacing
) -> None:
    class Slow(FakeEncoder):
        def encode(self, texts):  # type: ignore[no-untyped-def]
            replace(folder, other)
            return super().encode(texts)

    with Index.open(folder, encoder=Slow()) as index, pytest.raises(ReplacedError):
        index.add([Example("pear", "apple")])
    assert_answers_as_the_new_one(folder)


def test_vectors_of_another_index_of_the_same_generation_are_built_again(
    folder: Path, other: Path
) -> None:
    shutil.copyfile(other / "vectors.faiss", folder / "vectors.faiss")
    with Index.open(folder) as index:
        found = index.search([e.input for e in OLD], 1)
        assert [own[0].example for own in found] == OLD
        identity = index.derived.identity()
    footer = saved_footer(folder)
    assert footer is not None
    assert footer.identity == identity != ""


def test_every_index_has_an_id_of_its_own_and_a_copy_has_the_same(
    folder: Path, other: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    ids = []
    for path in (folder, tmp_path / "copy", other):
        with Index.open(path) as index:
            ids.append(index.derived.identity())
    assert ids[0] == ids[1] != ids[2]


def test_cached_states_and_classifiers_of_another_index_are_computed_again(
    folder: Path, other: Path
) -> None:
    read: list[str] = []

    class Counting(FakeFeaturingLM):
        def states(self, prompts, shares):  # type: ignore[no-untyped-def]
            read.extend("".join(parts) for parts in prompts)
            return super().states(prompts, shares)

    with Engine.open(folder, lm=Counting(), decide="blend") as engine:
        engine.load()
        Features(engine.index.derived, Counting()).keep([e.input for e in OLD])
    files = sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.parent != folder)
    assert len(files) == 7  # two classifiers, states after three draws, the draws, bare states
    read.clear()
    with Engine.open(folder, lm=Counting(), decide="blend") as engine:
        engine.load()
        Features(engine.index.derived, Counting()).keep([e.input for e in OLD])
    assert not read
    shutil.rmtree(other)
    made(other, OLD)
    for name in ("classifier", "features"):
        shutil.copytree(folder / name, other / name)
    with Engine.open(other, lm=Counting(), decide="blend") as engine:
        engine.load()
        assert len(read) == 3 * len(OLD)
        Features(engine.index.derived, Counting()).keep([e.input for e in OLD])
        assert len(read) == 4 * len(OLD)


def without_id(folder: Path) -> None:
    """Make an index as an older version made it."""
    with closing(sqlite3.connect(folder / "examples.db")) as db:
        db.execute("ALTER TABLE state DROP COLUMN identity")
        db.commit()
    (folder / "vectors.faiss").unlink()
    with Index.open(folder) as index:
        index.save_vectors()


def test_an_older_index_is_read_as_it_is_and_gets_an_id_when_it_is_written_to(
    folder: Path,
) -> None:
    without_id(folder)
    with Index.open(folder) as reader, Index.open(folder) as writer:
        before = content(folder)
        assert reader.search(["apple 1"], 1)[0][0].example == OLD[1]
        assert reader.derived.identity() == ""
        assert content(folder) == before
        writer.add([Example("rain 1", "rain")])
        assert reader.search(["rain 1"], 1)[0][0].example.output == "rain"
        assert reader.derived.identity() == writer.derived.identity() != ""
    with Index.open(folder) as index:
        assert index.search(["rain 1"], 1)[0][0].example.output == "rain"
        footer = saved_footer(folder)
        assert footer is not None
        assert footer.identity == index.derived.identity()


def test_an_older_index_that_is_read_only_can_be_searched(folder: Path) -> None:
    without_id(folder)
    files = list(folder.iterdir())
    try:
        for file in (*files, folder):
            file.chmod(0o555 if file.is_dir() else 0o444)
        with Index.open(folder) as index:
            assert index.search(["apple 1"], 1)[0][0].example == OLD[1]
    finally:
        folder.chmod(0o755)


def test_a_rewritten_index_is_not_taken_for_a_replaced_one(folder: Path) -> None:
    """Other connections write, and move their log into the file."""
    with Index.open(folder) as reader:
        for n in range(5):
            with Index.open(folder) as writer:
                writer.add([Example(f"more {n} {m}", "more") for m in range(200)])
            assert len(reader) == len(OLD) + 200 * (n + 1)
    assert issubclass(ReplacedError, StoreError)
