"""An index over another store and other vectors answers as over SQLite and FAISS."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragicl import Engine, Example, Index
from ragicl.backends.fake import FakeEncoder, FakeLM
from ragicl.errors import ExampleError
from ragicl.index.fake import BruteForce, MemoryStore
from ragicl.index.manifest import EncoderRecord, Manifest
from ragicl.prompting.template import plain_template

ROWS = [
    Example(f"{word} {n}", word, f"{word}{n}", {"n": n % 2}) for word in "abc" for n in range(6)
]


@pytest.fixture
def both(tmp_path):
    encoder = FakeEncoder()
    (tmp_path / "memory").mkdir()
    manifest = Manifest("classify", EncoderRecord.of(encoder))
    memory = Index(tmp_path / "memory", manifest, encoder, store=MemoryStore(), vectors=BruteForce)
    with Index.create(tmp_path / "real", encoder=encoder) as real, memory:
        yield real, memory


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_changes_leave_both_with_the_same_answers(tmp_path_factory, data):
    encoder = FakeEncoder()
    folder = tmp_path_factory.mktemp("seams")
    (folder / "memory").mkdir()
    manifest = Manifest("classify", EncoderRecord.of(encoder))
    with (
        Index.create(folder / "real", encoder=encoder) as real,
        Index(folder / "memory", manifest, encoder, store=MemoryStore(), vectors=BruteForce) as own,
    ):
        for _ in range(data.draw(st.integers(1, 5))):
            stored = sorted(e.id for e in real)
            some = data.draw(st.lists(st.sampled_from(ROWS), unique_by=lambda e: e.id, max_size=6))
            gone = data.draw(st.lists(st.sampled_from(stored), unique=True)) if stored else []
            for index in (real, own):
                index.remove(gone)
                index.add(some)
            assert list(real) == list(own)
            assert real.labels() == own.labels()
            where = data.draw(st.sampled_from([(), (("n", "1"),)]))
            texts = ["a 1", "b 2 c"]
            assert real.search(texts, 4, where) == own.search(texts, 4, where)


def test_what_is_empty_is_not_taken_for_what_is_missing(tmp_path, monkeypatch):
    class Sized(MemoryStore):
        def __len__(self):
            return self.count()

    opened = []
    monkeypatch.setattr(BruteForce, "mapped", lambda folder, dim: opened.append(folder))
    encoder = FakeEncoder()
    manifest = Manifest("classify", EncoderRecord.of(encoder))
    with Index(tmp_path, manifest, encoder, store=Sized(), vectors=BruteForce) as index:
        assert index.search(["a"], 3) == index.search(["b"], 3) == [[]]
        assert opened == [tmp_path]
        assert index.stats().approximation is None


def test_an_engine_answers_alike(both):
    answers = []
    for index in both:
        index.add(ROWS)
        index.update([Example("a new a", "a", "a0")])
        with pytest.raises(ExampleError):
            index.remove(["nobody"])
        engine = Engine(index, FakeLM(), plain_template("classify"))
        answers.append([(p.output, p.probs, p.neighbors) for p in engine.predict_all(["a 1", "c"])])
    assert answers[0] == answers[1]
    assert both[1].stats().examples == 18
