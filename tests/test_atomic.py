import numpy as np
import pytest

from ragicl.atomic import write_npz


def test_arrays_are_read_back_and_no_draft_stays(tmp_path):
    file = tmp_path / "some.npz"
    for values in ([1.0, 2.0], [3.0]):
        write_npz(file, values=np.array(values), names=np.array(["a", "b"]))
        with np.load(file) as saved:
            assert saved["values"].tolist() == values
            assert saved["names"].tolist() == ["a", "b"]
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "some.npz"
    write_npz(file, values=np.ones(2))
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_npz(file, values=np.zeros(2))
    with np.load(file) as saved:
        assert saved["values"].tolist() == [1, 1]
    assert list(tmp_path.iterdir()) == [file]
