"""How near texts are to the right ones. The home of rouge-score and sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ragicl.errors import require
from ragicl.evaluate.metrics.bootstrap import Resampling
from ragicl.evaluate.results import TextScores
from ragicl.protocols import FloatArray


def text_rows(outputs: Sequence[str], golds: Sequence[str]) -> FloatArray:
    """Return exact match, ROUGE-L (F1) and chrF of each text, all in [0, 1], shape (rows, 3).

    White space at the ends does not count. chrF (Popović 2015) is of each text by itself.

    :raises MissingExtraError: where the packages are missing
    """
    require("eval", "scoring texts", "rouge_score", "sacrebleu")
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics.chrf import CHRF

    rouge, chrf = RougeScorer(["rougeL"], use_stemmer=False), CHRF()
    rows = [
        (
            float(output.strip() == gold.strip()),
            rouge.score(gold, output)["rougeL"].fmeasure,
            chrf.sentence_score(output, [gold]).score / 100,
        )
        for output, gold in zip(outputs, golds, strict=True)
    ]
    return np.array(rows, dtype=np.float32).reshape(len(rows), 3)


def text_scores(rows: FloatArray, resampling: Resampling) -> TextScores:
    """Return the means of what :func:`text_rows` gives, with their intervals."""
    return TextScores(*(resampling.mean(column) for column in rows.T))
