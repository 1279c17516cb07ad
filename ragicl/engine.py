"""The engine: retrieve, compose, predict. What a backend imports."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from ragicl.backends import open_lm
from ragicl.calibration.blend import Blend
from ragicl.calibration.conformal import ConformalRecord, label_set
from ragicl.calibration.distributions import from_log_probs, likeliest
from ragicl.calibration.exit_rule import ExitRule
from ragicl.errors import BudgetError, TaskError
from ragicl.index import Index
from ragicl.inference.blender import Blender, untuned
from ragicl.inference.cascade import Cascade
from ragicl.inference.composer import Composer
from ragicl.inference.explain import of_answer, of_label, taken_apart, without_each
from ragicl.inference.scorer import Scorer, check_numbers
from ragicl.inference.tuned_settings import Tuned
from ragicl.policy import DEFAULT, Policy
from ragicl.probes.lm_features import features_of
from ragicl.prompting.template import Template, named_template
from ragicl.protocols import LM, FloatArray, Progress, no_progress
from ragicl.records import (
    NOTHING,
    Example,
    Explanation,
    Kind,
    Neighbor,
    Prediction,
    Prompt,
    Recall,
)
from ragicl.retrieval.retriever import RetrievalResult, Retriever
from ragicl.timing import Timings, shared, timed

CHUNK = 16  # queries scored together, and retrieved together unless they are sorted first
WINDOW = 256  # queries sorted by the fixed demonstrations that their prompts begin with


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
        if index.kind == "generate" and policy.decide == "knn":
            raise TaskError("a vote needs labels; this index holds texts to generate")
        self.index = index
        self.lm = lm
        self.template = template
        self.policy = policy
        self.tuned = tuned
        blend = tuned.blend if tuned else untuned(lm)
        self._blender = self._blending(blend) if self.blends else None
        if lm is None and (self._asks or self._looks):
            raise TaskError("the policy asks a language model; give one, or decide by knn")
        self._retriever = Retriever(index, policy)
        self._cascade = Cascade(index, policy, self._retriever, lambda: self.labels)

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
            not loaded where the policy decides by the neighbours' vote
        :param template: ``plain``, ``chat``, a pattern that holds ``{input}`` and ``{output}``,
            or a template of your own; None takes what was tuned, or ``plain``
        :param instruction: what the prompt begins with; None takes the usual one
        :param chosen: fields of the policy, such as ``k=4``, that take the place of its own
        :param dtype: ``float32``, ``bfloat16``, or ``auto`` for the faster one here
        :raises StoreError: where the index cannot be opened
        :raises BackendError: where the language model cannot be opened
        :raises TaskError: where the policy makes no sense here, or has no such field
        """
        known = {field.name for field in fields(Policy)}
        if unknown := sorted(set(chosen) - known):
            raise TaskError(
                f"a policy has no field {unknown[0]!r}; it has {', '.join(sorted(known))}"
            )
        index = Index.open(path)
        try:
            votes = chosen.get("decide", (policy or DEFAULT).decide) == "knn"
            model = None if votes else open_lm(lm, dtype=dtype) if isinstance(lm, str) else lm
            writes = chosen.get("generate", (policy or DEFAULT).generate)
            tuned = None if model is None or writes else tuned_for(index, model)
            if policy is None:
                policy = tuned.policy_over() if tuned else DEFAULT
            policy = replace(policy, **chosen)
            named = template or (tuned.template if tuned else None) or "plain"
            own = _template(named, instruction, index.kind, model)
            return cls(index, model, own, policy, tuned)
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

    def load(self, progress: Progress = no_progress) -> None:
        """Load and learn from the index what the first prediction needs, which else would wait.

        Where nothing else was asked for, a language model reads some thousand examples of an index
        once; what it made of them is kept there.

        :param progress: called as examples are read
        """
        if self.lm is not None and (self._asks or self._looks):
            self.lm.load()
        if self._blender is not None:
            self._blender.load(progress)

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

    @property
    def blends(self) -> bool:
        """Whether predictions blend the language model's distribution with the index's own."""
        return self.policy.decide == "blend" and not self.generates

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
        size = CHUNK if self.policy.clusters == 1 else WINDOW
        for start in range(0, len(texts), size):
            window = slice(start, start + size)
            yield from self._window(texts[window], excluded[window])

    def predict_with(
        self, texts: Sequence[str], demonstrations: Sequence[Sequence[Neighbor]]
    ) -> Iterator[Prediction]:
        """Yield the prediction of each text with demonstrations of your choice, nearest first.

        Nothing is retrieved; as many demonstrations as fit the budget are used.

        :raises BudgetError: at the first text that does not fit into the budget
        """
        found = [RetrievalResult(tuple(some)) for some in demonstrations]
        for start in range(0, len(texts), CHUNK):
            some = slice(start, start + CHUNK)
            for answer in self._ask(texts[some], found[some], {}):
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
        prompt, lm = self.prompt(text, exclude=exclude), self._lm()
        return lm.generate(prompt.parts, **self._composer.writing)

    def prompt(self, text: str, *, exclude: str | None = None) -> Prompt:
        """Return the prompt that a prediction would use; the model itself is not run.

        Of an ensemble, the first.

        :raises BudgetError: where the text does not fit into the budget
        """
        return self._composer.prompts(text, *self._retriever.find([text], [exclude], {}))[0]

    def explain(
        self, text: str, *, label: str | None = None, exclude: str | None = None
    ) -> Explanation:
        """Say how much each demonstration changes the prediction of a text.

        The prediction is made again without each demonstration in turn, all else as it was: nothing
        takes its place. Fixed demonstrations are one piece with the instruction and are not taken
        apart, and an ensemble is explained by its first prompt. The language model is asked even
        where neighbours that agree would answer. In a blend, a demonstration that is left out does
        not vote either; the classifiers stay what they are.

        :param label: the label to explain, None the predicted one; where texts are written, any
            text, None the one that is written
        :param exclude: id of an example that must not serve as a demonstration, such as its own
        :raises TaskError: where no language model is asked, or the label is not to choose from
        :raises BudgetError: where the text does not fit into the budget
        """
        if not self._asks:
            raise TaskError(
                "this policy or blend shows no demonstrations to a language model; to explain what "
                "they would do, decide by lm (--decide lm)"
            )
        lm = self._lm()
        (found,) = self._retriever.find([text], [exclude], {})
        prompt = self._composer.prompts(text, found)[0]
        shots = taken_apart(prompt, found)
        shorter = without_each(text, prompt, found, self.template, lm.count)
        prompts, founds = [prompt, *(p for p, _ in shorter)], [found, *(f for _, f in shorter)]
        if not self.generates:
            self._check_choice(label, found)
            each = [(own,) for own in prompts]
            predictions = list(self._classify(each, founds, {}, exact=True))
            return of_label(text, label, prompt, shots, predictions)
        if label is None:
            label = next(self._generate([(prompt,)], [found], {})).output
        scores = lm.score([p.parts for p in prompts], [self.template.answer(label)])
        check_numbers(scores, lm)
        return of_answer(text, label, prompt, shots, scores[:, 0], lm.description)

    def bare_prompt(self, text: str) -> Prompt:
        """Return the prompt of a text without demonstrations.

        :raises BudgetError: where the text does not fit into the model's window
        """
        return self._composer.bare(text)

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
        return self._cascade.exit_rule

    @property
    def shortlist_recall(self) -> Recall | None:
        """How often the shortlist holds the right label; None without a shortlist.

        No answer chosen from the shortlist can be right more often.
        """
        return self._cascade.recall

    def _window(
        self, texts: Sequence[str], excluded: Sequence[str | None]
    ) -> Iterator[Prediction | BudgetError]:
        timings: Timings = {}
        found = self._retriever.find(texts, excluded, timings, demonstrations=self._asks)
        timings = shared(timings, len(texts))
        if self.policy.decide == "knn":
            yield from self._cascade.vote(found, timings)
            return
        if not self._asks:
            yield from self._blended(found, timings, self.labels)
            return
        votes = self._exits(found, timings)
        left = [i for i in range(len(texts)) if i not in votes]
        answers = self._ask([texts[i] for i in left], [found[i] for i in left], timings)
        for i in range(len(texts)):
            yield votes[i] if i in votes else next(answers)

    def _exits(self, found: Sequence[RetrievalResult], timings: Timings) -> dict[int, Prediction]:
        """Return the predictions, by position, that need no language model."""
        votes = self._cascade.exits(found, timings)
        if self._blender is None or not votes:
            return votes
        self._blender.load()
        familiar = self._blender.percentiles([found[i] for i in votes])
        return {
            i: self._judged(replace(vote, percentile=float(share)))
            for (i, vote), share in zip(votes.items(), familiar, strict=True)
        }

    def _ask(
        self, texts: Sequence[str], found: Sequence[RetrievalResult], timings: Timings
    ) -> Iterator[Prediction | BudgetError]:
        """Yield the language model's predictions, or the error of a text that does not fit."""
        prompts: list[tuple[Prompt, ...] | BudgetError] = []
        spent: Timings = {}
        with timed(spent, "compose"):
            for text, own in zip(texts, found, strict=True):
                try:
                    prompts.append(self._composer.prompts(text, own))
                except BudgetError as error:
                    prompts.append(error)
        timings = timings | shared(spent, len(texts))
        good = {i: p for i, p in enumerate(prompts) if not isinstance(p, BudgetError)}
        # Prompts that begin alike follow each other, so that their beginning is read once.
        order = sorted(good, key=lambda i: good[i][0].parts[0]) if self.policy.fixed else list(good)
        answer = self._generate if self.generates else self._classify
        answers: dict[int, Prediction] = {}
        batches = (order[start : start + CHUNK] for start in range(0, len(order), CHUNK))
        for i, prompt in enumerate(prompts):
            while i in good and i not in answers:
                batch = next(batches)
                ask = answer([good[j] for j in batch], [found[j] for j in batch], timings)
                answers |= zip(batch, ask, strict=True)
            yield prompt if isinstance(prompt, BudgetError) else answers.pop(i)

    def _check_choice(self, label: str | None, found: RetrievalResult) -> None:
        choices = self.labels if found.shortlist is None else found.shortlist
        if label is not None and label not in choices:
            raise TaskError(
                f"{label!r} is not among the labels to choose from for this text: "
                f"{', '.join(islice(choices, 10))}{', …' if len(choices) > 10 else ''}"
            )

    def _classify(
        self,
        prompts: Sequence[tuple[Prompt, ...]],
        found: Sequence[RetrievalResult],
        timings: Timings,
        *,
        exact: bool = False,
    ) -> Iterator[Prediction]:
        labels = self.labels
        spent: Timings = {}
        self._scorer.load()
        with timed(spent, "score"):
            scores = self._scorer.score(prompts, found, labels, exact=exact)
        timings = timings | shared(spent, len(prompts))
        answers = (
            self._blended(found, timings, labels, scores)
            if self._blender and all(own.vector is not None for own in found)
            else self._alone(found, timings, labels, scores)
        )
        for own, answer in zip(prompts, answers, strict=True):
            yield replace(answer, prompt=own[0], lm=self._scorer.description)

    def _alone(
        self,
        found: Sequence[RetrievalResult],
        timings: Timings,
        labels: tuple[str, ...],
        scores: FloatArray,
    ) -> Iterator[Prediction]:
        """Yield what the language model says by itself."""
        for own, log_probs in zip(found, scores, strict=True):
            probs = from_log_probs(log_probs, labels)
            yield Prediction(likeliest(probs), probs, own.neighbors, None, timings)

    def _blended(
        self,
        found: Sequence[RetrievalResult],
        timings: Timings,
        labels: tuple[str, ...],
        scores: FloatArray | None = None,
    ) -> Iterator[Prediction]:
        """Yield what all sources say; without scores, what the index says by itself."""
        assert self._blender is not None
        spent: Timings = {}
        self._blender.load()  # fitting is no query's time
        with timed(spent, "blend"):
            rows, familiar = self._blender.answers(found, labels, scores)
        timings = timings | shared(spent, len(found))
        for own, row, share in zip(found, rows, familiar, strict=True):
            probs = dict(zip(labels, row.tolist(), strict=True))
            near = own.voters[: self.policy.voters] if scores is None else own.neighbors
            reader = self._lm().description if self._looks else None
            answer = Prediction(likeliest(probs), probs, near, None, timings, reader)
            yield self._judged(replace(answer, percentile=float(share)))

    def _judged(self, prediction: Prediction) -> Prediction:
        """Return a blend's prediction with the label set, or the abstention, that was asked for."""
        sets, answer = self.policy.sets, self.policy.answer
        record = ConformalRecord()
        if self.tuned is not None and not sets is answer is None:
            record = self.tuned.promised(self.policy, len(self.index))
        if sets is not None:
            held = label_set(prediction.probs, record.quantile(sets))
            prediction = replace(prediction, label_set=held)
        if answer is not None:
            unsure = prediction.probs[prediction.output] < record.abstention_threshold(answer)
            prediction = replace(prediction, abstained=unsure)
        strange = (prediction.percentile or 0.0) < (self.policy.scope or 0.0)
        return replace(prediction, out_of_scope=strange)

    def _generate(
        self,
        prompts: Sequence[tuple[Prompt, ...]],
        found: Sequence[RetrievalResult],
        timings: Timings,
    ) -> Iterator[Prediction]:
        lm, known = self._lm(), self.index.labels()
        spent: Timings = {}
        lm.load()
        with timed(spent, "generate"):
            texts = lm.write([own[0].parts for own in prompts], **self._composer.writing)
        timings = timings | shared(spent, len(prompts))
        for (prompt,), own, text in zip(prompts, found, texts, strict=True):
            output = text.strip()
            yield Prediction(
                output,
                NOTHING,
                own.neighbors,
                prompt,
                timings,
                lm.description,
                known_label=output in known if self.index.kind == "classify" else None,
            )

    @property
    def longest_answer(self) -> int:
        """The most tokens that a written answer may have."""
        return self._composer.reserve

    @cached_property
    def _composer(self) -> Composer:
        labels = None if self.generates else lambda: self.labels
        return Composer(self.index, self._lm(), self.template, self.policy, labels)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self._lm(), self.template, self.policy)

    def _blending(self, blend: Blend) -> Blender:
        features = features_of(self.index.path, self.lm) if blend.features else None
        return Blender(self.index, self.policy, lambda: self.labels, blend, features)

    @property
    def _looks(self) -> bool:
        """Whether the language model reads queries alone, for its features."""
        return self._blender is not None and self._blender.blend.features > 0

    @property
    def _asks(self) -> bool:
        """Whether the language model is asked at all."""
        if self._blender is not None:
            return self._blender.blend.lm > 0
        return self.policy.decide != "knn"

    def _lm(self) -> LM:
        if self.lm is None:
            raise TaskError("this engine was opened to vote, without a language model")
        return self.lm


def tuned_for(index: Index, lm: LM) -> Tuned | None:
    """Return what tuning found for an index with this language model, if it was tuned with it."""
    found = index.manifest.tuned
    if found is None or found.get("lm") != lm.description:
        return None
    return Tuned.from_json(found)


def _template(
    template: str | Template, instruction: str | None, kind: Kind, lm: LM | None
) -> Template:
    if not isinstance(template, str):
        return template
    return named_template(template, kind, instruction, lm.chat if lm else None)
