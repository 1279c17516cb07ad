import contextlib
import itertools
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ragicl.backends.fake import FakeEncoder
from ragicl.errors import (
    BackendError,
    CorruptError,
    DataError,
    EncoderError,
    ExampleError,
    FormatError,
    LockedError,
    NoIndexError,
    StoreError,
)
from ragicl.index import Index
from ragicl.index.ids import content_id, same_content
from ragicl.index.store.sqlite import Store
from ragicl.index.vectors import faiss_index
from ragicl.index.vectors.faiss_index import Vectors
from ragicl.records import Example

OTHER_PROCESS = """
import sys
from ragicl.backends.fake import FakeEncoder
from ragicl.index import Index
from ragicl.records import Example
index = Index.open(sys.argv[1], encoder=FakeEncoder())
"""
QUERIES = ["red wine", "white bread and salt", "nothing of the kind", "salt"]


def example(text, output="a", identity="", **meta):
    return Example(text, output, identity, meta)


def many(number, start=0):
    words = ["red", "white", "green", "wine", "bread", "salt", "oil", "rice"]
    pick = random.Random(start)
    return [
        example(" ".join(pick.choices(words, k=4)) + f" {n}", f"label {n % 3}", f"id{n}", n=n)
        for n in range(start, start + number)
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def index(path, encoder):
    with Index.create(path, encoder=encoder) as opened:
        yield opened


@pytest.fixture
def filled(path, encoder):
    """Return the folder of a closed index with 50 examples and its vectors saved."""
    with Index.create(path, encoder=encoder) as opened:
        opened.add(many(30))
        opened.add(many(20, start=30))
        opened.search(["red"], 1)
    assert (path / "vectors.faiss").exists()
    return path


def assert_agrees_with_brute_force(index, queries=QUERIES, k=7):
    stored = {e.id: e for e in index}
    inputs = [e.input for e in stored.values()]
    embedded = index.encoder.encode(inputs)
    for query, found in zip(queries, index.search(queries, k), strict=True):
        scores = dict(zip(stored, embedded @ index.encoder.encode([query])[0], strict=True))
        best = sorted(scores.values(), reverse=True)[:k]
        assert [n.similarity for n in found] == pytest.approx(best, abs=2e-6)
        assert [n.rank for n in found] == list(range(len(best)))
        assert len({n.example.id for n in found}) == len(found)
        for neighbor in found:
            assert neighbor.example == stored[neighbor.example.id]
            assert neighbor.similarity == pytest.approx(scores[neighbor.example.id], abs=2e-6)


def assert_one_line(caught, *words):
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


@contextlib.contextmanager
def another_process(code, path):
    """Run code that has `index` open; wait for its first line; let it end with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS + code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline().strip() == "ready"
        yield process
        process.stdin.close()
        assert process.wait(timeout=20) == 0


def test_examples_come_back_as_they_went_in(index):
    given = [
        example("red wine", "drink", "w", aisle=3, tags=["x", None]),
        example("salt\n\0é", "b"),
    ]
    ids = index.add(given)
    assert ids[0] == "w"
    assert [replace(e, id="") for e in index] == [replace(e, id="") for e in given]
    assert index.get(["w", "none"]) == {"w": given[0]}
    assert len(index) == 2


def test_open_finds_what_was_added_and_its_own_encoder(filled):
    with Index.open(filled) as index:
        assert len(index) == 50
        assert index.encoder.spec == "fake:a"
        assert index.kind == "classify"
        assert index.manifest.complete
        assert_agrees_with_brute_force(index)


def test_similarities_are_cosines_and_nearest_is_itself(index):
    index.add(many(40))
    [found] = index.search(["red wine salt oil 3"], 40)
    assert len(found) == 40
    assert found == sorted(found, key=lambda n: -n.similarity)
    [found] = index.search([many(40)[7].input], 1)
    assert (found[0].example.id, found[0].similarity) == ("id7", 1.0)


def test_equal_similarities_are_ordered_by_when_they_were_added(index):
    index.add([example("same words", f"output {n}", f"z{9 - n}") for n in range(5)])
    [found] = index.search(["same words"], 5)
    assert [n.example.id for n in found] == ["z9", "z8", "z7", "z6", "z5"]


def test_search_of_an_empty_index_and_of_no_texts(index):
    assert index.search(["x", "y"], 3) == [[], []]
    assert index.search([], 3) == []
    index.add([example("x")])
    assert index.search(["x"], 0) == [[]]
    assert len(index.search(["x"], 100)[0]) == 1


def test_labels_and_stats_count(index):
    index.add(many(10))
    index.remove(["id0", "id3", "id6", "id9"])
    index.update([example("red", "new label", "id1")])
    assert index.labels() == {"label 1": 2, "label 2": 3, "new label": 1}
    stats = index.stats()
    assert (stats.examples, stats.labels, stats.generation) == (6, index.labels(), 3)
    assert stats.bytes > 4096


def test_a_generation_index_has_no_labels(path, encoder):
    with Index.create(path, encoder=encoder, kind="generate") as index:
        index.add(many(5))
        index.remove(["id1"])
        assert (index.kind, index.labels(), len(index)) == ("generate", {}, 4)
    with Index.open(path, encoder=encoder) as index:
        assert (index.kind, index.stats().labels) == ("generate", {})


def test_longest_outputs(index):
    index.add([example(f"t{n}", "y" * n) for n in range(1, 12)])
    assert index.longest_outputs(3) == ["y" * 11, "y" * 10, "y" * 9]


def test_the_same_content_is_stored_once(index):
    first = index.add([example("red", "a"), example("red", "a"), example("red", "b")])
    before = index.stats().generation
    again = index.add([example("red", "a")])
    assert first[0] == first[1] == again[0] != first[2]
    assert len(index) == 2
    assert index.stats().generation == before


def test_an_id_taken_by_other_content_is_refused_and_nothing_is_stored(index):
    index.add([example("red", "a", "x")])
    with pytest.raises(ExampleError) as caught:
        index.add([example("new"), example("white", "a", "x")])
    assert_one_line(caught, "'x'", index.path)
    assert [e.input for e in index] == ["red"]


def test_update_replaces_and_is_found_again(index):
    index.add(many(10))
    index.search(["red"], 1)
    index.update([example("something else entirely", "b", "id4", new=True)])
    [found] = index.search(["something else entirely"], 1)
    assert found[0].example == example("something else entirely", "b", "id4", new=True)
    assert len(index) == 10
    assert_agrees_with_brute_force(index)


@pytest.mark.parametrize("change", ["update", "remove"])
def test_a_missing_or_repeated_id_changes_nothing(index, change):
    index.add(many(3))
    for ids in (["id1", "gone"], ["id1", "id1"]):
        given = ids if change == "remove" else [example("x", "y", i) for i in ids]
        with pytest.raises(ExampleError) as caught:
            getattr(index, change)(given)
        assert_one_line(caught, "gone" if "gone" in ids else "twice")
    assert list(index) == many(3)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (Example("", "a"), "'input' is empty"),
        (Example("x", " "), "'output' is empty"),
        (Example(5, "a"), "'input' is int"),
        (Example("x", None), "'output' is missing"),
        (Example("half \ud800", "a"), "surrogate"),
        (Example("x", "a", "\udc00"), "surrogate"),
        (Example("x", "a", 7), "'id' is int"),
        (Example("x", "a", meta={"s": {1}}), "'meta'"),
    ],
)
def test_what_cannot_be_stored_is_refused(index, bad, word):
    with pytest.raises(DataError) as caught:
        index.add([example("good"), bad])
    assert_one_line(caught, word, f"{bad.id!r}" if bad.id else "number 2")
    assert len(index) == 0


@pytest.mark.parametrize("bad", [np.ones((1, 63)), np.full((1, 64), np.nan), np.ones(64)])
def test_vectors_of_a_broken_encoder_are_not_stored(path, bad):
    encoder = FakeEncoder()
    with Index.create(path, encoder=encoder) as index:
        encoder.encode = lambda texts: bad
        with pytest.raises(BackendError) as caught:
            index.add([example("x")])
        assert_one_line(caught, "fake:a", "shape")
        assert len(index) == 0


def test_a_reader_sees_what_another_index_object_commits(filled, encoder):
    with (
        Index.open(filled, encoder=encoder) as reader,
        Index.open(filled, encoder=encoder) as other,
    ):
        assert_agrees_with_brute_force(reader)
        other.add(many(5, start=50))
        other.remove(["id3"])
        other.update([example("salt of the earth", "b", "id7")])
        [found] = reader.search(["salt of the earth"], 1)
        assert (found[0].example.id, len(reader)) == ("id7", 54)
        assert_agrees_with_brute_force(reader)


def test_a_reader_sees_what_another_process_commits(filled, encoder):
    code = """
index.add([Example("quite another thing", "b", "new")])
index.remove(["id3"])
print("ready", flush=True)
"""
    with Index.open(filled, encoder=encoder) as reader:
        assert_agrees_with_brute_force(reader)
        with another_process(code, filled):
            [found] = reader.search(["quite another thing"], 1)
        assert (found[0].example.id, len(reader)) == ("new", 50)
        assert "id3" not in reader.get(["id3"])
        assert_agrees_with_brute_force(reader)


def test_a_second_writer_waits_and_then_gives_up(filled, encoder, monkeypatch):
    monkeypatch.setattr("ragicl.index.lock.WAIT", 0.2)
    code = """
with index.writing():
    print("ready", flush=True)
    sys.stdin.read()
"""
    with Index.open(filled, encoder=encoder) as index:
        with another_process(code, filled):
            for change in (lambda: index.add(many(1, 99)), lambda: index.remove(["id1"])):
                with pytest.raises(LockedError) as caught:
                    change()
                assert_one_line(caught, filled)
            assert len(index.search(["red"], 5)[0]) == 5  # reading goes on
            index.save_vectors()  # and passes over what it may not write
        index.add(many(1, 99))
        assert len(index) == 51


def test_a_database_that_stays_locked_is_a_locked_error(filled, encoder, monkeypatch):
    monkeypatch.setattr("ragicl.index.store.connection.WAIT", 0.1)
    with Index.open(filled, encoder=encoder) as index:
        other = sqlite3.connect(filled / "examples.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockedError) as caught:
            index.add(many(1, 99))
        assert_one_line(caught, "examples.db")
        other.close()
        index.add(many(1, 99))


def delete(file):
    file.unlink()


def truncate(file):
    file.write_bytes(file.read_bytes()[:1000])


def empty(file):
    file.write_bytes(b"")


def flip_in_the_middle(file):
    flip(file, file.stat().st_size // 2)


def flip_in_the_generation(file):
    flip(file, file.stat().st_size - 12)


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 2
    file.write_bytes(data)


@pytest.mark.parametrize(
    "damage", [delete, truncate, empty, flip_in_the_middle, flip_in_the_generation]
)
def test_damaged_vectors_are_rebuilt(filled, encoder, damage):
    file = filled / "vectors.faiss"
    good = file.read_bytes()
    damage(file)
    with Index.open(filled, encoder=encoder) as index:
        assert_agrees_with_brute_force(index)
    assert file.read_bytes() == good


def test_vectors_of_another_shape_or_kind_are_rebuilt(filled, encoder, tmp_path):
    other = Vectors(8)
    other.generation = 2
    other.save(filled)
    with Index.open(filled, encoder=encoder) as index:
        assert_agrees_with_brute_force(index)


def test_older_vectors_catch_up(filled, encoder):
    older = (filled / "vectors.faiss").read_bytes()
    with Index.open(filled, encoder=encoder) as index:
        index.add(many(5, start=50))
        index.remove(["id2", "id51"])
        index.update([example("salt of the earth", "b", "id7")])
    (filled / "vectors.faiss").write_bytes(older)
    with Index.open(filled, encoder=encoder) as index:
        assert_agrees_with_brute_force(index)
        assert len(index.search(["red"], 100)[0]) == 53


def test_vectors_that_are_replaced_while_they_are_read(filled, encoder, monkeypatch, tmp_path):
    file, older = filled / "vectors.faiss", (filled / "vectors.faiss").read_bytes()
    with Index.open(filled, encoder=encoder) as index:
        index.add(many(10, start=50))
        index.save_vectors()
    file.rename(tmp_path / "newer")
    file.write_bytes(older)

    def checksum_then_replace(*args):
        result = checksum(*args)
        shutil.copy(tmp_path / "newer", tmp_path / "draft")
        (tmp_path / "draft").replace(file)
        return result

    checksum = faiss_index._checksum
    monkeypatch.setattr(faiss_index, "_checksum", checksum_then_replace)
    with Index.open(filled, encoder=encoder) as index:
        assert_agrees_with_brute_force(index, k=100)


def test_a_long_catching_up_is_saved_while_searching(filled, encoder, monkeypatch):
    monkeypatch.setattr("ragicl.index.vectors.searcher.BACKLOG", 10)
    with Index.open(filled, encoder=encoder) as index:
        index.add(many(20, start=50))
        before = (filled / "vectors.faiss").stat().st_size
        index.search(["red"], 1)
        assert (filled / "vectors.faiss").stat().st_size > before


def test_an_interrupted_catching_up_starts_again(filled, encoder, monkeypatch):
    (filled / "vectors.faiss").unlink()
    monkeypatch.setattr("ragicl.index.store.sqlite.CHUNK", 20)
    calls = itertools.count()
    add = Vectors.add

    def interrupted(*args):
        if next(calls) == 1:
            raise KeyboardInterrupt
        add(*args)

    monkeypatch.setattr(Vectors, "add", interrupted)
    with Index.open(filled, encoder=encoder) as index:
        with pytest.raises(KeyboardInterrupt):
            index.search(["red"], 1)
        assert_agrees_with_brute_force(index, k=60)


@pytest.mark.parametrize("later", [0, 1, 2, 3])
def test_a_store_put_back_to_an_older_copy_is_searched_as_it_is(filled, encoder, tmp_path, later):
    shutil.copy(filled / "examples.db", tmp_path / "copy")
    with Index.open(filled, encoder=encoder) as index:
        index.add([example("never heard of again", "a", "x")])
        index.add([example("nor of this", "a", "y")])
        index.search(["red"], 1)
    shutil.copy(tmp_path / "copy", filled / "examples.db")
    for n in range(later):  # as many changes as were lost: the generation is the same again
        with Index.open(filled, encoder=encoder) as index:
            index.add([example(f"new thing {n}", "b", f"new{n}")])
    with Index.open(filled, encoder=encoder) as index:
        assert len(index) == 50 + later
        assert_agrees_with_brute_force(index, [*QUERIES, "never heard of again", "new thing 1"], 60)


def garbage(size, seed=0):
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize(
    "content", [b"", b"x", garbage(100), garbage(50_000), b"SQLite format 3\0" + garbage(9000)]
)
def test_a_garbage_database_is_a_corrupt_error(filled, encoder, content):
    (filled / "examples.db").write_bytes(content)
    with pytest.raises(CorruptError) as caught:
        Index.open(filled, encoder=encoder)
    assert_one_line(caught, filled / "examples.db", "restore")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "index"
    with Index.create(path, encoder=FakeEncoder()) as index:
        for start in range(0, 400, 100):
            index.add([replace(e, input=e.input + " word" * 40) for e in many(100, start)])
    return path


def use_all(index):
    list(index)
    index.search(QUERIES, 5)
    index.add([example("new")])
    index.labels()


def test_garbage_in_the_middle_of_a_database_is_a_corrupt_error(large, encoder, tmp_path):
    shutil.copytree(large, tmp_path / "index")
    file = tmp_path / "index" / "examples.db"
    data = bytearray(file.read_bytes())
    data[12 * 4096 : -4096] = garbage(len(data) - 13 * 4096)
    file.write_bytes(data)
    with Index.open(file.parent, encoder=encoder) as index:
        for use in (list, lambda index: index.search(QUERIES, 5), lambda index: index.add(many(9))):
            with pytest.raises(CorruptError) as caught:
                use(index)
            assert_one_line(caught, file)


@pytest.mark.parametrize("seed", range(40))
def test_damage_anywhere_is_harmless_or_a_corrupt_error(large, encoder, tmp_path, seed):
    pick = random.Random(seed)
    shutil.copytree(large, tmp_path / "index")
    file = tmp_path / "index" / "examples.db"
    data = bytearray(file.read_bytes())
    start, size = pick.randrange(len(data)), pick.choice([1, 40, 4096, 30_000])
    data[start : start + size] = garbage(len(data[start : start + size]), seed)
    file.write_bytes(data[: pick.choice([len(data), len(data) - 9000])])
    try:
        with Index.open(file.parent, encoder=encoder) as index:
            use_all(index)
    except CorruptError as error:
        assert "\n" not in str(error)  # noqa: PT017 - where there is one


@pytest.mark.parametrize(
    ("column", "value"),
    [("meta", "{not json"), ("vector", b"123"), ("vector", "text"), ("input", b"\xff")],
)
def test_a_damaged_row_is_a_corrupt_error(filled, encoder, column, value):
    db = sqlite3.connect(filled / "examples.db", isolation_level=None)
    db.execute(f"UPDATE examples SET {column} = ? WHERE id = 'id5'", (value,))
    db.close()
    (filled / "vectors.faiss").unlink()
    with Index.open(filled, encoder=encoder) as index, pytest.raises(CorruptError) as caught:
        use_all(index)
    assert_one_line(caught, filled / "examples.db")


def test_a_missing_row_is_a_corrupt_error(filled, encoder):
    db = sqlite3.connect(filled / "examples.db", isolation_level=None)
    db.execute("DROP TRIGGER note_removal")
    db.execute("DELETE FROM examples WHERE id = 'id5'")
    db.close()
    with Index.open(filled, encoder=encoder) as index, pytest.raises(CorruptError) as caught:
        index.search(["red"], 50)
    assert_one_line(caught, filled / "examples.db")


def test_a_missing_database_is_named(filled, encoder):
    (filled / "examples.db").unlink()
    with pytest.raises(NoIndexError) as caught:
        Index.open(filled, encoder=encoder)
    assert_one_line(caught, filled / "examples.db")


def test_no_index_at_all(tmp_path, encoder):
    (tmp_path / "file").touch()
    for place in (tmp_path / "nowhere", tmp_path, tmp_path / "file"):
        with pytest.raises(NoIndexError) as caught:
            Index.open(place, encoder=encoder)
        assert_one_line(caught, place, "ragicl index")


def change_manifest(path, **values):
    file = path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_newer_format_is_named_with_the_known_one(filled, encoder):
    change_manifest(filled, format=7, something="new")
    with pytest.raises(FormatError) as caught:
        Index.open(filled, encoder=encoder)
    assert_one_line(caught, filled, "format 7", "format 1")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', "\x00", "null"])
def test_a_damaged_manifest_is_a_corrupt_error(filled, encoder, content):
    (filled / "manifest.json").write_text(content)
    with pytest.raises(CorruptError) as caught:
        Index.open(filled, encoder=encoder)
    assert_one_line(caught, filled / "manifest.json")


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"complete": "yes"}, "Expected `bool`, got `str` - at `$.complete`"),
        ({"kind": "regress"}, "Invalid enum value 'regress' - at `$.kind`"),
        ({"encoder": {"spec": "fake:a"}}, "missing required field `description` - at `$.encoder`"),
        ({"later": 1}, "unknown field `later`"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_named(filled, encoder, changes, wrong):
    change_manifest(filled, **changes)
    with pytest.raises(CorruptError) as caught:
        Index.open(filled, encoder=encoder)
    assert_one_line(caught, filled / "manifest.json", wrong, "restore it", "build the index again")


def test_an_unreadable_manifest_is_a_store_error(filled, encoder):
    (filled / "manifest.json").unlink()
    (filled / "manifest.json").mkdir()
    with pytest.raises(StoreError) as caught:
        Index.open(filled, encoder=encoder)
    assert_one_line(caught, filled / "manifest.json")


@pytest.mark.parametrize("other", [FakeEncoder("b"), FakeEncoder("a", dim=32)])
def test_another_encoder_is_refused_naming_both(filled, other):
    with pytest.raises(EncoderError) as caught:
        Index.open(filled, encoder=other)
    assert_one_line(caught, "fake-a-64", other.fingerprint)


def test_a_spec_that_now_stands_for_other_weights_is_refused(filled):
    values = json.loads((filled / "manifest.json").read_text())
    change_manifest(filled, encoder=values["encoder"] | {"fingerprint": "before"})
    with Index.open(filled) as index, pytest.raises(EncoderError) as caught:
        index.search(["red"], 1)
    assert_one_line(caught, "before", "fake-a-64")


def test_a_folder_that_holds_something_is_left_alone(tmp_path, filled, encoder):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "file").touch()
    for place in (tmp_path, filled, tmp_path / "file"):
        with pytest.raises(StoreError) as caught:
            Index.create(place, encoder=encoder)
        assert_one_line(caught, place)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(Index.open(filled, encoder=encoder)) == 50


@pytest.mark.parametrize(
    "leftovers",
    [
        ["writer.lock", "examples.db.tmp"],
        ["examples.db.tmp", "examples.db.tmp-wal", "examples.db.tmp-shm"],
        ["examples.db.tmp-journal"],
        ["writer.lock", "examples.db", "examples.db-wal", "examples.db-shm", "manifest.json.tmp"],
    ],
)
def test_a_creation_that_was_killed_can_be_done_again(path, encoder, leftovers):
    path.mkdir()
    if "examples.db" in leftovers:
        Store.create(path, "classify").close()
    for name in {*leftovers} - {"examples.db"}:
        (path / name).write_bytes(b"half")
    with Index.create(path, encoder=encoder) as index:
        index.add(many(3))
        assert_agrees_with_brute_force(index)
    assert {file.name for file in path.iterdir()} <= {
        "writer.lock", "examples.db", "manifest.json", "vectors.faiss"
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "examples.db.bak",
        "examples.db-2024",
        "examples.dbx",
        "examples.db.tmp.old",
        "manifest.json.tmp.mine",
        "writer.lock.txt",
    ],
)
@pytest.mark.parametrize("unfinished", [False, True])
def test_files_of_somebody_else_are_kept_whatever_their_names(path, encoder, name, unfinished):
    path.mkdir()
    if unfinished:
        Store.create(path, "classify").close()
    (path / name).write_text("mine")
    with pytest.raises(StoreError) as caught:
        Index.create(path, encoder=encoder)
    assert_one_line(caught, path, "not empty")
    assert (path / name).read_text() == "mine"
    Store.create(path, "classify").close()
    assert (path / name).read_text() == "mine"


def test_a_creation_that_fails_before_the_manifest_can_be_done_again(path, encoder, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ragicl.index.manifest.json.dump", full)
        with pytest.raises(StoreError) as caught:
            Index.create(path, encoder=encoder)
        assert_one_line(caught, path / "manifest.json", "No space")
    assert (path / "examples.db").exists()
    with pytest.raises(NoIndexError):
        Index.open(path, encoder=encoder)
    Index.create(path, encoder=encoder).close()
    assert len(Index.open(path, encoder=encoder)) == 0


def test_examples_without_a_manifest_are_not_overwritten(filled, encoder):
    (filled / "vectors.faiss").unlink()
    manifest = (filled / "manifest.json").rename(filled.parent / "manifest.json")
    with pytest.raises(StoreError) as caught:
        Index.create(filled, encoder=encoder)
    assert_one_line(caught, filled, "no manifest.json")
    manifest.rename(filled / "manifest.json")
    assert len(Index.open(filled, encoder=encoder)) == 50


def test_an_index_with_a_source_is_unfinished_until_complete(path, encoder):
    with Index.create(path, encoder=encoder, source="rows.jsonl") as index:
        assert not Index.open(path, encoder=encoder).manifest.complete
        index.mark(complete=True)
    manifest = Index.open(path, encoder=encoder).manifest
    assert (manifest.complete, manifest.source) == (True, "rows.jsonl")


def test_a_full_disk_is_a_store_error_and_nothing_of_the_change_is_stored(filled, encoder):
    with Index.open(filled, encoder=encoder) as index:
        before = (list(index), index.labels(), index.stats().generation)
        db = index._store._db
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 3}")
        with pytest.raises(StoreError, match="full") as caught:
            index.add(many(200, start=100))
        assert type(caught.value) is StoreError
        assert_one_line(caught, filled / "examples.db", "nothing of this change was stored")
        assert (list(index), index.labels(), index.stats().generation) == before
        assert_agrees_with_brute_force(index)
        db.execute("PRAGMA max_page_count = 100000")
        index.add(many(200, start=100))
        assert len(index) == 250


def test_vectors_that_cannot_be_saved_are_no_error(filled, encoder, monkeypatch):
    (filled / "vectors.faiss").unlink()

    def full(*args):
        raise RuntimeError("write error: No space left on device")

    monkeypatch.setattr("ragicl.index.vectors.faiss_import.faiss.write_index", full)
    with Index.open(filled, encoder=encoder) as index:
        assert_agrees_with_brute_force(index)
        index.save_vectors()
    assert not list(filled.glob("vectors*"))


def test_a_closed_index_says_so(filled, encoder):
    index = Index.open(filled, encoder=encoder)
    index.close()
    index.close()
    with pytest.raises(StoreError) as caught:
        index.search(["red"], 1)
    assert_one_line(caught, "closed")
    assert not isinstance(caught.value, CorruptError)


def test_threads_add_and_search_at_once(filled, encoder, monkeypatch):
    monkeypatch.setattr(
        "ragicl.index.vectors.searcher.BACKLOG", 5
    )  # vectors are saved time and again
    added = Counter()

    def add(index, start):
        for n in range(start, start + 120, 6):
            added.update(index.add(many(6, n)))

    def search(index, _):
        for _ in range(40):
            for found in index.search(QUERIES, 5):
                assert len({n.example.id for n in found}) == 5
            index.stats()

    with Index.open(filled, encoder=encoder) as index, ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(add, index, 1000 * t) for t in range(1, 5)]
        tasks += [pool.submit(search, index, t) for t in range(4)]
        for task in tasks:
            task.result()
        assert len(index) == 50 + 480
        assert len(index.get(list(added))) == 480
        assert_agrees_with_brute_force(index)
        code = 'index.add([Example("new", "a", "new")])\nprint("ready", flush=True)'
        with another_process(code, filled):  # no thread kept the writer's lock
            assert len(index) == 531


def test_index_needs_no_language_model_library():
    code = "import sys, ragicl.index; print({'torch', 'transformers', 'datasets'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


words = st.sampled_from(["ab", "cd", "ef", "gh", "ij"])
texts = st.lists(words, min_size=1, max_size=3).map(" ".join)
outputs = st.sampled_from("xyz")


class RandomChanges(RuleBasedStateMachine):
    @initialize()
    def create(self):
        self.folder = Path(tempfile.mkdtemp())
        self.index = Index.create(self.folder / "index", encoder=FakeEncoder(dim=16))
        self.model = {}
        self.names = itertools.count()

    @rule(given=st.lists(st.tuples(texts, outputs), max_size=4), named=st.booleans())
    def add(self, given, named):
        new = [example(t, o, f"n{next(self.names)}" if named else "") for t, o in given]
        expected = [e.id or self.free_id(e) for e in new]
        assert self.index.add(new) == expected
        for identity, added in zip(expected, new, strict=True):
            self.model.setdefault(identity, replace(added, id=identity))

    def free_id(self, new):
        """The first id made from the content that no example with other content has."""
        candidates = (content_id(new, occurrence) for occurrence in itertools.count(1))
        return next(i for i in candidates if same_content(self.model.get(i, new), new))

    @precondition(lambda self: self.model)
    @rule(data=st.data(), text=texts, output=outputs)
    def update(self, data, text, output):
        identity = data.draw(st.sampled_from(sorted(self.model)))
        self.model[identity] = example(text, output, identity, changed=True)
        self.index.update([self.model[identity]])

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data):
        ids = data.draw(st.lists(st.sampled_from(sorted(self.model)), unique=True, max_size=3))
        self.index.remove(ids)
        for identity in ids:
            del self.model[identity]

    @rule(lose_vectors=st.booleans())
    def reopen(self, lose_vectors):
        self.index.close()
        if lose_vectors:
            (self.folder / "index" / "vectors.faiss").unlink(missing_ok=True)
        self.index = Index.open(self.folder / "index", encoder=FakeEncoder(dim=16))

    @rule(query=texts, k=st.integers(1, 6))
    def search(self, query, k):
        assert_agrees_with_brute_force(self.index, [query], k)

    @invariant()
    def holds_what_the_model_holds(self):
        if hasattr(self, "index"):
            assert {e.id: e for e in self.index} == self.model
            assert self.index.labels() == Counter(e.output for e in self.model.values())

    def teardown(self):
        if hasattr(self, "index"):
            self.index.close()
            shutil.rmtree(self.folder)


TestRandomChanges = RandomChanges.TestCase
TestRandomChanges.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


def test_old_content_of_a_corrected_example_is_new(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        (first,) = index.add([Example("a text", "wrong")])
        index.update([Example("a text", "right", id=first)])
        (second,) = index.add([Example("a text", "wrong")])
        assert second != first
        assert index.add([Example("a text", "wrong")]) == [second]
        assert {e.id: e.output for e in index} == {first: "right", second: "wrong"}


def test_deleted_folder_is_not_made_again(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        shutil.rmtree(tmp_path / "index")
        with pytest.raises(NoIndexError, match="no longer exists"):
            index.add([Example("a", "b")])
    assert not (tmp_path / "index").exists()
