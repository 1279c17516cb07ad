"""manifest.json: what an index is, and which encoder it belongs to."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ragicl.atomic import put_in_place
from ragicl.errors import (
    CorruptError,
    EncoderError,
    FormatError,
    NoIndexError,
    StoreError,
    first_line,
)
from ragicl.index.lock import check_name
from ragicl.protocols import Encoder
from ragicl.records import Kind

FORMAT = 1
NAME = "manifest.json"
Text = Annotated[str, msgspec.Meta(min_length=1)]
Width = Annotated[int, msgspec.Meta(ge=1, le=2**20)]


class EncoderRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The encoder an index was built with."""

    spec: Text
    description: str
    dim: Width
    fingerprint: Text

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


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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
    tuned: Any = None  # checked where it is used, so that what is damaged can be forgotten
    created: str = msgspec.field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds")
    )

    def __post_init__(self) -> None:
        """Refuse a time that is none.

        :raises ValueError: naming it
        """
        datetime.fromisoformat(self.created)


class _Head(msgspec.Struct):
    """What a manifest of any format has."""

    format: Any


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of the index at `path`.

    :raises NoIndexError: where there is none
    :raises FormatError: where a newer version of ragicl wrote it
    :raises CorruptError: where it cannot be understood
    """
    file = path / NAME
    check_name(path)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        found = msgspec.convert(values, _Head).format
        if found != FORMAT:
            raise FormatError(
                f"{path} has index format {found}; this version of ragicl knows format {FORMAT}; "
                f"upgrade ragicl, or build the index again"
            )
        return msgspec.convert(values, Manifest)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoIndexError(
            f"there is no index at {path} (no {NAME}); build one with "
            f"`ragicl index DATA --out {path}`"
        ) from error
    except OSError as error:
        raise StoreError(
            f"cannot read {file}: {first_line(error)}; check its permissions"
        ) from error
    except (ValueError, msgspec.ValidationError) as error:
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
            json.dump(msgspec.to_builtins(manifest), file, indent=2)
        put_in_place(draft, path / NAME)
    except OSError as error:
        raise StoreError(
            f"cannot write {path / NAME}: {first_line(error)}; check the disk's space and the "
            f"folder's permissions"
        ) from error
