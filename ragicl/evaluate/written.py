"""One generation set, measured: texts, and the distance at each token of the right output.

Under teacher forcing every model reads its own prompt followed by the right output, token by token;
at each token its distribution over the whole vocabulary is held against the other model's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ragicl.errors import TaskError
from ragicl.evaluate.baselines import copied
from ragicl.evaluate.distances import total_variation
from ragicl.evaluate.intervals import Resampling
from ragicl.evaluate.kept import write_whole
from ragicl.evaluate.references import standing
from ragicl.evaluate.results import OURS, Cost, Distance, Item, Method, SetReport, Shown
from ragicl.evaluate.study import Booleans, leaked
from ragicl.evaluate.task import Task, digest
from ragicl.evaluate.texts import text_rows, text_scores
from ragicl.evaluate.tuned import model_of
from ragicl.protocols import LM, FloatArray, Parts

ROWS = 16  # test rows answered and kept together
WORST = 10
COPIED = "knn-1"


@dataclass(frozen=True, slots=True)
class Writer:
    """A way to write an output.

    :ivar write: from texts to outputs
    :ivar prompt: what a model reads for a text; None where none is asked
    """

    name: str
    write: Callable[[Sequence[str]], list[str]]
    prompt: Callable[[str], Parts] | None = None
    lm: LM | None = None
    seconds: float = 0.0
    bytes: int = 0
    settings: dict[str, Any] | None = None


def study_texts(task: Task, names: Sequence[str], seeds: int = 2) -> SetReport:
    """Measure the engine and the references named on a generation task.

    :param names: of ``lora`` and ``full``
    :param seeds: of each; the distance between the first two is the reference's floor
    """
    writers = [_ours(task), Writer(COPIED, lambda texts: copied(task, texts))]
    tuned = {name: [_tuned(task, name, seed) for seed in range(seeds)] for name in names}
    writers += [some[0] for some in tuned.values()]
    clean, every = ~leaked(task), Resampling(len(task.test))
    texts = {writer.name: _texts(task, writer) for writer in writers}
    ours = text_rows(texts[OURS][0], task.golds)
    pairs = [(writers[0], some[0]) for some in tuned.values()]
    pairs += [(some[0], some[1]) for some in tuned.values() if seeds > 1]
    compared = _compared(task, pairs)
    main = standing(names) if names else ""
    order = sorted(names, key=lambda name: name != main)
    return SetReport(
        name=task.name,
        kind="generate",
        pool=len(task.pool),
        rows=len(task.test),
        leaked=int((~clean).sum()),
        labels=0,
        lm=task.lm.description,
        encoder=task.engine.index.manifest.encoder.description,
        policy=asdict(task.engine.policy),
        methods=tuple(_method(task, w, texts[w.name], ours, clean, every) for w in writers),
        distances=tuple(_distance(name, compared, clean, every, seeds) for name in order),
        worst=_worst(task, main, texts, compared) if names else (),
    )


def _ours(task: Task) -> Writer:
    engine = task.engine

    def write(texts: Sequence[str]) -> list[str]:
        return [prediction.output for prediction in engine.predict_all(texts)]

    return Writer(OURS, write, lambda text: engine.prompt(text).parts, task.lm)


def _tuned(task: Task, name: str, seed: int) -> Writer:
    tuned = model_of(task, name, seed)
    longest = task.engine.longest_answer

    def write(texts: Sequence[str]) -> list[str]:
        found = tuned.lm.write(
            [task.bare(text) for text in texts],
            max_tokens=longest,
            stop=task.engine.template.stops,
        )
        return [text.strip() for text in found]

    key = name if seed == 0 else f"{name}-{seed}"
    return Writer(key, write, task.bare, tuned.lm, tuned.seconds, tuned.bytes, dict(tuned.settings))


def _texts(task: Task, writer: Writer) -> tuple[list[str], float]:
    """Return what a writer writes for the test rows, and its seconds a row; kept as it is made."""
    depends = asdict(task.engine.policy) if writer.name == OURS else task.minutes
    folder = _folder(task, f"texts-{writer.name}", depends)
    outputs: list[str] = []
    spent = 0.0
    for start, some in _chunks(task):
        place = folder / f"rows-{start:06}.json"
        if not place.exists():
            begin = time.perf_counter()
            found = writer.write(some)
            kept = {"texts": found, "seconds": time.perf_counter() - begin}
            write_whole(place, json.dumps(kept, ensure_ascii=False).encode())
        kept = json.loads(place.read_text(encoding="utf-8"))
        outputs += kept["texts"]
        spent += kept["seconds"]
        task.steps(f"{task.name}: {writer.name} writes", len(outputs), len(task.test))
    return outputs, spent / len(task.test)


def _compared(task: Task, pairs: Sequence[tuple[Writer, Writer]]) -> dict[str, FloatArray]:
    """Return, for each pair of models, what :func:`_row` says of each test row; kept as made.

    All pairs are compared on a row at once, so that each model reads it once.
    """
    depends = asdict(task.engine.policy), task.minutes, [(a.name, b.name) for a, b in pairs]
    folder = _folder(task, "tokens", depends)
    rows: list[list[list[float]]] = []
    for start, _ in _chunks(task):
        place = folder / f"rows-{start:06}.json"
        if not place.exists():
            some = range(start, min(start + ROWS, len(task.test)))
            found = [_row(task, row, pairs) for row in some]
            write_whole(place, json.dumps(found).encode())
        rows += json.loads(place.read_text(encoding="utf-8"))
        task.steps(f"{task.name}: distances at each token", len(rows), len(task.test))
    table = np.array(rows, dtype=np.float32).reshape(len(task.test), len(pairs), 5)
    return {f"{a.name}|{b.name}": table[:, n] for n, (a, b) in enumerate(pairs)}


def _row(task: Task, row: int, pairs: Sequence[tuple[Writer, Writer]]) -> list[list[float]]:
    """Compare models on one right output.

    :return: for each pair the mean and the greatest distance of its tokens, the share of tokens
        with the same likeliest continuation, and both models' mean log-probability of its tokens
    """
    found: dict[str, FloatArray] = {}
    own: dict[str, float] = {}
    for writer in {w.name: w for pair in pairs for w in pair}.values():
        log_probs, tokens = _distributions(task, writer, row)
        found[writer.name] = log_probs
        own[writer.name] = float(log_probs[np.arange(len(tokens)), tokens].mean())
    result = []
    for a, b in pairs:
        left, right = found[a.name], found[b.name]
        if left.shape != right.shape:
            raise TaskError(
                f"the template ends the prompts of {a.name} and {b.name} differently, so that the "
                f"right output has other tokens in each; use the plain template"
            )
        distances = total_variation(np.exp(left), np.exp(right))
        same = (left.argmax(axis=1) == right.argmax(axis=1)).mean()
        result.append([float(distances.mean()), float(distances.max()), float(same),
                       own[a.name], own[b.name]])  # fmt: skip
    return result


def _distributions(task: Task, writer: Writer, row: int) -> tuple[FloatArray, Sequence[int]]:
    from ragicl.backends.hf.reference import answer_log_probs

    assert writer.lm is not None
    assert writer.prompt is not None
    answer = task.engine.template.answer(task.golds[row])
    return answer_log_probs(writer.lm, writer.prompt(task.texts[row]), answer)


def _method(
    task: Task,
    writer: Writer,
    written: tuple[list[str], float],
    ours: FloatArray,
    clean: Booleans,
    every: Resampling,
) -> Method:
    rows = text_rows(written[0], task.golds)
    read = 0.0
    if writer.prompt is not None:
        read = float(np.mean([task.lm.count(writer.prompt(text)) for text in task.texts]))
    some = None
    if not clean.all() and clean.any():
        some = text_scores(rows[clean], Resampling(int(clean.sum())))
    return Method(
        writer.name,
        text_scores(rows, every),
        some,
        Cost(writer.seconds, writer.bytes, written[1], read),
        writer.settings or {},
        against=None if writer.name == OURS else every.paired(rows[:, 1], ours[:, 1]),
    )


def _distance(
    name: str, compared: dict[str, FloatArray], clean: Booleans, every: Resampling, seeds: int
) -> Distance:
    rows = compared[f"{OURS}|{name}"]
    partly = not clean.all() and clean.any()
    return Distance(
        name,
        every.mean(rows[:, 0]),
        float(np.median(rows[:, 0])),
        float(np.quantile(rows[:, 0], 0.9)),
        every.mean(rows[:, 2]),
        clean=Resampling(int(clean.sum())).mean(rows[clean, 0]) if partly else None,
        maximum=every.mean(rows[:, 1]),
        floor=every.mean(compared[f"{name}|{name}-1"][:, 0]) if seeds > 1 else None,
    )


def _worst(
    task: Task,
    name: str,
    texts: dict[str, tuple[list[str], float]],
    compared: dict[str, FloatArray],
) -> tuple[Item, ...]:
    rows = compared[f"{OURS}|{name}"]
    items = []
    for row in np.argsort(-rows[:, 0], kind="stable")[:WORST].tolist():
        shots = task.engine.prompt(task.texts[row]).shots
        items.append(
            Item(
                task.texts[row],
                task.golds[row],
                texts[OURS][0][row],
                float(np.exp(rows[row, 3])),
                texts[name][0][row],
                float(np.exp(rows[row, 4])),
                float(rows[row, 0]),
                tuple(Shown(s.example.input, s.example.output, s.similarity) for s in shots),
            )
        )
    return tuple(items)


def _chunks(task: Task) -> Iterator[tuple[int, list[str]]]:
    starts = [*range(0, len(task.texts), ROWS), len(task.texts)]
    for start, end in pairwise(starts):
        yield start, task.texts[start:end]


def _folder(task: Task, name: str, depends: object) -> Path:
    key = digest(task.identity, task.texts, task.golds, depends)
    folder = task.folder / f"{name}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
