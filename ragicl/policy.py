"""How an engine answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ragicl.errors import TaskError


@dataclass(frozen=True, slots=True)
class Policy:
    """How the engine answers.

    :ivar k: demonstrations to retrieve; as many of them as fit are used; 0 uses none
    :ivar budget: the most tokens of a prompt and its answer; None takes the model's window
    :ivar decide: ``lm`` asks the language model, ``knn`` takes the neighbours' vote alone
    :ivar labels: choose among these only; None takes all labels of the index
    :ivar generate: write text instead of choosing a label; None does so for a generation index
    :ivar max_tokens: the longest generated answer; None goes by the longest in the index
    :ivar temperature: 0 writes the likeliest text; above 0 samples, with `seed`
    :ivar exact: score every label to its end; otherwise labels that are surely a million times
        less likely than the likeliest may get an upper bound of their probability, which saves time
    :ivar exit: let the neighbours' vote answer alone where, by the index's own examples, it is
        right at least this often (such as 0.98); None always asks the language model
    :ivar truncate: cut a query that does not fit, instead of refusing it
    """

    k: int = 8
    budget: int | None = None
    decide: Literal["lm", "knn"] = "lm"
    labels: tuple[str, ...] | None = None
    generate: bool | None = None
    max_tokens: int | None = None
    temperature: float = 0.0
    seed: int = 0
    exact: bool = False
    exit: float | None = None
    truncate: bool = False

    def __post_init__(self) -> None:
        if self.k < 0:
            raise TaskError(f"k is {self.k}; it must be 0 or more")
        for name in ("budget", "max_tokens"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise TaskError(f"{name} is {value}; it must be 1 or more")
        if self.temperature < 0:
            raise TaskError(f"temperature is {self.temperature}; it must be 0 or more")
        if self.exit is not None and not 0 < self.exit < 1:
            raise TaskError(f"exit is {self.exit}; it must be an accuracy between 0 and 1")
        if self.exit is not None and (self.k == 0 or self.generate):
            raise TaskError("an early exit needs neighbours and labels: k of 1 or more")
        if self.decide == "knn" and (self.k == 0 or self.generate):
            raise TaskError("a vote needs neighbours and labels: k of 1 or more, and no generating")


DEFAULT = Policy()
