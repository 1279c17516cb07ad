"""The engine: retrieve, compose, predict. What a backend imports."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np

from ragicl.backends import open_lm
from ragicl.data import check_query
from ragicl.decide import from_log_probs, from_votes, likeliest
from ragicl.early import ExitRule, learn_exit
from ragicl.errors import BackendError, BudgetError, TaskError
from ragicl.index import Index
from ragicl.policy import DEFAULT, Policy
from ragicl.prompt import Template, compose, named_template
from ragicl.protocols import LM, FloatArray, Writing
from ragicl.records import NOTHING, Example, Kind, Neighbor, Prediction, Prompt
from ragicl.select import nearest
from ragicl.timing import Timings, shared, timed

CHUNK = 16  # queries embedded, searched and scored together
UNLIKELY = 14.0  # nats below the likeliest label: a probability of less than one in a million
EXIT_SAMPLE = 4000  # examples that an early exit is learnt from
ANSWER_SHARE = 4  # a generated answer gets at most this fraction of the budget, unless asked


class Engine:
    """An index, a frozen language model, a template and a policy; safe to share between threads.

    >>> engine = Engine.open("indexes/support", policy=Policy(k=8))  # doctest: +SKIP
    >>> engine.predict("where is my parcel?").output                 # doctest: +SKIP
    'late delivery'
    """

    def __init__(
        self, index: Index, lm: LM | None, template: Template, policy: Policy = DEFAULT
    ) -> None:
        if index.kind == "generate" and policy.decide == "knn":
            raise TaskError("a vote needs labels; this index holds texts to generate")
        if lm is None and policy.decide == "lm":
            raise TaskError("the policy asks a language model; give one, or decide by knn")
        self.index = index
        self.lm = lm
        self.template = template
        self.policy = policy
        self._exit_rule: ExitRule | None = None
        self._learning = Lock()
        self._reserved: tuple[tuple[str, ...], int] | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        lm: str | LM = "smollm2",
        template: str | Template = "plain",
        instruction: str | None = None,
        policy: Policy = DEFAULT,
        dtype: str = "auto",
    ) -> Self:
        """Open an index with a language model.

        :param lm: a spec such as ``smollm2`` or ``hf:NAME``, or any object of that shape; it is
            not loaded where the policy decides by the neighbours' vote
        :param template: ``plain``, ``chat``, a pattern that holds ``{input}`` and ``{output}``,
            or a template of your own
        :param instruction: what the prompt begins with; None takes the usual one
        :param dtype: ``float32``, ``bfloat16``, or ``auto`` for the faster one here
        :raises StoreError: where the index cannot be opened
        :raises BackendError: where the language model cannot be opened
        """
        index = Index.open(path)
        try:
            model = _model(lm, dtype, policy)
            return cls(index, model, _template(template, instruction, index.kind, model), policy)
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

    def close(self) -> None:
        """Close the index."""
        self.index.close()

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels to choose from: the policy's, or all of the index's, sorted.

        :raises TaskError: where there are fewer than two, or the policy names unknown ones
        """
        known = self.index.labels()
        labels = tuple(dict.fromkeys(known if self.policy.labels is None else self.policy.labels))
        if unknown := [label for label in labels if label not in known]:
            raise TaskError(
                f"no example in {self.index.path} has the label {unknown[0]!r}; "
                f"there are {', '.join(islice(known, 10))}{', …' if len(known) > 10 else ''}"
            )
        if len(labels) < 2:
            raise TaskError(
                f"{self.index.path} has {len(labels)} label(s) to choose from; "
                f"a classifier needs two or more"
            )
        return labels

    @property
    def generates(self) -> bool:
        """Whether predictions are written text rather than one of the labels."""
        if self.policy.generate is not None:
            return self.policy.generate
        return self.index.kind == "generate"

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
        for start in range(0, len(texts), CHUNK):
            chunk = slice(start, start + CHUNK)
            yield from self._chunk(texts[chunk], excluded[chunk])

    async def apredict(self, text: str, *, exclude: str | None = None) -> Prediction:
        """Predict one text without blocking the event loop."""
        return await asyncio.to_thread(self.predict, text, exclude=exclude)

    def stream(self, text: str, *, exclude: str | None = None) -> Iterator[str]:
        """Yield a generated answer piece by piece.

        :raises BudgetError: where the text does not fit into the budget
        """
        prompt, lm = self.prompt(text, exclude=exclude), self._lm()
        return lm.generate(prompt.parts, **self._writing(lm))

    def prompt(self, text: str, *, exclude: str | None = None) -> Prompt:
        """Return the prompt that a prediction would use; the model itself is not run.

        :raises BudgetError: where the text does not fit into the budget
        """
        neighbors = self._retrieve([text], [exclude], {})[0]
        return self._compose(text, neighbors)

    def probs(self, texts: Sequence[str]) -> FloatArray:
        """Return P(label | text), shape (len(texts), len(labels)), columns as in `labels`."""
        labels = self.labels
        rows = [[p.probs[label] for label in labels] for p in self.predict_all(texts)]
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
        """The rule of the early exit, learnt from the index when first needed; None without one.

        :raises TaskError: where the index has no labels
        """
        if self.policy.exit is None:
            return None
        with self._learning:
            if self._exit_rule is None:
                self._exit_rule = learn_exit(
                    self.index.sample(EXIT_SAMPLE),
                    lambda texts, own: self._retrieve(texts, own, {}),
                    self.labels,
                    self.policy.exit,
                )
            return self._exit_rule

    def _chunk(
        self, texts: Sequence[str], excluded: Sequence[str | None]
    ) -> Iterator[Prediction | BudgetError]:
        timings: Timings = {}
        neighbors = self._retrieve(texts, excluded, timings)
        if self.policy.decide == "knn":
            yield from self._vote(neighbors, shared(timings, len(texts)))
            return
        votes = self._exits(neighbors, shared(timings, len(texts)))
        left = [i for i in range(len(texts)) if i not in votes]
        answers = self._ask([texts[i] for i in left], [neighbors[i] for i in left],
                            shared(timings, len(texts)))  # fmt: skip
        for i in range(len(texts)):
            yield votes[i] if i in votes else next(answers)

    def _exits(
        self, neighbors: Sequence[tuple[Neighbor, ...]], timings: Timings
    ) -> dict[int, Prediction]:
        """Return the predictions, by position, that need no language model."""
        rule = self.exit_rule
        if rule is None:
            return {}
        votes = enumerate(self._vote(neighbors, timings))
        return {i: replace(v, exited=True) for i, v in votes if rule.allows(v.probs[v.output])}

    def _ask(
        self, texts: Sequence[str], neighbors: Sequence[tuple[Neighbor, ...]], timings: Timings
    ) -> Iterator[Prediction | BudgetError]:
        """Yield the language model's predictions, or the error of a text that does not fit."""
        prompts: list[Prompt | BudgetError] = []
        spent: Timings = {}
        with timed(spent, "compose"):
            for text, near in zip(texts, neighbors, strict=True):
                try:
                    prompts.append(self._compose(text, near))
                except BudgetError as error:
                    prompts.append(error)
        answer = self._generate if self.generates else self._classify
        good = [p for p in prompts if isinstance(p, Prompt)]
        behind = [n for n, p in zip(neighbors, prompts, strict=True) if isinstance(p, Prompt)]
        answers = answer(good, behind, timings | shared(spent, len(texts)))
        for prompt in prompts:
            yield prompt if isinstance(prompt, BudgetError) else next(answers)

    def _retrieve(
        self, texts: Sequence[str], excluded: Sequence[str | None], timings: Timings
    ) -> list[tuple[Neighbor, ...]]:
        for text in texts:
            check_query(text)
        if self.policy.k == 0:
            return [()] * len(texts)
        encoder = self.index.encoder  # loading it is no query's time
        with timed(timings, "embed"):
            vectors = encoder.encode(texts)
        with timed(timings, "search"):
            return nearest(
                self.index.near,
                vectors,
                self.policy.k,
                exclude=excluded,
                labels=self.policy.labels,
            )

    def _compose(self, text: str, neighbors: Sequence[Neighbor]) -> Prompt:
        lm = self._lm()
        return compose(
            text,
            neighbors,
            self.template,
            count=lm.count,
            budget=self._budget(lm),
            reserve=self._reserve(lm),
            truncate=self.policy.truncate,
        )

    def _vote(
        self, neighbors: Sequence[tuple[Neighbor, ...]], timings: Timings
    ) -> Iterator[Prediction]:
        labels = self.labels
        for near in neighbors:
            probs = from_votes(near, labels)
            yield Prediction(likeliest(probs), probs, near, None, timings)

    def _classify(
        self,
        prompts: Sequence[Prompt],
        neighbors: Sequence[tuple[Neighbor, ...]],
        timings: Timings,
    ) -> Iterator[Prediction]:
        lm, labels = self._lm(), self.labels
        spent: Timings = {}
        lm.load()
        with timed(spent, "score"):
            scores = lm.score(
                [prompt.parts for prompt in prompts],
                [self.template.answer(label) for label in labels],
                floor=None if self.policy.exact else UNLIKELY,
            )
        if not np.isfinite(scores).all():
            raise BackendError(
                f"{lm.spec} gave scores that are not numbers; try another --dtype, or another model"
            )
        timings = timings | shared(spent, len(prompts))
        for prompt, near, log_probs in zip(prompts, neighbors, scores, strict=True):
            probs = from_log_probs(log_probs, labels)
            yield Prediction(likeliest(probs), probs, near, prompt, timings, lm.description)

    def _generate(
        self,
        prompts: Sequence[Prompt],
        neighbors: Sequence[tuple[Neighbor, ...]],
        timings: Timings,
    ) -> Iterator[Prediction]:
        lm, known = self._lm(), self.index.labels()
        spent: Timings = {}
        lm.load()
        with timed(spent, "generate"):
            texts = lm.write([prompt.parts for prompt in prompts], **self._writing(lm))
        timings = timings | shared(spent, len(prompts))
        for prompt, near, text in zip(prompts, neighbors, texts, strict=True):
            output = text.strip()
            yield Prediction(
                output,
                NOTHING,
                near,
                prompt,
                timings,
                lm.description,
                known_label=output in known if self.index.kind == "classify" else None,
            )

    def _writing(self, lm: LM) -> Writing:
        return {
            "max_tokens": self._reserve(lm),
            "stop": self.template.stops,
            "temperature": self.policy.temperature,
            "seed": self.policy.seed,
        }

    def _budget(self, lm: LM) -> int:
        return min(self.policy.budget or lm.window, lm.window)

    def _reserve(self, lm: LM) -> int:
        """Return the tokens to keep free for an answer."""
        if self.generates and self.policy.max_tokens is not None:
            return self.policy.max_tokens
        # New examples may bring longer texts, or other labels.
        answers = (str(self.index.generation),) if self.generates else self.labels
        reserved = self._reserved
        if reserved is None or reserved[0] != answers:
            reserved = self._reserved = answers, self._longest_answer(lm)
        return reserved[1]

    def _longest_answer(self, lm: LM) -> int:
        outputs = self.index.longest_outputs() if self.generates else self.labels
        longest = max((lm.count([self.template.answer(o)]) for o in outputs), default=0)
        share = self._budget(lm) // ANSWER_SHARE
        return max(1, min(longest or share, share)) if self.generates else longest

    def _lm(self) -> LM:
        if self.lm is None:
            raise TaskError("this engine was opened to vote, without a language model")
        return self.lm


def _template(
    template: str | Template, instruction: str | None, kind: Kind, lm: LM | None
) -> Template:
    if not isinstance(template, str):
        return template
    return named_template(template, kind, instruction, lm.chat if lm else None)


def _model(lm: str | LM, dtype: str, policy: Policy) -> LM | None:
    """Open a spec, unless no model will be asked."""
    if isinstance(lm, str):
        return open_lm(lm, dtype=dtype) if policy.decide == "lm" else None
    return lm
