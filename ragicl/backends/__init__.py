"""Specs to backends: ``kind:NAME``, or the name of a packaged default.

A kind is a line in a table; its module is imported when the first spec asks for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ragicl.errors import BackendError
from ragicl.protocols import LM, Encoder

ENCODERS = {
    "minilm": "ragicl.backends.sentence_transformers:open_minilm",
    "minilm-bf16": "ragicl.backends.sentence_transformers:open_minilm_bf16",
    "st:NAME": "ragicl.backends.sentence_transformers:open_st",
    "st-bf16:NAME": "ragicl.backends.sentence_transformers:open_st_bf16",
}
LMS = {
    "smollm2": "ragicl.backends.hf.lm:open_smollm2",
    "hf:NAME": "ragicl.backends.hf.lm:open_hf",
}


def open_encoder(spec: str) -> Encoder:
    """Open ``minilm``, or ``st:NAME`` for any sentence-transformers model by name or path.

    ``minilm-bf16`` and ``st-bf16:NAME`` compute in bf16: three times as fast where the processor
    can, and a text may be a little less similar to itself, as batches round differently.

    :raises BackendError: where the kind is unknown or the model cannot be loaded
    """
    encoder: Encoder = _open(ENCODERS, "encoder", spec)
    return encoder


def open_lm(spec: str, *, dtype: str = "auto") -> LM:
    """Open ``smollm2``, or ``hf:NAME`` for any Hugging Face causal model by name or path.

    :param dtype: ``float32``, ``bfloat16``, or ``auto`` for the faster one on this machine
    :raises BackendError: where the kind is unknown or the model cannot be loaded
    """
    lm: LM = _open(LMS, "language model", spec, dtype=dtype)
    return lm


def _open(table: dict[str, str], what: str, spec: str, **options: Any) -> Any:
    kind, colon, name = spec.partition(":")
    target = table.get(f"{kind}:NAME" if colon else kind)
    if target is None or (colon and not name):
        raise BackendError(f"unknown {what} {spec!r}; known: {', '.join(table)}")
    module, _, attribute = target.partition(":")
    opener = getattr(import_module(module), attribute)
    return opener(name, **options) if colon else opener(**options)
