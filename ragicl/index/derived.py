"""Files that are computed from an index's examples, and kept in its folder with the index's id."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragicl.atomic import read_npz, write_npz, write_whole
from ragicl.errors import StoreError

IDENTITY = "identity"  # the name of the index's id among a file's arrays


def _nothing() -> None:
    """Let everything be written."""


@dataclass(frozen=True, slots=True)
class DerivedFolder:
    """The folder of an index, for what is computed from its examples.

    :ivar identity: returns the index's id; empty where it has none
    :ivar check: raises StoreError where another index took the place of this one
    """

    path: Path
    identity: Callable[[], str] = str
    check: Callable[[], None] = _nothing

    def file(self, folder: str, name: str) -> DerivedFile:
        """Return a file in a folder of the index's, whether it is there or not."""
        return DerivedFile(self, self.path / folder / name)


@dataclass(frozen=True, slots=True)
class DerivedFile:
    """One of these files; a missing, damaged or foreign one is None, and one that fails is none.

    What it holds is looked up by the content that it was computed from, so that a file without an
    id, by an older version, is not foreign.
    """

    folder: DerivedFolder
    path: Path

    def belongs(self, identity: str) -> bool:
        """Whether a file with this id is of the index."""
        return identity in ("", self.folder.identity())

    def load_arrays(self) -> dict[str, Any] | None:
        """Return the arrays by name."""
        arrays = read_npz(self.path) or {}
        identity = str(arrays.pop(IDENTITY, ""))
        return arrays if arrays and self.belongs(identity) else None

    def save_arrays(self, **arrays: Any) -> bool:
        """Write arrays by name; return whether that was done."""
        identity = np.array(self.folder.identity())
        return self._save(lambda: write_npz(self.path, **arrays, **{IDENTITY: identity}))

    def save_bytes(self, data: bytes) -> bool:
        """Write data that hold the index's id; return whether that was done."""
        return self._save(lambda: write_whole(self.path, data))

    def _save(self, write: Callable[[], None]) -> bool:
        with suppress(OSError, StoreError):
            self.folder.check()
            self.path.parent.mkdir(exist_ok=True)
            write()
            return True
        return False
