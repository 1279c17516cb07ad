"""States of the demonstrations, kept in the index's folder for the next process."""

import os

import pytest

from ragicl.backends.fake import FakeFeaturingLM
from ragicl.index.derived import DerivedFolder
from ragicl.probes import prefix_files
from ragicl.probes.prefix_files import OWN, PrefixFiles
from ragicl.probes.state_cache import FOLDER

PROMPT = ("demonstrations", "text")


class Keeping(FakeFeaturingLM):
    """Its states are a prompt's first part, again and again."""

    def __init__(self, size=1):
        super().__init__()
        self.size = size
        self.read, self.restored = [], []

    def prefix_bytes(self, parts):
        self.read.append(parts[0])
        return parts[0].encode() * self.size

    def restore_prefix(self, parts, data):
        self.restored.append(data)
        return data == parts[0].encode() * self.size


def kept(folder):
    return [file for file in (folder / FOLDER).iterdir() if OWN.fullmatch(file.name)]


def test_the_next_process_is_given_what_was_read(tmp_path):
    first, second = Keeping(), Keeping()
    for lm in (first, second):
        files = PrefixFiles(DerivedFolder(tmp_path), lm)
        files.keep(PROMPT)
        files.keep(PROMPT)
    assert (first.read, first.restored) == ([PROMPT[0]], [])
    assert (second.read, second.restored) == ([], [PROMPT[0].encode()])


@pytest.mark.parametrize("damage", [b"", b"x", b"x" * 64], ids=["empty", "short", "other"])
def test_a_damaged_file_is_written_again(tmp_path, damage):
    PrefixFiles(DerivedFolder(tmp_path), Keeping()).keep(PROMPT)
    (file,) = kept(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage)
    lm = Keeping()
    PrefixFiles(DerivedFolder(tmp_path), lm).keep(PROMPT)
    assert lm.restored == []
    assert file.read_bytes() == whole


def test_states_that_no_longer_fit_are_read_again(tmp_path):
    PrefixFiles(DerivedFolder(tmp_path), Keeping()).keep(PROMPT)
    changed = Keeping(size=2)
    PrefixFiles(DerivedFolder(tmp_path), changed).keep(PROMPT)
    assert changed.read == [PROMPT[0]]
    again = Keeping(size=2)
    PrefixFiles(DerivedFolder(tmp_path), again).keep(PROMPT)
    assert again.read == []


def test_files_are_bounded_and_the_oldest_go(tmp_path, monkeypatch):
    files = PrefixFiles(DerivedFolder(tmp_path), Keeping(size=10))
    files.keep(("first part 0", "text"))
    (file,) = kept(tmp_path)
    limit = 2 * file.stat().st_size + 10
    monkeypatch.setattr(prefix_files, "LIMIT", limit)
    for number in range(1, 4):
        files.keep((f"first part {number}", "text"))
        for age, file in enumerate(sorted(kept(tmp_path), key=lambda f: f.stat().st_mtime_ns)):
            os.utime(file, (age, age))
    names = {file.name for file in kept(tmp_path)}
    assert len(names) == 2
    assert sum(file.stat().st_size for file in kept(tmp_path)) <= limit
    monkeypatch.setattr(prefix_files, "LARGEST", 500)
    files.keep(("too large " * 60, "text"))
    assert {file.name for file in kept(tmp_path)} == names


def test_other_models_and_folders_that_cannot_be_written_keep_nothing(tmp_path):
    PrefixFiles(DerivedFolder(tmp_path), FakeFeaturingLM()).keep(PROMPT)
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    lm = Keeping()
    PrefixFiles(DerivedFolder(tmp_path), lm).keep(PROMPT)
    assert lm.read == [PROMPT[0]]
