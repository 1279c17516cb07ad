"""The table: each scorer beside ragicl, on the queries that both answered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, median

from common import Row
from peers_adapters import ADAPTERS
from peers_run import Results
from peers_setup import SCORERS, Scorer

REFERENCE = Scorer("ragicl_exact", "float32")
HOPELESS = math.log(1e-6)  # labels less likely than this are left out of the differences
COLUMNS = (
    "scorer",
    "version (transformers)",
    "dtype",
    "queries",
    "seconds a query",
    "x ragicl exact",
    "x ragicl default",
    "same label",
    "log P differs by",
    "accuracy",
    "note",
)


def report(task: Row, results: Results) -> str:
    """Return one set's table as Markdown.

    Seconds are medians over queries; ratios are medians of each query's ratio to ragicl in the
    same precision; labels and probabilities are compared with ragicl's, exact, in float32.
    """
    queries = task["queries"]
    tokens = [query["tokens"] for query in queries]
    shots = [query["shots"] for query in queries]
    head = (
        f"{len(queries)} queries of {min(tokens)} to {max(tokens)} tokens "
        f"(median {median(tokens):.0f}), {min(shots)} to {max(shots)} demonstrations"
    )
    lines = [line(scorer, task, results) for scorer in SCORERS]
    table = [cells(COLUMNS), cells(["---"] * len(COLUMNS)), *(part for part in lines if part)]
    return "\n".join([head, "", *table, ""])


def line(scorer: Scorer, task: Row, results: Results) -> str:
    """Return one scorer's line; empty where there is nothing to say."""
    own = results.of(scorer)
    if not own:
        error = results.errors.get(scorer.name)
        return cells([scorer.library, "", scorer.dtype, *[""] * 7, error]) if error else ""
    first = next(iter(own.values()))
    reference = results.of(REFERENCE)
    right = [row["prediction"] == task["queries"][n]["gold"] for n, row in own.items()]
    about = (ADAPTERS[scorer.library].__doc__ or "").partition("\n")[0].rstrip(".")
    note = "; ".join([about, *remarks(task["labels"], own, reference)])
    return cells(
        [
            scorer.library,
            f"{first['version']} ({first['transformers']})",
            scorer.dtype,
            str(len(own)),
            f"{median(row['seconds'] for row in own.values()):.3f}",
            ratio(own, results.of(Scorer("ragicl_exact", scorer.dtype))),
            ratio(own, results.of(Scorer("ragicl", scorer.dtype))),
            agreement(own, reference),
            difference(own, reference),
            f"{mean(right):.2f}",
            note,
        ]
    )


def ratio(own: dict[int, Row], other: dict[int, Row]) -> str:
    """Return the median of how many times the other's seconds each query took."""
    found = [own[n]["seconds"] / other[n]["seconds"] for n in own.keys() & other.keys()]
    return f"{median(found):.1f}" if found else ""


def agreement(own: dict[int, Row], reference: dict[int, Row]) -> str:
    """Return on how many queries the predictions are the same."""
    shared = own.keys() & reference.keys()
    same = sum(own[n]["prediction"] == reference[n]["prediction"] for n in shared)
    return f"{same} of {len(shared)}"


def difference(own: dict[int, Row], reference: dict[int, Row]) -> str:
    """Return the largest difference of two log-probabilities that both know."""
    shared = [n for n in own.keys() & reference.keys() if "scores" in own[n]]
    gaps = [widest(own[n]["scores"], reference[n]["scores"]) for n in shared]
    return f"{max(gaps):.4f}" if gaps else ""


def widest(own: Sequence[float], reference: Sequence[float]) -> float:
    """Return the largest difference of the scores, normalised over the labels that matter."""
    pairs = zip(normalised(own), normalised(reference), strict=True)
    return max(abs(a - b) for a, b in pairs if b > HOPELESS)


def normalised(scores: Sequence[float]) -> list[float]:
    """Return log-probabilities that sum to one; a share of the prompt's in each falls out."""
    best = max(scores)
    total = best + math.log(sum(math.exp(score - best) for score in scores))
    return [score - total for score in scores]


def remarks(labels: Sequence[str], own: dict[int, Row], reference: dict[int, Row]) -> list[str]:
    """Return what the answers show beside the columns."""
    remarks = []
    shared = [n for n in own.keys() & reference.keys() if "scores" in own[n]]
    same = sum(top(own[n]) == top(reference[n]) for n in shared)
    if shared and f"{same} of {len(shared)}" != agreement(own, reference):
        remarks.append(f"by the sum over a label's tokens {same} of {len(shared)} the same")
    if unknown := sum(row["prediction"] not in labels for row in own.values()):
        remarks.append(f"{unknown} of its answers are no label")
    return remarks


def top(row: Row) -> int:
    """Return the position of the highest score."""
    return max(range(len(row["scores"])), key=row["scores"].__getitem__)


def cells(values: Sequence[str]) -> str:
    """Return one line of a Markdown table."""
    return "| " + " | ".join(values) + " |"
