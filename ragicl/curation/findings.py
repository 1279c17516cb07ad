"""The frozen records of an audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ragicl.records import Example, Neighbor

LABEL = "label"  # the other examples say that it is another one
CONFLICT = "conflict"  # a near copy has another label
COPY = "copy"  # a near copy has the same label
RARE = "rare label"


@dataclass(frozen=True, slots=True)
class Finding:
    """One example that somebody should look at.

    :ivar suggested: the label that the other examples predict; None unless the label is in doubt
    :ivar confidence: how likely they say that is, from 0 to 1; None where nothing is suggested
    :ivar own: how likely they say the given label is, from 0 to 1
    :ivar reasons: ``label``, ``conflict``, ``copy``, ``rare label``
    :ivar nearest: the nearest other example; None where there is no other
    """

    example: Example
    suggested: str | None
    confidence: float | None
    own: float
    reasons: tuple[str, ...]
    nearest: Neighbor | None


@dataclass(frozen=True, slots=True)
class Copies:
    """Examples with one label that are near copies of each other, directly or through others."""

    label: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two near copies with different labels.

    :ivar similarity: cosine of the two
    """

    ids: tuple[str, str]
    labels: tuple[str, str]
    similarity: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many examples of a label the other examples predict as another one.

    :ivar rows: so many
    :ivar of: examples with that label
    """

    label: str
    predicted: str
    rows: int
    of: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    :ivar rows: examples of the index
    :ivar audited: examples looked at; fewer than `rows` where the index is too large
    :ivar near: cosine from which two examples count as near copies
    :ivar few: a label with fewer examples than this is rare
    :ivar findings: examples with a reason to look at them: likely label errors first, the least
        likely label first
    :ivar copies: groups of near copies with the same label, the largest first
    :ivar conflicts: pairs of near copies with different labels, the most similar first
    :ivar confusions: labels taken for another, the most examples first
    :ivar rare: each rare label with its number of examples
    """

    rows: int
    audited: int
    near: float
    few: int
    findings: tuple[Finding, ...]
    copies: tuple[Copies, ...]
    conflicts: tuple[Conflict, ...]
    confusions: tuple[Confusion, ...]
    rare: Mapping[str, int] = field(hash=False)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The examples whose label is likely wrong."""
        return tuple(finding for finding in self.findings if LABEL in finding.reasons)
