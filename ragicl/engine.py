"""The engine: what a program embeds. It opens, delegates to the pipeline, and closes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from ragicl.backends import open_lm
from ragicl.backends.capabilities import chat_format
from ragicl.calibration.exit_rule import ExitRule
from ragicl.errors import BudgetError, TaskError
from ragicl.index import Index
from ragicl.inference.explain import explain
from ragicl.inference.pipeline import CHUNK, Pipeline
from ragicl.inference.support import NAMED
from ragicl.inference.tuned_settings import Tuned, tuned_for
from ragicl.policy import DEFAULT, Policy
from ragicl.prompting.template import Template, named_template
from ragicl.protocols import LM, FloatArray, Progress, no_progress
from ragicl.records import Example, Explanation, Kind, Neighbor, Prediction, Prompt, Recall
from ragicl.retrieval.retriever import RetrievalResult


class Engine:
    """An index, a frozen language model, a template and a policy; safe to share between threads.

    >>> engine = Engine.open("indexes/support", policy=Policy(k=8))  # doctest: +SKIP
    >>> engine.predict("where is my parcel?").output                 # doctest: +SKIP
    'late delivery'
    """

    def __init__(
        self,
        index: Index,
        lm: LM | None,
        template: Template,
        policy: Policy = DEFAULT,
        tuned: Tuned | None = None,
    ) -> None:
        self._pipeline = Pipeline(index, lm, template, policy, tuned)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        lm: str | LM = "smollm2",
        template: str | Template | None = None,
        instruction: str | None = None,
        policy: Policy | None = None,
        dtype: str = "auto",
        **chosen: Any,
    ) -> Self:
        """Open an index with a language model.

        What ``ragicl tune`` found for the index with this language model is used: its blend, and,
        where none is given, its policy and its template. To write text, nothing of it is used.

        :param lm: a spec such as ``smollm2`` or ``hf:NAME``, or any object of that shape; it is
            not loaded where the policy decides by ``probe`` or ``knn``
        :param template: ``plain``, ``chat``, a pattern that holds ``{input}`` and ``{output}``,
            or a template of your own; None takes what was tuned, or ``plain``
        :param instruction: what the prompt begins with; None takes the usual one
        :param chosen: fields of the policy, such as ``k=4``, that take the place of its own
        :param dtype: ``float32``, ``bfloat16``, or ``auto`` for the faster one here
        :raises StoreError: where the index cannot be opened
        :raises BackendError: where the language model cannot be opened
        :raises TaskError: where the policy makes no sense here, or has no such field
        """
        asked = (policy or DEFAULT).replace(**chosen)
        index = Index.open(path)
        try:
            model = None
            if not asked.decision.lm_free:
                model = open_lm(lm, dtype=dtype) if isinstance(lm, str) else lm
            tuned = None
            if model is not None and not asked.generation.generate:
                tuned = tuned_for(index, model)
            if policy is None and tuned is not None:
                asked = tuned.policy_over().replace(**chosen)
            named = template or (tuned.template if tuned else None) or "plain"
            own = _template(named, instruction, index.kind, model)
            return cls(index, model, own, asked, tuned)
        except BaseException:
            index.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> str:
        raise TypeError(
            f"an Engine cannot be pickled or copied: it has files and a model open; in the other "
            f"process open one with Engine.open({str(self.index.path)!r})"
        )

    def close(self) -> None:
        """Close the index."""
        self.index.close()

    def load(self, progress: Progress = no_progress) -> None:
        """Load and learn from the index what the first prediction needs, which else would wait.

        Where nothing else was asked for, a language model reads some thousand examples of an index
        once; what it made of them is kept there.

        :param progress: called as examples are read
        """
        self._pipeline.load(progress)

    def report_to(self, progress: Progress) -> None:
        """Report from now on how far the language model is while it scores labels, if it can.

        A single text takes minutes where it reads a thousand labels.
        """
        self._pipeline.report_to(progress)

    @property
    def index(self) -> Index:
        """The examples."""
        return self._pipeline.index

    @property
    def lm(self) -> LM | None:
        """The frozen language model; None where the policy needs none."""
        return self._pipeline.lm

    @property
    def template(self) -> Template:
        """How demonstrations and queries become text."""
        return self._pipeline.template

    @property
    def policy(self) -> Policy:
        """How the engine answers."""
        return self._pipeline.policy

    @property
    def tuned(self) -> Tuned | None:
        """What ``ragicl tune`` found for the index with this language model."""
        return self._pipeline.tuned

    @property
    def pipeline(self) -> Pipeline:
        """The steps from query to prediction."""
        return self._pipeline

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels to choose from: the policy's, or all of the index's, sorted.

        :raises TaskError: where there are fewer than two, or the policy names unknown ones
        """
        return self._pipeline.labels

    @property
    def generates(self) -> bool:
        """Whether predictions are written text rather than one of the labels."""
        return self._pipeline.generates

    @property
    def blends(self) -> bool:
        """Whether predictions blend several sources."""
        return self._pipeline.blends

    def predict(self, text: str, *, exclude: str | None = None) -> Prediction:
        """Predict one text.

        :param exclude: id of an example that must not serve as a demonstration, such as its own
        :raises BudgetError: where the text does not fit into the budget
        """
        return next(self.predict_all([text], exclude=[exclude]))

    def predict_all(
        self, texts: Sequence[str], *, exclude: Sequence[str | None] | None = None
    ) -> Iterator[Prediction]:
        """Yield the prediction of each text, in order; texts are read in batches.

        :raises BudgetError: at the first text that does not fit into the budget
        """
        for prediction in self.try_all(texts, exclude=exclude):
            if isinstance(prediction, BudgetError):
                raise prediction
            yield prediction

    def try_all(
        self, texts: Sequence[str], *, exclude: Sequence[str | None] | None = None
    ) -> Iterator[Prediction | BudgetError]:
        """Yield the prediction of each text, or the error of a text that does not fit."""
        excluded = exclude or [None] * len(texts)
        if isinstance(texts, str) or len(excluded) != len(texts):
            raise TaskError("give a list of texts, and as many ids to exclude, or none")
        yield from self._pipeline.run(texts, excluded)

    def predict_with(
        self, texts: Sequence[str], demonstrations: Sequence[Sequence[Neighbor]]
    ) -> Iterator[Prediction]:
        """Yield the prediction of each text with demonstrations of your choice, nearest first.

        Nothing is retrieved; as many demonstrations as fit the budget are used.

        :raises BudgetError: at the first text that does not fit into the budget
        """
        labels = self._pipeline.choices()
        found = [RetrievalResult(tuple(some), labels=labels) for some in demonstrations]
        for start in range(0, len(texts), CHUNK):
            some = slice(start, start + CHUNK)
            for answer in self._pipeline.ask(texts[some], found[some], {}):
                if isinstance(answer, BudgetError):
                    raise answer
                yield answer

    async def apredict(self, text: str, *, exclude: str | None = None) -> Prediction:
        """Predict one text without blocking the event loop."""
        return await asyncio.to_thread(self.predict, text, exclude=exclude)

    def stream(self, text: str, *, exclude: str | None = None) -> Iterator[str]:
        """Yield a generated answer piece by piece.

        :raises BudgetError: where the text does not fit into the budget
        """
        prompt, lm = self.prompt(text, exclude=exclude), self._pipeline.require_lm()
        return lm.stream(prompt.parts, **self._pipeline.composer.options)

    def prompt(self, text: str, *, exclude: str | None = None) -> Prompt:
        """Return the prompt that a prediction would use; the model itself is not run.

        Of an ensemble, the first.

        :raises BudgetError: where the text does not fit into the budget
        """
        (found,) = self._pipeline.retriever.find([text], [exclude], {})
        return self._pipeline.composer.prompts(text, found)[0]

    def explain(
        self,
        text: str,
        *,
        label: str | None = None,
        exclude: str | None = None,
        examples: int = NAMED,
        context: bool = False,
    ) -> Explanation:
        """Say how much each demonstration changes the prediction of a text.

        The prediction is made again without each demonstration in turn, all else as it was: nothing
        takes its place. Fixed demonstrations are one piece with the instruction and are not taken
        apart, and an ensemble is explained by its first prompt. The language model is asked even
        where neighbours that agree would answer. In a blend, a demonstration that is left out does
        not vote either; the classifiers stay what they are. The stored examples that weigh most in
        these are named with what they add. A blend that shows no demonstrations has those alone.

        :param label: the label to explain, None the predicted one; where texts are written, any
            text, None the one that is written
        :param exclude: id of an example that must not serve as a demonstration, such as its own;
            it is not named either
        :param examples: how many stored examples are named, at most
        :param context: also read the text again without each demonstration that precedes every text
        :raises TaskError: where the neighbours' vote alone answers, the label is not to choose
            from, or with `context` no states are read in context or an example is excluded
        :raises BudgetError: where the text does not fit into the budget
        """
        return explain(
            self._pipeline,
            text,
            label=label,
            exclude=exclude,
            examples=examples,
            context=context,
        )

    def bare_prompt(self, text: str) -> Prompt:
        """Return the prompt of a text without demonstrations.

        :raises BudgetError: where the text does not fit into the model's window
        """
        return self._pipeline.composer.bare(text)

    def probs(self, texts: Sequence[str]) -> FloatArray:
        """Return P(label | text), shape (len(texts), len(labels)), columns as in `labels`.

        :raises TaskError: where the language model that decides gives no likelihoods
        """
        labels, rows = self.labels, []
        for prediction in self._pipeline.run(texts, [None] * len(texts), labels):
            if isinstance(prediction, BudgetError):
                raise prediction
            if not prediction.probs:
                raise TaskError(
                    f"{prediction.lm} gives no label likelihoods; decide by blend, probe or knn"
                )
            rows.append([prediction.probs[label] for label in labels])
        return np.array(rows, dtype=np.float32).reshape(len(texts), len(labels))

    def add(self, examples: Sequence[Example]) -> list[str]:
        """Teach examples, for the next prediction on; return their ids."""
        return self.index.add(examples)

    def update(self, examples: Sequence[Example]) -> None:
        """Replace the examples that have these ids."""
        self.index.update(examples)

    def remove(self, ids: Sequence[str]) -> None:
        """Forget examples by id."""
        self.index.remove(ids)

    @property
    def exit_rule(self) -> ExitRule | None:
        """The rule of the early exit, learned from the index when first needed; None without one.

        :raises TaskError: where the index has no labels
        """
        return self._pipeline.cascade.exit_rule

    @property
    def shortlist_recall(self) -> Recall | None:
        """How often the shortlist holds the right label; None without a shortlist.

        No answer chosen from the shortlist can be right more often.
        """
        return self._pipeline.cascade.recall

    @property
    def longest_answer(self) -> int:
        """The most tokens that a generated answer may have."""
        return self._pipeline.composer.reserve


def _template(
    template: str | Template, instruction: str | None, kind: Kind, lm: LM | None
) -> Template:
    if not isinstance(template, str):
        return template
    return named_template(template, kind, instruction, chat_format(lm))
