"""From a query and its demonstrations to a prompt that fits a token budget: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragicl.errors import BudgetError
from ragicl.framing import joined
from ragicl.prompting.ordering import Order, nearest_last
from ragicl.prompting.template import Template
from ragicl.protocols import Parts
from ragicl.records import Neighbor, Prompt

WIDE = 16  # characters a token, more than those of any text that people write


def compose(
    query: str,
    neighbors: Sequence[Neighbor],
    template: Template,
    *,
    count: Callable[[Parts], int],
    budget: int,
    reserve: int,
    fixed: Sequence[Neighbor] = (),
    truncate: bool = False,
    order: Order = nearest_last,
) -> Prompt:
    """Compose the prompt that keeps as many demonstrations as fit.

    Whole prompts are counted. Demonstrations are kept or dropped whole, the farthest first; one
    that is too long even by itself is dropped before any other.

    :param neighbors: demonstrations, nearest first
    :param count: tokens of a whole prompt, by the model that will read it
    :param budget: the most tokens of the prompt and its answer
    :param reserve: tokens kept free for the answer
    :param fixed: demonstrations that come before all others, in this order; instruction and they
        are one piece of the prompt, and left out as a whole where they leave the query no room
    :param truncate: cut the end of a query that does not fit alone
    :param order: puts the demonstrations that are kept into prompt order
    :raises BudgetError: where the query does not fit alone and may not be cut
    """
    room = budget - reserve
    everything = len(fixed) + len(neighbors)
    fit = None
    if not (truncate and _far_too_long(query, template, count, room)):
        fit = _fitting(query, neighbors, fixed, template, count, room, order)
        if fit is None and fixed:
            fit = _fitting(query, neighbors, (), template, count, room, order)
    if fit is not None:
        shots, parts, tokens = fit
        messages = template.messages(query, _pairs(shots))
        return Prompt(parts, shots, tokens, everything - len(shots), messages=messages)
    if not truncate:
        needed = count(template.render(query, ())) + reserve
        raise BudgetError(
            f"the query takes {needed} tokens without any demonstration, "
            f"{reserve} of them for the answer; the budget is {budget}: "
            f"raise --budget, shorten the query, or pass --truncate",
            needed=needed,
            budget=budget,
        )
    cut = _truncated(query, template, count, room, budget - room, budget)
    parts, messages = template.render(cut, ()), template.messages(cut, ())
    return Prompt(parts, (), count(parts), everything, truncated=True, messages=messages)


Fit = tuple[tuple[Neighbor, ...], tuple[str, ...], int]


def _fitting(
    query: str,
    neighbors: Sequence[Neighbor],
    fixed: Sequence[Neighbor],
    template: Template,
    count: Callable[[Parts], int],
    room: int,
    order: Order,
) -> Fit | None:
    """Return the largest fit: its demonstrations in prompt order, its pieces, its tokens."""

    def attempt(kept: Sequence[Neighbor]) -> Fit | None:
        shots = (*fixed, *order(kept))
        parts = template.render(query, _pairs(shots))
        if fixed and (own := len(kept) + 1) < len(parts):
            parts = (joined(parts[:-own]), *parts[-own:])
        tokens = count(parts)
        return (shots, parts, tokens) if tokens <= room else None

    if (everything := attempt(neighbors)) is not None:
        return everything
    if (best := attempt(())) is None:
        return None
    candidates = [n for n in neighbors if attempt((n,)) is not None]
    low, high = 0, len(candidates) + (len(candidates) < len(neighbors))
    while high - low > 1:  # `low` demonstrations fit; `high` do not, or are not there
        middle = (low + high) // 2
        fit = attempt(candidates[:middle])
        low, high, best = (middle, high, fit) if fit is not None else (low, middle, best)
    return best


def _truncated(
    query: str,
    template: Template,
    count: Callable[[Parts], int],
    room: int,
    reserve: int,
    budget: int,
) -> str:
    """Return the longest beginning of the query that fits; only some of the rest is counted."""
    low, high = 0, min(max(room, 2), len(query))
    while high < len(query) and _fits(query[:high], template, count, room):
        low, high = high, min(2 * high, len(query))
    while high - low > 1:
        middle = (low + high) // 2
        fits = _fits(query[:middle], template, count, room)
        low, high = (middle, high) if fits else (low, middle)
    if not query[:low].strip():
        raise BudgetError(
            f"the budget of {budget} tokens has no room for any of the query; raise --budget",
            needed=count(template.render(query, ())) + reserve,
            budget=budget,
        )
    return query[:low]


def _far_too_long(query: str, template: Template, count: Callable[[Parts], int], room: int) -> bool:
    """Return whether a beginning of the query does not fit even by itself."""
    beginning = query[: WIDE * max(room, 1)]
    return len(beginning) < len(query) and not _fits(beginning, template, count, room)


def _fits(query: str, template: Template, count: Callable[[Parts], int], room: int) -> bool:
    return count(template.render(query, ())) <= room


def _pairs(shots: Sequence[Neighbor]) -> list[tuple[str, str]]:
    return [(n.example.input, n.example.output) for n in shots]
