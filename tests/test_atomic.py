import os
import threading
from pathlib import Path

import numpy as np
import pytest

from ragicl.atomic import is_stream, write_npz, write_whole


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
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_npz(file, values=np.zeros(2))
    with np.load(file) as saved:
        assert saved["values"].tolist() == [1, 1]
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_link_points_to_is_written(tmp_path):
    (tmp_path / "folder").mkdir()
    real, link = tmp_path / "folder" / "real.txt", tmp_path / "link.txt"
    link.symlink_to(real)
    for text in (b"new", b"old"):
        write_whole(link, text)
        assert link.is_symlink()
        assert not real.is_symlink()
        assert real.read_bytes() == text
    assert os.listdir(real.parent) == ["real.txt"]


def test_a_link_to_a_device_stays_one(tmp_path):
    """Only links in a folder of the test's own: a fault must not cost the machine its devices."""
    taken, refused = tmp_path / "null.txt", tmp_path / "full.txt"
    taken.symlink_to("/dev/null")
    refused.symlink_to("/dev/full")
    write_whole(taken, b"text")
    with pytest.raises(OSError, match="No space left"):
        write_whole(refused, b"text")
    assert [file.readlink() for file in (taken, refused)] == [Path("/dev/null"), Path("/dev/full")]
    assert sorted(os.listdir(tmp_path)) == ["full.txt", "null.txt"]


def test_a_pipe_is_written_through(tmp_path):
    pipe, read = tmp_path / "pipe.json", []
    os.mkfifo(pipe)
    reader = threading.Thread(daemon=True, target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"x" * 200_000)  # more than a pipe holds
    reader.join()
    assert read == [b"x" * 200_000]
    assert pipe.is_fifo()


def test_streams_are_told_from_files(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-pipe").symlink_to("pipe")
    (tmp_path / "to-file").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nothing")
    streams = ["/dev/null", "/dev/full", tmp_path / "pipe", tmp_path / "to-pipe"]
    others = [tmp_path / name for name in ("file", "to-file", "dangling", "nothing")]
    assert all(is_stream(Path(path)) for path in streams)
    assert not any(is_stream(path) for path in [*others, tmp_path, Path("/dev")])
