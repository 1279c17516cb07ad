"""The engine and the references by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import NamedTuple

from ragicl.errors import TaskError
from ragicl.evaluate import baselines, linear, tuned
from ragicl.evaluate.kept import Answers, answers_of
from ragicl.evaluate.results import OURS
from ragicl.evaluate.task import Reference, Task
from ragicl.records import Kind


class Entry(NamedTuple):
    """How a reference is made.

    :ivar fit: from a task and a seed
    :ivar seeded: whether another seed gives another reference
    :ivar depends: what its answers depend on besides pool, model and template: the engine's policy,
        the time to train, the other sets
    """

    fit: Callable[[Task, int], Reference]
    seeded: bool = False
    depends: Callable[[Task], object] = lambda task: None


def _policy(task: Task) -> object:
    return asdict(task.engine.policy)


def _minutes(task: Task) -> object:
    return task.minutes


def _others(task: Task) -> object:
    return task.minutes, {n: [(e.input, e.output) for e in some] for n, some in task.others.items()}


REFERENCES = {
    OURS: Entry(baselines.ours, depends=_policy),
    "majority": Entry(baselines.majority),
    "knn-1": Entry(baselines.nearest_one),
    "knn": Entry(baselines.vote),
    "random-icl": Entry(baselines.random_icl, seeded=True, depends=_policy),
    "knn-prompting": Entry(baselines.knn_prompting, seeded=True, depends=_policy),
    "probe": Entry(linear.probe),
    "head": Entry(linear.head),
    "partial": Entry(tuned.partial, seeded=True, depends=_minutes),
    "prompt-tuning": Entry(tuned.prompt_tuning, seeded=True, depends=_minutes),
    "lora": Entry(tuned.lora, seeded=True, depends=_minutes),
    "full": Entry(tuned.full, seeded=True, depends=_minutes),
    "two-stage": Entry(tuned.two_stage, seeded=True, depends=_others),
    "multi-task": Entry(tuned.multi_task, seeded=True, depends=_others),
}
ALWAYS = ("majority", "knn-1", "knn", "random-icl")
"""Baselines that may win; in every table."""
FOR_TEXTS = ("lora", "full")
BEST_FIRST = ("full", "lora", "two-stage", "multi-task", "partial", "prompt-tuning", "head",
              "probe", "knn-prompting")  # fmt: skip
"""Which reference stands for fine-tuning, where several were asked for."""


def chosen(names: Sequence[str], kind: Kind) -> tuple[str, ...]:
    """Return the references to measure, in the table's order: those asked for, and the baselines.

    :raises TaskError: for an unknown name, or one that does not fit the kind of the index
    """
    known = tuple(REFERENCES)[1:] if kind == "classify" else FOR_TEXTS
    for name in names:
        if name not in known:
            raise TaskError(f"unknown reference {name!r}; known here: {', '.join(known)}")
    always = ALWAYS if kind == "classify" else ()
    return tuple(name for name in known if name in names or name in always)


def standing(names: Sequence[str]) -> str:
    """Return the reference that stands for fine-tuning among those measured."""
    return next((name for name in BEST_FIRST if name in names), names[-1])


def answers(task: Task, name: str, seed: int = 0) -> Answers:
    """Return the answers of the engine or a reference to a task's test rows, kept or made now."""
    entry = REFERENCES[name]
    return answers_of(
        task, f"{name}-{seed}", lambda: entry.fit(task, seed), depends=entry.depends(task)
    )


def seeds_of(name: str, seeds: int) -> range:
    """Return the seeds to measure a reference with: one where another would change nothing."""
    return range(seeds if REFERENCES[name].seeded else 1)
