"""Key-value states of the demonstrations that texts are read after, kept in the index's folder.

Reading the demonstrations takes longer than reading a text: a process that predicts a single text
need not do it again.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from ragicl.atomic import write_whole
from ragicl.probes.state_cache import FOLDER, digest
from ragicl.protocols import LM, Parts, PrefixKeeping

SUFFIX = ".prefix"
LARGEST = 2**27  # bytes of a file; larger ones are not kept
LIMIT = 2**29  # bytes of an index's files together; the oldest are removed
CHECK = 32  # bytes of the checksum that a file begins with


class PrefixFiles:
    """Files of one index and model.

    :param folder: of the index
    :param lm: one that is not :class:`PrefixKeeping` keeps nothing
    """

    def __init__(self, folder: Path, lm: LM) -> None:
        self._folder = folder / FOLDER
        self._lm = lm if isinstance(lm, PrefixKeeping) else None
        self._done: set[str] = set()

    def keep(self, prompt: Parts) -> None:
        """Give the model the states of a prompt's first part, or keep them where it reads them.

        Where they cannot be kept, the next process reads them again.
        """
        if self._lm is None or prompt[0] in self._done:
            return
        self._done.add(str(prompt[0]))
        file = self._folder / f"{digest(f'{self._lm.description}|{prompt[0]}')}{SUFFIX}"
        data = _checked(file)
        if data is not None and self._lm.restore_prefix(prompt, data):
            return
        read = self._lm.prefix_bytes(prompt)
        if read is not None and len(read) <= LARGEST:
            self._write(file, read)

    def _write(self, file: Path, data: bytes) -> None:
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            write_whole(file, _checksum(data) + data)
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        files = [(file.stat(), file) for file in self._folder.glob(f"*{SUFFIX}")]
        total = sum(stat.st_size for stat, _ in files)
        for stat, file in sorted(files, key=lambda pair: pair[0].st_mtime):
            if total <= LIMIT:
                return
            file.unlink(missing_ok=True)
            total -= stat.st_size


def _checked(file: Path) -> bytes | None:
    """Return what a file holds; None where it is missing or damaged."""
    with suppress(OSError):
        whole = file.read_bytes()
        if whole[:CHECK] == _checksum(whole[CHECK:]):
            return whole[CHECK:]
    return None


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=CHECK).digest()
