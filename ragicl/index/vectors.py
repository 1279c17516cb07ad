"""The vectors, in FAISS (whose only home this is): derived, and rebuilt whenever in doubt."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import IO, Any

import faiss
import numpy as np

from ragicl.index.store import Rows
from ragicl.protocols import FloatArray

NAME = "vectors.faiss"
TRAILER = struct.Struct("<8sQ")  # follows what FAISS wrote: magic, generation
CHECKSUM = struct.Struct("<I")  # follows that: CRC-32 of all before it
MAGIC = b"ragicl-1"
BLOCK = 2**20


class Vectors:
    """Exact inner-product search over unit vectors, by row number.

    :ivar dim: length of a vector
    :ivar generation: the state of the store that these vectors reflect
    """

    def __init__(self, dim: int) -> None:
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))  # Any: its stubs are not whole
        self._gpu: faiss.Index | None = None
        self.dim = dim
        self.generation = 0

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, rows: Rows, vectors: FloatArray) -> None:
        """Add vectors, shape (len(rows), dim), under their row numbers."""
        self._index.add_with_ids(vectors, rows)
        self._gpu = None

    def remove(self, rows: Rows) -> None:
        """Remove the rows that are there; others are ignored."""
        if len(rows):
            self._index.remove_ids(rows)
            self._gpu = None

    def search(self, queries: FloatArray, k: int) -> tuple[FloatArray, Rows]:
        """Return similarities and row numbers, shape (len(queries), min(k, len)), best first."""
        k = min(k, len(self))
        if k == 0 or not len(queries):
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        similarities, rows = self._searcher().search(queries, k)
        return similarities, rows

    def save(self, folder: Path) -> None:
        """Replace the file in `folder` as a whole."""
        draft = folder / f"{NAME}.tmp"
        try:
            faiss.write_index(self._index, str(draft))
            with draft.open("ab+") as file:
                file.write(TRAILER.pack(MAGIC, self.generation))
                file.write(CHECKSUM.pack(_checksum(file, file.tell())))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(folder / NAME)
        except BaseException:
            draft.unlink(missing_ok=True)  # the disk may be full
            raise

    @classmethod
    def load(cls, folder: Path, dim: int) -> Vectors | None:
        """Read the file in `folder`; None where it is missing, damaged, or of another shape."""
        vectors = cls(dim)
        try:
            with (folder / NAME).open("rb") as file:  # kept open: another process may replace it
                vectors.generation = _generation(file)
                size = file.seek(-CHECKSUM.size, os.SEEK_END)
                if CHECKSUM.pack(_checksum(file, size)) != file.read():
                    return None
                file.seek(0)
                vectors._index = _read_index(file)
        except (OSError, RuntimeError):
            return None
        return vectors if vectors._index.d == dim else None

    def _searcher(self) -> Any:
        """Return the index, or its copy on the GPU where this build of FAISS reports one."""
        if faiss.get_num_gpus() == 0:
            return self._index
        if self._gpu is None:
            self._gpu = faiss.index_cpu_to_all_gpus(self._index)
        return self._gpu


def saved_generation(folder: Path) -> int:
    """Return the generation of the file in `folder`; 0 where there is none that can be read."""
    try:
        with (folder / NAME).open("rb") as file:
            return _generation(file)
    except OSError:
        return 0


def _read_index(file: IO[bytes]) -> Any:
    module: Any = faiss
    return module.read_index(module.PyCallbackIOReader(file.read))


def _generation(file: IO[bytes]) -> int:
    file.seek(-TRAILER.size - CHECKSUM.size, os.SEEK_END)
    magic, generation = TRAILER.unpack(file.read(TRAILER.size))
    if magic != MAGIC:
        raise OSError(f"{NAME} was written by another program")
    return int(generation)


def _checksum(file: IO[bytes], size: int) -> int:
    """Return the CRC-32 of the first `size` bytes, and leave the file there."""
    file.seek(0)
    checksum = 0
    while size > 0 and (block := file.read(min(BLOCK, size))):
        checksum = zlib.crc32(block, checksum)
        size -= len(block)
    return checksum
