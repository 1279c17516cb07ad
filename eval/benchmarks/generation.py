"""Generation after retrieved demonstrations, kept ones, both and none: meqsum and advising_sql.

    python eval/benchmarks/generation.py WORK_FOLDER [--rows 50] [--sets NAME…] [--template chat]

Needs the `eval` extra. An interrupted run continues where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import DATA, Row, ragicl, read_rows, sample, write_rows
from rouge_score.rouge_scorer import RougeScorer

SETS = ("meqsum", "advising_sql")
BUDGET = 2048
WAYS = {
    "no demonstrations": ("--k", 0),
    "the 8 nearest": ("--k", 8),
    "8 kept": ("--k", 0, "--fixed", 8),
    "8 kept, the 4 nearest": ("--k", 4, "--fixed", 8),
    "4 kept, the 8 nearest": ("--k", 8, "--fixed", 4),
}


def main() -> None:
    """Run both sets in every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--template", default="plain")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.sets:
        index, test = options.folder / name, options.folder / f"{name}.jsonl"
        write_rows(test, sample(name, options.rows))
        ragicl("index", DATA / name / "train.jsonl", "--out", index, "--kind", "generate")
        for way, arguments in WAYS.items():
            out = options.folder / f"{name}-{options.template}-{way.replace(' ', '-')}.jsonl"
            common = ("--budget", BUDGET, "--template", options.template, "--dtype", "bfloat16")
            ragicl("predict", index, "--file", test, *arguments, *common, "--out", out)
            report(f"{name}, {options.template}, {way}", read_rows(out))


def report(name: str, rows: list[Row]) -> None:
    """Print the mean ROUGE-L with its standard error, exact matches and the time per row."""
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    scores = [scorer.score(row["gold"], row["output"])["rougeL"].fmeasure for row in rows]
    error = np.std(scores, ddof=1) / len(scores) ** 0.5
    exact = np.mean([row["gold"] == row["output"] for row in rows])
    seconds = np.mean([sum(row["ms"].values()) for row in rows]) / 1000
    print(
        f"{name}: ROUGE-L {np.mean(scores):.3f} (standard error {error:.3f}), "
        f"exact {exact:.2f}, {seconds:.2f} s a row, {len(rows)} rows",
        flush=True,
    )


if __name__ == "__main__":
    main()
