"""Progress: at once on a terminal, elsewhere of long runs only."""

import io
import sys
import time

import pytest

from ragicl.cli import progress as module
from ragicl.cli.progress import progress, steps, within


class Stderr(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self._terminal = terminal

    def isatty(self):
        return self._terminal


@pytest.fixture
def stderr_as(monkeypatch):
    """Put a stream in place of stderr, from within the test: pytest sets its own before each."""

    def replaced(*, terminal):
        monkeypatch.setattr("sys.stderr", Stderr(terminal))
        return sys.stderr

    return replaced


def lines(stream):
    return [line for line in stream.getvalue().replace("\r", "\n").splitlines() if line.strip()]


def test_a_terminal_shows_the_bar_at_once(stderr_as):
    stderr = stderr_as(terminal=True)
    with progress(10, "embedding") as done:
        assert "embedding:   0%" in lines(stderr)[0]
        done(10)
    assert "10/10" in lines(stderr)[-1]


def test_a_short_run_writes_nothing_into_a_file(stderr_as):
    stderr = stderr_as(terminal=False)
    with progress(1000, "embedding") as done:
        for _ in range(1000):
            done(1)
    with steps() as told:
        told("training", 0, 9)
        told("training", 9, 9)
    assert stderr.getvalue() == ""


def test_a_long_run_writes_a_line_now_and_then(stderr_as, monkeypatch):
    stderr = stderr_as(terminal=False)
    monkeypatch.setattr(module, "LONG", 0.05)
    with progress(1000, "embedding") as done:
        for _ in range(20):
            time.sleep(0.01)
            done(50)
    assert "embedding" in lines(stderr)[0]
    assert len(lines(stderr)) == 2  # the first after a while, and the end
    assert "1000/1000" in lines(stderr)[-1]


@pytest.mark.parametrize("terminal", [True, False])
def test_one_row_needs_no_bar(stderr_as, monkeypatch, terminal):
    stderr = stderr_as(terminal=terminal)
    monkeypatch.setattr(module, "LONG", 0.0)
    with progress(1, "predicting") as done:
        done(1)
    with progress(20, "predicting", done=19) as done:
        done(1)
    assert stderr.getvalue() == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_row_that_takes_long_has_a_bar_of_its_own(stderr_as, monkeypatch, terminal):
    stderr = stderr_as(terminal=terminal)
    with within() as told:
        for done in range(4):
            told("reading labels", done, 3)
    assert stderr.getvalue() == "", "no bar where there is no wait"
    monkeypatch.setattr(module, "WAIT", 0.05)
    monkeypatch.setattr(module, "LONG", 0.01)
    with within() as told:
        told("reading labels", 0, 1500)
        time.sleep(0.2)
        told("reading labels", 700, 1500)
        assert "700/1500" in stderr.getvalue()
        told("reading labels", 1500, 1500)
        before = stderr.getvalue()
        told("reading labels", 0, 1500)
        time.sleep(0.2)
        told("reading labels", 600, 1500)
        assert ("600/1500" in stderr.getvalue()) == terminal, "in a file now and then only"
        assert stderr.getvalue().startswith(before)


def test_each_kind_of_work_has_its_own_count(stderr_as):
    stderr = stderr_as(terminal=True)
    with steps() as told:
        told("reading", 5, 5)
        told("training", 1, 3)
        told("training", 3, 3)
        told("training", 1, 3)
    last = lines(stderr)
    assert any(line.startswith("reading: 100%") and "5/5" in line for line in last)
    assert any(line.startswith("training: 100%") and "3/3" in line for line in last)
    assert last[-1].startswith("training:  33%")
    assert "1/3" in last[-1]
