"""One classification set, measured: what ``ragicl predict`` answers beside its references."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ragicl.errors import TaskError
from ragicl.evaluate.answer_cache import Answers
from ragicl.evaluate.comparison import RowAnswer, Sample, best_first
from ragicl.evaluate.curves import curve
from ragicl.evaluate.metrics.distances import total_variation
from ragicl.evaluate.metrics.label_scores import correct, label_scores, reliability
from ragicl.evaluate.references.registry import answers, seeds_of
from ragicl.evaluate.results import ICL, SYSTEM, Distance, Method, SetReport
from ragicl.evaluate.task import Task
from ragicl.protocols import FloatArray


def study_labels(
    task: Task, names: Sequence[str], seeds: int = 2, curves: Sequence[str] = ()
) -> SetReport:
    """Measure what ``ragicl predict`` answers and the references named on a classification task.

    :param names: as :func:`ragicl.evaluate.references.registry.chosen` gives them
    :param seeds: of references with randomness; the distance between these is their noise floor
    :param curves: ``pool``, ``k`` or ``budget``
    :raises TaskError: where no test row has a label of the index
    """
    if not any(query.gold in task.labels for query in task.test):
        raise TaskError(f"no test row of {task.name} has a label that the index knows")
    sample = Sample(task)
    system = answers(task, SYSTEM)
    found = {name: [answers(task, name, n) for n in seeds_of(name, seeds)] for name in names}
    order = best_first(names)
    reference = found[order[0]][0]
    methods = [_method(sample, SYSTEM, system, system)]
    methods += [_method(sample, name, found[name][0], system) for name in names]
    return sample.report(
        methods,
        [_distance(sample, name, system, found[name], found[ICL][0]) for name in order],
        sample.worst(
            total_variation(system.probs, reference.probs),
            _answer(task, system.probs),
            _answer(task, reference.probs),
        ),
        [curve(task, over, order[0], reference.probs, sample.every) for over in curves],
    )


def _method(sample: Sample, name: str, own: Answers, system: Answers) -> Method:
    gold, some = sample.task.gold, None
    if sample.clean is not None:
        rows, resampling = sample.clean
        some = label_scores(own.probs[rows], gold[rows], resampling)
    right, system_right = correct(own.probs, gold), correct(system.probs, gold)
    return Method(
        name,
        label_scores(own.probs, gold, sample.every),
        some,
        own.cost,
        own.settings,
        reliability(own.probs, gold),
        None if name == SYSTEM else sample.every.paired(right, system_right),
    )


def _distance(
    sample: Sample, name: str, system: Answers, trained: Sequence[Answers], icl: Answers
) -> Distance:
    first = trained[0].probs
    same = system.probs.argmax(axis=1) == first.argmax(axis=1)
    trainings = [total_variation(a.probs, b.probs) for a, b in combinations(trained, 2)]
    noise_floor = np.mean(trainings, axis=0) if trainings else None
    rows = total_variation(system.probs, first)
    alone = None if name == ICL else total_variation(icl.probs, first)
    return sample.distance(name, rows, same.astype(np.float32), noise_floor, icl=alone)


def _answer(task: Task, probs: FloatArray) -> RowAnswer:
    def answer(row: int) -> tuple[str, float]:
        best = int(probs[row].argmax())
        return task.labels[best], float(probs[row, best])

    return answer
