"""Retrieval at size: an index of synthetic vectors, through the library, with nothing embedded.

    python eval/benchmarks/retrieval.py WORK_FOLDER build [--rows 1000000]
    python eval/benchmarks/retrieval.py WORK_FOLDER search
    python eval/benchmarks/retrieval.py WORK_FOLDER change
    python eval/benchmarks/retrieval.py WORK_FOLDER survey [--rows 1000000]

`build` fills the folder with rows and vectors (it goes on where it was interrupted), `search` opens
it in a fresh process and searches with queries that are not stored, `change` adds and removes
10,000 rows and compares with brute force; `survey` reads a data file of that many rows. Vectors:
20,000 centres in 400 topics, a heavy-tailed number of vectors around each, 384 dimensions.
"""

from __future__ import annotations

import argparse
import json
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragicl.data.examples import DataFile
from ragicl.index import Index
from ragicl.index.build import survey
from ragicl.protocols import FloatArray
from ragicl.records import Example

DIM = 384
TOPICS, CENTRES = 400, 20_000
RANK, SPREAD, NOISE = 48, 0.8, 0.4  # how far vectors lie from their centre, and in which space
CHUNK = 10_000
K = 10
QUERIES = 1_000
FRESH = 10_000_000  # numbers of vectors that are not stored begin here


class Synthetic:
    """Texts are numbers; the vector of each is the same every time."""

    spec = "synthetic"
    description = "clustered random vectors"
    fingerprint = f"{TOPICS}-{CENTRES}-{RANK}-{SPREAD}-{NOISE}"
    dim = DIM

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return the vectors of numbers."""
        numbers = [int(text) for text in texts]
        places = np.array([n % CHUNK for n in numbers])
        vectors = np.empty((len(numbers), DIM), dtype=np.float32)
        starts = np.array(numbers) - places
        for start in np.unique(starts):
            vectors[starts == start] = block(int(start))[places[starts == start]]
        return vectors


@cache
def shape() -> tuple[FloatArray, NDArray[np.float64], FloatArray]:
    """Return the centres, how often each is chosen, and the directions of the spread."""
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((TOPICS, DIM))
    centres = 0.8 * topics[rng.integers(0, TOPICS, CENTRES)] + rng.standard_normal((CENTRES, DIM))
    chance = rng.random(CENTRES) ** -0.5
    directions = rng.standard_normal((RANK, DIM)) / np.sqrt(RANK * DIM)
    return unit(centres), chance / chance.sum(), directions.astype(np.float32)


@lru_cache(maxsize=3)
def block(start: int) -> FloatArray:
    """Return the CHUNK vectors from that number on."""
    rng = np.random.default_rng([1, start])
    centres, chance, directions = shape()
    vectors = centres[rng.choice(CENTRES, CHUNK, p=chance)]
    vectors += SPREAD * (rng.standard_normal((CHUNK, RANK), dtype=np.float32) @ directions)
    vectors += NOISE * rng.standard_normal((CHUNK, DIM), dtype=np.float32) / np.float32(DIM**0.5)
    return unit(vectors)


def unit(vectors: NDArray[np.floating]) -> FloatArray:
    """Return vectors of length 1."""
    scaled: FloatArray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
        np.float32
    )
    return scaled


def example(number: int) -> Example:
    """Return the row of a number."""
    return Example(str(number), f"label {number % 77}", f"n{number}")


def say(what: str, value: float, unit_name: str) -> None:
    """Print one figure."""
    print(f"{what}: {value:,.3f} {unit_name}", flush=True)


def timed(what: str, work: Callable[[], object]) -> None:
    """Print how long something takes."""
    start = time.perf_counter()
    work()
    say(what, time.perf_counter() - start, "s")


def memory() -> None:
    """Print the process's memory, now and at most; pages of mapped files are counted, too."""
    with open("/proc/self/status", encoding="ascii") as file:
        parts = {line.split(":")[0]: line.split()[1] for line in file if line.startswith("Rss")}
    own, mapped = int(parts["RssAnon"]) / 1024, int(parts["RssFile"]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory: {own:,.0f} MiB of its own, {mapped:,.0f} MiB of files, peak {peak:,.0f} MiB")


def build(folder: Path, rows: int) -> None:
    """Add the rows in transactions of 10,000, then build vectors.faiss."""
    encoder = Synthetic()
    if not (folder / "manifest.json").exists():
        Index.create(folder, encoder=encoder).close()
    with Index.open(folder, encoder=encoder) as index:
        present, spent, started = len(index), 0.0, time.perf_counter()
        for start in range(present, rows, CHUNK):
            made = time.perf_counter()
            block(start)
            spent += time.perf_counter() - made
            index.add([example(n) for n in range(start, min(rows, start + CHUNK))])
        if rows > present:
            seconds = time.perf_counter() - started - spent
            say(f"adding {rows - present:,} rows, vectors at hand", seconds, "s")
            say("  that is", (rows - present) / seconds, "rows/s")
        memory()
        timed("building and writing vectors.faiss", index.save_vectors)
        memory()
        print(index.stats().approximation)
    for file in sorted(folder.iterdir()):
        say(file.name, file.stat().st_size / 2**20, "MiB")


def search(folder: Path) -> None:
    """Open, search one by one and in a batch, and compare with brute force."""
    queries = Synthetic().encode([str(FRESH + n) for n in range(QUERIES)])
    for opening in ("first", "second"):
        start = time.perf_counter()
        with Index.open(folder, encoder=Synthetic()) as index:
            say(f"{opening} opening", (time.perf_counter() - start) * 1e3, "ms")
            index.near(queries[:1], K)
            say("  and one search", (time.perf_counter() - start) * 1e3, "ms")
    with Index.open(folder, encoder=Synthetic()) as index:
        index.near(queries, K)
        times = []
        for query in queries:
            start = time.perf_counter()
            index.near(query[None], K)
            times.append((time.perf_counter() - start) * 1e3)
        say("one query, median", float(np.median(times)), "ms")
        say("one query, 99th percentile", float(np.percentile(times, 99)), "ms")
        start = time.perf_counter()
        index.near(queries, K)
        say("in one batch", QUERIES / (time.perf_counter() - start), "queries/s")
        memory()
        compare(index, queries, stored_vectors(folder))


def change(folder: Path) -> None:
    """Add 10,000 rows, remove 10,000 others, and compare with brute force after each."""
    queries = Synthetic().encode([str(FRESH + n) for n in range(QUERIES)])
    with Index.open(folder, encoder=Synthetic()) as index:
        first = FRESH + CHUNK * (1 + index.generation)  # others in every run
        new = range(first, first + CHUNK)
        block(first + CHUNK)  # made beforehand: the vector of the single row
        index.near(queries[:1], K)
        old = [e.id for e in index.sample(CHUNK, seed=2)]
        block(first)
        timed("adding 10,000 rows", lambda: index.add([example(n) for n in new]))
        timed("first search after it", lambda: index.near(queries[:1], K))
        timed("search for one of them", lambda: found_itself(index, new[77]))
        memory()
        timed("removing 10,000 others", lambda: index.remove(old))
        timed("first search after it", lambda: index.near(queries[:1], K))
        timed("adding one row", lambda: index.add([example(new[-1] + 1)]))
        timed("first search after it", lambda: index.near(queries[:1], K))
        memory()
        compare(index, queries, stored_vectors(folder))
        removed = {n.example.id for near in index.near(queries, K) for n in near} & set(old)
        print(f"removed rows found: {len(removed)}")
        timed("saving", index.save_vectors)


def found_itself(index: Index, number: int) -> None:
    """Make sure that a row is its own nearest."""
    [[nearest]] = index.search([str(number)], 1)
    assert nearest.example.id == f"n{number}"
    assert nearest.similarity > 0.999999


def stored_vectors(folder: Path) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
    """Yield what examples.db holds, read without ragicl."""
    db = sqlite3.connect(folder / "examples.db")
    found = db.execute("SELECT CAST(SUBSTR(id, 2) AS INTEGER), vector FROM examples")
    while some := found.fetchmany(CHUNK):
        numbers, blobs = zip(*some, strict=True)
        vectors = np.frombuffer(b"".join(blobs), np.float32).reshape(len(blobs), DIM)
        yield np.array(numbers), vectors


def compare(
    index: Index,
    queries: FloatArray,
    stored: Iterator[tuple[NDArray[np.int64], FloatArray]],
) -> None:
    """Print recall@10 against brute force, and how far similarities are off."""
    best = np.full((len(queries), K), -2, np.float32)
    for _, vectors in stored:
        together = np.concatenate([best, queries @ vectors.T], axis=1)
        best = np.partition(together, -K, axis=1)[:, -K:]
    best = np.sort(best, axis=1)
    found = index.near(queries, K)
    hits = [sum(n.similarity >= b[0] - 1e-6 for n in f) for f, b in zip(found, best, strict=True)]
    say("recall@10 against brute force", float(np.mean(hits)) / K, f"of {len(queries)} queries")
    numbers = {n.example.input for near in found for n in near}
    vector_of = dict(zip(sorted(numbers), Synthetic().encode(sorted(numbers)), strict=True))
    off = max(
        abs(n.similarity - float(vector_of[n.example.input] @ query))
        for query, near in zip(queries, found, strict=True)
        for n in near
    )
    say("largest error of a similarity", off * 1e6, "millionths")


def survey_rows(folder: Path, rows: int) -> None:
    """Read a file of short texts as `ragicl index` does before it embeds."""
    file = folder / "rows.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for n in range(rows):
            out.write(
                json.dumps({"text": f"a text of eight words, number {n}", "label": f"{n % 77}"})
            )
            out.write("\n")
    memory()
    timed(f"checking {rows:,} rows", lambda: survey(DataFile(str(file))))
    memory()
    file.unlink()


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("part", choices=("build", "search", "change", "survey"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    parts = {
        "build": lambda: build(options.folder, options.rows),
        "search": lambda: search(options.folder),
        "change": lambda: change(options.folder),
        "survey": lambda: survey_rows(options.folder, options.rows),
    }
    options.folder.parent.mkdir(parents=True, exist_ok=True)
    parts[options.part]()


if __name__ == "__main__":
    main()
