"""What ``ragicl predict`` answers and the references, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ragicl.backends.capabilities import as_scoring
from ragicl.errors import TaskError, quoted
from ragicl.evaluate.answer_cache import Answers, answers_of
from ragicl.evaluate.metrics.text_scores import text_rows
from ragicl.evaluate.references import baselines, fine_tuned, linear, states
from ragicl.evaluate.results import ICL, SYSTEM
from ragicl.evaluate.task import Reference, Task
from ragicl.policy import DEFAULT, Policy
from ragicl.records import Kind


class Entry(NamedTuple):
    """How a reference is made.

    :ivar fit: from a task and a seed
    :ivar seeded: whether another seed gives another reference
    :ivar depends: what its answers depend on besides pool, model and template: the policy,
        the time to train, the other sets
    """

    fit: Callable[[Task, int], Reference]
    seeded: bool = False
    depends: Callable[[Task], object] = lambda task: None


def _unusual(policy: Policy) -> object:
    """Return what differs from the usual: a field that later versions add changes nothing."""
    usual = DEFAULT.as_dict()
    return {name: value for name, value in policy.as_dict().items() if value != usual[name]}


def _alone(task: Task) -> object:
    return _unusual(baselines.alone(task.engine).policy)


def _system(task: Task) -> object:
    return baselines.ANSWERS, _unusual(task.engine.policy), task.engine.index.manifest.tuned


def _minutes(task: Task) -> tuple[object, ...]:
    return fine_tuned.VERSION, task.minutes


def _others(task: Task) -> object:
    return *_minutes(task), {n: [(e.input, e.output) for e in o] for n, o in task.others.items()}


REFERENCES = {
    SYSTEM: Entry(baselines.system, depends=_system),
    ICL: Entry(baselines.icl, depends=_alone),
    "majority": Entry(baselines.majority),
    "knn-1": Entry(baselines.nearest_one),
    "knn": Entry(baselines.vote),
    "random-icl": Entry(baselines.random_icl, seeded=True, depends=_alone),
    "knn-prompting": Entry(baselines.knn_prompting, seeded=True, depends=_alone),
    "probe": Entry(linear.probe),
    "head": Entry(linear.head),
    "bare-states": Entry(states.bare_states),
    "icl-states": Entry(states.icl_states),
    "partial": Entry(fine_tuned.partial, seeded=True, depends=_minutes),
    "prompt-tuning": Entry(fine_tuned.prompt_tuning, seeded=True, depends=_minutes),
    "lora": Entry(fine_tuned.lora, seeded=True, depends=_minutes),
    "full": Entry(fine_tuned.full, seeded=True, depends=_minutes),
    "two-stage": Entry(fine_tuned.two_stage, seeded=True, depends=_others),
    "multi-task": Entry(fine_tuned.multi_task, seeded=True, depends=_others),
}
ALWAYS = (ICL, "majority", "knn-1", "knn", "random-icl")
"""The language model alone, and baselines that may win; in every table."""
FOR_TEXTS = ("lora", "full")
USUAL = ("probe", "lora")
TRAINED = {"partial": "partial", "prompt-tuning": "prompt-tuning", "lora": "lora", "full": "full",
           "two-stage": "full", "multi-task": "full"}  # fmt: skip
"""Which way of training a reference needs."""
SEVERAL = ("two-stage", "multi-task")
BEST_FIRST = ("full", "lora", "two-stage", "multi-task", "partial", "prompt-tuning", "head",
              "icl-states", "bare-states", "probe", "knn-prompting")  # fmt: skip
"""Which reference stands for fine-tuning, where several were asked for."""


def chosen(names: Sequence[str] | None, kind: Kind) -> tuple[str, ...]:
    """Return the references to measure, in the table's order: those asked for, and the baselines.

    :param names: those that another kind has are left out; None takes the usual ones
    :raises TaskError: for an unknown name
    """
    everything = tuple(REFERENCES)[1:]
    known = everything if kind == "classify" else FOR_TEXTS
    names = USUAL if names is None else names
    for name in names:
        if name not in everything:
            raise TaskError(f"unknown reference {quoted(name)}; known: {', '.join(everything)}")
    always = ALWAYS if kind == "classify" else ()
    return tuple(name for name in known if name in names or name in always)


def check(task: Task, names: Sequence[str]) -> None:
    """Refuse at once what would fail after hours of training.

    :raises TaskError: where a reference lacks other sets, or the pool is too small
    :raises MissingExtraError: where a package is missing
    :raises BackendError: where the language model gives no likelihoods, or cannot be tuned
    :raises BudgetError: where a test row does not fit the model's window
    """
    for text in task.texts:
        task.bare(text)
    if task.kind == "generate":
        text_rows(["a"], ["a"])
    else:
        as_scoring(task.lm)
    for name in names:
        if name in SEVERAL and not task.others:
            raise TaskError(
                f"{name} learns from other sets too; name some with --task FILE, or leave it out"
            )
        if name in TRAINED:
            from ragicl.backends.hf.training.api import check_tunable

            check_tunable(task.lm, TRAINED[name])


def standing(names: Sequence[str]) -> str:
    """Return the reference that stands for fine-tuning among those measured."""
    return next((name for name in BEST_FIRST if name in names), names[-1])


def answers(task: Task, name: str, seed: int = 0) -> Answers:
    """Return the answers of a method to a task's test rows, kept or made now."""
    entry = REFERENCES[name]
    return answers_of(
        task, f"{name}-{seed}", lambda: entry.fit(task, seed), depends=entry.depends(task)
    )


def seeds_of(name: str, seeds: int) -> range:
    """Return the seeds to measure a reference with: one where another would change nothing."""
    return range(seeds if REFERENCES[name].seeded else 1)
