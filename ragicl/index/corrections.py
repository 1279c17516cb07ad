"""Corrections of stored examples, such as the reviewed file of `ragicl audit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ragicl.errors import DataError, ExampleError, quoted
from ragicl.index import Index
from ragicl.records import Correction, Example


@dataclass(frozen=True, slots=True)
class Corrected:
    """How many examples were changed, removed, and left unchanged."""

    changed: int
    removed: int
    same: int


def correct(
    index: Index, corrections: Sequence[Correction], *, remove_empty: bool = False
) -> Corrected:
    """Apply corrections to an index, all of them in one transaction or none.

    Inputs and outputs that differ from the stored ones replace them, and ``meta`` stays; an example
    that does not differ is not written.

    :param remove_empty: remove the examples whose corrected output is empty
    :raises DataError: where an output is empty, unless those are to be removed
    :raises ExampleError: where an id is unknown, or occurs twice
    """
    with index.writing():
        known = index.get([correction.id for correction in corrections])
        _check(index, corrections, known, remove_empty)
        removed = [correction.id for correction in corrections if correction.output is None]
        changed = [
            replace(known[correction.id], input=correction.input, output=correction.output)
            for correction in corrections
            if correction.output is not None and _differs(known[correction.id], correction)
        ]
        if changed:
            index.update(changed, remove=removed)
        elif removed:
            index.remove(removed)  # without loading the encoder
    same = len(corrections) - len(changed) - len(removed)
    return Corrected(len(changed), len(removed), same)


def _check(
    index: Index,
    corrections: Sequence[Correction],
    known: dict[str, Example],
    remove_empty: bool,
) -> None:
    seen: set[str] = set()
    for correction in corrections:
        if correction.id not in known:
            raise ExampleError(
                f"there is no example with id {quoted(correction.id)} in {index.path}; nothing was "
                f"changed, take that row out, or add it with `ragicl add`"
            )
        if correction.id in seen:
            raise ExampleError(
                f"id {quoted(correction.id)} is given twice; nothing was changed, give each "
                "example once"
            )
        if correction.output is None and not remove_empty:
            raise DataError(
                f"example {quoted(correction.id)} has no label left; nothing was changed, "
                "give it one, "
                f"or remove such examples with --remove-empty"
            )
        seen.add(correction.id)


def _differs(stored: Example, correction: Correction) -> bool:
    return (stored.input, stored.output.strip()) != (correction.input, correction.output)
