"""What every method of an evaluation is given, and what it gives back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ragicl.engine import Engine
from ragicl.errors import TaskError
from ragicl.protocols import LM, FloatArray, IntArray, Parts, Progress, no_progress
from ragicl.records import NOTHING, Example, Kind, Query, holds

VERSION = 2  # of what is kept; to be raised when methods change what they answer


@dataclass(frozen=True, eq=False)
class Task:
    """One data set: the engine over its pool of examples, test rows, and where results are kept.

    :ivar name: of the data set
    :ivar test: each with its right output
    :ivar folder: for all that can be used again by another run
    :ivar minutes: limit of each training, its search for settings included; None sets none
    :ivar others: labelled examples of other sets, by name, for references trained on several
    """

    name: str
    engine: Engine
    test: tuple[Query, ...]
    folder: Path
    minutes: float | None = None
    others: Mapping[str, Sequence[Example]] = field(default_factory=lambda: NOTHING)
    progress: Progress = no_progress

    @cached_property
    def _stored(self) -> tuple[list[Example], FloatArray]:
        examples, vectors = self.engine.index.vectors()
        policy = self.engine.policy
        where = policy.retrieval.where
        known = [i for i, example in enumerate(examples) if holds(example.meta, where)]
        if not self.engine.generates and policy.decision.labels is not None:
            known = [i for i in known if examples[i].output in self.labels]
        return [examples[i] for i in known], vectors[known]

    @property
    def kind(self) -> Kind:
        """Whether labels are chosen or texts written."""
        return "generate" if self.engine.generates else "classify"

    @property
    def pool(self) -> list[Example]:
        """The examples that the engine uses; where labels are chosen, those with one of them."""
        return self._stored[0]

    @property
    def vectors(self) -> FloatArray:
        """The pool's embeddings, shape (examples, dim)."""
        return self._stored[1]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of every method's columns."""
        return self.engine.labels

    @property
    def lm(self) -> LM:
        """The frozen language model.

        :raises TaskError: where the engine has none
        """
        if self.engine.lm is None:
            raise TaskError("this engine was opened to vote, without a language model")
        return self.engine.lm

    @cached_property
    def texts(self) -> list[str]:
        """The test rows' texts."""
        return [query.input for query in self.test]

    @cached_property
    def golds(self) -> list[str]:
        """The test rows' right outputs."""
        return [query.gold or "" for query in self.test]

    @cached_property
    def gold(self) -> IntArray:
        """Each test row's right label by its column; -1 where the pool has no such label."""
        return self.columns([query.gold or "" for query in self.test])

    @cached_property
    def pool_gold(self) -> IntArray:
        """Each pool example's label by its column."""
        return self.columns([example.output for example in self.pool])

    def columns(self, outputs: Sequence[str]) -> IntArray:
        """Return labels as columns, -1 for unknown ones."""
        places = {label: place for place, label in enumerate(self.labels)}
        return np.array([places.get(output, -1) for output in outputs], dtype=np.int64)

    def bare(self, text: str) -> Parts:
        """Return the prompt of a text without demonstrations: what fine-tuned models read.

        :raises BudgetError: where it does not fit, and the policy does not cut texts
        """
        return self.engine.bare_prompt(text).parts

    @cached_property
    def pairs(self) -> list[tuple[Parts, str]]:
        """The pool as prompts without demonstrations, and their answers."""
        return self.pairs_of(self.pool)

    def pairs_of(self, examples: Sequence[Example]) -> list[tuple[Parts, str]]:
        """Return examples as prompts without demonstrations, and their answers.

        Answers that are written go up to the end of what stops them: prompts without
        demonstrations do not show it.
        """
        template = self.engine.template
        answer = template.ended if self.engine.generates else template.answer
        return [(template.render(e.input, []), answer(e.output)) for e in examples]

    @cached_property
    def identity(self) -> str:
        """Changes with the pool, the labels, the template, the encoder and the language model."""
        engine = self.engine
        return digest(
            VERSION,
            [(e.input, e.output) for e in self.pool],
            engine.index.labels() if engine.generates else self.labels,
            engine.template.render("{query}", [("{input}", "{output}")]),
            engine.template.answer("{output}"),
            engine.index.manifest.encoder.fingerprint,
            engine.lm.description if engine.lm else "",
        )


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A method that was fitted to a task; a :class:`ragicl.protocols.Classifier`.

    :ivar labels: in the order of the columns of `probs`
    :ivar probs: P(label | text), from texts to shape (texts, labels)
    :ivar read: how many tokens the language model reads for a text
    :ivar seconds: of training
    :ivar bytes: stored beside the base model and the index
    :ivar settings: what was chosen in training
    """

    labels: tuple[str, ...]
    probs: Callable[[Sequence[str]], FloatArray]
    read: Callable[[str], int] = lambda text: 0
    seconds: float = 0.0
    bytes: int = 0
    settings: Mapping[str, Any] = field(default_factory=lambda: NOTHING)


def digest(*parts: object) -> str:
    """Return a short name for content that JSON can hold."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
