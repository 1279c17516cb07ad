"""A writer is killed at any moment: nothing that it was told is stored may be lost."""

import functools
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from ragicl.backends.fake import FakeEncoder
from ragicl.index import Index

KILLS = 30
WRITER = """
import random, sys
from ragicl.backends.fake import FakeEncoder
import ragicl.index.vectors.searcher as module
from ragicl.index import Index
from ragicl.records import Example

module.BACKLOG = 20  # vectors.faiss is written time and again
path, run = sys.argv[1:]
pick = random.Random(run)
words = [f"word{n}" for n in range(300)]


def say(*what):
    print(*what, flush=True)


def new(identity):
    return Example(" ".join(pick.choices(words, k=8)), f"label {pick.randrange(5)}", identity)


index = Index.open(path, encoder=FakeEncoder())
say("ready")
for batch in range(100_000):
    ids = [f"{run}-{batch}-{n}" for n in range(pick.randint(1, 40))]
    index.add([new(i) for i in ids])
    say("added", *ids)
    index.update([new(ids[0])])
    if batch % 3 == 0:
        say("removing", ids[-1])
        index.remove(ids[-1:])
        say("removed", ids[-1])
    if batch % 4 == 0:
        index.search(["word1 word2"], 3)
    if batch % 7 == 0:
        index.save_vectors()
"""


class Promises:
    """What the writer said: ids that must be there, and ids that must not."""

    def __init__(self):
        self.kept = set()
        self.gone = set()

    def note(self, said):
        for line in said.splitlines(keepends=True):
            verb, *ids = line.split()
            if not line.endswith("\n"):
                continue  # killed in the middle of a word
            if verb == "added":
                self.kept.update(ids)
            elif verb == "removing":  # from here on it may be there or not
                self.kept.difference_update(ids)
            elif verb == "removed":
                self.gone.update(ids)


def write_until_killed(script, path, run, seconds):
    """Return what the writer said in its short life."""
    process = subprocess.Popen(
        [sys.executable, str(script), str(path), str(run)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.kill()
        said, _ = process.communicate()
    assert process.returncode == -9
    return said


def check(path, promises):
    with Index.open(path, encoder=FakeEncoder()) as index:
        stored = {e.id: e for e in index}
        assert promises.kept <= stored.keys()
        assert not promises.gone & stored.keys()
        assert sum(index.labels().values()) == len(index) == len(stored)
        assert_search_agrees_with_brute_force(index, stored)


@functools.cache
def vector(text):
    return FakeEncoder().encode([text])[0]


def assert_search_agrees_with_brute_force(index, stored):
    queries = ["word1 word2 word3", "word17 word170"]
    vectors = np.array([vector(e.input) for e in stored.values()]).reshape(-1, 64)
    scores = vectors @ index.encoder.encode(queries).T
    for column, found in zip(scores.T, index.search(queries, 10), strict=True):
        assert len({n.example.id for n in found}) == min(10, len(stored))
        best = np.sort(column)[::-1][:10]
        assert [n.similarity for n in found] == pytest.approx(best, abs=2e-6)
        by_id = dict(zip(stored, column, strict=True))
        assert [by_id[n.example.id] for n in found] == pytest.approx(best, abs=2e-6)


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(tmp_path):
    path, script = tmp_path / "index", tmp_path / "writer.py"
    script.write_text(WRITER)
    Index.create(path, encoder=FakeEncoder()).close()
    pick, promises = random.Random(0), Promises()
    for run in range(KILLS):
        promises.note(write_until_killed(script, path, run, pick.uniform(0, 0.25)))
        check(path, promises)
    assert len(promises.kept) > 100  # the writer got round to writing
