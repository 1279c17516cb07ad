"""One classification set, measured: what ``ragicl predict`` answers beside its references."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ragicl.errors import TaskError
from ragicl.evaluate.answer_cache import Answers
from ragicl.evaluate.comparison import Said, Sample, best_first
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
    :param seeds: of references with randomness; the distance between these is their floor
    :param curves: ``pool``, ``k`` or ``budget``
    :raises TaskError: where no test row has a label of the index
    """
    if not any(query.gold in task.labels for query in task.test):
        raise TaskError(f"no test row of {task.name} has a label that the index knows")
    sample = Sample(task)
    ours = answers(task, SYSTEM)
    theirs = {name: [answers(task, name, n) for n in seeds_of(name, seeds)] for name in names}
    order = best_first(names)
    main = theirs[order[0]][0]
    methods = [_method(sample, SYSTEM, ours, ours)]
    methods += [_method(sample, name, theirs[name][0], ours) for name in names]
    return sample.report(
        methods,
        [_distance(sample, name, ours, theirs[name], theirs[ICL][0]) for name in order],
        sample.worst(
            total_variation(ours.probs, main.probs),
            _said(task, ours.probs),
            _said(task, main.probs),
        ),
        [curve(task, over, order[0], main.probs, sample.every) for over in curves],
    )


def _method(sample: Sample, name: str, own: Answers, ours: Answers) -> Method:
    gold, some = sample.task.gold, None
    if sample.clean is not None:
        rows, resampling = sample.clean
        some = label_scores(own.probs[rows], gold[rows], resampling)
    right, our_right = correct(own.probs, gold), correct(ours.probs, gold)
    return Method(
        name,
        label_scores(own.probs, gold, sample.every),
        some,
        own.cost,
        own.settings,
        reliability(own.probs, gold),
        None if name == SYSTEM else sample.every.paired(right, our_right),
    )


def _distance(
    sample: Sample, name: str, ours: Answers, theirs: Sequence[Answers], icl: Answers
) -> Distance:
    first = theirs[0].probs
    same = ours.probs.argmax(axis=1) == first.argmax(axis=1)
    trainings = [total_variation(a.probs, b.probs) for a, b in combinations(theirs, 2)]
    floor = np.mean(trainings, axis=0) if trainings else None
    rows = total_variation(ours.probs, first)
    alone = None if name == ICL else total_variation(icl.probs, first)
    return sample.distance(name, rows, same.astype(np.float32), floor, icl=alone)


def _said(task: Task, probs: FloatArray) -> Said:
    def said(row: int) -> tuple[str, float]:
        best = int(probs[row].argmax())
        return task.labels[best], float(probs[row, best])

    return said
