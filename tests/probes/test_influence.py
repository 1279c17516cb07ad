"""Demonstrations left out one by one, of draws and states made up here."""

import numpy as np
import pytest

from ragicl.probes.demonstrations import Shot
from ragicl.probes.influence import without_each_shot

DRAWS = tuple(
    tuple(Shot(f"{d}{label}", f"text {d}{label}", label) for label in "ab") for d in range(3)
)
WEIGHTS = {shot.id: 2.0**n for n, shot in enumerate(shot for own in DRAWS for shot in own)}


def state(own):
    return np.array([[sum(WEIGHTS[shot.id] for shot in own)]], dtype=np.float32)


def test_each_is_left_out_of_its_own_draw_alone():
    whole = sum(WEIGHTS.values()) / 3
    seen = list(without_each_shot("new", DRAWS, state, lambda mean: mean[0]))
    assert [shot for shot, _ in seen] == [shot for own in DRAWS for shot in own]
    for shot, found in seen:
        assert found == pytest.approx(whole - WEIGHTS[shot.id] / 3)


def test_a_draw_that_holds_the_text_is_not_read():
    seen = list(without_each_shot("text 1b", DRAWS, state, lambda mean: mean[0]))
    assert {shot.id[0] for shot, _ in seen} == {"0", "2"}
    whole = sum(WEIGHTS[shot.id] for own in (DRAWS[0], DRAWS[2]) for shot in own) / 2
    for shot, found in seen:
        assert found == pytest.approx(whole - WEIGHTS[shot.id] / 2)
