"""Which way answers are scored: the first in the order below that agrees with the slow one.

- ``packed`` reads several prompts at once, then the tries of their answers
- ``expanded`` reads each prompt once, and its answers on copies of the cache
- ``stepped`` does the same token by token
- ``unpacked`` reads prompt and answer again for each answer
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from math import inf
from typing import TypeAlias

import numpy as np
import torch
from transformers import PreTrainedModel

from ragicl.backends.hf.scoring.cached_scoring import score_expanded, score_stepped
from ragicl.backends.hf.scoring.counting import Count
from ragicl.backends.hf.scoring.packed_scoring import Job, score_jobs
from ragicl.backends.hf.scoring.packing import enable_packing, packable
from ragicl.backends.hf.scoring.reference_scoring import score_unpacked
from ragicl.backends.hf.scoring.trie import build_trie
from ragicl.backends.hf.tokenization import Split
from ragicl.protocols import Progress

PACKED, UNPACKED = "packed", "unpacked"
ONE_PROMPT: dict[str, Callable[..., list[float]]] = {
    "expanded": score_expanded,
    "stepped": score_stepped,
    UNPACKED: score_unpacked,
}
AGREE = {torch.float32: 1e-4, torch.bfloat16: 0.02}  # share by which a route may differ from slow

Scores: TypeAlias = list[list[float]]


def choose_route(model: PreTrainedModel) -> str:
    """Return the fastest route that scores a few made-up prompts as the slow one does.

    A model may treat positions, attention or its cache in a way of its own. Where the route is
    packed, packing stays turned on.
    """
    size = model.config.get_text_config().vocab_size
    # The last is shorter than what a convolution looks back on.
    prompts = [[i * step % size for i in range(3, stop)] for step, stop in ((37, 20), (53, 9))]
    prompts.append([5 % size])
    answers = [[7, 11, 13, 3, 2], [7, 17], [19]]
    answers = [[token % size for token in answer] for answer in answers]
    with torch.inference_mode():
        slow = [score_unpacked(model, prompt, answers) for prompt in prompts]
        if _packs(model, prompts, answers, slow):
            return PACKED
        for route in ("expanded", "stepped"):
            with suppress(Exception):  # its cache may not be one that can be copied
                score = ONE_PROMPT[route]
                if _agree(model, [score(model, prompt, answers) for prompt in prompts], slow):
                    return route
    return UNPACKED


def score_alone(
    model: PreTrainedModel,
    route: str,
    splits: Sequence[Split],
    chosen: Sequence[Sequence[int] | None],
    progress: Progress,
) -> Iterator[tuple[Sequence[int], list[float]]]:
    """Yield which answers of each prompt were scored, and their scores, one prompt at a time.

    :param route: one of ONE_PROMPT
    :param chosen: for each prompt the positions of the answers to score; None scores all
    """
    positions = [
        range(len(split.answers)) if some is None else some
        for split, some in zip(splits, chosen, strict=True)
    ]
    count = Count(progress, sum(map(len, positions)))
    for split, some in zip(splits, positions, strict=True):
        answers = [split.answers[i] for i in some]
        yield some, ONE_PROMPT[route](model, split.ids, answers, read=count)
    count.end()


def _packs(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    slow: Scores,
) -> bool:
    """Turn packing on where it agrees."""
    if not packable(model):
        return False
    usual = model.config._attn_implementation
    with suppress(Exception):  # the model may not take a custom attention the usual way
        enable_packing(model)
        jobs = [Job(prompt, build_trie(answers)) for prompt in prompts]
        if _agree(model, score_jobs(model, jobs, inf), slow):
            return True
    model.set_attn_implementation(usual)
    return False


def _agree(model: PreTrainedModel, fast: Scores, slow: Scores) -> bool:
    return np.allclose(fast, slow, rtol=AGREE[model.dtype], atol=1e-3)
