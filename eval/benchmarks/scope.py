"""Texts of none of the labels: in-distribution percentiles beside similarity alone.

    python eval/benchmarks/scope.py DATA_FOLDER OUT [--per-class 10] [--ood-level 0.05]

Indexes clinc150's examples (all of them without --per-class), and ranks its test rows and its
1,000 queries out of scope. The area under the ROC curve is the share of pairs, one of each kind,
that are ranked rightly. No language model is asked.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from ragicl import Index, Policy
from ragicl.data.examples import DataFile
from ragicl.evaluate.suite import SetSpec, pool_of
from ragicl.index.build import build, survey
from ragicl.inference.blender import Blender, default_blend
from ragicl.protocols import no_progress
from ragicl.retrieval.retriever import Retriever


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--per-class", type=int)
    parser.add_argument("--ood-level", type=float, default=0.05)
    options = parser.parse_args()
    index = opened(options.data, options.out, options.per_class)
    labels = tuple(index.labels())
    texts = [query.input for query in DataFile(str(options.data / "clinc150/test.jsonl")).queries()]
    strange = DataFile(str(options.data / "clinc150/oos_test.jsonl"))
    texts += (others := [query.input for query in strange.queries()])
    known = np.arange(len(texts)) < len(texts) - len(others)
    policy = Policy()
    found = Retriever(index, policy).find(texts, [None] * len(texts), {})
    percentiles = Blender(index, policy, lambda: labels, default_blend(None)).percentiles(found)
    similarity = np.array([own.voters[0].similarity for own in found])
    marked = percentiles < options.ood_level
    print(f"{len(index)} examples, {known.sum()} texts in scope, {len(others)} out of scope\n")
    print("| ranked by | area under the ROC curve |\n|---|---|")
    print(f"| similarity of the nearest | {roc_auc_score(known, similarity):.4f} |")
    print(f"| percentile | {roc_auc_score(known, percentiles):.4f} |\n")
    print(
        f"--ood-level {options.ood_level:g} marks {marked[~known].mean():.3f} of those out of "
        f"scope, and {marked[known].mean():.3f} of those in scope"
    )


def opened(data: Path, out: Path, per_class: int | None) -> Index:
    """Return an index of clinc150's examples, built where it is missing."""
    name = f"clinc150-{per_class or 'all'}"
    path = out / name
    if not path.exists():
        spec = SetSpec(name, "clinc150/train.jsonl", "clinc150/test.jsonl", per_class=per_class)
        pool = pool_of(spec, data, out)
        index, _ = build(pool, path, surveyed=survey(pool), progress=no_progress)
        index.close()
    return Index.open(path)


if __name__ == "__main__":
    main()
