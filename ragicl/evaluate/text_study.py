"""One generation set, measured: texts, and the distance at each token of the right output.

Under teacher forcing every model reads its own prompt followed by the right output, token by token;
at each token its distribution over the whole vocabulary is held against the other model's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from ragicl.atomic import write_whole
from ragicl.errors import TaskError
from ragicl.evaluate.comparison import RowAnswer, Sample, best_first
from ragicl.evaluate.metrics.distances import total_variation
from ragicl.evaluate.metrics.text_scores import text_rows, text_scores
from ragicl.evaluate.references.baselines import copied
from ragicl.evaluate.references.fine_tuned import VERSION, model_of
from ragicl.evaluate.results import SYSTEM, Cost, Distance, Item, Method, SetReport
from ragicl.evaluate.task import Task, digest
from ragicl.protocols import LM, FloatArray, Parts

ROWS = 16  # test rows answered and kept together
COPIED = "knn-1"
Pair = tuple[str, str]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Five = Annotated[list[float], msgspec.Meta(min_length=5, max_length=5)]  # see _row


class Written(msgspec.Struct, frozen=True):
    """What was written for some texts, and how long it took."""

    texts: list[str]
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class Writer:
    """A way to write an output.

    :ivar write: from texts to outputs
    :ivar prompt: what a model reads for a text; None where none is asked
    :ivar depends: what it writes depends on besides pool, model, template and policy
    """

    name: str
    write: Callable[[Sequence[str]], list[str]]
    prompt: Callable[[str], Parts] | None = None
    lm: LM | None = None
    seconds: float = 0.0
    bytes: int = 0
    settings: dict[str, Any] | None = None
    depends: object = None


def study_texts(task: Task, names: Sequence[str], seeds: int = 2) -> SetReport:
    """Measure what ``ragicl predict`` writes and the references named on a generation task.

    :param names: of ``lora`` and ``full``
    :param seeds: of each; the distance between these is the reference's noise floor
    """
    sample = Sample(task)
    system = _system(task)
    tuned = {name: [_tuned(task, name, seed) for seed in range(seeds)] for name in names}
    writers = [
        system,
        Writer(COPIED, lambda texts: copied(task, texts)),
        *(own[0] for own in tuned.values()),
    ]
    texts = {writer.name: _texts(task, writer) for writer in writers}
    rows = text_rows(texts[SYSTEM][0], task.golds)
    pairs = [(system, own[0]) for own in tuned.values()]
    pairs += [pair for own in tuned.values() for pair in combinations(own, 2)]
    found = _compared(task, pairs)
    order = best_first(names)
    return sample.report(
        [_method(sample, writer, texts[writer.name], rows) for writer in writers],
        [_distance(sample, name, found, tuned[name]) for name in order],
        _worst(sample, order[0], texts, found) if order else (),
    )


def _system(task: Task) -> Writer:
    engine = task.engine

    def write(texts: Sequence[str]) -> list[str]:
        return [prediction.output for prediction in engine.predict_all(texts)]

    return Writer(SYSTEM, write, lambda text: engine.prompt(text).parts, task.lm)


def _tuned(task: Task, name: str, seed: int) -> Writer:
    tuned = model_of(task, name, seed)
    longest = task.engine.longest_answer

    def write(texts: Sequence[str]) -> list[str]:
        found = tuned.lm.generate_batch(
            [task.bare(text) for text in texts],
            max_tokens=longest,
            stop=task.engine.template.stops,
        )
        return [text.strip() for text in found]

    return Writer(
        name if seed == 0 else f"{name}-{seed}",
        write,
        task.bare,
        tuned.lm,
        tuned.seconds,
        tuned.bytes,
        dict(tuned.settings),
        (VERSION, task.minutes),
    )


def _texts(task: Task, writer: Writer) -> tuple[list[str], float]:
    """Return what a writer writes for the test rows, and its seconds a row; kept as it is made."""
    settings = task.engine.longest_answer, task.engine.template.stops
    depends = task.engine.policy.as_dict(), writer.depends, settings
    folder = _folder(task, f"texts-{writer.name}", depends)
    outputs: list[str] = []
    spent = 0.0
    for start, some in _chunks(task):
        place = folder / f"rows-{start:06}.json"
        kept = _kept(place, Written)
        if kept is None or len(kept.texts) != len(some):
            begin = time.perf_counter()
            found = writer.write(some)
            kept = Written(found, time.perf_counter() - begin)
            write_whole(place, msgspec.json.encode(kept))
        outputs += kept.texts
        spent += kept.seconds
        task.progress(f"{task.name}: {writer.name} writes", len(outputs), len(task.test))
    return outputs, spent / len(task.test)


def _compared(task: Task, pairs: Sequence[tuple[Writer, Writer]]) -> dict[Pair, FloatArray]:
    """Return, for each pair of models, what :func:`_row` says of each test row; kept as made.

    All pairs are compared on a row at once, so that each model reads it once.
    """
    compared = [(w.name, w.depends) for pair in pairs for w in pair]
    depends = task.engine.policy.as_dict(), compared
    folder = _folder(task, "tokens", depends)
    rows: list[list[list[float]]] = []
    for start, texts in _chunks(task):
        place = folder / f"rows-{start:06}.json"
        kept = _kept(place, list[list[Five]])
        if kept is None or [len(row) for row in kept] != [len(pairs)] * len(texts):
            kept = [_row(task, row, pairs) for row in range(start, start + len(texts))]
            write_whole(place, json.dumps(kept).encode())
        rows += kept
        task.progress(f"{task.name}: distances at each token", len(rows), len(task.test))
    table = np.array(rows, dtype=np.float32).reshape(len(task.test), len(pairs), 5)
    return {(a.name, b.name): table[:, n] for n, (a, b) in enumerate(pairs)}


def _row(task: Task, row: int, pairs: Sequence[tuple[Writer, Writer]]) -> list[list[float]]:
    """Compare models on one right output.

    :return: for each pair the mean and the greatest distance of its tokens, the share of tokens
        with the same likeliest continuation, and both models' mean log-probability of its tokens
    """
    writers = {writer.name: writer for pair in pairs for writer in pair}
    found = {name: _distributions(task, writer, row) for name, writer in writers.items()}
    own = {name: float(some[np.arange(len(t)), t].mean()) for name, (some, t) in found.items()}
    result = []
    for a, b in pairs:
        (left, tokens), (right, others) = found[a.name], found[b.name]
        if list(tokens) != list(others):
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
    from ragicl.backends.hf.training.api import answer_log_probs

    assert writer.lm is not None
    assert writer.prompt is not None
    answer = task.engine.template.answer(task.golds[row])
    return answer_log_probs(writer.lm, writer.prompt(task.texts[row]), answer)


def _method(
    sample: Sample, writer: Writer, written: tuple[list[str], float], system: FloatArray
) -> Method:
    task, rows = sample.task, text_rows(written[0], sample.task.golds)
    read, some = 0.0, None
    if writer.prompt is not None:
        read = float(np.mean([task.lm.count(writer.prompt(text)) for text in task.texts]))
    if sample.clean is not None:
        clean, resampling = sample.clean
        some = text_scores(rows[clean], resampling)
    return Method(
        writer.name,
        text_scores(rows, sample.every),
        some,
        Cost(writer.seconds, writer.bytes, written[1], read),
        writer.settings or {},
        against=None if writer.name == SYSTEM else sample.every.paired(rows[:, 1], system[:, 1]),
    )


def _distance(
    sample: Sample, name: str, found: dict[Pair, FloatArray], tuned: Sequence[Writer]
) -> Distance:
    rows = found[SYSTEM, name]
    trainings = [found[a.name, b.name][:, 0] for a, b in combinations(tuned, 2)]
    noise_floor = np.mean(trainings, axis=0) if trainings else None
    return sample.distance(name, rows[:, 0], rows[:, 2], noise_floor, maximum=rows[:, 1])


def _worst(
    sample: Sample,
    name: str,
    texts: dict[str, tuple[list[str], float]],
    found: dict[Pair, FloatArray],
) -> tuple[Item, ...]:
    rows = found[SYSTEM, name]

    def answer(writer: str, column: int) -> RowAnswer:
        return lambda row: (texts[writer][0][row], float(np.exp(rows[row, column])))

    return sample.worst(rows[:, 0], answer(SYSTEM, 3), answer(name, 4))


def _chunks(task: Task) -> Iterator[tuple[int, list[str]]]:
    starts = [*range(0, len(task.texts), ROWS), len(task.texts)]
    for start, end in pairwise(starts):
        yield start, task.texts[start:end]


def _kept(place: Path, kind: Any) -> Any:
    """Return what a file of answers holds; None where it is missing or damaged."""
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(place.read_bytes(), type=kind)
    return None


def _folder(task: Task, name: str, depends: object) -> Path:
    key = digest(task.identity, task.texts, task.golds, depends)
    folder = task.folder / f"{name}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
