"""Files of predictions that can be continued."""

import json
import resource
import signal

import pytest

from ragicl.errors import DataError
from ragicl.serving.batch import ResumableFile


@pytest.fixture
def full_at():
    """Lets the disk take that many bytes of a file: half a row, and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size or soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


def test_full_disk_keeps_the_rows_before(tmp_path, full_at):
    with ResumableFile(tmp_path / "out.jsonl", {}) as file:
        file.write({"id": "1", "input": "a"})
        full_at(40)
        with pytest.raises(DataError, match="File too large; the rows before are safe"):
            file.write({"id": "2", "input": "b"})
        assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 1, "no half row"
        full_at(None)
        file.write({"id": "3", "input": "c"})
    with ResumableFile(tmp_path / "out.jsonl", {}) as file:
        assert [row["id"] for row in file.rows] == ["1", "3"]
    (tmp_path / "out.jsonl").write_bytes(b'{"id": "1", "input": "a"}\n')
    with ResumableFile(tmp_path / "out.jsonl", {}) as file:
        assert file.rows == [{"id": "1", "input": "a"}]
        with (
            pytest.raises(DataError, match="another process is writing"),
            ResumableFile(tmp_path / "out.jsonl", {}),
        ):
            pass
    assert {f.name for f in tmp_path.iterdir()} == {"out.jsonl", "out.jsonl.settings.json"}


def test_settings_are_written_once(tmp_path):
    notes = tmp_path / "out.jsonl.settings.json"
    with ResumableFile(tmp_path / "out.jsonl", {"k": 1}) as file:
        file.write({"id": "1", "input": "a"})
    before = notes.stat()
    with ResumableFile(tmp_path / "out.jsonl", {"k": 1}) as file:
        assert len(file.rows) == 1
    assert (notes.stat().st_ino, notes.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    (tmp_path / "out.jsonl").unlink()
    with ResumableFile(tmp_path / "out.jsonl", {"k": 2}) as file:
        assert file.rows == []
    assert json.loads(notes.read_text()) == {"k": 2}


def test_a_kill_before_the_first_row_does_not_end_the_output(tmp_path):
    """Then there may be an empty file with settings cut short, as earlier versions left them."""
    (tmp_path / "out.jsonl").touch()
    (tmp_path / "out.jsonl.settings.json").write_text('{"k"')
    with ResumableFile(tmp_path / "out.jsonl", {"k": 1}) as file:
        file.write({"id": "1", "input": "a"})
    with ResumableFile(tmp_path / "out.jsonl", {"k": 1}) as file:
        assert len(file.rows) == 1


@pytest.mark.parametrize("damage", ["", "{", "[]", "3", '"x"', "null", "\udcff"])
def test_damaged_settings_are_refused_in_one_line_and_the_lock_is_released(tmp_path, damage):
    notes = tmp_path / "out.jsonl.settings.json"
    with ResumableFile(tmp_path / "out.jsonl", {"k": 1}) as file:
        file.write({"id": "1", "input": "a"})
    whole = notes.read_bytes()
    notes.write_text(damage, errors="surrogateescape")
    with (
        pytest.raises(DataError, match="settings"),
        ResumableFile(tmp_path / "out.jsonl", {"k": 1}),
    ):
        pass
    notes.write_bytes(whole)
    with ResumableFile(tmp_path / "out.jsonl", {"k": 1}) as file:
        assert len(file.rows) == 1
