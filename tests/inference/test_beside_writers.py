"""One request sees one state: whatever others remove or add meanwhile, it is answered."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from ragicl import Engine, Example, Index, Prediction
from ragicl.backends.fake import FakeChoosingLM, FakeEncoder, FakeFeaturingLM, FakeLM
from ragicl.curation.audit import audit
from ragicl.index.reading import IndexReader
from ragicl.tune.held_out import HeldOut

STAYING = [
    Example(f"{word} number {n}", word, f"{word}{n}", {"part": "a"})
    for word in ("apple", "saw", "rain")
    for n in range(6)
]
GOING = [
    Example(f"{word} number {n}", f"{word}s", f"{word}{n}", {"part": "b"})
    for word in ("pear", "drill", "snow", "moon", "chair", "wine")
    for n in range(3)
]
TEXTS = ["pear number 1", "snow number 2", "apple number 3", "wine and moon", "chair number 0"]
PROMPTED: dict[str, Any] = {"decide": "lm", "k": 3}
MODES: dict[str, dict[str, Any]] = {
    "lm": PROMPTED,
    "shortlist": PROMPTED | {"shortlist": 4},
    "shortlist_of_one": PROMPTED | {"shortlist": 1},
    "shortlist_blend": {"decide": "blend", "k": 3, "shortlist": 4},
    "shortlist_choice": PROMPTED | {"shortlist": 4, "lm": FakeChoosingLM()},
    "exit": PROMPTED | {"exit": 0.6},
    "exit_shortlist": PROMPTED | {"exit": 0.6, "shortlist": 3},
    "fixed": PROMPTED | {"fixed": 2},
    "fixed_clusters": PROMPTED | {"fixed": 2, "clusters": 3},
    "ensemble": PROMPTED | {"ensemble": 2},
    "knn": {"decide": "knn", "k": 3},
    "probe": {"decide": "probe"},
    "blend": {"decide": "blend", "lm": FakeLM()},
    "in_context": {"decide": "blend", "lm": FakeFeaturingLM()},
    "generate": PROMPTED | {"generate": True},
} | {
    f"select_{name}": PROMPTED | {"select": name, "shortlist": 4}
    for name in ("bm25", "hybrid", "mmr", "dpp", "balanced", "coverage", "random")
}


def sound(prediction: Prediction) -> None:
    """Check that a prediction is of one set of labels."""
    if prediction.decided_by == "generation":
        return
    if prediction.probs:
        assert prediction.output in prediction.probs
        assert sum(prediction.probs.values()) == pytest.approx(1)
        assert {n.example.output for n in prediction.neighbors} <= set(prediction.probs)


def predicted(engine: Engine) -> None:
    for prediction in engine.predict_all(TEXTS):
        sound(prediction)
    sound(engine.predict("pear number 1", exclude="pear1"))


def asked_for_probs(engine: Engine) -> None:
    probs = engine.probs(TEXTS * 5)
    assert probs.shape[0] == len(TEXTS) * 5
    assert probs.sum(axis=1) == pytest.approx(np.ones(len(probs)), abs=1e-3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "index", encoder=FakeEncoder()) as index:
        index.add(STAYING + GOING)
    return tmp_path / "index"


def opened(folder: Path, **options: Any) -> Engine:
    return Engine.open(folder, **{"lm": FakeLM(), **options})


@contextmanager
def changing(index: Index, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Change the index between any two readings of it: half of its labels go, or come again."""
    times = 0

    @contextmanager
    def restless(self: IndexReader) -> Iterator[None]:
        nonlocal times
        outermost = not self._reading
        with snapshot(self):
            yield
        if self is index and outermost:
            times += 1
            if times % 2:
                writer.remove([e.id for e in GOING])
            else:
                writer.add(GOING)

    snapshot = IndexReader.snapshot
    with Index.open(index.path, encoder=FakeEncoder()) as writer, monkeypatch.context() as patch:
        patch.setattr(IndexReader, "snapshot", restless)
        yield


@pytest.mark.parametrize("mode", MODES)
def test_a_change_between_any_two_readings_breaks_no_prediction(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    for before in (0, 1):
        with opened(folder, **MODES[mode]) as engine:
            with changing(engine.index, monkeypatch):
                for _ in range(before):  # let the other half of the readings see the labels
                    len(engine.index)
                for _ in range(3):
                    predicted(engine)
            engine.add(GOING)


@pytest.mark.parametrize("mode", ["shortlist", "exit", "probe", "in_context", "select_coverage"])
def test_a_change_between_any_two_readings_breaks_no_probabilities_and_no_explanation(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    for before in (0, 1):
        with opened(folder, **MODES[mode]) as engine:
            with changing(engine.index, monkeypatch):
                for _ in range(before):
                    len(engine.index)
                asked_for_probs(engine)
                explanation = engine.explain("pear number 1")
                assert explanation.output
            engine.add(GOING)


@pytest.mark.parametrize("before", [0, 1])
def test_a_change_between_any_two_readings_breaks_no_audit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    with Index.open(folder) as index, changing(index, monkeypatch):
        for _ in range(before):
            len(index)
        found = audit(index)
        assert found.rows == found.audited


@pytest.mark.parametrize("before", [0, 1])
def test_a_change_between_any_two_readings_breaks_no_evidence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    with (
        opened(folder, lm=FakeFeaturingLM(), decide="blend") as engine,
        changing(engine.index, monkeypatch),
    ):
        for _ in range(before):
            len(engine.index)
        held_out = HeldOut.of(engine)
        assert len(held_out.rows) == len(held_out.vectors) == len(held_out.gold)


def every_use(folder: Path, until: Callable[[], bool]) -> int:
    """Use the index in every way for as long as it takes; return how often."""
    engines = [opened(folder, **options) for options in MODES.values()]
    times = 0
    while not until():
        for engine in engines:
            predicted(engine)
        asked_for_probs(engines[times % 6])
        audit(engines[0].index)
        times += 1
    for engine in engines:
        engine.close()
    return times


def test_predictions_beside_a_thread_that_removes_and_adds(folder: Path) -> None:
    def write() -> None:
        with Index.open(folder, encoder=FakeEncoder()) as writer:
            while not done.is_set():
                writer.remove([e.id for e in GOING])
                writer.add(GOING)

    done, end = Event(), time.monotonic() + 2
    thread = Thread(target=write)
    thread.start()
    try:
        assert every_use(folder, lambda: time.monotonic() > end) > 0
    finally:
        done.set()
        thread.join()


WRITER = """
import json, sys
from ragicl import Example, Index
from ragicl.backends.fake import FakeEncoder
going = [Example(*row) for row in json.loads(sys.argv[2])]
with Index.open(sys.argv[1], encoder=FakeEncoder()) as writer:
    print("ready", flush=True)
    while True:
        writer.remove([e.id for e in going])
        writer.add(going)
"""


def test_predictions_beside_a_process_that_removes_and_adds(folder: Path) -> None:
    rows = json.dumps([[e.input, e.output, e.id, dict(e.meta)] for e in GOING])
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), rows], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            end = time.monotonic() + 2
            assert every_use(folder, lambda: time.monotonic() > end) > 0
            assert process.poll() is None
        finally:
            process.kill()
