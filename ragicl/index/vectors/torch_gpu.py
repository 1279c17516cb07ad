"""Exact search as a matrix product in torch: for a GPU that FAISS's build here does not use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ragicl.protocols import FloatArray

CELLS = 2**28  # similarities held at once: half a gigabyte
QUERIES = 256  # at a time
SPARE = 32  # more candidates than asked for: half precision confuses close ones

Chunk = tuple[NDArray[np.int64], NDArray[Any]]


def gpu_with_room_for(count: int, dim: int) -> str | None:
    """Return the GPU, where there is one with memory for that many vectors; else None."""
    if not torch.cuda.is_available():
        return None
    free, _ = torch.cuda.mem_get_info()
    return "cuda" if free > 2 * count * dim + 4 * 2 * CELLS else None


class Product:
    """Unit vectors in half precision on a device, and the row number of each."""

    def __init__(self, chunks: Iterable[Chunk], count: int, dim: int, device: str) -> None:
        """Copy `count` vectors, given in chunks of row numbers and vectors, shape (n, dim)."""
        self._rows = np.empty(count, np.int64)
        self._vectors = torch.empty((count, dim), dtype=torch.float16, device=device)
        start = 0
        for rows, vectors in chunks:
            end = start + len(rows)
            self._rows[start:end] = rows
            self._vectors[start:end] = torch.tensor(vectors)
            start = end

    @torch.inference_mode()
    def search(self, queries: FloatArray, k: int) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return similarities and row numbers, shape (len(queries), k), best first; k <= n."""
        found = [
            self._nearest(torch.tensor(queries[start : start + QUERIES]), k)
            for start in range(0, len(queries), QUERIES)
        ]
        places = torch.cat([places for _, places in found]).cpu().numpy()
        return torch.cat([scores for scores, _ in found]).cpu().numpy(), self._rows[places]

    def _nearest(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Take candidates in half precision, chunk by chunk; choose among them in full."""
        queries = queries.to(self._vectors.device)
        step = max(k + SPARE, CELLS // len(queries))
        scores, places = [], []
        for start in range(0, len(self._vectors), step):
            chunk = self._vectors[start : start + step]
            best = (queries.half() @ chunk.T).topk(min(k + SPARE, len(chunk)))
            scores.append(best.values)
            places.append(best.indices + start)
        kept = torch.cat(scores, 1).topk(min(k + SPARE, len(self._vectors))).indices
        candidates = torch.cat(places, 1).gather(1, kept)
        full = torch.einsum("qd,qcd->qc", queries, self._vectors[candidates].float())
        best = full.topk(k)
        return best.values, candidates.gather(1, best.indices)
