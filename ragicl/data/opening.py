"""Files as bytes of UTF-8, whatever they were compressed with or encoded in."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from ragicl.data.arrow import zstd_stream
from ragicl.data.rows import Notify
from ragicl.errors import DataError, first_line

COMPRESSED = (".gz", ".zst")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def kind_of(path: Path) -> str:
    """Return the suffix that says what a file holds, without that of its compression."""
    suffix = path.suffix.lower()
    return kind_of(path.with_suffix("")) if suffix in COMPRESSED else suffix


@contextmanager
def opened(path: Path, name: str, notify: Notify) -> Iterator[IO[bytes]]:
    """Open a file of text; its content says how it is compressed and encoded.

    :param name: what messages call it
    :raises DataError: also while it is read, where it is damaged
    """
    try:
        with (
            _decompressed(path, name, notify) as raw,
            io.BufferedReader(cast("io.RawIOBase", raw)) as buffered,
            _as_utf8(buffered, name, notify) as file,
        ):
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name}: damaged where it is compressed ({first_line(error)})") from error
    except UnicodeDecodeError as error:
        if error.encoding.startswith("utf-16"):
            raise DataError(f"{name}: not UTF-16 throughout; save the file as UTF-8") from error
        raise


def _decompressed(path: Path, name: str, notify: Notify) -> IO[bytes]:
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(_GZIP):
        notify(f"{name}: is compressed by gzip")
        return cast("IO[bytes]", gzip.open(path))
    if head == _ZSTD:
        notify(f"{name}: is compressed by zstd")
        return zstd_stream(path, name)
    return path.open("rb")


def _as_utf8(file: io.BufferedReader[Any], name: str, notify: Notify) -> IO[bytes]:
    head = file.peek(2)
    if b"\r" in head and b"\n" not in head:
        return _with_line_ends(file)
    if not head.startswith(_UTF16):
        return file
    notify(f"{name}: is UTF-16")
    return cast("IO[bytes]", io.BufferedReader(_Recoded(file)))


def _with_line_ends(file: IO[bytes]) -> IO[bytes]:
    """Return a file with the line ends of today, where it has those of old Macs alone."""
    content = file.read()
    return io.BytesIO(content if b"\n" in content else content.replace(b"\r", b"\n"))


class _Recoded(io.RawIOBase):
    """UTF-16 as UTF-8, piece by piece."""

    def __init__(self, file: IO[bytes]) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-16", newline="")
        self._rest = b""

    def readable(self) -> bool:
        """Return that this can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as there is something."""
        if not self._rest:
            self._rest = self._text.read(len(buffer)).encode("utf-8", "surrogatepass")
        piece, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)
