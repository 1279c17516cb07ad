"""100,000 real rows through the whole command: index, predict, info, add, remove.

    python eval/benchmarks/size.py WORK_FOLDER [--rows 100000]

All sets of the data folder in one index: each label with the name of its set, each text to generate
from with the name of its set alone. Rows missing to the number are derived copies, with one word
left out. Prints the seconds of each command, its peak memory, and accuracy on 1,000 test rows, by
the vote and (on a few) by the language model. An interrupted indexing continues where it stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from common import DATA, Row, accuracy, ragicl, read_rows, write_rows

TEST = 1_000
ASKED = 20  # of them, to the language model
CHANGED = 1_000  # rows added, and removed again


def main() -> None:
    """Run all commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    index, train = folder / "index", folder / "train.jsonl"
    test, new = folder / "test.jsonl", folder / "new.jsonl"
    write_data(folder, options.rows)
    run("index", train, "--out", index)
    vote(index, test, folder / "vote.jsonl")
    few = folder / "few.jsonl"
    write_rows(few, read_rows(test)[:ASKED])
    vote(index, few, folder / "few-vote.jsonl")
    run("predict", index, "--file", few, "--k", 5, "--out", folder / "few-lm.jsonl")
    report(folder / "few-lm.jsonl", "language model")
    run("add", index, new)
    vote(index, new, folder / "new-vote.jsonl", "--k", 1)  # the first after a change catches up
    vote(index, test, folder / "vote-added.jsonl")
    run("remove", index, *(row["id"] for row in read_rows(new)))
    vote(index, test, folder / "vote-removed.jsonl")
    same = [read_rows(folder / f"{name}.jsonl") for name in ("vote", "vote-removed")]
    agree = sum(a["output"] == b["output"] for a, b in zip(*same, strict=True))
    print(f"after adding and removing, {agree} of {TEST} answers are those of before")
    info(index)


def write_data(folder: Path, number: int) -> None:
    """Write training rows, test rows, and rows to be added later."""
    pick = random.Random(0)
    rows = [row for name in sets() for row in labelled(name, "train")]
    real = len(rows)
    rows += [derived(row, pick) for row in pick.choices(rows, k=max(0, number - real))]
    tested = pick.sample([row for name in sets() for row in labelled(name, "test")], TEST + CHANGED)
    print(f"{real} real rows, {len(rows) - real} derived copies, {len(sets())} sets")
    write_rows(folder / "train.jsonl", rows[:number])
    write_rows(folder / "test.jsonl", tested[:TEST])
    new = [{"id": f"new-{n}", **row} for n, row in enumerate(tested[TEST:])]
    write_rows(folder / "new.jsonl", new)


def sets() -> list[str]:
    """Return the names of the data sets."""
    return sorted(path.parent.name for path in DATA.glob("*/train.jsonl"))


def labelled(name: str, split: str) -> Iterator[Row]:
    """Yield the rows of a set, its name in their labels."""
    for row in read_rows(DATA / name / f"{split}.jsonl"):
        if "label" in row:
            yield {"text": row["text"], "label": f"{name}: {row['label']}"}
        else:
            yield {"text": row["input"], "label": name}


def derived(row: Row, pick: random.Random) -> Row:
    """Return the row with one word left out."""
    words = row["text"].split()
    if len(words) > 1:
        del words[pick.randrange(len(words))]
    return {**row, "text": " ".join(words)}


def vote(index: Path, file: Path, out: Path, *more: object) -> None:
    """Predict by the neighbours' vote, and report."""
    out.unlink(missing_ok=True)  # else it would continue a finished run
    arguments = ("--decide", "knn", "--k", 5, *more)
    run("predict", index, "--file", file, *arguments, "--out", out)
    report(out, "vote")


def run(*arguments: object) -> None:
    """Run a command; print its time, and the highest memory of any so far."""
    seconds = ragicl(*arguments)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"  {seconds:.1f} s; peak memory so far {peak:,.0f} MiB", flush=True)


def report(out: Path, name: str) -> None:
    """Print accuracy and the mean time of each stage."""
    rows = read_rows(out)
    stages = {stage: sum(row["ms"][stage] for row in rows) / len(rows) for stage in rows[0]["ms"]}
    spent = ", ".join(f"{stage} {ms:.2f}" for stage, ms in stages.items())
    print(f"  {name}: accuracy {accuracy(rows):.3f} on {len(rows)} rows; ms: {spent}", flush=True)


def info(index: Path) -> None:
    """Print what `ragicl info` says, without the labels."""
    command = [sys.executable, "-m", "ragicl", "info", str(index)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    values = json.loads(done.stdout)
    print({**values, "labels": len(values["labels"])})


if __name__ == "__main__":
    main()
