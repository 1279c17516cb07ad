"""Labels that look the same, or nearly: other case, other white space, characters nobody sees."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping

NO_LABEL = "-1"
"""What a row without a label has in place of one, by the convention of published test sets."""


def plain_form(label: str) -> str:
    """Return what two labels have in common that differ invisibly.

    Characters are composed (NFC), case does not count, characters without width are left out, and
    any white space is one blank, at neither end.
    """
    seen = "".join(c for c in label if unicodedata.category(c) != "Cf")
    return " ".join(_composed(_composed(seen).casefold()).split())


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def lookalikes(counts: Mapping[str, int]) -> tuple[tuple[str, ...], ...]:
    """Return groups of labels with one plain form; in each, the label of most examples first."""
    groups: dict[str, list[str]] = {}
    for label in sorted(counts, key=lambda own: (-counts[own], own)):
        groups.setdefault(plain_form(label), []).append(label)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def one_spelling(counts: Mapping[str, int], known: Collection[str]) -> dict[str, str]:
    """Return what each label becomes that differs invisibly from another one.

    :param known: labels that are kept as they are
    """
    kept = {plain_form(label): label for label in sorted(known, reverse=True)}
    for label in sorted(counts, key=lambda own: (-counts[own], own)):
        kept.setdefault(plain_form(label), label)
    spelling = {label: kept[plain_form(label)] for label in counts if label not in known}
    return {label: new for label, new in spelling.items() if label != new}


def spelled_out(labels: Iterable[str]) -> str:
    """Return labels as text in which they differ visibly."""
    return ", ".join(map(ascii, labels))
