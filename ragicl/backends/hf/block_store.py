"""Key-value states of texts that come back, kept in memory and, where asked, in a folder.

What is kept is derived: it can be deleted at any time, and what cannot be read is computed again.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

MEMORY = 2**31  # bytes of states in memory: 3,700 demonstrations of 24 tokens of SmolLM2-135M
SUFFIX = ".states"


class Block(NamedTuple):
    """States of a text as if it began at position 0.

    :ivar keys: shape (layers, key heads, tokens, dim), as is `values`
    """

    keys: Tensor
    values: Tensor

    @classmethod
    def of(cls, block: Block) -> Self:
        """Return what is kept of a block: all of it."""
        return cls(*block)

    def block(self) -> Block:
        """Return the block."""
        return self


class SmallBlock(NamedTuple):
    """A block in 8 bits: half the size of one in bf16.

    :ivar keys: shape (layers, key heads, tokens, dim), as is `values`; integers
    :ivar key_scales: the size of one step, shape (layers, key heads, tokens, 1)
    """

    keys: Tensor
    values: Tensor
    key_scales: Tensor
    value_scales: Tensor

    @classmethod
    def of(cls, block: Block) -> Self:
        """Round a block to 127 steps either side of 0, for each token of each head."""
        scales = [(s.abs().amax(-1, keepdim=True) / 127).clamp(min=1e-9) for s in block]
        keys, values = (
            (states.float() / scale.float()).round().clamp(-127, 127).to(torch.int8)
            for states, scale in zip(block, scales, strict=True)
        )
        return cls(keys, values, *scales)

    def block(self) -> Block:
        """Return the block, rounded."""
        return Block(
            (self.keys * self.key_scales.float()).to(self.key_scales.dtype),
            (self.values * self.value_scales.float()).to(self.value_scales.dtype),
        )


Kept = Block | SmallBlock


class BlockStore:
    """Blocks by key, the least recently used forgotten first.

    :ivar computed: how many blocks were neither in memory nor in the folder
    """

    def __init__(
        self,
        memory: int = MEMORY,
        folder: BlockFolder | None = None,
        form: type[Kept] = Block,
    ) -> None:
        self._limit = memory
        self._folder = folder
        self._form = form
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self.bytes = 0
        self.computed = 0

    def get(
        self, keys: Sequence[str], compute: Callable[[list[str]], Sequence[Block]]
    ) -> dict[str, Block]:
        """Return the block of each key; those that are nowhere are computed in one call."""
        found = {key: block for key in keys if (block := self._known(key)) is not None}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing:
            self.computed += len(missing)
            for key, block in zip(missing, compute(missing), strict=True):
                found[key] = kept = self._form.of(block)
                self._keep(key, kept)
                if self._folder is not None:
                    self._folder.write(key, kept)
        return {key: kept.block() for key, kept in found.items()}

    def _known(self, key: str) -> Kept | None:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        block = self._folder.read(key, self._form) if self._folder is not None else None
        if block is not None:
            self._keep(key, block)
        return block

    def _keep(self, key: str, block: Kept) -> None:
        self._kept[key] = block
        self.bytes += size_of(block)
        while self.bytes > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= size_of(oldest)


class BlockFolder:
    """One file for each block; two processes may share it.

    A file appears whole or not at all, and carries a checksum. No more are written once the folder
    holds `limit` bytes, or the disk takes no more.

    :ivar path: named after the identity of the model, and the form of its blocks
    """

    def __init__(self, path: Path, identity: str, limit: int) -> None:
        self.path = path / _digest(identity)
        self._left = limit - self._size()

    def read(self, key: str, form: type[Kept] = Block) -> Kept | None:
        """Return a block; None where there is none, it is damaged or of another form."""
        damage = suppress(OSError, SafetensorError, KeyError, TypeError)
        with damage, safe_open(self._file(key), framework="pt") as file:
            block = form(*(file.get_tensor(name) for name in form._fields))
            return block if file.metadata()["checksum"] == _checksum(block) else None
        return None

    def write(self, key: str, block: Kept) -> None:
        """Keep a block, if there is room."""
        data = save(block._asdict(), metadata={"checksum": _checksum(block)})
        if len(data) > self._left:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self.path, delete=False) as file:
                file.write(data)
            os.replace(file.name, self._file(key))
            self._left -= len(data)
        except OSError:
            self._left = 0  # full, or not ours to write to: what is there is still read

    def _file(self, key: str) -> Path:
        return self.path / (_digest(key) + SUFFIX)

    def _size(self) -> int:
        if not self.path.exists():
            return 0
        with os.scandir(self.path) as files:
            return sum(file.stat().st_size for file in files)


def size_of(block: Kept) -> int:
    """Return the bytes that a block takes in memory."""
    return sum(tensor.nbytes for tensor in block)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _checksum(block: Kept) -> str:
    checksum = 0
    for tensor in block:
        checksum = zlib.crc32(tensor.cpu().contiguous().view(torch.uint8).numpy().data, checksum)
    return str(checksum)
