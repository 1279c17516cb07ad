"""An engine's prompts: composed within its budget, with room kept for the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ragicl.index import Index
from ragicl.policy import Policy
from ragicl.prompting.compose import compose
from ragicl.prompting.ordering import order_of
from ragicl.prompting.template import Template
from ragicl.protocols import LM, GenerationOptions
from ragicl.records import Prompt
from ragicl.retrieval.retriever import RetrievalResult

ANSWER_SHARE = 4  # a generated answer gets at most this fraction of the budget, unless asked


class Composer:
    """Composes prompts; safe to share between threads.

    :param labels: returns the labels to choose from; None where text is written
    """

    def __init__(
        self,
        index: Index,
        lm: LM,
        template: Template,
        policy: Policy,
        labels: Callable[[], tuple[str, ...]] | None,
    ) -> None:
        self._index = index
        self._lm = lm
        self._template = template
        self._policy = policy
        self._labels = labels
        self._budget = min(policy.prompt.budget or lm.window, lm.window)
        self._reserved: tuple[tuple[str, ...], int] | None = None

    def prompts(self, text: str, found: RetrievalResult) -> tuple[Prompt, ...]:
        """Return the prompts of an ensemble, each with a share of the demonstrations.

        :raises BudgetError: where the text does not fit into the budget
        """
        number = 1 if self._labels is None else self._policy.prompt.ensemble
        shares = (found.neighbors[place::number] for place in range(number))
        reserve = self._reserve(found.labels)
        return tuple(
            self._prompt(text, replace(found, neighbors=share), reserve) for share in shares
        )

    def bare(self, text: str) -> Prompt:
        """Return the prompt of a text without demonstrations.

        :raises BudgetError: where the text does not fit into the model's window
        """
        return compose(
            text,
            (),
            self._template,
            count=self._lm.count,
            budget=self._lm.window,
            reserve=self.reserve,
            truncate=self._policy.prompt.truncate,
        )

    @property
    def options(self) -> GenerationOptions:
        """How the language model is to generate text."""
        return {
            "max_tokens": self.reserve,
            "stop": self._template.stops,
            "temperature": self._policy.generation.temperature,
            "seed": self._policy.retrieval.seed,
        }

    @property
    def reserve(self) -> int:
        """The tokens to keep free for an answer: those of the longest one."""
        return self._reserve(None)

    def _reserve(self, labels: tuple[str, ...] | None) -> int:
        """Return the same for the labels of a request; None takes those of now."""
        if self._labels is None and self._policy.generation.max_tokens is not None:
            return self._policy.generation.max_tokens
        # New examples may bring longer texts, or other labels.
        if self._labels is None:
            answers: tuple[str, ...] = (str(self._index.generation),)
        else:
            answers = self._labels() if labels is None else labels
        reserved = self._reserved
        if reserved is None or reserved[0] != answers:
            outputs = self._index.longest_outputs() if self._labels is None else answers
            reserved = self._reserved = answers, self._longest(outputs)
        return reserved[1]

    def _prompt(self, text: str, found: RetrievalResult, reserve: int) -> Prompt:
        return compose(
            text,
            found.neighbors,
            self._template,
            count=self._lm.count,
            budget=self._budget,
            reserve=reserve,
            fixed=found.fixed,
            truncate=self._policy.prompt.truncate,
            order=order_of(self._policy.prompt.order, self._policy.retrieval.seed, text),
        )

    def _longest(self, outputs: Sequence[str]) -> int:
        longest = max((self._lm.count([self._template.answer(o)]) for o in outputs), default=0)
        if self._labels is not None:
            return longest
        share = self._budget // ANSWER_SHARE
        return max(1, min(longest or share, share))
