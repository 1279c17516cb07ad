"""From composed prompts to the labels' log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ragicl.errors import BackendError, TaskError
from ragicl.groups import ExampleGroups
from ragicl.index import Index
from ragicl.policy import Policy
from ragicl.prompt import Template
from ragicl.protocols import LM, FloatArray, Keeping
from ragicl.records import Prompt
from ragicl.retrieve import Found

UNLIKELY = 14.0  # nats below the likeliest label: a probability of less than one in a million


class Scorer:
    """Asks a language model for the labels' likelihoods, as a policy says.

    :raises TaskError: where the policy's attention cannot read what the template renders
    """

    def __init__(self, index: Index, lm: LM, template: Template, policy: Policy) -> None:
        if policy.attention != "exact" and len(template.render("?", [("?", "?")])) < 2:
            raise TaskError(
                "attention blocks needs demonstrations that stand apart; use the plain template"
            )
        self._index = index
        self._lm = lm
        self._template = template
        self._policy = policy

    def load(self) -> None:
        """Load what the first answer needs."""
        self._lm.load()

    def score(
        self,
        prompts: Sequence[Sequence[Prompt]],
        found: Sequence[Found],
        labels: Sequence[str],
    ) -> FloatArray:
        """Return log P(label | prompt) in nats, averaged over a query's prompts.

        Labels that are not in a query's shortlist get minus infinity.

        :param prompts: of each query, as many for one as for another
        :return: shape (queries, labels)

        :raises BackendError: where the model's scores are not numbers
        """
        size = len(prompts[0]) if prompts else 1
        among = None
        if self._policy.shortlist is not None:
            among = [places for places in _places(found, labels) for _ in range(size)]
        scores = self._scoring.score(
            [prompt.parts for own in prompts for prompt in own],
            [self._template.answer(label) for label in labels],
            floor=None if self._policy.exact else UNLIKELY,
            among=among,
        )
        asked = scores
        if among:
            asked = np.concatenate([row[some] for row, some in zip(scores, among, strict=True)])
        if not np.isfinite(asked).all():
            raise BackendError(
                f"{self._lm.spec} gave scores that are not numbers; try another --dtype, or "
                f"another model"
            )
        return np.asarray(scores.reshape(len(prompts), size, len(labels)).mean(axis=1))

    @cached_property
    def _scoring(self) -> LM:
        """The language model, by the policy's attention."""
        policy, lm = self._policy, self._lm
        if policy.attention == "exact":
            return lm
        if not isinstance(lm, Keeping):
            raise BackendError(f"{lm.spec} keeps no states of demonstrations; use attention exact")
        room = int(policy.states_gb * 1e9)
        folder = self._index.path / "states" if room else None
        groups = ExampleGroups(self._index, self._template, where=policy.where)
        int8 = policy.attention == "blocks-int8"
        return lm.with_blocks(groups, folder, room, int8=int8)


def _places(found: Sequence[Found], labels: Sequence[str]) -> list[list[int]]:
    """Return, for each query, where its shortlist stands among the labels."""
    places = {label: place for place, label in enumerate(labels)}
    return [[places[label] for label in own.shortlist or labels] for own in found]
