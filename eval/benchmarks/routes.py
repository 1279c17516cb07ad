"""The routes by which answers are scored, on Banking77's 77 labels with the packaged model.

    python eval/benchmarks/routes.py WORK_FOLDER [--tokens 1000] [--queries 3] [--dtype auto]

Each query is scored by every route in turn. Prints the median seconds of each, and how far its
log-probabilities lie from those of the slowest.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from statistics import median

import numpy as np
import torch
from common import DATA, ragicl, sample
from numpy.typing import NDArray

from ragicl import Engine, Policy
from ragicl.backends.hf.lm import HFLM
from ragicl.backends.hf.scoring.packed_scoring import Job as Scored
from ragicl.backends.hf.scoring.packed_scoring import score_jobs
from ragicl.backends.hf.scoring.routes import ONE_PROMPT, PACKED, UNPACKED
from ragicl.backends.hf.scoring.trie import build_trie

Job = tuple[list[int], Sequence[Sequence[int]]]
DEMONSTRATIONS = 64  # more than the budget holds


def main() -> None:
    """Compare the routes at one length of prompts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=3)
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    index = options.folder / "banking77"
    ragicl("index", DATA / "banking77" / "train.jsonl", "--out", index)
    policy = Policy(k=DEMONSTRATIONS, budget=options.tokens)
    with Engine.open(index, policy=policy, dtype=options.dtype) as engine, torch.inference_mode():
        assert isinstance(engine.lm, HFLM)
        assert engine.lm.packed  # by itself, it is packed; without segments it reads as usual
        rows = sample("banking77", options.queries + 1)
        jobs = [job_of(engine, engine.lm, row["text"]) for row in rows]
        routes = routes_of(engine.lm)
        for name, score in routes.items():
            if name != UNPACKED:
                score(jobs[-1])  # a warm-up
        compare(routes, jobs[:-1])


def job_of(engine: Engine, lm: HFLM, text: str) -> Job:
    """Return the tokens of a query's prompt, and of each label after it."""
    answers = [engine.template.answer(label) for label in engine.labels]
    return lm.tokens.split(engine.prompt(text).parts, answers)[:2]


def routes_of(lm: HFLM) -> dict[str, Callable[[Job], list[float]]]:
    """Return what scores a job, by the route's name; the slowest is last."""
    model = lm.model()
    routes: dict[str, Callable[[Job], list[float]]] = {
        PACKED: lambda job: score_jobs(model, [Scored(job[0], build_trie(job[1]))], inf)[0]
    }
    for name, score in ONE_PROMPT.items():
        routes[name] = lambda job, score=score: score(model, *job)  # type: ignore[misc]
    return routes


def compare(routes: dict[str, Callable[[Job], list[float]]], jobs: Sequence[Job]) -> None:
    """Score all jobs by all routes in turn, and print a line for each route."""
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    scores: dict[str, list[list[float]]] = {name: [] for name in routes}
    for job in jobs:
        for name, score in routes.items():
            start = time.perf_counter()
            scores[name].append(score(job))
            seconds[name].append(time.perf_counter() - start)
    lengths = [len(prompt) for prompt, _ in jobs]
    print(
        f"{len(jobs)} queries of {min(lengths)} to {max(lengths)} tokens, {len(jobs[0][1])} labels"
    )
    slow = np.array(scores[UNPACKED])
    for name in routes:
        print(line(name, median(seconds[name]), np.array(scores[name]), slow), flush=True)


def line(name: str, took: float, scores: NDArray[np.float64], slow: NDArray[np.float64]) -> str:
    """Return what there is to say about a route."""
    same = int((scores.argmax(axis=1) == slow.argmax(axis=1)).sum())
    apart = np.abs(scores - slow).max()
    return (
        f"{name:<10}{took:>8.2f} s a query, {same} the same label, at most {apart:.3f} nats apart"
    )


if __name__ == "__main__":
    main()
