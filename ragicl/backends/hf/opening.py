"""Causal models by their specs: the packaged one, and any by hub name or path."""

from __future__ import annotations

from ragicl.backends.defaults import SMOLLM2
from ragicl.backends.hf.lm import HFLM
from ragicl.backends.hf.unpacking import unpacked_copy


def open_hf(name: str, *, dtype: str = "auto") -> HFLM:
    """Open a causal model by hub name or path."""
    return HFLM(f"hf:{name}", name, dtype=dtype)


def open_smollm2(*, dtype: str = "auto") -> HFLM:
    """Open SmolLM2-135M-Instruct: the packaged 4-bit file where installed, else from the hub."""
    path = SMOLLM2.path()
    name = unpacked_copy(path) if path else SMOLLM2.hub
    return HFLM("smollm2", name, dtype=dtype, source=SMOLLM2.describe())
