"""The frozen language model's hidden states by themselves: of the bare text, and in context."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ragicl.errors import BackendError
from ragicl.evaluate.task import Reference, Task
from ragicl.probes.context import context_of
from ragicl.probes.index_probe import IndexProbe
from ragicl.probes.lm_features import features_of
from ragicl.protocols import FloatArray


def bare_states(task: Task, seed: int) -> Reference:
    """Fit a classifier on the states of the bare text.

    :raises BackendError: where the language model shows no states
    """
    index, where = task.engine.index, task.engine.policy.retrieval.where
    features = features_of(index.derived, task.lm)
    if features is None:
        raise _unseen(task)
    start = time.perf_counter()
    probe = IndexProbe(index, lambda: task.labels, where, features)
    probe.get(task.progress)

    def probs(texts: Sequence[str]) -> FloatArray:
        return probe.get().answers(features.of(texts), [None] * len(texts), task.labels)[0]

    return Reference(task.labels, probs, _read(task), time.perf_counter() - start)


def icl_states(task: Task, seed: int) -> Reference:
    """Fit a classifier on the states in context, after one example of each label.

    :raises BackendError: where the language model shows no states
    """
    index, where = task.engine.index, task.engine.policy.retrieval.where
    context = context_of(index, task.lm, lambda: task.labels, where)
    if context is None:
        raise _unseen(task)
    start = time.perf_counter()
    context.get(task.progress)

    def probs(texts: Sequence[str]) -> FloatArray:
        return context.probs(texts, [None] * len(texts), task.labels)

    return Reference(task.labels, probs, _read(task), time.perf_counter() - start)


def _read(task: Task) -> Callable[[str], int]:
    return lambda text: task.lm.count(task.bare(text))


def _unseen(task: Task) -> BackendError:
    return BackendError(f"{task.lm.spec} shows no hidden states; leave this reference out")
