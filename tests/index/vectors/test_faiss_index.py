"""Search at size: approximate indexes against brute force, files opened without reading them."""

import random
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError
from types import ModuleType

import numpy as np
import pytest

from ragicl.backends.fake import FakeEncoder
from ragicl.errors import BackendError, StoreError
from ragicl.index import Index
from ragicl.index.store.sqlite import Store
from ragicl.index.vectors import faiss_import, faiss_index, ivf, torch_gpu
from ragicl.index.vectors.faiss_index import Vectors, saved_footer
from ragicl.records import Example

DIM = 16
LIMIT = 300


def unit(values):
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def clustered(number, seed=0, clusters=40):
    rng = np.random.default_rng(seed)
    centres = unit(np.random.default_rng(99).standard_normal((clusters, DIM)))
    return unit(
        centres[rng.integers(0, clusters, number)] + 0.1 * rng.standard_normal((number, DIM))
    )


class NumberEncoder:
    """The vector of a number is a row of a table."""

    spec, description, fingerprint, dim = "numbers:", "numbers", "numbers", DIM
    table = clustered(5000)

    def encode(self, texts):
        return self.table[[int(text) for text in texts]].reshape(-1, DIM)


def rows(*numbers):
    return [Example(str(n), f"label {n % 3}", f"id{n}") for n in numbers]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Make an index large from LIMIT rows on."""
    monkeypatch.setattr(faiss_index, "EXACT_ROWS", LIMIT)
    monkeypatch.setattr(ivf, "HELD_OUT", 50)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def index(path):
    with Index.create(path, encoder=NumberEncoder()) as opened:
        yield opened


def opened(path):
    return Index.open(path, encoder=NumberEncoder())


def similarities(index, query):
    """Return what brute force finds: id to similarity, best first."""
    scores = {e.id: float(NumberEncoder.table[int(e.input)] @ query) for e in index}
    return dict(sorted(scores.items(), key=lambda pair: -pair[1]))


def assert_finds_all(index, numbers=(4990, 4991, 7)):
    """Asked for all examples, even an approximate index returns each once, exactly in order."""
    queries = NumberEncoder.table[list(numbers)]
    for query, found in zip(queries, index.near(queries, len(index)), strict=True):
        expected = similarities(index, query)
        assert {n.example.id for n in found} == expected.keys()
        assert len(found) == len(expected)
        assert [n.similarity for n in found] == pytest.approx(list(expected.values()), abs=2e-6)


def recall(index, numbers):
    """Return the share of the 10 nearest that are found; similarities must be exact."""
    queries, hits = NumberEncoder.table[list(numbers)], 0
    for query, found in zip(queries, index.near(queries, 10), strict=True):
        expected = similarities(index, query)
        for neighbor in found:
            assert neighbor.similarity == pytest.approx(expected[neighbor.example.id], abs=2e-6)
        assert len({n.example.id for n in found}) == 10
        bar = list(expected.values())[9]
        hits += sum(n.similarity >= bar - 2e-6 for n in found)
    return hits / 10 / len(queries)


def approximation(index):
    return index.stats().approximation


def test_a_small_index_is_exact_and_a_large_one_says_what_it_finds(index):
    index.add(rows(*range(LIMIT)))
    assert recall(index, range(4900, 4920)) == 1
    assert approximation(index) is None
    index.add(rows(*range(LIMIT, 2000)))
    assert recall(index, range(4900, 5000)) >= 0.95
    tuning = approximation(index)
    assert (tuning.rows, tuning.lists) == (2000, round(4 * 2000**0.5))
    assert ivf.RECALL <= tuning.recall <= 1
    assert 1 <= tuning.probes < tuning.lists
    assert_finds_all(index)


@pytest.mark.parametrize("seed", range(6))
def test_random_changes_agree_with_brute_force(path, seed):
    pick, unused, stored = random.Random(seed), list(range(4900)), set()
    pick.shuffle(unused)
    index = Index.create(path, encoder=NumberEncoder())
    for _ in range(14):
        change = pick.choice(["add", "add", "remove", "update", "reopen", "lose", "save"])
        if change == "add":
            new = [unused.pop() for _ in range(pick.randint(1, 400))]
            index.add(rows(*new))
            stored.update(new)
        elif change in ("remove", "update") and stored:
            some = pick.sample(sorted(stored), min(len(stored), pick.randint(1, 300)))
            if change == "remove":
                index.remove([f"id{n}" for n in some])
                stored.difference_update(some)
            else:
                index.update([Example(str(unused[0]), "moved", f"id{n}") for n in some])
        elif change == "save":
            index.save_vectors()
        elif change in ("reopen", "lose"):
            index.close()
            if change == "lose":
                (path / "vectors.faiss").unlink(missing_ok=True)
            index = opened(path)
        assert {e.id for e in index} == {f"id{n}" for n in stored}
        assert_finds_all(index)
    index.close()


def test_growth_and_shrinking_rebuild(index):
    index.add(rows(*range(400)))
    index.near(NumberEncoder.table[:1], 1)
    first = approximation(index)
    index.add(rows(*range(400, 800)))
    index.near(NumberEncoder.table[:1], 1)
    assert approximation(index) == first  # not yet grown twofold
    index.add(rows(*range(800, 801)))
    assert recall(index, range(4900, 4950)) >= 0.9
    assert approximation(index).rows == 801
    index.remove([f"id{n}" for n in range(801 - LIMIT // 2 - 1)])
    index.near(NumberEncoder.table[:1], 1)
    assert approximation(index).rows == 801  # no to and fro around the limit
    index.remove(["id800"])
    assert recall(index, range(4900, 4950)) == 1
    assert approximation(index) is None


def test_reopening_remembers_the_tuning_and_builds_nothing(index, path, monkeypatch):
    index.add(rows(*range(1000)))
    index.save_vectors()
    before = approximation(index)

    def never(*args):
        raise AssertionError("built again")

    monkeypatch.setattr("ragicl.index.vectors.faiss_index.Vectors.built", never)
    with opened(path) as again:
        assert approximation(again) == before == saved_footer(path).tuning
        assert recall(again, range(4900, 4930)) >= 0.9
        assert again._searcher.opened.fixed


def test_a_reader_takes_over_what_another_process_built(index, path, monkeypatch):
    index.add(rows(*range(LIMIT)))
    with opened(path) as reader:
        assert recall(reader, range(4900, 4910)) == 1
        index.add(rows(*range(LIMIT, 1000)))
        index.save_vectors()
        monkeypatch.setattr("ragicl.index.vectors.faiss_index.Vectors.built", None)
        assert_finds_all(reader)
        assert approximation(reader) == approximation(index)


def test_removed_rows_are_never_found_again(index, path):
    index.add(rows(*range(1000)))
    index.save_vectors()
    gone = [f"id{n}" for n in range(0, 1000, 3)]
    index.remove(gone)
    for again in (index, opened(path)):
        found = again.near(NumberEncoder.table[:1000], 10)
        assert not {n.example.id for near in found for n in near} & set(gone)


def test_copies_do_not_count_against_recall(path):
    encoder = NumberEncoder()
    with Index.create(path, encoder=encoder) as index:
        index.add([Example(str(n // 20), "copy", f"c{n}") for n in range(1200)])
        index.near(encoder.table[:1], 1)
        assert approximation(index).recall >= ivf.RECALL


def test_more_neighbours_than_the_lists_hold(index):
    index.add(rows(*range(1000)))
    query = NumberEncoder.table[4900:4901]
    for k in (1, 50, 200, 999, 5000):
        [found] = index.near(query, k)
        assert len({n.example.id for n in found}) == len(found) == min(k, 1000)


@pytest.mark.parametrize(("queries", "sizes", "k"), [(5, [30, 1, 44], 11), (3, [4, 3], 11)])
def test_kth_best_is_that_of_all_chunks(queries, sizes, k):
    asked = clustered(queries, seed=1)
    chunks = [clustered(size, seed=n) for n, size in enumerate(sizes)]
    expected = np.sort(asked @ np.concatenate(chunks).T, axis=1)[:, -min(k, sum(sizes))]
    np.testing.assert_allclose(ivf.kth_best(asked, chunks, k), expected, atol=1e-6)


def test_harder_vectors_need_more_probes(monkeypatch):
    easy, hard = clustered(2000), unit(np.random.default_rng(3).standard_normal((2000, DIM)))
    probes = []
    for stored in (easy, hard):
        index = Vectors.approximate(stored[:1500], 2000)
        index.add(np.arange(2000), stored)
        index.tune(stored[1500:], ivf.kth_best(stored[1500:], [stored], ivf.K + 1))
        assert index.tuning.recall >= ivf.RECALL
        probes.append(index.tuning.probes)
    assert probes[0] < probes[1]


def test_an_interrupted_build_leaves_nothing_half_done(index, path, monkeypatch):
    index.add(rows(*range(1000)))
    with monkeypatch.context() as patch:
        patch.setattr(ivf, "tuned", interrupt)
        with pytest.raises(KeyboardInterrupt):
            index.near(NumberEncoder.table[:1], 1)
    assert not list(path.glob("vectors*"))
    assert_finds_all(index)


def interrupt(*args):
    raise KeyboardInterrupt


def test_an_interrupted_catching_up_on_a_file_starts_again(index, path, monkeypatch):
    index.add(rows(*range(1000)))
    index.save_vectors()
    with opened(path) as again:
        index.add(rows(*range(1000, 1100)))
        with monkeypatch.context() as patch:
            patch.setattr(Store, "generation", interrupt_second(Store.generation))
            with pytest.raises(KeyboardInterrupt):
                again.near(NumberEncoder.table[:1], 1)
        assert_finds_all(again)


def interrupt_second(function):
    calls = []

    def wrapped(*args):
        calls.append(1)
        if len(calls) == 3:  # after the rows were added
            raise KeyboardInterrupt
        return function(*args)

    return wrapped


def saved(folder, number):
    made = Vectors(DIM)
    made.add(np.arange(number), clustered(number))
    made.save(folder)
    return folder / "vectors.faiss"


def test_a_mapped_file_cannot_be_changed_and_outlives_its_replacement(tmp_path):
    file = saved(tmp_path, 100)
    mapped = Vectors.mapped(tmp_path, DIM)
    for change in (lambda: mapped.add(np.array([1]), clustered(1)), lambda: mapped.remove([1])):
        with pytest.raises(RuntimeError, match="read them"):
            change()
    saved(tmp_path, 3)
    file.unlink()
    _, found = mapped.search(clustered(100)[40:41], 1)
    assert found.tolist() == [[40]]
    assert Vectors.mapped(tmp_path, DIM) is None


@pytest.mark.parametrize("load", [Vectors.mapped, Vectors.read])
def test_what_was_saved_is_searched(tmp_path, load):
    saved(tmp_path, 100)
    loaded = load(tmp_path, DIM)
    given = clustered(100)
    scores, found = loaded.search(given, 5)
    np.testing.assert_array_equal(found[:, 0], np.arange(100))
    near = 1e-3 if torch_gpu.gpu_with_room_for(100, DIM) else 1e-6  # a GPU holds half precision
    np.testing.assert_allclose(scores, np.sort(given @ given.T, axis=1)[:, :-6:-1], atol=near)
    assert load(tmp_path, DIM + 1) is None


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 4
    file.write_bytes(data)


def test_a_large_file_is_verified_in_its_head_at_once_and_whole_when_read(tmp_path, monkeypatch):
    monkeypatch.setattr(faiss_index, "HEAD", 1000)
    file = saved(tmp_path, 100)
    flip(file, 3000)
    assert Vectors.mapped(tmp_path, DIM) is not None
    assert Vectors.read(tmp_path, DIM) is None
    flip(file, 3000)
    assert Vectors.read(tmp_path, DIM) is not None
    flip(file, 900)
    assert Vectors.mapped(tmp_path, DIM) is None


def test_damage_that_opening_does_not_see_costs_no_wrong_similarity(index, path, monkeypatch):
    monkeypatch.setattr(faiss_index, "HEAD", 100)
    index.add(rows(*range(200)))
    index.save_vectors()
    data = bytearray((path / "vectors.faiss").read_bytes())
    data[4000:4400] = bytes(400)  # vectors, not row numbers
    (path / "vectors.faiss").write_bytes(data)
    with opened(path) as damaged:
        [found] = damaged.near(NumberEncoder.table[4900:4901], 200)
        expected = similarities(damaged, NumberEncoder.table[4900])
        for neighbor in found:
            assert neighbor.similarity == pytest.approx(expected[neighbor.example.id], abs=2e-6)
        damaged.add(rows(300))
        assert_finds_all(damaged)  # read for the change, found damaged, and rebuilt


@pytest.mark.parametrize("size", [0, 5, 16, 500, -1, -20])
def test_a_file_of_the_wrong_size_is_not_used(tmp_path, size):
    file = saved(tmp_path, 100)
    file.write_bytes(file.read_bytes()[:size])
    assert Vectors.mapped(tmp_path, DIM) is None
    assert saved_footer(tmp_path) is None


def test_a_folder_that_cannot_be_written_to_is_searched(path, monkeypatch):
    with Index.create(path, encoder=FakeEncoder()) as index:
        index.add([Example(f"text {n}", f"label {n % 2}", str(n)) for n in range(20)])
    connect = sqlite3.connect

    def read_only(name, **options):
        if not options.get("uri"):
            return connect(":memory:", factory=Refusing, isolation_level=None)
        return connect(name, **options)

    def refused(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sqlite3, "connect", read_only)
    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    with Index.open(path, encoder=FakeEncoder()) as index:
        assert index.search(["text 7"], 1)[0][0].example.id == "7"
        index.save_vectors()
        for change in (lambda: index.add([Example("a", "b")]), lambda: index.remove(["7"])):
            with pytest.raises(StoreError, match=r"cannot write to .*Permission denied"):
                change()
        with pytest.raises(StoreError, match=r"examples\.db.*readonly"), index._store.writing():
            pass
        assert len(index) == 20


class Refusing(sqlite3.Connection):
    """What SQLite does with a database in a folder that cannot be written to."""

    def execute(self, *args):
        error = sqlite3.OperationalError("attempt to write a readonly database")
        error.sqlite_errorcode = sqlite3.SQLITE_READONLY_DIRECTORY
        raise error


@pytest.mark.parametrize("cells", [2**28, 2000])
@pytest.mark.parametrize("k", [1, 10, 700])
def test_matrix_product_agrees_with_numpy(monkeypatch, cells, k):
    monkeypatch.setattr(torch_gpu, "CELLS", cells)
    monkeypatch.setattr(torch_gpu, "QUERIES", 7)
    stored, queries = clustered(700), clustered(20, seed=5)
    numbers = np.random.default_rng(1).permutation(700) + 1000
    chunks = [(numbers[:300], stored[:300]), (numbers[300:], stored[300:])]
    scores, found = torch_gpu.Product(chunks, 700, DIM, "cpu").search(queries, k)
    expected = -np.sort(-queries @ stored.T, axis=1)[:, :k]
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    place = {row: n for n, row in enumerate(numbers)}
    ours = [
        [stored[place[row]] @ q for row in near] for q, near in zip(queries, found, strict=True)
    ]
    np.testing.assert_allclose(ours, expected, atol=1e-3)
    assert all(len(set(near)) == k for near in found.tolist())


@pytest.mark.parametrize("number", [200, 1000])
def test_torch_searches_exactly_where_it_has_a_gpu(index, path, monkeypatch, number):
    assert torch_gpu.gpu_with_room_for(1, DIM) in (None, "cuda")
    monkeypatch.setattr(torch_gpu, "gpu_with_room_for", lambda count, dim: "cpu")
    index.add(rows(*range(number)))
    assert recall(index, range(4900, 4950)) == 1
    assert isinstance(index._searcher.opened._copy, torch_gpu.Product)
    index.save_vectors()
    with opened(path) as again:
        assert recall(again, range(4900, 4920)) == 1
        assert again._searcher.opened.fixed
    index.remove([f"id{n}" for n in range(50)])
    index.add(rows(*range(number, number + 40)))
    assert_finds_all(index)


def builds(monkeypatch, *installed):
    def version(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return "1.15.1"

    monkeypatch.setattr(faiss_import, "version", version)


def test_builds_over_each_other_are_named(monkeypatch):
    builds(monkeypatch, "faiss-cpu", "faiss-gpu")
    with pytest.raises(BackendError) as caught:
        faiss_import.open_faiss()
    assert str(caught.value) == (
        "faiss-cpu and faiss-gpu are installed over each other; run `pip uninstall -y faiss-cpu "
        "faiss-gpu faiss-gpu-cuvs`, then `pip install faiss-gpu`"
    )


@pytest.mark.parametrize("module", [None, ModuleType("faiss")])
def test_what_an_uninstalled_build_leaves_is_named(monkeypatch, module):
    builds(monkeypatch, "faiss-cpu")
    monkeypatch.setitem(sys.modules, "faiss", module)
    with pytest.raises(BackendError, match=r"FAISS is not whole.*pip install faiss-cpu`$"):
        faiss_import.open_faiss()


def test_one_build_is_fine(monkeypatch):
    builds(monkeypatch, "faiss-gpu")
    assert faiss_import.open_faiss() is faiss_import.faiss
