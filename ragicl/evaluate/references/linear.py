"""Linear classifiers on frozen features: the probe, and a new head on the language model.

The home of scikit-learn's classifiers.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ragicl.evaluate.answer_cache import kept_rows
from ragicl.evaluate.metrics.label_scores import Ints, nll
from ragicl.evaluate.task import Reference, Task, digest
from ragicl.protocols import FloatArray

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)  # inverse regularisation tried
FOLDS = 5
LARGE = 2000  # examples from which one fold is enough to choose by
STEPS = 1000


def probe(task: Task, seed: int) -> Reference:
    """Fit logistic regression on the encoder's vectors: the feature-based approach."""
    encoder = task.engine.index.encoder
    return _fitted(task, task.vectors, encoder.encode, lambda text: 0)


def head(task: Task, seed: int) -> Reference:
    """Fit a new head on the frozen language model's last hidden state of each prompt."""
    from ragicl.backends.hf.training.api import hidden

    def features(texts: Sequence[str]) -> FloatArray:
        return hidden(task.lm, [task.bare(text) for text in texts])

    texts = [example.input for example in task.pool]
    folder = task.folder / f"hidden-{digest(task.identity)}"
    known = kept_rows(task, "head", texts, features, folder)
    read = lambda text: task.lm.count(task.bare(text))  # noqa: E731
    return _fitted(task, known.values, features, read, known.seconds)


def _fitted(
    task: Task,
    known: FloatArray,
    features: Callable[[Sequence[str]], FloatArray],
    read: Callable[[str], int],
    spent: float = 0.0,
) -> Reference:
    start = time.perf_counter()
    gold = task.pool_gold
    losses = {strength: _loss(known, gold, strength, len(task.labels)) for strength in STRENGTHS}
    strength = min(losses, key=losses.__getitem__)
    model = _model(known, gold, strength)
    return Reference(
        task.labels,
        lambda texts: _probs(model, features(texts), len(task.labels)),
        read,
        spent + time.perf_counter() - start,
        2 * (known.shape[1] + 1) * len(task.labels),  # in half precision, as tuned weights are
        {"C": strength, "held_out_loss": round(losses[strength], 4)},
    )


def _loss(features: FloatArray, gold: Ints, strength: float, labels: int) -> float:
    """Return the mean negative log-likelihood on held-out examples, in nats."""
    losses = []
    for train, held in _folds(len(gold)):
        if len(np.unique(gold[train])) > 1:
            probs = _probs(_model(features[train], gold[train], strength), features[held], labels)
            losses.append(nll(probs, gold[held]))
    return float(np.concatenate(losses).mean()) if losses else 0.0


def _folds(rows: int) -> Iterator[tuple[Ints, Ints]]:
    folds = KFold(min(FOLDS, rows), shuffle=True, random_state=0).split(np.zeros(rows))
    for number, fold in enumerate(folds):
        if number == 0 or rows < LARGE:
            yield fold


def _model(features: FloatArray, gold: Ints, strength: float) -> Pipeline:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=STEPS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # held-out rows judge what came out
        return model.fit(features, gold)


def _probs(model: Pipeline, features: FloatArray, labels: int) -> FloatArray:
    """Return probabilities with a column for every label, those never seen included."""
    probs = np.zeros((len(features), labels), dtype=np.float32)
    probs[:, model.classes_] = model.predict_proba(features)
    return probs
