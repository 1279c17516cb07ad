"""manifest.json: what an index is, and which encoder it belongs to."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ragicl.errors import (
    CorruptError,
    EncoderError,
    FormatError,
    NoIndexError,
    StoreError,
    first_line,
)
from ragicl.protocols import Encoder
from ragicl.records import Kind

FORMAT = 1
NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class EncoderRecord:
    """The encoder an index was built with."""

    spec: str
    description: str
    dim: int
    fingerprint: str

    @classmethod
    def of(cls, encoder: Encoder) -> EncoderRecord:
        """Return the record of an open encoder."""
        return cls(encoder.spec, encoder.description, encoder.dim, encoder.fingerprint)

    def check(self, encoder: Encoder, path: Path) -> None:
        """Refuse another encoder: its vectors would not be comparable.

        :raises EncoderError: naming both
        """
        given = EncoderRecord.of(encoder)
        if (given.fingerprint, given.dim) != (self.fingerprint, self.dim):
            raise EncoderError(
                f"{path} was built with {self._name()}, not with {given._name()}; "
                f"open it with the first, or build a new index"
            )

    def _name(self) -> str:
        return f"{self.spec} ({self.description}, {self.dim} dimensions, {self.fingerprint})"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index is.

    :ivar source: the data file it is built from; None for an index filled by a program
    :ivar complete: False while `ragicl index` has not stored every row of the source
    :ivar tuned: what `ragicl tune` found, as JSON holds it; None where nobody tuned
    """

    kind: Kind
    encoder: EncoderRecord
    source: str | None = None
    complete: bool = True
    format: int = FORMAT
    tuned: dict[str, Any] | None = None
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of the index at `path`.

    :raises NoIndexError: where there is none
    :raises FormatError: where a newer version of ragicl wrote it
    :raises CorruptError: where it cannot be understood
    """
    file = path / NAME
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise FormatError(
                f"{path} has index format {values['format']}; this version of ragicl knows "
                f"format {FORMAT}; upgrade ragicl, or build the index again"
            )
        return Manifest(**{**values, "encoder": EncoderRecord(**values["encoder"])})
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoIndexError(
            f"there is no index at {path} (no {NAME}); build one with "
            f"`ragicl index DATA --out {path}`"
        ) from error
    except OSError as error:
        raise StoreError(
            f"cannot read {file}: {first_line(error)}; check its permissions"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(
            f"{file} is damaged ({error}); restore it from a copy, or build the index again"
        ) from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace the manifest as a whole; a crash leaves the old one or the new one.

    :raises StoreError: where the disk does not take it
    """
    draft = path / f"{NAME}.tmp"
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(asdict(manifest), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path / NAME)
    except OSError as error:
        raise StoreError(
            f"cannot write {path / NAME}: {first_line(error)}; check the disk's space and the "
            f"folder's permissions"
        ) from error
