"""What a reader of answers should know beforehand, a line each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ragicl.cli.render import ceiling

if TYPE_CHECKING:
    from ragicl.engine import Engine

MANY = 200  # labels, from which the language model takes seconds for each text


def notes(engine: Engine) -> Iterator[str]:
    """Yield what limits the answers of an engine."""
    if (recall := engine.shortlist_recall) is not None:
        yield ceiling(recall)
    if engine.lm is not None and engine.pipeline.leaves_lm_out:
        yield (
            f"{engine.lm.spec} gives no label likelihoods: the blend leaves it out; "
            f"--decide lm asks it for a label"
        )
    yield from of_many_labels(engine)


def of_many_labels(engine: Engine) -> Iterator[str]:
    """Yield how not to wait, where the language model scores many labels for each text."""
    if (many := _labels_to_read(engine)) > MANY:
        yield (
            f"the language model reads {many} labels for each text; "
            f"--shortlist 16 asks it about the labels of the nearest examples only"
        )


def _labels_to_read(engine: Engine) -> int:
    """Return how many labels the language model scores for each text."""
    asked = engine.pipeline.prompts_lm and not engine.generates
    return len(engine.labels) if asked and engine.policy.decision.shortlist is None else 0
