"""The audit: each example's label is predicted from all other examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil

import numpy as np

from ragicl.calibration.distributions import from_votes
from ragicl.curation.confident_learning import Judged, judge
from ragicl.curation.findings import (
    CONFLICT,
    COPY,
    LABEL,
    RARE,
    Audit,
    Conflict,
    Confusion,
    Copies,
    Finding,
)
from ragicl.curation.near_duplicates import NEIGHBORS, NearDuplicates, nearest_others
from ragicl.data.labels import lookalikes
from ragicl.errors import TaskError
from ragicl.index import Index
from ragicl.probes.ensemble import fit_classifier
from ragicl.protocols import FloatArray, IntArray, Progress, no_progress
from ragicl.records import Example, Neighbor

ROWS = 200_000  # examples audited at most, drawn at random from more
CELLS = 50_000_000  # and at most this many numbers of examples times labels
PART = 20_000  # examples classified together, each with 1,500 numbers in memory
VOTE = 0.5  # weight of the neighbours' vote beside the classifier


def audit(
    index: Index, *, near: float = 0.95, few: int = 5, progress: Progress = no_progress
) -> Audit:
    """Look for likely label errors, near duplicates, confused labels and rare labels.

    Each example's label is predicted from all the others: by the classifier on the stored vectors
    (:mod:`ragicl.probes.ensemble`) and the vote of the ten nearest, in equal parts. Labels that
    these predictions contradict are found by confident learning
    (:mod:`ragicl.curation.confident_learning`). The index is not changed. Up to 200,000
    examples are audited (fewer with more than 250 labels); of a larger index, a random sample is
    compared with the whole of it.

    :param near: cosine from which two examples count as near duplicates
    :param few: a label with fewer examples than this is rare
    :param progress: called after each example
    :raises TaskError: where the index has fewer than two labels, or `near` is not a cosine above 0
    """
    with index.snapshot():
        counts = index.labels()
        _check(index, len(counts), near)
        examples, vectors = index.sample_with_vectors(min(ROWS, CELLS // len(counts)))
    labels = sorted({example.output for example in examples})
    place = {label: column for column, label in enumerate(labels)}
    columns = np.array([place[example.output] for example in examples], dtype=np.int64)
    probs = _classified(vectors, columns, len(labels))
    duplicates = NearDuplicates(near)
    nearest: list[Neighbor | None] = []
    for row, others in enumerate(nearest_others(index, examples, vectors, near)):
        duplicates.add(examples[row], others)
        nearest.append(others[0] if others else None)
        _add_vote(probs[row], others[:NEIGHBORS], place)
        progress("comparing", row + 1, len(examples))
    judged = judge(probs, columns)
    rare = {label: count for label, count in counts.items() if count < few}
    groups, conflicts = duplicates.groups(), duplicates.conflicts()
    reasons = _reasons(examples, judged, groups, conflicts, rare)
    findings = _findings(examples, reasons, labels, probs, judged.own, nearest)
    return Audit(
        sum(counts.values()),
        len(examples),
        near,
        few,
        tuple(sorted(findings, key=_urgency)),
        groups,
        conflicts,
        _confusions(columns, judged.predicted, labels),
        rare,
        lookalikes(counts),
    )


def _check(index: Index, labels: int, near: float) -> None:
    if labels < 2:
        raise TaskError(
            f"{index.path} has {labels} label(s) to audit; it takes an index of two or more"
        )
    if not 0 < near <= 1:
        raise TaskError(f"near is {near}; give a cosine above 0 and up to 1, such as 0.95")


def _classified(vectors: FloatArray, columns: IntArray, labels: int) -> FloatArray:
    """Return leave-one-out P(label | row), shape (rows, labels); of many rows, part by part."""
    order = np.random.default_rng(0).permutation(len(vectors))
    probs = np.empty((len(vectors), labels), dtype=np.float32)
    for part in np.array_split(order, ceil(len(order) / PART)):
        probs[part] = fit_classifier(vectors[part], columns[part], labels).loo_probs
    return probs


def _add_vote(probs: FloatArray, others: Sequence[Neighbor], place: dict[str, int]) -> None:
    """Blend the neighbours' vote into a row's probabilities, in place."""
    voted = tuple({n.example.output: None for n in others if n.example.output in place})
    if not voted:
        return
    probs *= 1 - VOTE
    for label, share in from_votes(others, voted).items():
        probs[place[label]] += VOTE * share


def _reasons(
    examples: Sequence[Example],
    judged: Judged,
    groups: Sequence[Copies],
    conflicts: Sequence[Conflict],
    rare: Mapping[str, int],
) -> Iterator[tuple[str, ...]]:
    """Yield the reasons to look at each example, none for most."""
    copied = {identity for group in groups for identity in group.ids}
    opposed = {identity for pair in conflicts for identity in pair.ids}
    for example, doubted in zip(examples, judged.doubted, strict=True):
        reasons = {
            LABEL: doubted,
            CONFLICT: example.id in opposed,
            COPY: example.id in copied,
            RARE: example.output in rare,
        }
        yield tuple(reason for reason, holds in reasons.items() if holds)


def _findings(
    examples: Sequence[Example],
    reasons: Iterable[tuple[str, ...]],
    labels: Sequence[str],
    probs: FloatArray,
    own: FloatArray,
    nearest: Sequence[Neighbor | None],
) -> list[Finding]:
    return [
        _finding(example, why, labels, probs[row], own[row], nearest[row])
        for row, (example, why) in enumerate(zip(examples, reasons, strict=True))
        if why
    ]


def _finding(
    example: Example,
    reasons: tuple[str, ...],
    labels: Sequence[str],
    probs: FloatArray,
    own: np.float32,
    nearest: Neighbor | None,
) -> Finding:
    best = int(probs.argmax())
    if LABEL in reasons or CONFLICT in reasons:
        suggested, confidence = labels[best], round(float(probs[best]), 4)
        return Finding(example, suggested, confidence, round(float(own), 4), reasons, nearest)
    return Finding(example, None, None, round(float(own), 4), reasons, nearest)


def _urgency(finding: Finding) -> tuple[bool, bool, float]:
    """Order findings: wrong labels, then conflicts, each by how unlikely the label is."""
    return LABEL not in finding.reasons, CONFLICT not in finding.reasons, finding.own


def _confusions(
    columns: IntArray, predicted: IntArray, labels: Sequence[str]
) -> tuple[Confusion, ...]:
    """Return which labels are predicted as which others, the most rows first."""
    given = Counter(columns.tolist())
    pairs = Counter(zip(columns.tolist(), predicted.tolist(), strict=True))
    return tuple(
        Confusion(labels[label], labels[other], rows, given[label])
        for (label, other), rows in pairs.most_common()
        if label != other
    )
