"""Where the time of a prediction goes, on the user's own index, model and machine."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from ragicl.engine import Engine
from ragicl.errors import TaskError
from ragicl.protocols import Profiled
from ragicl.records import Example, Prediction


@dataclass(frozen=True, slots=True)
class Bench:
    """What was measured; times are medians, in milliseconds per query.

    :ivar single: queries answered one at a time, by stage
    :ivar batch: the same queries given at once, their whole time divided by their number
    :ivar tokens: mean length of the prompts
    :ivar peak: the most memory that the process has had, in MB
    :ivar prefill: reading the same prompts and nothing else; None where the model cannot tell
    :ivar ratio: scoring the labels over that prefill, medians of both, runs interleaved
    :ivar ceiling: the machine's fastest matrix product, in GFLOP/s
    :ivar memory: the machine's fastest reading of memory, in GB/s
    :ivar route: how the model scores labels; None where it was not asked to, or cannot tell
    :ivar prefix_stable: whether the model's tokenizer lets token ids be kept for each demonstration
    :ivar used: share of the matrix ceiling that the answers to single queries used, over all stages
    """

    queries: int
    lm: str | None
    single: dict[str, float]
    batch: float
    tokens: float
    peak: float
    prefill: float | None = None
    ratio: float | None = None
    route: str | None = None
    prefix_stable: bool | None = None
    ceiling: float | None = None
    memory: float | None = None
    used: float | None = None

    @property
    def total(self) -> float:
        """Milliseconds of a query answered by itself."""
        return sum(self.single.values())


def bench(engine: Engine, queries: int) -> Bench:
    """Answer examples of the index as queries, each with its own entry left out, and measure.

    :raises TaskError: where the index has too few examples
    """
    sample = engine.index.sample(queries + 1, seed=1)
    if len(sample) < 2:
        raise TaskError(f"{engine.index.path} has too few examples to measure with")
    warm_up, rest = sample[0], sample[1:]
    engine.predict(warm_up.input, exclude=warm_up.id)
    answers = [engine.predict(e.input, exclude=e.id) for e in rest]
    stages = list(answers[0].timings)
    single = {s: median(a.timings.get(s, 0.0) for a in answers) for s in stages}
    start = time.perf_counter()
    list(engine.predict_all([e.input for e in rest], exclude=[e.id for e in rest]))
    batch = (time.perf_counter() - start) * 1000 / len(rest)
    return _with_model(engine, rest, answers, single, batch)


def _with_model(
    engine: Engine,
    examples: Sequence[Example],
    answers: Sequence[Prediction],
    single: dict[str, float],
    batch: float,
) -> Bench:
    prompts = [a.prompt for a in answers if a.prompt is not None]
    tokens = sum(p.tokens for p in prompts) / max(len(prompts), 1)
    name = engine.lm.description if engine.lm else None
    usual = Bench(len(answers), name, single, batch, tokens, _peak_memory())
    lm: object = engine.lm
    if not isinstance(lm, Profiled) or not prompts:
        return usual
    ceiling, memory = lm.ceilings()
    work = median(lm.flops(p.tokens) for p in prompts)
    known = replace(
        usual,
        prefix_stable=lm.prefix_stable,
        ceiling=ceiling / 1e9,
        memory=memory / 1e9,
        used=work / (usual.total / 1000) / ceiling,
    )
    if "score" not in single:
        return known
    prefill, ratio = _against_prefill(engine, lm, examples)
    return replace(known, prefill=prefill, ratio=ratio, route=lm.route())


def _against_prefill(
    engine: Engine, lm: Profiled, examples: Sequence[Example]
) -> tuple[float, float]:
    """Return the median prefill in ms, and scoring over prefill, one after the other in turn."""
    reads, scores = [], []
    for example in examples:
        prompt = engine.prompt(example.input, exclude=example.id)
        start = time.perf_counter()
        lm.prefill(prompt.parts)
        reads.append((time.perf_counter() - start) * 1000)
        scores.append(engine.predict(example.input, exclude=example.id).timings["score"])
    return median(reads), median(scores) / median(reads)


def _peak_memory() -> float:
    """Return the process's largest resident size in MB; the system counts in kB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def table(measured: Bench) -> str:
    """Return the measurement for people."""
    lines = [f"{measured.queries} queries, {measured.tokens:.0f} tokens each, {measured.lm}"]
    for stage, ms in measured.single.items():
        lines.append(f"  {stage:<10}{ms:>10.2f} ms  {ms / measured.total:>6.1%}")
    lines.append(f"  {'one query':<10}{measured.total:>10.2f} ms")
    lines.append(f"  {'in a batch':<10}{measured.batch:>10.2f} ms")
    if measured.prefill is not None:
        lines.append(
            f"  scoring ({measured.route}) takes {measured.ratio:.2f} x the bare prefill "
            f"({measured.prefill:.1f} ms)"
        )
    if measured.prefix_stable is not None:
        kept = (
            "cached for each demonstration"
            if measured.prefix_stable
            else "made again for each prompt"
        )
        lines.append(f"  token ids are {kept}")
    if measured.used is not None:
        lines.append(
            f"  {measured.used:.0%} of the matrix ceiling, {measured.ceiling:.0f} GFLOP/s; "
            f"memory is read at {measured.memory:.0f} GB/s"
        )
    lines.append(f"  peak memory {measured.peak:.0f} MB")
    return "\n".join(lines)
