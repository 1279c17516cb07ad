"""What each demonstration does to a prediction: it is made again without each in turn.

An example's influence in the sense of Nguyen and Wong (arXiv 2302.11042), the difference that its
presence makes; theirs is a mean over many random prompts, this one is about one prompt. Of a blend
the stored examples behind its classifiers are named, too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from ragicl.backends.capabilities import as_scoring
from ragicl.errors import TaskError, quoted
from ragicl.inference.in_context import (
    check_in_context,
    in_context_rows,
    influences_in_context,
)
from ragicl.inference.pipeline import Pipeline
from ragicl.inference.scorer import check_numbers
from ragicl.inference.support import NAMED, support_of, support_row
from ragicl.prompting.compose import compose
from ragicl.prompting.template import Template
from ragicl.protocols import FloatArray, Parts, Scoring
from ragicl.records import Explanation, Influence, Neighbor, Prediction, Prompt
from ragicl.retrieval.retriever import RetrievalResult


def explain(
    pipeline: Pipeline,
    text: str,
    *,
    label: str | None = None,
    exclude: str | None = None,
    examples: int = NAMED,
    context: bool = False,
) -> Explanation:
    """Explain a prediction; see :meth:`ragicl.Engine.explain`."""
    asks = pipeline.prompts_lm
    if not asks and pipeline.blender is None:
        raise TaskError(
            "a vote shows no demonstrations to a language model, and has no classifiers; to "
            "explain an answer, decide by lm, blend or probe (--decide lm)"
        )
    if examples < 0:
        raise TaskError(f"examples must be 0 or more, not {examples}")
    if context:
        check_in_context(pipeline.blender, exclude)
    lm = as_scoring(pipeline.require_lm()) if asks else None
    (found,) = pipeline.retriever.find(
        [text], [exclude], {}, demonstrations=asks, labels=pipeline.choices()
    )
    if pipeline.generates:
        assert lm is not None
        return _written(pipeline, lm, text, label, found)
    _check_choice(pipeline, label, found)
    if asks:
        prompt, shots, prompts, founds = _shortened(pipeline, text, found)
        each = [(own,) for own in prompts]
        predictions = list(pipeline.classify(each, founds, {}, exact=True))
        explanation = of_label(text, label, prompt, shots, predictions)
    else:
        predictions = list(pipeline.blended.of([found], {}, pipeline.choices_of([found])))
        explanation = of_label(text, label, None, (), predictions)
    if pipeline.blender is None or found.vector is None:
        return explanation
    asked = pipeline.blender, found, explanation.label, predictions[0].probs
    support = support_of(*asked, examples)
    left_out = influences_in_context(*asked, support) if context else ()
    return replace(explanation, support=support, in_context=left_out)


def taken_apart(prompt: Prompt, found: RetrievalResult) -> tuple[Neighbor, ...]:
    """Return the demonstrations of a prompt that can be left out, in prompt order.

    Fixed ones are one piece with the instruction, and stay.
    """
    fixed = len(found.fixed)
    return prompt.shots[fixed:] if prompt.shots[:fixed] == found.fixed else prompt.shots


def without_each(
    text: str,
    prompt: Prompt,
    found: RetrievalResult,
    template: Template,
    count: Callable[[Parts], int],
) -> list[tuple[Prompt, RetrievalResult]]:
    """Return the prompt, and what was found for it, without each demonstration in turn.

    Nothing takes its place, and the others stay in their order.
    """
    shots = taken_apart(prompt, found)
    shorter = []
    for left_out in shots:
        others = [shot for shot in reversed(shots) if shot is not left_out]
        composed = compose(
            text,
            others,
            template,
            count=count,
            budget=sys.maxsize,  # the longer one did fit
            reserve=0,
            fixed=prompt.shots[: len(prompt.shots) - len(shots)],
        )
        near, voters = (
            tuple(n for n in some if n.example.id != left_out.example.id)
            for some in (found.neighbors, found.voters)
        )
        shorter.append((composed, replace(found, neighbors=near, voters=voters)))
    return shorter


def of_label(
    text: str,
    label: str | None,
    prompt: Prompt | None,
    shots: Sequence[Neighbor],
    predictions: Sequence[Prediction],
) -> Explanation:
    """Explain a label by the prediction with all demonstrations, then those without each.

    :param label: None takes the predicted one
    :param prompt: None where the language model reads none
    """
    output = predictions[0].output
    label = output if label is None else label
    # A probability too small for a float is no reason for an infinite change.
    logs = [math.log(max(p.probs[label], sys.float_info.min)) for p in predictions]
    influences = tuple(
        Influence(shot, logs[0] - log, prediction.output)
        for shot, log, prediction in zip(shots, logs[1:], predictions[1:], strict=True)
    )
    return Explanation(text, label, output, logs[0], prompt, influences, predictions[0].lm or "")


def of_answer(
    text: str,
    answer: str,
    prompt: Prompt,
    shots: Sequence[Neighbor],
    log_likelihoods: FloatArray,
    lm: str,
) -> Explanation:
    """Explain a written answer by its log-likelihood with all demonstrations, then without each.

    :param log_likelihoods: in nats, shape (1 + len(shots),)
    """
    whole, *shorter = log_likelihoods.tolist()
    influences = tuple(
        Influence(shot, whole - log, None) for shot, log in zip(shots, shorter, strict=True)
    )
    return Explanation(text, answer, answer, whole, prompt, influences, lm)


def explanation_row(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as one JSON-ready row; demonstrations are in prompt order."""
    return {
        "input": explanation.text,
        "output": explanation.output,
        "label": explanation.label,
        "log_prob": round(explanation.log_prob, 6),
        "influences": [
            {
                "id": influence.neighbor.example.id,
                "similarity": influence.neighbor.similarity,
                "input": influence.neighbor.example.input,
                "output": influence.neighbor.example.output,
                "log_prob_change": round(influence.log_prob_change, 6),
                "output_without": influence.output_without,
            }
            for influence in explanation.influences
        ],
        "support": support_row(explanation.support),
        "in_context": in_context_rows(explanation.in_context),
        "tokens": explanation.prompt.tokens if explanation.prompt else None,
        "lm": explanation.lm or None,
    }


def _written(
    pipeline: Pipeline, lm: Scoring, text: str, label: str | None, found: RetrievalResult
) -> Explanation:
    """Explain a written answer; None takes the one that the language model writes."""
    prompt, shots, prompts, _ = _shortened(pipeline, text, found)
    if label is None:
        label = next(pipeline.generate([(prompt,)], [found], {})).output
    scores = lm.score([p.parts for p in prompts], [pipeline.template.answer(label)])
    check_numbers(scores, lm)
    return of_answer(text, label, prompt, shots, scores[:, 0], lm.description)


def _shortened(
    pipeline: Pipeline, text: str, found: RetrievalResult
) -> tuple[Prompt, tuple[Neighbor, ...], list[Prompt], list[RetrievalResult]]:
    """Return the prompt and its demonstrations, then all prompts, the whole one first.

    Last come the results that belong to them.
    """
    prompt = pipeline.composer.prompts(text, found)[0]
    count = pipeline.require_lm().count
    shorter = without_each(text, prompt, found, pipeline.template, count)
    prompts, founds = [prompt, *(p for p, _ in shorter)], [found, *(f for _, f in shorter)]
    return prompt, taken_apart(prompt, found), prompts, founds


def _check_choice(pipeline: Pipeline, label: str | None, found: RetrievalResult) -> None:
    choices = pipeline.choices_of([found]) if found.shortlist is None else found.shortlist
    if label is not None and label not in choices:
        raise TaskError(
            f"{quoted(label)} is not among the labels to choose from for this text: "
            f"{', '.join(islice(choices, 10))}{', …' if len(choices) > 10 else ''}"
        )
