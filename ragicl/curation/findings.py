"""The frozen records of an audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ragicl.records import Example, Neighbor

LABEL = "label"  # the other examples predict another one
CONFLICT = "conflict"  # a near duplicate has another label
COPY = "copy"  # a near duplicate has the same label
RARE = "rare label"


@dataclass(frozen=True, slots=True)
class Finding:
    """One example to review.

    :ivar suggested: the label that the other examples predict; None unless the label is in doubt
    :ivar confidence: predicted probability of the suggested label; None where nothing is suggested
    :ivar own: predicted probability of the given label
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
    """Examples with one label that are near duplicates, directly or through others."""

    label: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two near duplicates with different labels.

    :ivar similarity: cosine of the two
    """

    ids: tuple[str, str]
    labels: tuple[str, str]
    similarity: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many examples of a label are predicted as another one.

    :ivar rows: their number
    :ivar of: examples with that label
    """

    label: str
    predicted: str
    rows: int
    of: int


@dataclass(frozen=True, slots=True)
class Audit:
    """The results of an audit.

    :ivar rows: examples of the index
    :ivar audited: examples audited; fewer than `rows` where the index is too large
    :ivar near: cosine from which two examples count as near duplicates
    :ivar few: a label with fewer examples than this is rare
    :ivar findings: examples with a reason to review them: likely label errors first, the least
        likely label first
    :ivar copies: groups of near duplicates with the same label, the largest first
    :ivar conflicts: pairs of near duplicates with different labels, the most similar first
    :ivar confusions: labels predicted as another, the most examples first
    :ivar rare: each rare label with its number of examples
    :ivar lookalikes: groups of labels that differ invisibly, the most frequent first
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
    lookalikes: tuple[tuple[str, ...], ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The examples whose label is likely wrong."""
        return tuple(finding for finding in self.findings if LABEL in finding.reasons)
