"""Which demonstrations the language model should read before every text: measured on train rows.

    python eval/benchmarks/beginnings.py TRAIN.jsonl [--examples 200] [--judged 200]

Some train rows are the examples, others judge; no test row is read. Each kind of beginning gives
states in context of both; the views are chosen, and a classifier fitted, on the examples that the
beginning does not hold. "shipped" is what `ragicl` does. Intervals of the loss are of 2,000
resamples, paired with the shipped kind.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import columns, drawn

from ragicl.backends import open_encoder
from ragicl.backends.hf.opening import open_smollm2
from ragicl.calibration.blend import nll
from ragicl.evaluate.metrics.bootstrap import Resampling
from ragicl.framing import joined as text_of
from ragicl.index.derived import DerivedFolder
from ragicl.probes.context_states import ContextStates
from ragicl.probes.demonstrations import Draw, Shot, draw
from ragicl.probes.ensemble import fit_classifier
from ragicl.probes.lm_features import bare_prompt, units
from ragicl.probes.scaling import Scaling
from ragicl.probes.views import VIEWS, best_views, joined, seen, shares_of
from ragicl.prompting.template import plain_template
from ragicl.protocols import LM, Featuring, Float64Array, FloatArray, IntArray
from ragicl.records import Example

SHIPPED = "3 draws of 1 a label, pooled (shipped)"
NEAREST = 3


@dataclass(frozen=True)
class Rows:
    """Examples first, then the rows that judge.

    :ivar vectors: by the encoder, shape (rows, width)
    :ivar number: of examples
    """

    texts: list[str]
    outputs: list[str]
    vectors: FloatArray
    number: int

    def examples(self) -> list[Example]:
        """Return the examples, their places as ids."""
        pairs = zip(self.texts[: self.number], self.outputs, strict=False)
        return [Example(text, output, str(i)) for i, (text, output) in enumerate(pairs)]

    def nearest(self, row: int, number: int) -> list[int]:
        """Return the places of a row's nearest examples, itself left out, the nearest last."""
        similarity = self.vectors[: self.number] @ self.vectors[row]
        if row < self.number:
            similarity[row] = -np.inf
        return [int(i) for i in np.argsort(-similarity)[:number][::-1]]


def main() -> None:
    """Measure kind after kind; print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", type=Path)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--judged", type=int, default=200)
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    texts, outputs = drawn(options.train, options.examples + options.judged)
    rows = Rows(texts, outputs, open_encoder("minilm").encode(texts), options.examples)
    lm = open_smollm2(dtype=options.dtype)
    assert isinstance(lm, Featuring)
    losses: dict[str, Float64Array] = {}
    print(
        "| kind | accuracy | NLL | above the shipped kind | seconds a text |\n" + "|---" * 5 + "|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, read in kinds(rows, ContextStates(DerivedFolder(Path(folder)), lm), lm).items():
            begun = time.perf_counter()
            states, shown = read()
            seconds = (time.perf_counter() - begun) / len(texts)
            probs, gold = judged(rows, states, shown)
            losses[name] = nll(probs.astype(np.float64), gold)
            above = Resampling(len(gold)).paired(
                losses[name].astype(np.float32), losses[SHIPPED].astype(np.float32)
            )
            difference = above.difference
            print(
                f"| {name} | {(probs.argmax(axis=1) == gold).mean():.3f} | "
                f"{losses[name].mean():.3f} | {difference.value:+.3f} "
                f"({difference.low:+.3f} to {difference.high:+.3f}) | {seconds:.3f} |",
                flush=True,
            )


Reader = Callable[[], tuple[FloatArray, set[str]]]


def kinds(rows: Rows, context: ContextStates, lm: LM) -> dict[str, Reader]:
    """Return what reads all rows after each kind of beginning, and the texts not to fit on."""
    examples = rows.examples()

    def fixed(*draws: Draw) -> Reader:
        # A text is left out of the mean over several draws where a draw holds it.
        shown = {shot.input for shot in draws[0]} if len(draws) == 1 else set()

        def read() -> tuple[FloatArray, set[str]]:
            with np.errstate(invalid="ignore"):  # what one draw holds has no mean without it
                return context.of(rows.texts, draws, VIEWS), shown

        return read

    def nearest(first: Draw) -> Reader:
        return lambda: (with_nearest(rows, first, lm), {shot.input for shot in first})

    one = drawn_apart(examples, context, 3)
    return {
        SHIPPED: fixed(*one),
        "1 draw of 1 a label": fixed(one[0]),
        "1 draw of 2 a label": fixed(several(examples, context, 2)),
        "1 draw of 4 a label": fixed(several(examples, context, 4)),
        "1 medoid a label": fixed(medoids(rows)),
        f"the {NEAREST} nearest": nearest(()),
        f"1 draw of 1 a label, then the {NEAREST} nearest": nearest(one[0]),
    }


def drawn_apart(
    examples: Sequence[Example], context: ContextStates, number: int, share: int = 1
) -> list[Draw]:
    """Return draws of one example of each label that have no text in common.

    :param share: draws that the room of one prompt is for
    """
    draws: list[Draw] = []
    for seed in range(number):
        taken = {shot.input for own in draws for shot in own}
        draws.append(draw(examples, seed, taken, context.cost, context.room // share))
    return draws


def several(examples: Sequence[Example], context: ContextStates, number: int) -> Draw:
    """Return so many examples of each label, as long as there are some."""
    return tuple(s for own in drawn_apart(examples, context, number, number) for s in own)


def medoids(rows: Rows) -> Draw:
    """Return for each label the example nearest to the mean of its vectors."""
    by_label: dict[str, list[int]] = defaultdict(list)
    for place, output in enumerate(rows.outputs[: rows.number]):
        by_label[output].append(place)
    shots = []
    for output, places in sorted(by_label.items()):
        own = rows.vectors[places]
        best = places[int((own @ own.mean(axis=0)).argmax())]
        shots.append(Shot(str(best), rows.texts[best], output))
    return tuple(shots)


def with_nearest(rows: Rows, first: Draw, lm: LM) -> FloatArray:
    """Return states of all rows, each read after a beginning and its own nearest examples."""
    template = plain_template("classify")
    assert isinstance(lm, Featuring)
    prompts = []
    for row, text in enumerate(rows.texts):
        pairs = [(shot.input, shot.output) for shot in first]
        pairs += [(rows.texts[i], rows.outputs[i]) for i in rows.nearest(row, NEAREST)]
        before = text_of(template.render("", pairs)[:-1])
        prompts.append((before, bare_prompt(text, template, lm)[-1]))
    shares = shares_of(VIEWS)
    return units(seen(lm.states(prompts, shares), shares, VIEWS))


def judged(rows: Rows, states: FloatArray, shown: set[str]) -> tuple[FloatArray, IntArray]:
    """Return P(label | row) of the rows that judge, and their labels as columns."""
    labels = sorted(set(rows.outputs))
    gold = columns({label: i for i, label in enumerate(labels)}, rows.outputs)
    own = np.array([i for i in range(rows.number) if rows.texts[i] not in shown])
    views = [VIEWS.index(view) for view in best_views(states[own], gold[own], len(labels))]
    vectors = joined(states[:, views])
    scaling = Scaling.of(vectors[own])
    fitted = fit_classifier(scaling.unit(vectors[own]), gold[own], len(labels))
    return fitted.probs(scaling.unit(vectors[rows.number :])), gold[rows.number :]


if __name__ == "__main__":
    main()
