"""What can be read once only: named pipes, process substitution, stdin."""

import gzip
import io
import os
import sys
import threading
from types import SimpleNamespace

import pytest

from ragicl.data.examples import DataFile
from ragicl.errors import DataError

TSV = 'text\tlabel\n" good\tpos\nbad\tneg\n'
CSV = "text,label\n good,pos\nbad,neg\n"
JSON = '{"text": "good", "label": "pos"}\n{"text": "bad", "label": "neg"}\n'


def piped(path, content):
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(content,), daemon=True).start()
    return DataFile(str(path))


def outputs(file):
    return [example.output for example in file.examples()]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.tsv", TSV.encode()),
        ("rows.csv", CSV.encode()),
        ("rows.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("63", TSV.encode()),
        ("63", CSV.encode()),
        ("63", CSV.replace(",", ";").encode()),
        ("63", TSV.encode("utf-16")),
        ("63", JSON.encode()),
    ],
    ids=["tsv", "csv", "gz", "tabs", "commas", "semicolons", "utf-16", "json"],
)
def test_a_pipe_is_read_once_and_can_be_read_again(tmp_path, name, content):
    file = piped(tmp_path / name, content)
    assert outputs(file) == ["pos", "neg"]
    assert outputs(file) == ["pos", "neg"]


@pytest.mark.parametrize("content", [TSV, CSV, JSON])
def test_stdin_may_be_a_table(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))
    assert outputs(DataFile("-")) == ["pos", "neg"]


def test_an_empty_pipe_has_no_rows(tmp_path):
    with pytest.raises(DataError, match="no rows"):
        outputs(piped(tmp_path / "63", b""))


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(device):
    with pytest.raises(DataError, match="is a device; give a file, a pipe, or - for stdin"):
        DataFile(device)


def test_no_copy_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    file = piped(tmp_path / "63", CSV.encode())
    assert outputs(file) == ["pos", "neg"]
    del file
    assert [own.name for own in tmp_path.iterdir()] == ["63"]
