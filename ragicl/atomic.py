"""Files that appear whole or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any


def write_whole(file: Path, data: bytes) -> None:
    """Write a file in one go: a crash leaves the old one, or none, or the new one."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def write_npz(file: Path, **arrays: Any) -> None:
    """Write arrays by name, for ``numpy.load``, as :func:`write_whole` does."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(file, buffer.getvalue())
