"""What studies of labels and of texts have in common: distances, leaks, the worst rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ragicl.evaluate.metrics.bootstrap import Resampling
from ragicl.evaluate.references.baselines import alone
from ragicl.evaluate.references.registry import standing
from ragicl.evaluate.results import Curve, Distance, Item, Method, SetReport, Shown
from ragicl.evaluate.task import Task
from ragicl.protocols import FloatArray

Booleans = NDArray[np.bool_]
RowAnswer = Callable[[int], tuple[str, float]]
"""A test row's answer, and how likely the model that gives it finds it."""

WORST = 10  # rows shown on which engine and reference differ most


@dataclass(frozen=True)
class Sample:
    """The test rows to estimate from: all, and those whose text the pool does not hold."""

    task: Task

    @cached_property
    def leaked(self) -> Booleans:
        """Which test texts occur in the pool, but for case, punctuation and white space."""
        known = {_normal(example.input) for example in self.task.pool}
        return np.array([_normal(text) in known for text in self.task.texts], dtype=np.bool_)

    @cached_property
    def every(self) -> Resampling:
        """Resamples of all rows."""
        return Resampling(len(self.task.test))

    @cached_property
    def clean(self) -> tuple[Booleans, Resampling] | None:
        """Return which rows are not leaked and resamples of those; None where none or all are."""
        rows = ~self.leaked
        return None if rows.all() or not rows.any() else (rows, Resampling(int(rows.sum())))

    def distance(
        self,
        name: str,
        rows: FloatArray,
        same: FloatArray,
        noise_floor: FloatArray | None,
        maximum: FloatArray | None = None,
        icl: FloatArray | None = None,
    ) -> Distance:
        """Return the distance to a reference.

        :param rows: of each test row, as are the others
        :param same: share of answers that are the same
        :param noise_floor: distance between trainings of the reference; None where it has one
        :param icl: distance between the language model alone and the reference; None for texts, and
            for the language model alone
        """
        mean = self.every.mean
        clean = None
        if self.clean is not None:
            some, resampling = self.clean
            clean = resampling.mean(rows[some])
        return Distance(
            name,
            mean(rows),
            float(np.median(rows)),
            float(np.quantile(rows, 0.9)),
            mean(same),
            clean=clean,
            maximum=None if maximum is None else mean(maximum),
            noise_floor=None if noise_floor is None else mean(noise_floor),
            above=None if noise_floor is None else mean(rows - noise_floor),
            icl=None if icl is None else mean(icl),
        )

    def worst(
        self, distances: FloatArray, system: RowAnswer, reference: RowAnswer
    ) -> tuple[Item, ...]:
        """Return the rows on which the two differ most, with their demonstrations."""
        rows = np.argsort(-distances, kind="stable")[:WORST].tolist()
        return tuple(self._item(row, float(distances[row]), system, reference) for row in rows)

    def report(
        self,
        methods: Sequence[Method],
        distances: Sequence[Distance],
        worst: Sequence[Item],
        curves: Sequence[Curve] = (),
    ) -> SetReport:
        """Return all of it as the report of a set; the recommendation is left out."""
        task = self.task
        return SetReport(
            name=task.name,
            kind=task.kind,
            pool=len(task.pool),
            rows=len(task.test),
            leaked=int(self.leaked.sum()),
            labels=0 if task.kind == "generate" else len(task.labels),
            lm=task.lm.description,
            encoder=task.engine.index.manifest.encoder.description,
            policy=alone(task.engine).policy.as_dict(),
            methods=tuple(methods),
            distances=tuple(distances),
            curves=tuple(curves),
            worst=tuple(worst),
        )

    def _item(self, row: int, distance: float, system: RowAnswer, reference: RowAnswer) -> Item:
        text = self.task.texts[row]
        shots = alone(self.task.engine).prompt(text).shots
        return Item(
            text,
            self.task.golds[row],
            *system(row),
            *reference(row),
            distance,
            tuple(Shown(s.example.input, s.example.output, s.similarity) for s in shots),
        )


def best_first(names: Sequence[str]) -> list[str]:
    """Return the references, that which stands for fine-tuning first."""
    main = standing(names) if names else ""
    return sorted(names, key=lambda name: name != main)


def _normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()
