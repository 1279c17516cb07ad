"""The vectors in memory and in vectors.faiss: derived, and rebuilt whenever in doubt.

The file is what FAISS writes, then a footer in JSON, then the footer's length and checksum.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ragicl.atomic import put_in_place
from ragicl.forks import compute
from ragicl.index.store.base import ExampleStore
from ragicl.index.vectors import ivf
from ragicl.index.vectors.faiss_import import faiss
from ragicl.index.vectors.ivf import Tuning
from ragicl.index.vectors.sync import advance
from ragicl.protocols import FloatArray, IntArray

NAME = "vectors.faiss"
EXACT_ROWS = 200_000  # up to here every vector is compared; 4 ms per 100,000 rows of 384 numbers
GROWTH = 2  # an approximate index is rebuilt when it has grown this many times
END = struct.Struct("<II8s")  # length of the footer, its CRC-32, magic
MAGIC = b"ragicl-2"
BLOCK = 2**20
NOWHERE = object()  # in place of a copy on a GPU
HEAD = 16 * BLOCK  # bytes verified at opening: see Vectors.mapped


class Footer(msgspec.Struct, frozen=True):
    """A file's description of itself.

    :ivar generation: the state of the store that its vectors reflect
    :ivar identity: the store's; empty where it has none
    :ivar size: bytes that FAISS wrote
    :ivar head: CRC-32 of the first HEAD of them
    :ivar whole: CRC-32 of all of them
    :ivar tuning: how search is approximate; None: it is exact
    """

    generation: int
    size: int
    head: int
    whole: int
    tuning: Tuning | None
    identity: str = ""


class Vectors:
    """Inner-product search over unit vectors, by row number; exact up to EXACT_ROWS.

    :ivar dim: length of a vector
    :ivar identity: the store's, whose vectors these are
    :ivar generation: the state of the store that these vectors reflect
    :ivar tuning: how search is approximate; None: it is exact
    :ivar fixed: read straight from the file, which cannot be changed: FAISS ends the process of
        whoever tries
    """

    def __init__(self, dim: int) -> None:
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
        self._copy: Any = None  # on a GPU
        self.dim = dim
        self.identity = ""
        self.generation = 0
        self.tuning: Tuning | None = None
        self.fixed = False

    @classmethod
    def approximate(cls, sample: FloatArray, rows: int) -> Vectors:
        """Return empty vectors for many rows, trained on a sample, shape (n, dim); then tune."""
        vectors = cls(sample.shape[1])
        vectors._index = ivf.trained(sample, rows)
        vectors.tuning = Tuning(rows, vectors._index.nlist, vectors._index.nlist, 1.0)
        return vectors

    def tune(self, queries: FloatArray, bar: FloatArray) -> None:
        """Choose how many lists a search looks into; see :func:`ragicl.index.vectors.ivf.tuned`."""
        self.tuning = ivf.tuned(self._index, queries, bar)

    @classmethod
    def built(cls, store: ExampleStore, dim: int) -> Vectors:
        """Return vectors for the store's present state: exact, or approximate for many rows."""
        count = store.count()
        if count > EXACT_ROWS:
            return _approximate(store, dim, count)
        exact = cls(dim)
        advance(exact, store)
        return exact

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def outgrown(self, rows: int) -> bool:
        """Return whether that many rows need an index that is rebuilt."""
        if self.tuning is None:
            return rows > EXACT_ROWS
        return not EXACT_ROWS // 2 < rows <= GROWTH * self.tuning.rows

    def add(self, rows: IntArray, vectors: FloatArray) -> None:
        """Add vectors, shape (len(rows), dim), under their row numbers."""
        self._change()
        self._index.add_with_ids(vectors, rows)

    def remove(self, rows: IntArray) -> None:
        """Remove the rows that are there; others are ignored."""
        if len(rows):
            self._change()
            self._index.remove_ids(rows)

    def search(self, queries: FloatArray, k: int) -> tuple[FloatArray, IntArray]:
        """Return similarities and row numbers, shape (len(queries), min(k, len)), best first.

        Those of an approximate index are rounded, by less than 0.001.
        """
        k = min(k, len(self))
        if k == 0 or not len(queries):
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        compute()
        exact = self._on_gpu() or (self._index if self.tuning is None else None)
        if exact is not None:
            found: tuple[FloatArray, IntArray] = exact.search(queries, k)
            return found
        assert self.tuning is not None
        return self._approximately(queries, k, self.tuning.probes)

    def save(self, folder: Path) -> None:
        """Replace the file in `folder` as a whole."""
        draft = folder / f"{NAME}.tmp"
        try:
            faiss.write_index(self._index, str(draft))
            with draft.open("ab+") as file:
                file.write(self._footer(file))
            put_in_place(draft, folder / NAME)
        except BaseException:
            draft.unlink(missing_ok=True)  # the disk may be full
            raise

    @classmethod
    def mapped(cls, folder: Path, dim: int) -> Vectors | None:
        """Open the file in `folder` at once, without reading it: for searching only.

        A file of up to HEAD bytes is verified whole, a larger one in its first HEAD bytes, which
        hold FAISS's own structure; its size is checked, too. The rest, vectors and row numbers, is
        verified by :meth:`read`, before anything is built on it. Until then damage there can cost
        a neighbour, but cannot bring in a wrong similarity: those come from the store.

        :returns: None where the file is missing, damaged, or of another shape
        """
        return cls._opened(folder, dim, fixed=True)

    @classmethod
    def read(cls, folder: Path, dim: int) -> Vectors | None:
        """Read the file in `folder` into memory and verify all of it; None as :meth:`mapped`."""
        return cls._opened(folder, dim, fixed=False)

    @classmethod
    def _opened(cls, folder: Path, dim: int, *, fixed: bool) -> Vectors | None:
        vectors = cls(dim)
        try:
            with (folder / NAME).open("rb") as file:
                footer = _read_footer(file)
                size, checksum = (min(HEAD, footer.size), footer.head) if fixed else (
                    footer.size, footer.whole)  # fmt: skip
                if _checksum(file, size) != checksum:
                    return None
                vectors._index = _read_index(file, fixed)
        except (OSError, RuntimeError):
            return None
        vectors.generation, vectors.tuning = footer.generation, footer.tuning
        vectors.identity = footer.identity
        vectors.fixed = fixed
        return vectors if vectors._index.d == dim else None

    def _change(self) -> None:
        if self.fixed:
            raise RuntimeError("these vectors are those of the file; read them to change them")
        self._copy = None

    def _footer(self, file: IO[bytes]) -> bytes:
        size = file.tell()
        footer = Footer(
            self.generation,
            size,
            _checksum(file, min(HEAD, size)),
            _checksum(file, size),
            self.tuning,
            self.identity,
        )
        file.seek(0, os.SEEK_END)
        text = msgspec.json.encode(footer)
        return text + END.pack(len(text), zlib.crc32(text), MAGIC)

    def _approximately(
        self, queries: FloatArray, k: int, probes: int
    ) -> tuple[FloatArray, IntArray]:
        """Search that many lists; more of them for queries whose lists hold fewer than k rows."""
        similarities, rows = ivf.search(self._index, queries, k, probes)
        short = (rows < 0).any(axis=1)
        if short.any() and probes < self._index.nlist:
            similarities[short], rows[short] = self._approximately(queries[short], k, 4 * probes)
        return similarities, rows

    def _on_gpu(self) -> Any:
        """Return a copy on the GPU that searches exactly; None where there is no such thing."""
        if self._copy is None:
            self._copy = self._copied() or NOWHERE
        return None if self._copy is NOWHERE else self._copy

    def _copied(self) -> Any:
        """Copy by FAISS where its build here reports a GPU, else by torch where that is in use.

        torch is not imported for this: on a GPU, the encoder or the model has done so.
        """
        if faiss.get_num_gpus() > 0 and self.tuning is None:
            return faiss.index_cpu_to_all_gpus(self._index)
        if "torch" not in sys.modules:
            return None
        from ragicl.index.vectors import torch_gpu

        device = torch_gpu.gpu_with_room_for(len(self), self.dim)
        return torch_gpu.Product(self._held(), len(self), self.dim, device) if device else None

    def _held(self) -> Iterator[tuple[IntArray, NDArray[Any]]]:
        """Yield row numbers and vectors, as they are held, list by list."""
        if self.tuning is None:
            rows = faiss.vector_to_array(self._index.id_map)
            yield rows, self._index.index.reconstruct_n(0, len(rows))
            return
        lists = self._index.invlists
        for number in range(self._index.nlist):
            if size := lists.list_size(number):
                codes = faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size)
                rows = faiss.rev_swig_ptr(lists.get_ids(number), size)
                yield rows.copy(), codes.view(np.float16).reshape(size, self.dim)


def saved_footer(folder: Path) -> Footer | None:
    """Return the footer of the file in `folder`; None where there is none to be read."""
    try:
        with (folder / NAME).open("rb") as file:
            return _read_footer(file)
    except OSError:
        return None


def _read_index(file: IO[bytes], fixed: bool) -> Any:
    # By the open file, not by its name: another process may have replaced it since.
    file.seek(0)
    if hasattr(os, "posix_fadvise"):  # read on while we search: FAISS asks for single pages
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
    return faiss.read_index(f"/dev/fd/{file.fileno()}", faiss.IO_FLAG_MMAP_IFC if fixed else 0)


def _read_footer(file: IO[bytes]) -> Footer:
    """Return the footer of a file of the right length.

    :raises OSError: where another program wrote it, or something is missing
    """
    end = file.seek(-END.size, os.SEEK_END)
    length, checksum, magic = END.unpack(file.read(END.size))
    if magic != MAGIC or length > end:
        raise OSError(f"{NAME} was written by another program")
    file.seek(end - length)
    text = file.read(length)
    if zlib.crc32(text) != checksum:
        raise OSError(f"{NAME} is damaged")
    try:
        footer = msgspec.json.decode(text, type=Footer)
    except msgspec.MsgspecError as error:
        raise OSError(f"{NAME} is damaged: {error}") from error
    if footer.size != end - length:
        raise OSError(f"{NAME} is not whole")
    return footer


def _checksum(file: IO[bytes], size: int) -> int:
    """Return the CRC-32 of the first `size` bytes, and leave the file there."""
    file.seek(0)
    checksum = 0
    while size > 0 and (block := file.read(min(BLOCK, size))):
        checksum = zlib.crc32(block, checksum)
        size -= len(block)
    return checksum


def _approximate(store: ExampleStore, dim: int, count: int) -> Vectors:
    """Train on some rows, add all of them, and tune with some others; one pass over the store."""
    size = min(ivf.training_size(count), count - ivf.HELD_OUT)
    picked = np.random.default_rng(ivf.SEED).choice(
        store.rows(), size + ivf.HELD_OUT, replace=False
    )
    held_out = store.vectors(picked[size:], dim)
    approximate = Vectors.approximate(store.vectors(picked[:size], dim), count)

    def added() -> Iterator[FloatArray]:
        for rows, chunk in store.added_since(0, dim):
            approximate.add(rows, chunk)
            yield chunk

    approximate.tune(held_out, ivf.kth_best(held_out, added(), ivf.K + 1))
    approximate.generation = store.generation()
    return approximate
