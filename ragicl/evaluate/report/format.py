"""How a report writes its figures: the same in recommendations, tables and plots."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ragicl.evaluate.results import Interval, LabelScores, TextScores

ABSENT = "–"
OVER = {
    "pool": "examples in the pool",
    "k": "demonstrations asked for",
    "budget": "tokens of the budget",
}
"""What a curve goes over, in words."""
_SECONDS = ((3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def headline(scores: LabelScores | TextScores) -> Interval:
    """Return the score that methods are compared by: accuracy, or ROUGE-L for texts."""
    return scores.accuracy if isinstance(scores, LabelScores) else scores.rouge_l


def metric(scores: LabelScores | TextScores) -> str:
    """Return the name of that score."""
    return "accuracy" if isinstance(scores, LabelScores) else "ROUGE-L"


def number(value: float) -> str:
    """Return a score, a distance or a probability to three decimals."""
    return f"{value:.3f}".replace("-", "−") if math.isfinite(value) else ABSENT


def signed(value: float) -> str:
    """Return a difference, with its sign."""
    return f"{value:+.3f}".replace("-", "−") if math.isfinite(value) else ABSENT


def span(interval: Interval) -> str:
    """Return the ends of an interval."""
    return f"{number(interval.low)} to {number(interval.high)}"


def with_span(interval: Interval) -> str:
    """Return a value and the ends of its interval."""
    return f"{number(interval.value)} ({span(interval)})"


def p_value(value: float) -> str:
    """Return a p-value; the smallest are not distinguished."""
    return "p < 0.001" if value < 0.001 else f"p = {number(value)}"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    return _in_units(seconds, _SECONDS, "0 s")


def storage(size: int) -> str:
    """Return a number of bytes in the unit that suits it (1 kB is 1,000 bytes)."""
    return _in_units(size, _BYTES, f"{size} B")


def plural(amount: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def capital(words: str) -> str:
    """Return words with a capital first letter, the others as they are."""
    return words[:1].upper() + words[1:]


def listed(parts: list[str]) -> str:
    """Return parts as words of a sentence."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def settings(values: Mapping[str, Any]) -> str:
    """Return settings in one line; those that are not set are left out."""
    shown = {name: value for name, value in values.items() if value is not None}
    return ", ".join(f"{name} {_setting(value)}" for name, value in shown.items())


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _in_units(value: float, units: tuple[tuple[float, str], ...], smallest: str) -> str:
    """Return a value to two digits or whole units, in the greatest unit that it fills."""
    for size, unit in units:
        if value >= size:
            scaled = value / size
            return f"{scaled:.2g} {unit}" if scaled < 9.95 else f"{scaled:,.0f} {unit}"
    return smallest
