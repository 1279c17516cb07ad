"""Every value of every JSON file of an index, replaced by nonsense: refused, or without effect."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from math import nan
from typing import Any

import numpy as np
import pytest
from cli_runner import fails, run

from ragicl import CorruptError, Engine, RagiclError
from ragicl.atomic import read_npz, write_npz
from ragicl.calibration.blend import Blend
from ragicl.calibration.conformal import ConformalRecord
from ragicl.index.derived import DerivedFolder
from ragicl.inference.tuned_settings import Tuned
from ragicl.policy import DEFAULT
from ragicl.probes.demonstrations import (
    Demonstrations,
    Shot,
    load_demonstrations,
    save_demonstrations,
)
from ragicl.probes.views import VIEWS
from ragicl.tune.candidates import Candidate
from ragicl.tune.logprob_cache import NAME, LogProbCache

NONSENSE = (nan, -1, 1e308, "x", None, [], {})
LM = "fake:4000"
Place = tuple[Any, ...]


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    if at:
        yield at
    own_values = value if isinstance(value, dict) else {}
    if isinstance(value, list):
        own_values = dict(enumerate(value))
    for key, own in own_values.items():
        yield from places(own, (*at, key))


def mutations(value: Any) -> Iterator[tuple[Place, Any, Any]]:
    """Yield where, what it is now, and the whole: replaced, left out, and with one more."""
    for place in places(value):
        for nonsense in (*NONSENSE, "missing", "extra"):
            changed = copy.deepcopy(value)
            holder = changed
            for key in place[:-1]:
                holder = holder[key]
            if nonsense == "missing":
                del holder[place[-1]]
            elif nonsense == "extra":
                holder.append(0) if isinstance(holder, list) else holder.update(extra=0)
            else:
                holder[place[-1]] = nonsense
            yield place, nonsense, changed


def makes_sense(place: Place, now: Any) -> bool:
    """Whether a value is one that the engine itself may have written there."""
    if place == ("tuned",):
        return now in (None, "missing")
    if place[:3] == ("tuned", "blend", "offsets"):  # labels that are new have none
        return now in ("missing", "extra") or now == ({} if len(place) == 3 else -1)
    if place == ("tuned", "blend", "context"):
        return now == "missing"  # as before there was one
    return place in {("tuned", "lm"), ("tuned", "template")} and now in ("x", None, "missing")


@pytest.fixture
def tuned(things):
    blend = Blend(0.1, 0.3, 0.7, 0.0, 0.0, {"fruit": 0.25, "tool": -0.25})
    record = ConformalRecord((0.2, 0.5, 0.9), (0.6, 0.7, 0.9))
    with Engine.open(things, lm=LM, policy=DEFAULT) as engine:
        found = Tuned(
            DEFAULT.tunable(), None, engine.lm.description, "batch", blend, record,
            {"examples": 20, "trials": [{"candidate": "plain", "rows": 3}]},
        )  # fmt: skip
        engine.index.keep_tuned(found.as_json())
    return things


def asked(folder):
    with Engine.open(folder, lm=LM) as engine:
        found = engine.predict("a sweet saw")
    return found.probs


def test_a_manifest_is_refused_or_answers_as_before(tuned):
    file = tuned / "manifest.json"
    whole = json.loads(file.read_text())
    right = asked(tuned)
    refused = []
    for place, now, changed in mutations(whole):
        file.write_text(json.dumps(changed))
        try:
            found = asked(tuned)
        except RagiclError as error:
            refused.append(error)
        else:
            assert found == right or makes_sense(place, now), (place, now)
    assert len(refused) > 200
    assert not any("\n" in str(error) for error in refused)
    corrupt = [str(error) for error in refused if isinstance(error, CorruptError)]
    assert all(str(tuned) in message for message in corrupt)


@pytest.mark.parametrize("nonsense", ["x", [], -1, {"lm": nan}, {"blend": {"vote": nan}}])
def test_what_tuning_found_can_be_forgotten_whatever_it_is(tuned, nonsense):
    file = tuned / "manifest.json"
    whole = json.loads(file.read_text())
    file.write_text(json.dumps(whole | {"tuned": nonsense}))
    forget = f"`ragicl tune {tuned} --forget`"
    fails("info", tuned, match=forget)
    fails("predict", tuned, "a saw", "--lm", LM, match=forget)
    run("tune", tuned, "--forget")
    assert run("predict", tuned, "a saw", "--lm", LM).stdout


def test_demonstrations_are_what_was_written_or_drawn_again(tmp_path):
    file = DerivedFolder(tmp_path, lambda: "an index").file("features", "shown.json")
    draws = ((Shot("1", "a pear", "fruit"), Shot("2", "a saw", "tool")), (Shot("3", "x", "y"),))
    kept = Demonstrations(draws, VIEWS[:2], 20)
    save_demonstrations(file, kept)
    assert load_demonstrations(file) == kept
    for place, now, changed in mutations(json.loads(file.path.read_text())):
        file.path.write_text(json.dumps(changed))
        assert load_demonstrations(file) in (None, kept), (place, now)


def test_log_probabilities_are_what_was_written_or_scored_again(things):
    candidate, log_probs = Candidate(4), np.log(np.array([[0.25, 0.75], [0.5, 0.5]]))
    ids = ["a", "b"]
    with Engine.open(things, lm=LM) as engine:
        with LogProbCache(engine) as cache:
            cache.add(candidate, ids, log_probs, 1.0)
            right = cache.of(candidate, ids)
        file = things / NAME
        head, line = map(json.loads, file.read_text().splitlines())
        for place, now, changed in mutations(line):
            file.write_text(json.dumps(head) + "\n" + json.dumps(changed) + "\n")
            with LogProbCache(engine) as cache:
                found = cache.of(candidate, ids)
                assert cache.seconds(candidate) >= 0
            if now != -1:  # may be a log-probability
                assert found.tolist() in (right.tolist(), right[:1].tolist(), []), (place, now)
        for _, _, changed in mutations(head):
            file.write_text(json.dumps(changed) + "\n" + json.dumps(line) + "\n")
            with LogProbCache(engine) as cache:
                assert len(cache.of(candidate, ids)) == (2 if changed == head else 0)


def test_a_first_line_that_is_cut_short_is_written_again(things):
    candidate = Candidate(4)
    with Engine.open(things, lm=LM) as engine:
        with LogProbCache(engine) as cache:
            cache.add(candidate, ["a"], np.log([[0.5, 0.5]]), 1.0)
        file = things / NAME
        file.write_bytes(file.read_bytes()[:20])
        for _ in range(2):  # what is added stays, for every later run
            with LogProbCache(engine) as cache:
                if (candidate, "a") not in cache:
                    cache.add(candidate, ["a"], np.log([[0.5, 0.5]]), 1.0)
        assert len(file.read_text().splitlines()) == 2


def test_arrays_are_what_was_written_or_absent(tmp_path):
    file = tmp_path / "some.npz"
    write_npz(file, values=np.arange(12.0), names=np.array(["a", "b"]))
    whole = file.read_bytes()
    assert sorted(read_npz(file)) == ["names", "values"]
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), size=random.integers(1, 4)):
            damaged[place] = random.integers(256)
        end = random.integers(1, len(whole)) if random.random() < 0.3 else len(whole)
        file.write_bytes(damaged[:end])
        found = read_npz(file)
        if found is not None:
            np.testing.assert_array_equal(found["values"], np.arange(12.0))
            assert found["names"].tolist() == ["a", "b"]
    write_npz(file, values=np.ones(2))
    with np.load(file) as saved:
        arrays = {name: saved[name] for name in saved.files}
    np.savez(file, **arrays | {"values": np.array([np.nan, 1.0])})
    assert read_npz(file) is None
