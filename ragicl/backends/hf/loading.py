"""From a name to a model in memory: precision and device."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ragicl.atomic import write_whole
from ragicl.backends.hf.quiet import quiet
from ragicl.errors import BackendError, first_line, quoted

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TURNS = 15  # of timing each type
FASTER = 1.3  # how many times faster bf16 must be to be worth its rounding

T = TypeVar("T")


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer by hub name or path.

    :raises BackendError: where there is no such model, or it has no tokenizer
    """
    tokenizer: PreTrainedTokenizerBase = load(name, AutoTokenizer.from_pretrained)
    return tokenizer


def load_config(name: str) -> PreTrainedConfig:
    """Load a model's configuration by hub name or path."""
    config: PreTrainedConfig = load(name, AutoConfig.from_pretrained)
    return config


def load_model(name: str, dtype: torch.dtype) -> PreTrainedModel:
    """Load a causal model by hub name or path, ready to predict, on the GPU where there is one."""
    model: PreTrainedModel = load(name, AutoModelForCausalLM.from_pretrained, dtype=dtype)
    if torch.cuda.is_available():
        model.to("cuda")  # type: ignore[arg-type]
    return model


def cache_folder() -> Path:
    """Return the folder for unpacked models: RAGICL_CACHE, or the user's cache folder."""
    if own := os.environ.get("RAGICL_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ragicl"


def choose_dtype(name: str) -> torch.dtype:
    """Return the torch type for ``float32``, ``bfloat16`` or ``auto``.

    :raises BackendError: for any other name
    """
    if name == "auto":
        return _cuda_dtype() if torch.cuda.is_available() else _faster_cpu_dtype()
    if name not in DTYPES:
        raise BackendError(f"unknown dtype {quoted(name)}; known: auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def accelerator() -> str:
    """Return the name of the GPU in use; empty where there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _cuda_dtype() -> torch.dtype:
    return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float32


@cache
def _faster_cpu_dtype() -> torch.dtype:
    """Return the type that was faster when it was first asked for on this machine.

    Where the two are nearly as fast, another timing may choose otherwise; then whatever a model has
    read for an index would be read again.
    """
    built = f"{torch.__version__}-{torch.backends.cpu.get_cpu_capability()}".replace(" ", "-")
    file = cache_folder() / f"faster-dtype-{built}"
    with suppress(OSError, UnicodeDecodeError):
        if (name := file.read_text()) in DTYPES:
            return DTYPES[name]
    faster = _timed_cpu_dtype()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, str(faster).removeprefix("torch.").encode())
    return faster


def _timed_cpu_dtype() -> torch.dtype:
    """Time one layer-sized product in both types: some CPUs are far slower in bf16, some faster.

    The choice must not change with what else the machine does: the types take turns, and the best
    time of each counts.
    """
    works = {dtype: _product(dtype) for dtype in DTYPES.values()}
    turns = [{dtype: _seconds(work) for dtype, work in works.items()} for _ in range(TURNS)]
    seconds = {dtype: min(turn[dtype] for turn in turns) for dtype in works}
    faster = seconds[torch.float32] > FASTER * seconds[torch.bfloat16]
    return torch.bfloat16 if faster else torch.float32


def _product(dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    left, right = torch.ones((256, 576), dtype=dtype), torch.ones((576, 1536), dtype=dtype)
    return lambda: left @ right


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def load(name: str, loader: Callable[..., T], **options: Any) -> T:
    """Call a library's loader with a name.

    :raises BackendError: where there is no such model, or its files are damaged
    """
    try:
        with quiet():
            return loader(name, **options)
    except Exception as error:  # a damaged file brings out errors of many libraries
        raise BackendError(
            f"cannot load the language model {quoted(name)}: {first_line(error)}; "
            f"give a hub name or a model folder"
        ) from error
