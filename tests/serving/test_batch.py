"""Files of predictions that can be continued."""

import pytest

from ragicl.errors import DataError
from ragicl.serving.batch import ResumableFile


def test_full_disk_keeps_the_rows_before(tmp_path):
    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    with ResumableFile(tmp_path / "out.jsonl", {}) as file:
        file.write({"id": "1", "input": "a"})
        file._file, kept = Full(), file._file
        with pytest.raises(DataError, match="No space left on device; the rows before are safe"):
            file.write({"id": "2", "input": "b"})
        kept.close()
    with ResumableFile(tmp_path / "out.jsonl", {}) as file:
        assert file.rows == [{"id": "1", "input": "a"}]
        with (
            pytest.raises(DataError, match="another process is writing"),
            ResumableFile(tmp_path / "out.jsonl", {}),
        ):
            pass
    assert {f.name for f in tmp_path.iterdir()} == {"out.jsonl", "out.jsonl.settings.json"}
