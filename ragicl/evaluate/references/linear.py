"""Linear classifiers on frozen features: the probe, and a new head on the language model.

The home of scikit-learn's classifiers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ragicl.evaluate.answer_cache import kept_rows
from ragicl.evaluate.metrics.label_scores import nll
from ragicl.evaluate.task import Reference, Task, digest
from ragicl.probes.logistic import Trial, choose_strength, fit_regression
from ragicl.protocols import FloatArray, IntArray

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
    trials = (_trial(known, gold, strength, len(task.labels)) for strength in STRENGTHS)
    best = choose_strength(trials, stop_early=False)
    model = _model(known, gold, best.strength)
    return Reference(
        task.labels,
        lambda texts: _probs(model, features(texts), len(task.labels)),
        read,
        spent + time.perf_counter() - start,
        2 * (known.shape[1] + 1) * len(task.labels),  # in half precision, as tuned weights are
        {"C": best.strength, "held_out_loss": round(best.loss, 4)},
    )


def _trial(features: FloatArray, gold: IntArray, strength: float, labels: int) -> Trial[None]:
    """Return how fits of a strength do on held-out examples."""
    losses = []
    for train, held in _folds(len(gold)):
        if len(np.unique(gold[train])) > 1:
            probs = _probs(_model(features[train], gold[train], strength), features[held], labels)
            losses.append(nll(probs, gold[held]))
    return Trial(strength, float(np.concatenate(losses).mean()) if losses else 0.0, None)


def _folds(rows: int) -> Iterator[tuple[IntArray, IntArray]]:
    folds = KFold(min(FOLDS, rows), shuffle=True, random_state=0).split(np.zeros(rows))
    for number, fold in enumerate(folds):
        if number == 0 or rows < LARGE:
            yield fold


def _model(features: FloatArray, gold: IntArray, strength: float) -> Pipeline:
    scaler = StandardScaler()
    return make_pipeline(
        scaler, fit_regression(scaler.fit_transform(features), gold, strength, STEPS)
    )


def _probs(model: Pipeline, features: FloatArray, labels: int) -> FloatArray:
    """Return probabilities with a column for every label, those never seen included."""
    probs = np.zeros((len(features), labels), dtype=np.float32)
    probs[:, model.classes_] = model.predict_proba(features)
    return probs
