"""The main job on Banking77: index 9,996 rows, predict 1,000 random test rows, three file formats.

    python eval/benchmarks/main_job.py WORK_FOLDER [--rows 1000]

Prints accuracy beside the neighbours' vote on the same rows, seconds per query, and whether CSV and
Parquet copies of the data give the same predictions. An interrupted run continues where it stopped.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import pyarrow
import pyarrow.parquet
from common import DATA, Row, accuracy, ragicl, read_rows, sample, write_rows

K = 5
ALONE = ("--decide", "lm")  # the language model by itself


def main() -> None:
    """Run the whole comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    train, test = read_rows(DATA / "banking77" / "train.jsonl"), sample("banking77", options.rows)
    for name, rows in (("train", train), ("test", test)):
        write_copies(folder / name, rows)
    predictions = {}
    for ending in ("jsonl", "csv", "parquet"):
        index, out = folder / f"index-{ending}", folder / f"lm-{ending}.jsonl"
        built = ragicl("index", folder / f"train.{ending}", "--out", index)
        print(f"{ending}: index ready after {built:.0f} s")
        ragicl(
            "predict", index, "--file", folder / f"test.{ending}", "--k", K, *ALONE, "--out", out
        )
        predictions[ending] = read_rows(out)
    report(predictions["jsonl"], "language model")
    for k in (1, K):
        out = folder / f"vote-{k}.jsonl"
        arguments = ("--decide", "knn", "--k", k, "--out", out)
        ragicl("predict", folder / "index-jsonl", "--file", folder / "test.jsonl", *arguments)
        report(read_rows(out), f"vote of {k}")
    answers = {e: [(r["id"], r["output"]) for r in rows] for e, rows in predictions.items()}
    for ending in ("csv", "parquet"):
        same = sum(a == b for a, b in zip(answers["jsonl"], answers[ending], strict=True))
        print(f"{ending}: {same} of {len(test)} predictions are those of the JSONL file")


def write_copies(path: Path, rows: list[Row]) -> None:
    """Write the same rows as JSONL, CSV and Parquet."""
    write_rows(path.with_suffix(".jsonl"), rows)
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path.with_suffix(".parquet"))


def report(rows: list[Row], name: str) -> None:
    """Print accuracy and the time per query, by stage."""
    stages = {s: sum(row["ms"][s] for row in rows) / len(rows) for s in rows[0]["ms"]}
    spent = ", ".join(f"{stage} {ms:.1f}" for stage, ms in stages.items())
    print(
        f"{name}: accuracy {accuracy(rows):.3f} on {len(rows)} rows, "
        f"{sum(stages.values()) / 1000:.3f} s a query (ms: {spent})"
    )


if __name__ == "__main__":
    main()
