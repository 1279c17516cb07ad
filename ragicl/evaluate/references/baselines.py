"""What ``ragicl predict`` answers, and references without fine-tuning, which may win."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ragicl.backends.capabilities import chat_format
from ragicl.calibration.blend import SOURCES
from ragicl.calibration.distributions import from_votes
from ragicl.engine import Engine
from ragicl.errors import TaskError
from ragicl.evaluate.answer_cache import kept_rows
from ragicl.evaluate.metrics.label_scores import LEAST, nll
from ragicl.evaluate.task import Reference, Task, digest
from ragicl.inference.blender import default_blend
from ragicl.inference.tuned_settings import tuned_for
from ragicl.prompting.template import named_template
from ragicl.protocols import FloatArray, IntArray
from ragicl.records import Example, Neighbor, Prediction
from ragicl.retrieval.nearest import nearest

VOTERS = (1, 3, 5, 9, 15, 25)  # numbers of neighbours tried
LEFT_OUT = 2000  # pool examples tried, each left out, to choose among settings
ANSWERS = 7  # to be raised when what `ragicl predict` answers changes
ANCHORS = 1000  # pool examples that kNN-prompting compares with, at most


def icl(task: Task, seed: int) -> Reference:
    """Return the language model alone, prompted with the nearest demonstrations."""
    return answering(task, alone(task.engine))


def alone(engine: Engine) -> Engine:
    """Return an engine that asks the language model alone."""
    if engine.policy.decision.decide == "lm":
        return engine
    policy = engine.policy.replace(decide="lm", set_coverage=None, coverage=None, ood_level=None)
    return Engine(engine.index, engine.lm, engine.template, policy)


def answering(task: Task, engine: Engine) -> Reference:
    """Return an engine over the task's labels; those that its index lacks get no probability."""
    tokens: dict[str, int] = {}
    next(engine.predict_all(task.texts[:1]))  # loading, and the way to score: no row's time

    def probs(texts: Sequence[str]) -> FloatArray:
        return _answered(task, texts, engine.predict_all(texts), tokens)

    return Reference(task.labels, probs, lambda text: tokens.get(text, 0))


def system(task: Task, seed: int) -> Reference:
    """Return what `ragicl predict` answers: the model blended with what the index says by itself.

    As the index was tuned with this language model, or by the usual weights.
    """
    engine = task.engine
    tuned = tuned_for(engine.index, task.lm)
    policy = tuned.policy_over(engine.policy) if tuned else engine.policy
    policy = policy.replace(decide="blend")
    template = engine.template
    if tuned and tuned.template:
        text = getattr(template, "instruction", None)
        template = named_template(tuned.template, engine.index.kind, text, chat_format(task.lm))
    blended = Engine(engine.index, engine.lm, template, policy, tuned)
    start = time.perf_counter()
    made = answering(task, blended)  # its first answer fits the classifiers
    weights = tuned.blend if tuned else default_blend(task.lm)
    return replace(
        made,
        seconds=time.perf_counter() - start,
        settings=dict(zip(SOURCES, weights.weights, strict=True))
        | ({"calibration": tuned.calibration} | dict(tuned.policy) if tuned else {}),
    )


def majority(task: Task, seed: int) -> Reference:
    """Fit the labels' shares in the pool, whatever the text."""
    shares = np.bincount(task.pool_gold, minlength=len(task.labels)) / len(task.pool)
    row = shares.astype(np.float32)
    return Reference(task.labels, lambda texts: np.tile(row, (len(texts), 1)))


def nearest_one(task: Task, seed: int) -> Reference:
    """Return the label of the nearest example."""
    return _vote(task, 1)


def vote(task: Task, seed: int) -> Reference:
    """Fit the neighbours' vote: how many, by the accuracy on pool examples, each left out."""
    start = time.perf_counter()
    picked = np.random.default_rng(0).permutation(len(task.pool))[:LEFT_OUT]
    own = [task.pool[i].id for i in picked]
    near = partial(task.engine.index.near, where=task.engine.policy.retrieval.where)
    found = nearest(near, task.vectors[picked], max(VOTERS), exclude=own, labels=task.labels)
    gold = task.pool_gold[picked]
    scored = []
    for k in VOTERS:
        probs = _shares([some[:k] for some in found], task.labels)
        scored.append((-float(np.mean(probs.argmax(axis=1) == gold)), nll(probs, gold).mean(), k))
    k = min(scored)[2]
    return _vote(task, k, time.perf_counter() - start)


def random_icl(task: Task, seed: int) -> Reference:
    """Return the language model alone with random demonstrations, as many, in the same budget."""
    draw = np.random.default_rng(seed)
    engine, pool = alone(task.engine), task.pool
    number = min(engine.policy.retrieval.k + engine.policy.retrieval.fixed, len(pool))
    drawn = {
        text: [
            Neighbor(pool[i], 0.0, rank)
            for rank, i in enumerate(draw.choice(len(pool), number, replace=False))
        ]
        for text in task.texts
    }
    tokens: dict[str, int] = {}

    def probs(texts: Sequence[str]) -> FloatArray:
        answers = engine.predict_with(texts, [drawn[text] for text in texts])
        return _answered(task, texts, answers, tokens)

    return Reference(task.labels, probs, lambda text: tokens.get(text, 0))


def knn_prompting(task: Task, seed: int) -> Reference:
    """Fit neighbours by the model's next-token distribution after fixed demonstrations.

    Xu et al. 2023 (2303.13824): a query and the pool's other examples follow the same few
    demonstrations, one of each label in turn; the labels of the examples with the smallest
    Kullback-Leibler divergence vote. Xu et al. show every label; here, as many as the engine shows.

    :raises TaskError: where the pool has too few examples
    """
    from ragicl.backends.hf.training.api import answer_log_probs

    order = np.random.default_rng(seed).permutation(len(task.pool))
    chosen = _one_of_each(task, order.tolist())[: max(1, task.engine.policy.retrieval.k)]
    shots = [(task.pool[i].input, task.pool[i].output) for i in chosen]
    anchors = [i for i in order.tolist() if i not in set(chosen)][:ANCHORS]
    if len(anchors) < 2:
        raise TaskError(
            f"knn-prompting needs more than {len(task.pool)} examples beside {len(chosen)} "
            f"demonstrations; leave it out"
        )

    def after(texts: Sequence[str]) -> FloatArray:
        answer = task.engine.template.answer(task.labels[0])
        prompts = [task.engine.template.render(text, shots) for text in texts]
        return np.stack([answer_log_probs(task.lm, parts, answer)[0][0] for parts in prompts])

    folder = task.folder / f"anchors-{seed}-{digest(task.identity, shots, anchors)}"
    texts = [task.pool[i].input for i in anchors]
    kept = kept_rows(task, "knn-prompting", texts, after, folder)
    known, gold = kept.values, task.pool_gold[anchors]
    distances = _divergences(known, known)
    np.fill_diagonal(distances, np.inf)
    k = min(
        (k for k in VOTERS if k < len(anchors)),
        key=lambda k: -float(np.mean(_count(distances, gold, k, task.labels).argmax(1) == gold)),
    )
    return Reference(
        task.labels,
        lambda texts: _count(_divergences(after(texts), known), gold, k, task.labels),
        lambda text: task.lm.count(task.engine.template.render(text, shots)),
        kept.seconds,
        2 * known.size,  # in half precision
        {"k": k, "demonstrations": len(shots), "anchors": len(anchors), "seed": seed},
    )


def _answered(
    task: Task, texts: Sequence[str], answers: Iterable[Prediction], tokens: dict[str, int]
) -> FloatArray:
    """Return predictions as rows over the task's labels; note the lengths of their prompts."""
    rows = []
    for text, answer in zip(texts, answers, strict=True):
        tokens[text] = answer.prompt.tokens if answer.prompt else 0
        rows.append([answer.probs.get(label, 0.0) for label in task.labels])
    return np.array(rows, dtype=np.float32).reshape(len(texts), len(task.labels))


def _one_of_each(task: Task, order: Sequence[int]) -> list[int]:
    """Return examples in turns of the labels: one of each, then another of each."""
    seen: dict[int, int] = {}
    turns = []
    for i in order:
        label = int(task.pool_gold[i])
        seen[label] = seen.get(label, 0) + 1
        turns.append((seen[label], i))
    return [i for _, i in sorted(turns, key=lambda pair: pair[0])]


def _divergences(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return KL(left ‖ right) of log-probabilities, shape (left rows, right rows)."""
    probs = np.exp(left)
    found: FloatArray = (probs * left).sum(axis=1)[:, None] - probs @ right.T
    return found


def _count(distances: FloatArray, gold: IntArray, k: int, labels: Sequence[str]) -> FloatArray:
    """Return the labels' shares among the k nearest; the nearest decides between equals."""
    near = np.argsort(distances, axis=1, kind="stable")[:, :k]
    shares = np.zeros((len(distances), len(labels)), dtype=np.float32)
    for column in near.T:
        shares[np.arange(len(near)), gold[column]] += 1 / k
    shares[np.arange(len(near)), gold[near[:, 0]]] += LEAST
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float32)


def _vote(task: Task, k: int, seconds: float = 0.0) -> Reference:
    index = task.engine.index

    def probs(texts: Sequence[str]) -> FloatArray:
        near = partial(index.near, where=task.engine.policy.retrieval.where)
        found = nearest(near, index.encoder.encode(texts), k, labels=task.labels)
        return _shares(found, task.labels)

    return Reference(task.labels, probs, seconds=seconds, settings={"k": k})


def _shares(found: Sequence[Sequence[Neighbor]], labels: Sequence[str]) -> FloatArray:
    rows = [list(from_votes(some, labels).values()) for some in found]
    return np.array(rows, dtype=np.float32).reshape(len(found), len(labels))


def copied(task: Task, texts: Sequence[str]) -> list[str]:
    """Return the nearest example's output for each text: the vote where texts are written."""
    found = task.engine.index.search(texts, 1, task.engine.policy.retrieval.where)
    nobody = Example("", "")
    return [next((n.example for n in some), nobody).output for some in found]
