"""Demonstrations that a language model reads before every text: one example of each label.

Several such draws have no example in common, so that each example can be judged by the draws that
it is not in. They are kept in the index's folder, and drawn again where one of their examples was
changed or removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

import msgspec

from ragicl.index.derived import DerivedFile
from ragicl.probes.state_cache import digest
from ragicl.probes.views import VIEWS, View
from ragicl.records import Example

LONG = 96  # tokens; a longer example demonstrates only where its label has no shorter one


class Shot(msgspec.Struct, frozen=True):
    """One demonstration: an example's id, text and label."""

    id: str
    input: str
    output: str

    def is_still(self, example: Example | None) -> bool:
        """Whether a stored example is as it was."""
        return example is not None and (example.input, example.output) == (self.input, self.output)


Draw = tuple[Shot, ...]


class Demonstrations(msgspec.Struct, frozen=True):
    """What precedes every text, several times over, and what is taken of a text.

    :ivar draws: no two of them share a text
    :ivar views: chosen by the examples left out
    :ivar examples: that they were chosen on
    """

    draws: tuple[Draw, ...]
    views: tuple[View, ...]
    examples: int

    def is_sound(self) -> bool:
        """Whether it is what was written: there are draws, and views that are read."""
        return bool(self.draws) and bool(self.views) and set(self.views) <= set(VIEWS)


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds: a value that was changed by hand would change answers unnoticed."""

    demonstrations: Demonstrations
    digest: str
    identity: str  # of the index; empty where it has none


def load_demonstrations(file: DerivedFile) -> Demonstrations | None:
    """Read them; None where there are none, or the file is damaged or another index's."""
    with suppress(OSError, msgspec.DecodeError):
        kept = msgspec.json.decode(file.path.read_bytes(), type=_Kept)
        known = kept.digest == _digest(kept.demonstrations) and file.belongs(kept.identity)
        return kept.demonstrations if known and kept.demonstrations.is_sound() else None
    return None


def save_demonstrations(file: DerivedFile, demonstrations: Demonstrations) -> None:
    """Write them; where that fails, the next process draws the same ones from the same examples."""
    kept = _Kept(demonstrations, _digest(demonstrations), file.folder.identity())
    file.save_bytes(msgspec.json.encode(kept))


def _digest(demonstrations: Demonstrations) -> str:
    return digest(msgspec.json.encode(demonstrations).decode())


def draw(
    examples: Sequence[Example],
    seed: int,
    taken: Collection[str],
    cost: Callable[[Example], int],
    room: int,
) -> Draw:
    """Return one example of each label that has others, in random order.

    :param seed: draws of other seeds differ; the same examples give the same draw in any order
    :param taken: texts that other draws have
    :param cost: tokens of an example as a demonstration
    :param room: tokens that they may take; labels are left out where there are too many
    """
    ranks = {e.id: digest(f"{seed}|{e.id}|{e.input}") for e in examples}
    order = sorted(examples, key=lambda e: ranks[e.id])
    chosen: dict[str, Example] = {}
    counts = Counter(example.output for example in examples)
    for longest in (LONG, room):
        for example in order:
            free = example.input not in taken and counts[example.output] > 1
            if free and example.output not in chosen and cost(example) <= longest:
                chosen[example.output] = example
    shots, used = [], 0
    for example in sorted(chosen.values(), key=lambda e: ranks[e.id]):
        if used + cost(example) <= room:
            used += cost(example)
            shots.append(Shot(example.id, example.input, example.output))
    return tuple(shots)
