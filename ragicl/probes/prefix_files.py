"""Key-value states of the demonstrations that texts are read after, kept in the index's folder.

Reading the demonstrations takes longer than reading a text: a process that predicts a single text
need not do it again.
"""

from __future__ import annotations

import re
from contextlib import suppress

import numpy as np

from ragicl.index.derived import DerivedFile, DerivedFolder
from ragicl.probes.state_cache import FOLDER, digest
from ragicl.protocols import LM, Parts, PrefixKeeping

OWN = re.compile(r"[0-9a-f]{24}\.prefix\.npz")  # names by `digest`
LARGEST = 2**27  # bytes of a prompt's states; larger ones are not kept
LIMIT = 2**29  # bytes of an index's files together; the oldest are removed


class PrefixFiles:
    """Files of one index and model.

    :param folder: of the index
    :param lm: one that is not :class:`PrefixKeeping` keeps nothing
    """

    def __init__(self, folder: DerivedFolder, lm: LM) -> None:
        self._folder = folder
        self._lm = lm if isinstance(lm, PrefixKeeping) else None
        self._done: set[str] = set()

    def keep(self, prompt: Parts) -> None:
        """Give the model the states of a prompt's first part, or keep them where it reads them.

        Where they cannot be kept, the next process reads them again.
        """
        if self._lm is None or prompt[0] in self._done:
            return
        self._done.add(str(prompt[0]))
        name = f"{digest(f'{self._lm.description}|{prompt[0]}')}.prefix.npz"
        file = self._folder.file(FOLDER, name)
        data = _loaded(file)
        if data is not None and self._lm.restore_prefix(prompt, data):
            return
        read = self._lm.prefix_bytes(prompt)
        if read is not None and len(read) <= LARGEST:
            self._save(file, read)

    def _save(self, file: DerivedFile, data: bytes) -> None:
        if file.save_arrays(data=np.frombuffer(data, dtype=np.uint8)):
            with suppress(OSError):
                _remove_oldest(file)


def _loaded(file: DerivedFile) -> bytes | None:
    arrays = file.load_arrays()
    data = arrays.get("data") if arrays else None
    return None if data is None else bytes(data)


def _remove_oldest(file: DerivedFile) -> None:
    # Its own alone: anybody may keep a file there.
    files = [other for other in file.path.parent.iterdir() if OWN.fullmatch(other.name)]
    stats = {other: other.stat() for other in files}
    total = sum(stat.st_size for stat in stats.values())
    for other in sorted(files, key=lambda one: stats[one].st_mtime):
        if total <= LIMIT:
            return
        other.unlink(missing_ok=True)
        total -= stats[other].st_size
