"""From composed prompts to the labels' log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ragicl.errors import BackendError
from ragicl.policy import Policy
from ragicl.prompting.template import Template
from ragicl.protocols import LM, FloatArray, Scoring
from ragicl.records import Prompt
from ragicl.retrieval.retriever import RetrievalResult

UNLIKELY = 14.0  # nats below the likeliest label: a probability of less than one in a million


class Scorer:
    """Asks a language model for the labels' likelihoods, as a policy says."""

    def __init__(self, lm: Scoring, template: Template, policy: Policy) -> None:
        self._lm = lm
        self._template = template
        self._policy = policy

    @property
    def description(self) -> str:
        """Which weights and precision answer."""
        return self._lm.description

    def load(self) -> None:
        """Load what the first answer needs."""
        self._lm.load()

    def score(
        self,
        prompts: Sequence[Sequence[Prompt]],
        found: Sequence[RetrievalResult],
        labels: Sequence[str],
        *,
        exact: bool = False,
    ) -> FloatArray:
        """Return log P(label | prompt) in nats, averaged over a query's prompts.

        Labels that are not in a query's shortlist get minus infinity.

        :param prompts: of each query, as many for one as for another
        :param exact: score every label to its end, whatever the policy says
        :return: shape (queries, labels)

        :raises BackendError: where the model's scores are not numbers
        """
        size = len(prompts[0]) if prompts else 1
        candidates = None
        if self._policy.decision.shortlist is not None:
            candidates = [places for places in _places(found, labels) for _ in range(size)]
        scores = self._lm.score(
            [prompt.parts for own in prompts for prompt in own],
            [self._template.answer(label) for label in labels],
            prune_margin=None if exact or self._policy.decision.exact else UNLIKELY,
            candidate_ids=candidates,
        )
        asked = scores
        if candidates:
            pairs = zip(scores, candidates, strict=True)
            asked = np.concatenate([row[some] for row, some in pairs])
        check_numbers(asked, self._lm)
        return np.asarray(scores.reshape(len(prompts), size, len(labels)).mean(axis=1))


def check_numbers(scores: FloatArray, lm: LM) -> None:
    """Refuse scores that are not numbers.

    :raises BackendError: where there is one
    """
    if not np.isfinite(scores).all():
        raise BackendError(
            f"{lm.spec} gave scores that are not numbers; try another --dtype, or another model"
        )


def _places(found: Sequence[RetrievalResult], labels: Sequence[str]) -> list[list[int]]:
    """Return, for each query, where its shortlist stands among the labels."""
    places = {label: place for place, label in enumerate(labels)}
    return [[places[label] for label in own.shortlist or labels] for own in found]
