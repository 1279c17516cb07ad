import os

import numpy as np
import pytest

from ragicl.index.derived import DerivedFolder
from ragicl.probes import state_cache
from ragicl.probes.lm_features import Features
from ragicl.probes.state_cache import FOLDER


@pytest.fixture
def counted(tiny, monkeypatch):
    """A tiny model that notes how many texts it reads."""
    lm = tiny("llama").lm
    read = []
    real = type(lm).states
    monkeypatch.setattr(
        type(lm),
        "states",
        lambda self, prompts, shares: read.extend(prompts) or real(self, prompts, shares),
    )
    return lm, read


def test_a_text_has_a_unit_vector_that_does_not_depend_on_others(counted, tmp_path):
    lm, _ = counted
    features = Features(DerivedFolder(tmp_path), lm)
    both = features.of(["a red fox", "music of the night in a long line of words"])
    assert np.linalg.norm(both, axis=1) == pytest.approx(np.ones(2), abs=1e-2)
    assert features.of(["a red fox"])[0] == pytest.approx(both[0], abs=2e-3)


def test_what_is_kept_is_not_read_again(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(state_cache, "BATCH", 2)
    lm, read = counted
    texts = ["one", "two", "three", "two"]
    kept = Features(DerivedFolder(tmp_path), lm).keep(texts)
    assert len(read) == 3
    again = Features(DerivedFolder(tmp_path), lm)
    assert again.of(texts) == pytest.approx(kept)
    assert len(read) == 3
    again.of(["four"])
    assert len(read) == 4
    assert len(list((tmp_path / FOLDER).iterdir())) == 1


def test_a_damaged_file_is_read_again(counted, tmp_path):
    lm, read = counted
    Features(DerivedFolder(tmp_path), lm).keep(["one"])
    (file,) = (tmp_path / FOLDER).iterdir()
    file.write_bytes(file.read_bytes()[:40])
    Features(DerivedFolder(tmp_path), lm).keep(["one"])
    assert len(read) == 2


def test_a_text_longer_than_the_window_is_cut(counted, tmp_path):
    lm, _ = counted
    vector = Features(DerivedFolder(tmp_path), lm).of(["word " * 3 * lm.window])
    assert np.isfinite(vector).all()


def test_a_killed_reading_keeps_what_was_read(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(state_cache, "BATCH", 1)
    monkeypatch.setattr(state_cache, "SAVED", 2)
    lm, read = counted

    def until_three(self, prompts, shares):
        if len(read) == 3:
            raise KeyboardInterrupt
        read.extend(prompts)
        return np.ones((len(prompts), len(shares), 2, 4), dtype=np.float32)

    monkeypatch.setattr(type(lm), "states", until_three)
    with pytest.raises(KeyboardInterrupt):
        Features(DerivedFolder(tmp_path), lm).keep(["one", "two", "three", "four"])
    Features(DerivedFolder(tmp_path), lm).of(["one", "two"])
    assert len(read) == 3


def test_the_oldest_files_are_removed(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(state_cache, "FILES", 2)
    lm, _ = counted
    (tmp_path / FOLDER).mkdir()
    own = [tmp_path / FOLDER / name for name in ("mine.npz", "0123.npz", f"{'0' * 24}.npz.bak")]
    for file in own:
        file.write_text("mine")
        os.utime(file, (0, 0))
    for name in "abc":
        lm.description = f"model {name}"
        Features(DerivedFolder(tmp_path), lm).keep(["one"])
    assert [file.read_text() for file in own] == ["mine"] * 3
    assert len(list((tmp_path / FOLDER).iterdir())) == 2 + len(own)
