"""An audit as a file to correct, as JSON, and for people."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO
from typing import Any

from ragicl.curation.findings import CONFLICT, COPY, Audit, Finding
from ragicl.data.formulas import guarded
from ragicl.data.labels import spelled_out

COLUMNS = (
    "id", "text", "label", "suggested", "confidence", "reasons",
    "nearest_id", "nearest_text", "nearest_label", "similarity",
)  # fmt: skip
SHOWN = 10  # of each kind, for people
WIDTH = 80  # characters of a text, for people


def as_csv(audit: Audit) -> bytes:
    """Return the findings as a CSV file, to be corrected and read by `ragicl update`.

    It begins with a byte-order mark: spreadsheets take the texts for something else without it.
    What they would take for a formula is guarded, which reading it undoes.
    """
    text = StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for finding in audit.findings:
        row = as_row(finding) | {"reasons": ", ".join(finding.reasons)}
        writer.writerow({name: guarded(value) for name, value in row.items()})
    return text.getvalue().encode("utf-8-sig")


def as_row(finding: Finding) -> dict[str, Any]:
    """Return a finding as a row with COLUMNS; what there is not, is None."""
    near = finding.nearest
    return {
        "id": finding.example.id,
        "text": finding.example.input,
        "label": finding.example.output,
        "suggested": finding.suggested,
        "confidence": finding.confidence,
        "reasons": list(finding.reasons),
        "nearest_id": near.example.id if near else None,
        "nearest_text": near.example.input if near else None,
        "nearest_label": near.example.output if near else None,
        "similarity": near.similarity if near else None,
    }


def as_json(audit: Audit) -> dict[str, Any]:
    """Return all of an audit as what JSON can hold."""
    return {
        "rows": audit.rows,
        "audited": audit.audited,
        "near": audit.near,
        "few": audit.few,
        "findings": [as_row(finding) for finding in audit.findings],
        "copies": [{"label": c.label, "ids": list(c.ids)} for c in audit.copies],
        "conflicts": [
            {"ids": list(c.ids), "labels": list(c.labels), "similarity": c.similarity}
            for c in audit.conflicts
        ],
        "confusions": [
            {"label": c.label, "predicted": c.predicted, "rows": c.rows, "of": c.of}
            for c in audit.confusions
        ],
        "rare": dict(audit.rare),
        "lookalikes": [list(group) for group in audit.lookalikes],
    }


def as_text(audit: Audit) -> str:
    """Return an audit for people: the counts, and the first of each kind."""
    sample = "" if audit.audited == audit.rows else f", {audit.audited:,} of them audited"
    lines = [f"{audit.rows:,} examples{sample}"]
    for heading, shown in (
        (f"{len(audit.errors):,} labels are likely wrong", _errors(audit)),
        (
            f"{len(audit.conflicts):,} pairs of near duplicates have different labels",
            _conflicts(audit),
        ),
        (_copied(audit), iter(())),
        (
            f"{len(audit.confusions):,} pairs of labels are confused; given and predicted:",
            _confusions(audit),
        ),
        (f"{len(audit.rare):,} labels have fewer than {audit.few} examples", _rare(audit)),
        (f"{len(audit.lookalikes):,} groups of labels differ invisibly", _lookalikes(audit)),
    ):
        lines += ["", heading, *shown]
    return "\n".join(lines)


def _errors(audit: Audit) -> Iterator[str]:
    for finding in audit.errors[:SHOWN]:
        yield f"  {finding.example.id}  {_short(finding.example.input)}"
        yield f"      {finding.example.output} -> {finding.suggested}  {finding.confidence:.2f}"


def _conflicts(audit: Audit) -> Iterator[str]:
    texts = {f.example.id: f.example.input for f in audit.findings if CONFLICT in f.reasons}
    for pair in audit.conflicts[:SHOWN]:
        yield f"  {pair.similarity:.3f}"
        for identity, label in zip(pair.ids, pair.labels, strict=True):
            yield f"      {identity}  {label}  <- {_short(texts.get(identity, '(not audited)'))}"


def _copied(audit: Audit) -> str:
    copied = sum(COPY in finding.reasons for finding in audit.findings)
    return f"{copied:,} examples in {len(audit.copies):,} groups are near duplicates with one label"


def _confusions(audit: Audit) -> Iterator[str]:
    for pair in audit.confusions[:SHOWN]:
        yield f"  {pair.rows:,} of {pair.of:,}  {pair.label} -> {pair.predicted}"


def _rare(audit: Audit) -> Iterator[str]:
    for label, count in sorted(audit.rare.items(), key=lambda item: item[1])[:SHOWN]:
        yield f"  {count}  {label}"


def _lookalikes(audit: Audit) -> Iterator[str]:
    for group in audit.lookalikes[:SHOWN]:
        yield f"  {spelled_out(group)}"


def _short(text: str) -> str:
    return " ".join(text.split())[:WIDTH]
