"""What was opened or used before a fork is refused after it, instead of waiting for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from ragicl import Engine, Example, ForkError, Index
from ragicl.backends.defaults import MINILM
from ragicl.backends.fake import FakeEncoder, FakeLM
from ragicl.errors import RagiclError
from ragicl.index.cached import CachedByGeneration

EXAMPLES = [Example("red apple", "fruit"), Example("steel saw", "tool")] * 2
PROGRAM = """
import os, signal, sys
from ragicl import Engine, RagiclError
import torch
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
engine = Engine.open(sys.argv[1], decide="knn", k=1)
engine.predict("a pear")
if os.fork() == 0:
    signal.alarm(60)  # a fault must not leave a process behind
    for again in (lambda: engine, lambda: Engine.open(sys.argv[1], decide="knn", k=1)):
        try:
            print(again().predict("a pear").output, flush=True)
        except RagiclError as error:
            print(type(error).__name__, flush=True)
    os._exit(0)
os.wait()
print(engine.predict("a pear").output)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "index", encoder=FakeEncoder()) as index:
        index.add(EXAMPLES)
    return tmp_path / "index"


def in_a_child(work: Callable[[], object]) -> str:
    """Return what a forked child says: what it gets, or the error it meets."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        signal.alarm(20)  # a fault must not leave a process behind
        try:
            said = repr(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said_by_child:
        text = said_by_child.read()
    os.waitpid(child, 0)
    return text


USES: dict[str, Callable[[Engine], object]] = {
    "predict": lambda engine: engine.predict("a pear"),
    "predict_all": lambda engine: list(engine.predict_all(["a", "b"])),
    "predict_with": lambda engine: list(engine.predict_with(["a"], [[]])),
    "probs": lambda engine: engine.probs([]),
    "prompt": lambda engine: engine.prompt("a pear"),
    "bare_prompt": lambda engine: engine.bare_prompt("a pear"),
    "stream": lambda engine: next(engine.stream("a pear")),
    "explain": lambda engine: engine.explain("a pear"),
    "exit_rule": lambda engine: engine.exit_rule,
    "add": lambda engine: engine.add([Example("a", "fruit")]),
    "add_nothing": lambda engine: engine.add([]),
    "update": lambda engine: engine.update([Example("a", "fruit", "1")]),
    "remove": lambda engine: engine.remove(["1"]),
    "mark": lambda engine: engine.index.mark(complete=True),
    "keep_tuned": lambda engine: engine.index.keep_tuned(None),
    "save_vectors": lambda engine: engine.index.save_vectors(),
    "labels": lambda engine: engine.labels,
    "len": lambda engine: len(engine.index),
    "iter": lambda engine: list(engine.index),
    "search": lambda engine: engine.index.search(["a"], 1),
    "vectors": lambda engine: engine.index.vectors(),
    "inputs": lambda engine: list(engine.index.inputs()),
    "stats": lambda engine: engine.index.stats(),
}


@pytest.mark.parametrize("use", USES)
def test_an_engine_is_of_the_process_that_opened_it(folder: Path, use: str) -> None:
    with Engine.open(folder, lm=FakeLM(), decide="lm", k=1, exit=0.9) as engine:
        said = in_a_child(lambda: USES[use](engine))
        assert said.startswith("ForkError: this engine or index was opened by process")
        assert "open the engine after the fork, in each worker" in said
        assert "\n" not in said
        assert engine.predict("a pear").output  # the parent goes on
        assert engine.add([Example("a pear", "fruit")])


def test_what_a_thread_was_learning_at_the_fork_is_not_waited_for(folder: Path) -> None:
    def slow() -> str:
        learning.set()
        assert forked.wait(60)
        return "learned"

    learning, forked = Event(), Event()
    with Index.open(folder) as index, ThreadPoolExecutor(1) as pool:
        cached = CachedByGeneration(index, slow)
        learned = pool.submit(cached.get)
        assert learning.wait(60)
        said = in_a_child(cached.get)
        forked.set()
        assert learned.result() == "learned"
    assert said.startswith("ForkError: this engine or index was opened by process")


def test_a_child_that_closes_an_engine_leaves_the_parents_alone(folder: Path) -> None:
    with Engine.open(folder, lm=FakeLM(), k=1) as engine:
        assert in_a_child(engine.close) == "None"
        assert len(engine.index) == 2


def test_the_error_is_one_of_ragicls() -> None:
    assert issubclass(ForkError, RagiclError)


@pytest.mark.parametrize("encoder", ["minilm", "fake:a"])
@pytest.mark.parametrize(("threads", "new"), [(1, "answer"), (2, "ForkError")])
def test_a_model_whose_threads_did_not_come_along_is_refused(
    tmp_path: Path, encoder: str, threads: int, new: str
) -> None:
    if encoder == "minilm" and MINILM.path() is None:
        pytest.skip("needs the packaged encoder")
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.add(EXAMPLES)
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path / "index")],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        timeout=120,
        check=True,
    )
    *child, parent = ran.stdout.splitlines()
    assert child == ["ForkError", parent if new == "answer" else new]
