"""One classification set, measured: the engine beside its references."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from ragicl.errors import TaskError
from ragicl.evaluate.curves import curve
from ragicl.evaluate.distances import total_variation
from ragicl.evaluate.intervals import Resampling
from ragicl.evaluate.kept import Answers
from ragicl.evaluate.references import answers, seeds_of, standing
from ragicl.evaluate.results import OURS, Distance, Item, Method, SetReport, Shown
from ragicl.evaluate.scores import correct, label_scores, reliability
from ragicl.evaluate.task import Task
from ragicl.protocols import FloatArray

Booleans = NDArray[np.bool_]

WORST = 10  # rows shown on which engine and reference differ most


def study_labels(
    task: Task, names: Sequence[str], seeds: int = 2, curves: Sequence[str] = ()
) -> SetReport:
    """Measure the engine and the references named on a classification task.

    :param names: as :func:`ragicl.evaluate.references.chosen` gives them
    :param seeds: of references with randomness; the distance between the first two is their floor
    :param curves: ``pool``, ``k`` or ``budget``
    """
    if not any(query.gold in task.labels for query in task.test):
        raise TaskError(f"no test row of {task.name} has a label that the index knows")
    ours = answers(task, OURS)
    theirs = {name: [answers(task, name, n) for n in seeds_of(name, seeds)] for name in names}
    clean = ~leaked(task)
    main = standing(names)
    order = sorted(names, key=lambda name: name != main)  # the one that stands for tuning is first
    every = Resampling(len(task.test))
    methods = [_method(task, OURS, ours, ours, clean, every)]
    methods += [_method(task, name, theirs[name][0], ours, clean, every) for name in names]
    return SetReport(
        name=task.name,
        kind="classify",
        pool=len(task.pool),
        rows=len(task.test),
        leaked=int((~clean).sum()),
        labels=len(task.labels),
        lm=task.lm.description,
        encoder=task.engine.index.manifest.encoder.description,
        policy=asdict(task.engine.policy),
        methods=tuple(methods),
        distances=tuple(_distance(name, ours, theirs[name], clean, every) for name in order),
        curves=tuple(curve(task, over, main, theirs[main][0].probs, every) for over in curves),
        worst=_worst(task, ours.probs, theirs[main][0].probs),
    )


def leaked(task: Task) -> Booleans:
    """Return which test texts occur in the pool, but for case, punctuation and white space."""
    known = {_normal(example.input) for example in task.pool}
    return np.array([_normal(text) in known for text in task.texts], dtype=np.bool_)


def _normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _method(
    task: Task, name: str, own: Answers, ours: Answers, clean: Booleans, every: Resampling
) -> Method:
    gold, some = task.gold, None
    if not clean.all() and clean.any():
        some = label_scores(own.probs[clean], gold[clean], Resampling(int(clean.sum())))
    return Method(
        name,
        label_scores(own.probs, gold, every),
        some,
        own.cost,
        own.settings,
        reliability(own.probs, gold),
        None if name == OURS else every.paired(correct(own.probs, gold), correct(ours.probs, gold)),
    )


def _distance(
    name: str, ours: Answers, theirs: Sequence[Answers], clean: Booleans, every: Resampling
) -> Distance:
    rows = total_variation(ours.probs, theirs[0].probs)
    same = ours.probs.argmax(axis=1) == theirs[0].probs.argmax(axis=1)
    partly = not clean.all() and clean.any()
    return Distance(
        name,
        every.mean(rows),
        float(np.median(rows)),
        float(np.quantile(rows, 0.9)),
        every.mean(same.astype(np.float32)),
        clean=Resampling(int(clean.sum())).mean(rows[clean]) if partly else None,
        floor=every.mean(total_variation(theirs[0].probs, theirs[1].probs))
        if len(theirs) > 1
        else None,
    )


def _worst(task: Task, ours: FloatArray, theirs: FloatArray) -> tuple[Item, ...]:
    """Return the rows on which the two differ most, with the engine's demonstrations."""
    distances = total_variation(ours, theirs)
    rows = np.argsort(-distances, kind="stable")[:WORST].tolist()
    items = []
    for row in rows:
        mine, other = int(ours[row].argmax()), int(theirs[row].argmax())
        shots = task.engine.prompt(task.texts[row]).shots
        items.append(
            Item(
                task.texts[row],
                task.golds[row],
                task.labels[mine],
                float(ours[row, mine]),
                task.labels[other],
                float(theirs[row, other]),
                float(distances[row]),
                tuple(Shown(s.example.input, s.example.output, s.similarity) for s in shots),
            )
        )
    return tuple(items)
