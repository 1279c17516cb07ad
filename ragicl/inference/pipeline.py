"""From queries to predictions: retrieve, let the cascade answer, compose, ask, decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice

from ragicl.calibration.blend import Blend
from ragicl.errors import BudgetError, TaskError, quoted
from ragicl.index import Index
from ragicl.inference.answers import BlendedAnswers, from_scores
from ragicl.inference.blender import Blender, default_blend
from ragicl.inference.cascade import Cascade
from ragicl.inference.choice import choose
from ragicl.inference.composer import Composer
from ragicl.inference.scorer import Scorer
from ragicl.inference.tuned_settings import Tuned
from ragicl.policy import Policy
from ragicl.probes.context import context_of
from ragicl.probes.lm_features import features_of
from ragicl.prompting.template import Template
from ragicl.protocols import LM, Progress, Reporting, Scoring, no_progress
from ragicl.records import NOTHING, Prediction, Prompt
from ragicl.retrieval.retriever import RetrievalResult, Retriever
from ragicl.timing import Timings, shared, timed

CHUNK = 16  # queries scored together, and retrieved together unless they are sorted first
WINDOW = 256  # queries sorted by the fixed demonstrations that their prompts begin with

Answer = Prediction | BudgetError
Prompts = tuple[Prompt, ...]


class Pipeline:
    """Predicts by an index, a language model, a template and a policy; safe to share.

    :param lm: None where the policy needs none
    :param tuned: what ``ragicl tune`` found for the index with this language model
    :raises TaskError: where the policy makes no sense for the index, or needs a language model
    """

    def __init__(
        self,
        index: Index,
        lm: LM | None,
        template: Template,
        policy: Policy,
        tuned: Tuned | None = None,
    ) -> None:
        if index.kind == "generate" and policy.decision.lm_free:
            raise TaskError("a vote needs labels; this index holds texts to generate")
        self.index = index
        self.lm = lm
        self.template = template
        self.policy = policy
        self.tuned = tuned
        self.blender = self._opened_blender() if self.blends else None
        self._check_lm()
        self.retriever = Retriever(index, policy)
        self.cascade = Cascade(index, policy, self.retriever, lambda: self.labels)

    def _check_lm(self) -> None:
        """Refuse a policy that asks for more than the language model can do."""
        if self.lm is None and (self.prompts_lm or self.reads_states):
            raise TaskError("the policy asks a language model; give one, or decide by probe or knn")
        if self.lm is None or isinstance(self.lm, Scoring) or self.policy.decision.lm_free:
            return
        if self.policy.prompt.ensemble > 1:
            raise TaskError(
                f"an ensemble averages label likelihoods, and {self.lm.spec} gives none; "
                f"leave ensemble at 1"
            )

    def load(self, progress: Progress = no_progress) -> None:
        """Load the models and fit what the first prediction needs.

        :param progress: called as the language model reads the examples
        """
        if self.lm is not None and (self.prompts_lm or self.reads_states):
            self.lm.load()
        if self.blender is not None:
            self.blender.load(progress)

    def report_to(self, progress: Progress) -> None:
        """Report from now on how far the language model is while it scores labels, if it can."""
        lm: object = self.lm
        if isinstance(lm, Reporting):
            lm.progress = progress

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels to choose from: the policy's, or all of the index's, sorted.

        :raises TaskError: where there are fewer than two, or the policy names unknown ones
        """
        known = self.index.labels()
        chosen = self.policy.decision.labels
        labels = tuple(dict.fromkeys(known if chosen is None else chosen))
        if unknown := [label for label in labels if label not in known]:
            raise TaskError(
                f"no example in {self.index.path} has the label {quoted(unknown[0])}; "
                f"there are {', '.join(islice(known, 10))}{', …' if len(known) > 10 else ''}"
            )
        if len(labels) < 2:
            raise TaskError(
                f"{self.index.path} has {len(labels)} label(s) to choose from; "
                f"a classifier needs two or more"
            )
        return labels

    def choices(self) -> tuple[str, ...] | None:
        """Return the labels of a request, taken once for all of it; None where text is written."""
        return None if self.generates else self.labels

    def choices_of(self, found: Sequence[RetrievalResult]) -> tuple[str, ...]:
        """Return the labels of the request that results are of."""
        own = found[0].labels if found else None
        return self.labels if own is None else own

    @property
    def generates(self) -> bool:
        """Whether predictions are generated text rather than one of the labels."""
        asked = self.policy.generation.generate
        return self.index.kind == "generate" if asked is None else asked

    @property
    def blends(self) -> bool:
        """Whether predictions blend several sources."""
        return self.policy.decision.decide in ("blend", "probe") and not self.generates

    @property
    def reads_states(self) -> bool:
        """Whether the language model reads queries for its states."""
        blend = self.blender.blend if self.blender is not None else Blend()
        return blend.features > 0 or blend.context > 0

    @property
    def leaves_lm_out(self) -> bool:
        """Whether the blend has no place for the language model, as it gives no likelihoods."""
        if self.lm is None or isinstance(self.lm, Scoring) or self.reads_states:
            return False
        return self.blends and self.policy.decision.decide == "blend"

    @property
    def prompts_lm(self) -> bool:
        """Whether the language model reads prompts."""
        if self.blender is not None:
            return self.blender.blend.lm > 0
        return self.policy.decision.decide != "knn"

    def run(
        self,
        texts: Sequence[str],
        excluded: Sequence[str | None],
        labels: tuple[str, ...] | None = None,
    ) -> Iterator[Answer]:
        """Yield the prediction of each text, in order, or the error of one that does not fit.

        :param excluded: for each text the id of an example that must not help, or None
        :param labels: to choose from; None takes those of the index as each window is reached
        """
        size = CHUNK if self.policy.retrieval.clusters == 1 else WINDOW
        for start in range(0, len(texts), size):
            window = slice(start, start + size)
            yield from self._window(texts[window], excluded[window], labels or self.choices())

    def _window(
        self,
        texts: Sequence[str],
        excluded: Sequence[str | None],
        labels: tuple[str, ...] | None,
    ) -> Iterator[Answer]:
        timings: Timings = {}
        found = self.retriever.find(
            texts, excluded, timings, demonstrations=self.prompts_lm, labels=labels
        )
        timings = shared(timings, len(texts))
        if self.policy.decision.decide == "knn":
            yield from self.cascade.vote(found, timings, labels or self.labels)
            return
        if not self.prompts_lm:
            yield from self.blended.of(found, timings, labels or self.labels)
            return
        votes = self.cascade.exits(found, timings, labels)
        if self.blender is not None:
            votes = self.blended.exits(votes, found)
        left = [i for i in range(len(texts)) if i not in votes]
        answers = self.ask([texts[i] for i in left], [found[i] for i in left], timings)
        for i in range(len(texts)):
            yield votes[i] if i in votes else next(answers)

    def ask(
        self, texts: Sequence[str], found: Sequence[RetrievalResult], timings: Timings
    ) -> Iterator[Answer]:
        """Yield what the language model's prompts decide, or the error of a text that is too long.

        :param found: for each text
        """
        prompts, timings = self._composed(texts, found, timings)
        good = {i: p for i, p in enumerate(prompts) if not isinstance(p, BudgetError)}
        order = list(good)
        if self.policy.retrieval.fixed:
            # Prompts that begin alike follow each other, so that their beginning is read once.
            order.sort(key=lambda i: good[i][0].parts[0])
        answer = self.generate if self.generates else self.classify
        answers: dict[int, Prediction] = {}
        batches = (order[start : start + CHUNK] for start in range(0, len(order), CHUNK))
        for i, prompt in enumerate(prompts):
            while i in good and i not in answers:
                batch = next(batches)
                ask = answer([good[j] for j in batch], [found[j] for j in batch], timings)
                answers |= zip(batch, ask, strict=True)
            yield prompt if isinstance(prompt, BudgetError) else answers.pop(i)

    def _composed(
        self, texts: Sequence[str], found: Sequence[RetrievalResult], timings: Timings
    ) -> tuple[list[Prompts | BudgetError], Timings]:
        prompts: list[Prompts | BudgetError] = []
        spent: Timings = {}
        with timed(spent, "compose"):
            for text, own in zip(texts, found, strict=True):
                try:
                    prompts.append(self.composer.prompts(text, own))
                except BudgetError as error:
                    prompts.append(error)
        return prompts, timings | shared(spent, len(texts))

    def classify(
        self,
        prompts: Sequence[Prompts],
        found: Sequence[RetrievalResult],
        timings: Timings,
        *,
        exact: bool = False,
    ) -> Iterator[Prediction]:
        """Yield the label that the language model's prompts decide for each query.

        :param prompts: of each query, as many for one as for another
        :param exact: score every label to its end, whatever the policy says
        """
        lm = self.require_lm()
        lm.load()
        if not isinstance(lm, Scoring):
            yield from self._chosen(lm, prompts, found, timings)
            return
        labels = self.choices_of(found)
        spent: Timings = {}
        scorer = Scorer(lm, self.template, self.policy)
        with timed(spent, "score"):
            scores = scorer.score(prompts, found, labels, exact=exact)
        timings = timings | shared(spent, len(prompts))
        answers = (
            self.blended.of(found, timings, labels, scores)
            if self.blender and all(own.vector is not None for own in found)
            else from_scores(found, timings, labels, scores)
        )
        for own, answer in zip(prompts, answers, strict=True):
            yield replace(answer, prompt=own[0], lm=lm.description)

    def _chosen(
        self, lm: LM, prompts: Sequence[Prompts], found: Sequence[RetrievalResult], timings: Timings
    ) -> Iterator[Prediction]:
        """Yield labels of a model without likelihoods: no probabilities are made up."""
        labels = self.choices_of(found)
        choices = [own.shortlist or labels for own in found]
        spent: Timings = {}
        with timed(spent, "generate"):
            parts = [own[0].parts for own in prompts]
            outputs, how = choose(lm, parts, choices, self.composer.options)
        timings = timings | shared(spent, len(prompts))
        for own, near, given, output in zip(prompts, found, choices, outputs, strict=True):
            yield Prediction(
                output,
                NOTHING,
                near.neighbors,
                own[0],
                timings,
                lm.description,
                known_label=output in given,
                decided_by=how,
            )

    def generate(
        self, prompts: Sequence[Prompts], found: Sequence[RetrievalResult], timings: Timings
    ) -> Iterator[Prediction]:
        """Yield the text that the language model generates after each query's prompt."""
        lm, known = self.require_lm(), self.index.labels()
        spent: Timings = {}
        lm.load()
        with timed(spent, "generate"):
            texts = lm.generate_batch([own[0].parts for own in prompts], **self.composer.options)
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
                decided_by="generation",
            )

    def require_lm(self) -> LM:
        """Return the language model.

        :raises TaskError: where there is none
        """
        if self.lm is None:
            raise TaskError("this engine was opened without a language model")
        return self.lm

    @cached_property
    def composer(self) -> Composer:
        """Composes prompts for the language model."""
        labels = None if self.generates else lambda: self.labels
        return Composer(self.index, self.require_lm(), self.template, self.policy, labels)

    @cached_property
    def blended(self) -> BlendedAnswers:
        """Makes the blend's predictions."""
        assert self.blender is not None
        return BlendedAnswers(self.index, self.policy, self.tuned, self.blender, self._reader)

    def _reader(self) -> str | None:
        return self.require_lm().description if self.reads_states else None

    def _opened_blender(self) -> Blender:
        lm = None if self.policy.decision.decide == "probe" else self.lm
        blend = self.tuned.blend if self.tuned and lm is not None else default_blend(lm)
        features = features_of(self.index.derived, lm) if blend.features else None
        where = self.policy.retrieval.where
        context = context_of(self.index, lm, lambda: self.labels, where) if blend.context else None
        return Blender(self.index, self.policy, lambda: self.labels, blend, features, context)
