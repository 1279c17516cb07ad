"""Which of a language model's states tell labels apart: by depth, of the bare text or in context.

    python eval/benchmarks/features.py DATA_FOLDER [--sets trec6,sst2] [--pool 500] [--rows 300]

A classifier on the states of a pool of examples, alone and together with that on the
encoder's vectors, judged by the examples left out and by test rows. This is what
`ragicl.probes.lm_features.DEPTH` was chosen by: by the examples left out. "In context": the last
token's state after one demonstration of each label, the same before every text; the demonstrations
themselves neither fit nor judge.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import columns, drawn

from ragicl.backends import open_encoder
from ragicl.backends.hf.lm import HFLM
from ragicl.backends.hf.opening import open_smollm2
from ragicl.calibration.blend import Evidence, fit_blend, mean_nll
from ragicl.probes.ensemble import VectorClassifier, fit_classifier
from ragicl.probes.scaling import Scaling
from ragicl.prompting.template import plain_template
from ragicl.protocols import Float64Array, FloatArray, IntArray

DEPTHS = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
BATCH = 128  # texts read together
States = Callable[[Sequence[str]], FloatArray]


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default="trec6,sst2,subj")
    parser.add_argument("--pool", type=int, default=500)
    parser.add_argument("--rows", type=int, default=300)
    options = parser.parse_args()
    lm = open_smollm2(dtype="bfloat16")
    for name in options.sets.split(","):
        print(f"## {name}: {options.pool} examples, {options.rows} test rows\n")
        print(
            "| states | loss left out | accuracy | NLL | with vectors: left out | accuracy | NLL |"
        )
        print("|---" * 7 + "|", flush=True)
        for row in table(lm, options.data / name, options.pool, options.rows):
            print(f"| {' | '.join(row)} |", flush=True)
        print()


def table(lm: HFLM, folder: Path, pool: int, rows: int) -> Iterator[list[str]]:
    """Yield a row for each kind of states."""
    texts, outputs = drawn(folder / "train.jsonl", pool)
    queries, golds = drawn(folder / "test.jsonl", rows)
    labels = sorted(set(outputs))
    places = {label: place for place, label in enumerate(labels)}
    known = [i for i, gold in enumerate(golds) if gold in places]
    queries, gold = [queries[i] for i in known], columns(places, [golds[i] for i in known])
    own = columns(places, outputs)
    encode = open_encoder("minilm").encode
    vectors = fit_classifier(encode(texts), own, len(labels))
    of_queries = vectors.probs(encode(queries))
    yield ["encoder's vectors", *alone(vectors, of_queries, own, gold), *["–"] * 3]
    shots = one_of_each(outputs)
    rest = [i for i in range(len(texts)) if i not in shots]
    pairs = [(texts[i], outputs[i]) for i in shots]
    left_out = vectors.loo_probs
    for kind, states, fits in kinds(lm, pairs, range(len(texts)), rest):
        read = states([texts[i] for i in fits])
        scaling = Scaling.of(read)
        classifier = fit_classifier(scaling.unit(read), own[fits], len(labels))
        probs = classifier.probs(scaling.unit(states(queries)))
        evidence = Evidence(vectors=left_out[fits], features=classifier.loo_probs)
        blend = fit_blend(evidence, own[fits], labels)
        both = blend.blend.probs(Evidence(vectors=of_queries, features=probs), labels)
        figure = alone(classifier, probs, own[fits], gold)
        yield [kind, *figure, *figures(blend.loss, both, gold)]


def one_of_each(outputs: Sequence[str]) -> list[int]:
    """Return the first example of each label that has others, in the order they come."""
    first = {output: outputs.index(output) for output in outputs if outputs.count(output) > 1}
    return sorted(first.values())


def kinds(
    lm: HFLM, shots: Sequence[tuple[str, str]], everyone: Sequence[int], rest: Sequence[int]
) -> Iterator[tuple[str, States, Sequence[int]]]:
    """Yield ways to get states of texts, by name, and the examples that may be read so."""
    template = plain_template("classify")

    def read(place: int, depth: float, pairs: Sequence[Any], texts: Sequence[str]) -> FloatArray:
        whole = [template.render(text, pairs) for text in texts]
        prompts = [("".join(p[:-1]), p[-1]) if pairs else ("".join(p),) for p in whole]
        batches = [prompts[start : start + BATCH] for start in range(0, len(prompts), BATCH)]
        states = np.concatenate([lm.states(some, (depth,))[:, 0, place] for some in batches])
        return np.asarray(states / np.linalg.norm(states, axis=1, keepdims=True))

    for depth in DEPTHS:
        yield f"mean, depth {depth:g}", partial(read, 0, depth, ()), everyone
    for depth in DEPTHS:
        yield f"in context, depth {depth:g}", partial(read, 1, depth, shots), rest


def alone(
    classifier: VectorClassifier, probs: FloatArray, own: IntArray, gold: IntArray
) -> list[str]:
    """Return a classifier's loss on examples left out, accuracy and loss on test rows."""
    return figures(mean_nll(classifier.loo_probs.astype(np.float64), own), probs, gold)


def figures(left_out: float, probs: FloatArray | Float64Array, gold: IntArray) -> list[str]:
    """Return the same of probabilities."""
    right = float((probs.argmax(axis=1) == gold).mean())
    loss = mean_nll(probs.astype(np.float64), gold)
    return [f"{left_out:.3f}", f"{right:.3f}", f"{loss:.3f}"]


if __name__ == "__main__":
    main()
