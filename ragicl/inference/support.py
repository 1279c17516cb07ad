"""The stored examples behind a blend's answer: what each adds through the classifiers."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from ragicl.calibration.distributions import likeliest
from ragicl.inference.blender import Blender
from ragicl.records import Contribution, Example, Support
from ragicl.retrieval.retriever import RetrievalResult

NAMED = 5  # examples, by default


def support_of(
    blender: Blender, found: RetrievalResult, label: str, probs: Mapping[str, float], most: int
) -> Support | None:
    """Return the examples that weigh most in the log-odds of a label against the next one.

    :param found: for the query
    :param probs: the blend's, by label
    :param most: examples that are named
    :return: None where no other label has a probability
    """
    others = {name: own for name, own in probs.items() if name != label and own > 0}
    if not others:
        return None
    against = likeliest(others)
    examples: dict[str, Example] = {}
    added: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for source, known, nats in blender.contributions(found, label, against):
        for row in np.flatnonzero(nats).tolist():
            examples[known[row].id] = known[row]
            added[known[row].id][source] = float(nats[row])
    every = [Contribution(examples[name], own) for name, own in added.items()]
    every.sort(key=lambda own: -abs(own.nats))
    named = [own for own in every if own.example.id != found.exclude][:most]
    rest = math.fsum(own.nats for own in every) - math.fsum(own.nats for own in named)
    # A probability too small for a float is no reason for infinite odds.
    least = max(probs[label], sys.float_info.min)
    return Support(against, math.log(least / others[against]), tuple(named), rest)


def support_row(support: Support | None) -> dict[str, Any] | None:
    """Return the support as JSON-ready values, nats to six decimals."""
    if support is None:
        return None
    return {
        "against": support.against,
        "log_odds": round(support.log_odds, 6),
        "examples": [
            {
                "id": own.example.id,
                "input": own.example.input,
                "output": own.example.output,
                "nats": round(own.nats, 6),
                "by_source": {name: round(value, 6) for name, value in own.by_source.items()},
            }
            for own in support.examples
        ],
        "rest": round(support.rest, 6),
    }
