"""From a data file to an index: checked first, then embedded; resumable at any point."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from ragicl.data.examples import DataFile
from ragicl.data.labels import lookalikes
from ragicl.errors import DataError, RagiclError, StoreError, quoted
from ragicl.index.ids import content_id, same_content
from ragicl.index.index import Index
from ragicl.index.manifest import NAME as MANIFEST
from ragicl.protocols import Progress
from ragicl.records import Example, Kind

CHUNK = 2048  # rows embedded, sorted by length, and committed together
MANY_LABELS = 100_000  # different ones that are compared; no classifier has so many
LONG_LABEL = 100  # characters; longer outputs are texts, not labels


@dataclass(frozen=True, slots=True)
class Survey:
    """What a first reading of a data file shows.

    :ivar rows: good rows
    :ivar skipped: bad rows passed over
    :ivar duplicates: rows whose input and output occurred before
    :ivar conflicts: inputs that occur with more than one output
    :ivar outputs: different outputs
    :ivar longest: characters of the longest output
    :ivar lookalikes: groups of short outputs that differ invisibly, as
        :func:`ragicl.data.labels.plain_form` says, the most frequent first
    """

    name: str
    rows: int
    skipped: int
    duplicates: int
    conflicts: int
    outputs: int
    longest: int
    lookalikes: tuple[tuple[str, ...], ...] = ()

    @property
    def kind(self) -> Kind:
        """The likely task: outputs that are short and come back are labels."""
        labels = self.longest <= LONG_LABEL and 2 * self.outputs <= self.rows
        return "classify" if labels else "generate"


@dataclass(frozen=True, slots=True)
class Report:
    """What building did.

    :ivar added: rows embedded now
    :ivar present: rows that were stored already, by an earlier run
    :ivar dropped: duplicates left out
    :ivar others: examples of the index that are not in the data: added since, or deleted
    """

    survey: Survey
    added: int
    present: int
    dropped: int
    others: int


@dataclass(frozen=True, slots=True)
class _Row:
    example: Example
    own_id: bool


def survey(data: DataFile) -> Survey:
    """Read all rows once: errors show before hours of embedding, not after.

    :raises DataError: at the first bad row, unless the file skips them
    """
    seen: set[bytes] = set()
    outputs_of: dict[bytes, bytes] = {}
    conflicting: set[bytes] = set()
    ids: set[bytes] = set()
    outputs: set[bytes] = set()
    labels: Counter[str] = Counter()
    rows = longest = 0
    for example in data.examples():
        rows += 1
        longest = max(longest, len(example.output))
        text, output = _hash(example.input), _hash(example.output)
        seen.add(text + output)
        outputs.add(output)
        if len(example.output) <= LONG_LABEL and len(labels) < MANY_LABELS:
            labels[example.output] += 1
        if outputs_of.setdefault(text, output) != output:
            conflicting.add(text)
        if example.id and (key := _hash(example.id)) in ids:
            raise DataError(
                f"{data.name}: id {quoted(example.id)} occurs twice; ids must be unique"
            )
        if example.id:
            ids.add(key)
    repeats = rows - len(seen)
    counts = (rows, data.skipped, repeats, len(conflicting), len(outputs), longest)
    return Survey(data.name, *counts, lookalikes(labels))


def build(
    data: DataFile,
    path: Path,
    *,
    encoder: str = "minilm",
    kind: Kind | None = None,
    dedupe: bool = False,
    surveyed: Survey,
    progress: Progress,
) -> tuple[Index, Report]:
    """Build an index from a data file, or finish one that was interrupted.

    Rows are recognised by their content, so that only the missing ones are embedded; so is the
    data itself where its file has moved.

    :raises DataError: where the rows cannot make an index of that kind
    :raises StoreError: where the folder holds an index of other data
    """
    kind = kind or surveyed.kind
    _check_kind(surveyed, kind)
    index = _open_or_create(path, encoder, kind, data)
    try:
        with index.writing():
            index.mark(complete=False, source=data.source)
            added, present, dropped = _add_missing(index, data, dedupe, surveyed.rows, progress)
            index.mark(complete=True)
            index.save_vectors()
        return index, Report(surveyed, added, present, dropped, len(index) - added - present)
    except BaseException:
        index.close()
        raise


def _add_missing(
    index: Index, data: DataFile, dedupe: bool, total: int, progress: Progress
) -> tuple[int, int, int]:
    """Add the rows that are not stored; return how many were added, present and dropped."""
    added = present = dropped = done = 0
    rows = _identified(data, dedupe)
    while chunk := list(islice(rows, CHUNK)):
        kept = [row for row in chunk if row is not None]
        known = index.get([row.example.id for row in kept])
        # A row without an id of its own whose id is known was stored before, and perhaps corrected
        # since: the correction stays. One with an id must still be what is stored.
        index.add([row.example for row in kept if row.own_id or row.example.id not in known])
        dropped += len(chunk) - len(kept)
        present += len(known)
        added += len(kept) - len(known)
        done += len(chunk)
        progress("embedding", done, total)
    return added, present, dropped


def _open_or_create(path: Path, encoder: str, kind: Kind, data: DataFile) -> Index:
    if not (path / MANIFEST).exists():
        return Index.create(path, encoder=encoder, kind=kind, source=data.source)
    index = Index.open(path)
    try:
        if index.manifest.source != data.source and not _moved(index, data):
            raise StoreError(
                f"{path} holds an index of {index.manifest.source or 'other examples'}; choose "
                f"another --out, add these rows with `ragicl add`, or remove the folder first"
            )
        if (index.kind, index.manifest.encoder.spec) != (kind, encoder):
            raise StoreError(
                f"{path} was begun as {index.kind} with {index.manifest.encoder.spec}, not as "
                f"{kind} with {encoder}; choose another --out, or remove the folder first"
            )
        index.encoder.fingerprint  # noqa: B018 - an encoder that changed since is refused here
    except RagiclError:
        index.close()
        raise
    return index


def _moved(index: Index, data: DataFile) -> bool:
    """Return whether an index is of the same data at another place, read with the same options.

    It is where the index has most of the first rows, or was interrupted before it had any.
    """
    if index.manifest.source is None or _options(index.manifest.source) != _options(data.source):
        return False
    if len(index) == 0:
        return not index.manifest.complete
    rows = [row for row in islice(_identified(data, False), CHUNK) if row is not None]
    known = index.get([row.example.id for row in rows])
    same = (
        row.example.id in known
        and not (row.own_id and not same_content(known[row.example.id], row.example))
        for row in rows
    )
    return 2 * sum(same) > len(rows)


def _options(source: str) -> list[str]:
    return shlex.split(source)[1:]


def _check_kind(surveyed: Survey, kind: Kind) -> None:
    if surveyed.rows < 2:
        raise DataError(f"{surveyed.name}: one row only; an index needs two or more")
    if kind == "classify" and surveyed.outputs < 2:
        raise DataError(
            f"{surveyed.name}: all of its {surveyed.rows} rows have the same label; "
            f"a classifier needs two labels or more (for texts to generate: --kind generate)"
        )


def _identified(data: DataFile, dedupe: bool) -> Iterator[_Row | None]:
    """Yield examples with ids; the same content again gets a number, or None to drop it."""
    seen: Counter[str] = Counter()
    for example in data.examples():
        content = content_id(example)
        seen[content] += 1
        if dedupe and seen[content] > 1:
            yield None
        elif example.id:
            yield _Row(example, own_id=True)
        else:
            yield _Row(replace(example, id=content_id(example, seen[content])), own_id=False)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
