"""How many predictions were right, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ragicl.data.labels import plain_form, spelled_out

NAMED = 5  # unknown labels that are named
Judged = tuple[str, str]
"""The right output of a row, and the predicted one."""


def summarize(rows: Sequence[Mapping[str, Any]], labels: Collection[str] = ()) -> str | None:
    """Return accuracy and macro-F1 in a line, or None where no row has the right output.

    A row with an error counts as wrong. Rows whose right label is unknown are counted in a second
    line, with the accuracy over the others.

    :param labels: those of the index; none where it is of texts to write
    """
    judged = [(row["gold"], row["output"] or "") for row in rows if "gold" in row]
    if not judged:
        return None
    text = _scores(judged) + _early(rows)
    if errors := sum("error" in row for row in rows):
        text += f", {errors} of them not answered"
    unknown = Counter(gold for gold, _ in judged if labels and gold not in labels)
    return f"{text}\n{_unknown(judged, unknown, labels)}" if unknown else text


def _scores(judged: Sequence[Judged]) -> str:
    from sklearn.metrics import accuracy_score, f1_score

    gold, output = zip(*judged, strict=True)
    text = f"accuracy {accuracy_score(gold, output):.4f} on {len(judged)} rows"
    if len(set(gold)) < len(gold):  # labels come back; texts to generate do not
        text += f", macro-F1 {f1_score(gold, output, average='macro'):.4f}"
    return text


def _early(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how often early exits were right, and the others."""
    judged = [(row["gold"] == row["output"], "exited" in row) for row in rows if "gold" in row]
    early = [right for right, exited in judged if exited]
    late = [right for right, exited in judged if not exited]
    if not early:
        return ""
    text = f"; {len(early)} by early exit, {sum(early) / len(early):.4f} of them right"
    return text + (f", {sum(late) / len(late):.4f} of the others" if late else "")


def _unknown(judged: Sequence[Judged], unknown: Counter[str], labels: Collection[str]) -> str:
    known = [(gold, output) for gold, output in judged if gold not in unknown]
    named = ", ".join(_named(label, labels) for label, _ in unknown.most_common(NAMED))
    more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
    text = (
        f"{unknown.total()} of these rows have a gold label that is not in the index: {named}{more}"
    )
    return f"{text}; without them: {_scores(known)}" if known else text


def _named(label: str, labels: Collection[str]) -> str:
    """Return an unknown label, with the known one that differs from it invisibly."""
    form = plain_form(label)
    near = [own for own in labels if plain_form(own) == form]
    return f"{spelled_out([label])} (there is {spelled_out(near)})" if near else repr(label)
