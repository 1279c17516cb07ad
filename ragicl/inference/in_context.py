"""Demonstrations that precede every text, left out one by one of a blend's answer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from ragicl.errors import TaskError
from ragicl.inference.blender import Blender
from ragicl.records import ContextInfluence, Example, Support
from ragicl.retrieval.retriever import RetrievalResult


def check_in_context(blender: Blender | None, exclude: str | None) -> None:
    """Refuse what cannot be left out.

    :raises TaskError: where no states are read in context, or an example is excluded
    """
    if blender is None or not blender.blend.context:
        raise TaskError(
            "this answer reads no states in context, so that there is no demonstration to leave "
            "out of them; leave --context out"
        )
    if exclude is not None:
        raise TaskError(
            "the classifier without the excluded example knows only the state that it was fitted "
            "on; to leave demonstrations out, exclude no example"
        )


def influences_in_context(
    blender: Blender,
    found: RetrievalResult,
    label: str,
    probs: Mapping[str, float],
    support: Support | None,
) -> tuple[ContextInfluence, ...]:
    """Return what each demonstration does to the log-odds of a label, in the draws' order.

    :param found: for the query
    :param probs: the blend's, by label
    :param support: of the label; None where there is no other one to choose
    """
    if support is None:
        return ()
    labels = tuple(probs)
    whole = np.array([*probs.values()])
    column, other = labels.index(label), labels.index(support.against)
    influences = []
    for shot, changed in blender.without_each_shot(found, labels, whole):
        example = Example(shot.input, shot.output, shot.id)
        # Probabilities too small for a float are no reason for infinite odds.
        odds = np.log(np.maximum(changed, sys.float_info.min))
        change = support.log_odds - float(odds[column] - odds[other])
        output = labels[int(changed.argmax())]
        influences.append(ContextInfluence(example, change, float(changed[column]), output))
    return tuple(influences)


def in_context_rows(influences: tuple[ContextInfluence, ...]) -> list[dict[str, Any]]:
    """Return influences as JSON-ready rows, rounded to six decimals."""
    return [
        {
            "id": own.example.id,
            "input": own.example.input,
            "output": own.example.output,
            "log_odds_change": round(own.log_odds_change, 6),
            "probability_without": round(own.probability_without, 6),
            "output_without": own.output_without,
        }
        for own in influences
    ]
