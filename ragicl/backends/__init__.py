"""Specs to backends: ``kind:NAME``, or the name of a packaged default."""

from __future__ import annotations

from ragicl.backends.registry import encoders, lms
from ragicl.protocols import LM, Encoder


def open_encoder(spec: str) -> Encoder:
    """Open ``minilm``, or ``st:NAME`` for any sentence-transformers model by name or path.

    ``minilm-bf16`` and ``st-bf16:NAME`` compute in bf16: three times as fast where the processor
    can, and a text may be a little less similar to itself, as batches round differently. Other
    kinds are those of installed plugins, and ``fake:NAME`` for tests.

    :raises BackendError: where the kind is unknown or the model cannot be loaded
    """
    encoder: Encoder = encoders.open(spec)
    return encoder


def open_lm(spec: str, *, dtype: str = "auto") -> LM:
    """Open ``smollm2``, or ``hf:NAME`` for any Hugging Face causal model by name or path.

    Other kinds are those of installed plugins, and ``fake:NAME`` for tests.

    :param dtype: ``float32``, ``bfloat16``, or ``auto`` for the faster one on this machine
    :raises BackendError: where the kind is unknown or the model cannot be loaded
    """
    lm: LM = lms.open(spec, dtype=dtype)
    return lm
