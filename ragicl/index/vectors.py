"""The vectors, in FAISS: derived from the store and rebuilt whenever in doubt. FAISS's only home."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import faiss
import numpy as np

from ragicl.index.store import Rows
from ragicl.protocols import FloatArray

NAME = "vectors.faiss"
TRAILER = struct.Struct("<8sQI")  # follows what FAISS wrote: magic, generation, CRC-32 of it
MAGIC = b"ragicl-1"
BLOCK = 2**20


class Vectors:
    """Exact inner-product search over unit vectors, by row number.

    :ivar generation: the state of the store that these vectors reflect
    """

    def __init__(self, dim: int) -> None:
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
        self._gpu: faiss.Index | None = None
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
        faiss.write_index(self._index, str(draft))
        checksum = _checksum(draft, draft.stat().st_size)
        with draft.open("ab") as file:
            file.write(TRAILER.pack(MAGIC, self.generation, checksum))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / NAME)

    @classmethod
    def load(cls, folder: Path, dim: int) -> Vectors | None:
        """Read the file in `folder`; None where it is missing, damaged, or of another shape."""
        file = folder / NAME
        try:
            with file.open("rb") as stream:
                stream.seek(-TRAILER.size, os.SEEK_END)
                size = stream.tell()
                magic, generation, checksum = TRAILER.unpack(stream.read())
        except OSError:
            return None
        if magic != MAGIC or _checksum(file, size) != checksum:
            return None
        vectors = cls(dim)
        vectors._index = faiss.read_index(str(file))
        vectors.generation = generation
        return vectors if vectors._index.d == dim else None

    def _searcher(self) -> faiss.Index:
        """Return the index, or its copy on the GPU where this build of FAISS reports one."""
        if faiss.get_num_gpus() == 0:
            return self._index
        if self._gpu is None:
            self._gpu = faiss.index_cpu_to_all_gpus(self._index)
        return self._gpu


def _checksum(path: Path, size: int) -> int:
    checksum = 0
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(BLOCK, size))):
            checksum = zlib.crc32(block, checksum)
            size -= len(block)
    return checksum
