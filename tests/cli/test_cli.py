import csv
import json
import signal
import subprocess
import sys
import time

import pytest
from cli_runner import LM, ROWS, fails, lines, misused, run, write_rows

from ragicl import Engine, Example, Index
from ragicl.backends.fake import FakeEncoder
from ragicl.errors import DataError
from ragicl.serving.batch import ResumableFile


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "things.jsonl", ROWS)
    return tmp_path


@pytest.fixture
def index(work):
    run("index", "things.jsonl", "--encoder", "fake:a")
    return work / "indexes" / "things"


def test_index_then_predict(index):
    rows = lines(run("predict", index, "a sweet apple", "the steel saw", "--k", 3, *LM, "--probs"))
    assert [row["output"] for row in rows] == ["fruit", "tool"]
    for row in rows:
        assert row["probability"] == max(row["probs"].values())
        assert {"id", "similarity", "output"} == set(row["neighbors"][0])
        assert (row["kept"], row["dropped"]) == (3, 0)
        assert row["tokens"] > 0
        assert row["lm"] == "fake language model, for tests"
        assert {"embed", "search", "compose", "score", "blend"} == set(row["ms"])


def test_prompt_and_show_prompt_agree(index):
    shown = run("prompt", index, "a sweet apple", "--k", 2, *LM)
    (row,) = lines(run("predict", index, "a sweet apple", "--k", 2, *LM, "--show-prompt"))
    assert shown.stdout == row["prompt"] + "\n"
    assert f"{row['tokens']} tokens, 2 demonstrations kept, 0 dropped" in shown.stderr


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "json", "stdin"])
def test_every_format_gives_the_same_predictions(index, work, form):
    source = work / f"copy.{form}"
    if form == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), source)
    elif form == "json":
        source.write_text(json.dumps(ROWS))
    elif form != "stdin":
        with source.open("w", newline="") as file:
            separator = "," if form == "csv" else "\t"
            writer = csv.DictWriter(file, ["text", "label"], delimiter=separator)
            writer.writeheader()
            writer.writerows(ROWS)
    stdin = (work / "things.jsonl").read_text() if form == "stdin" else None
    name = "-" if form == "stdin" else source
    run("index", name, "--out", work / "other", "--encoder", "fake:a", stdin=stdin)
    ours = run("predict", work / "other", "--file", name, "--decide", "knn", stdin=stdin)
    theirs = run("predict", index, "--file", "things.jsonl", "--decide", "knn")
    pick = [(r["output"], r["neighbors"], r["gold"]) for r in lines(ours)]
    assert pick == [(r["output"], r["neighbors"], r["gold"]) for r in lines(theirs)]


def test_summary_counts_labelled_rows(index, work):
    write_rows(work / "test.jsonl", [*ROWS[:4], {"text": "sweet apple", "label": "tool"}])
    result = run("predict", index, "--file", "test.jsonl", "--decide", "knn", "--k", 3)
    assert "accuracy 0.8000 on 5 rows, macro-F1 0.4444" in result.stderr
    assert "accuracy" not in run("predict", index, "sweet apple", "--decide", "knn").stderr


def test_early_exit_is_reported(work):
    rows = [{**row, "text": f"{row['text']} n{n}"} for n in range(5) for row in ROWS]
    write_rows(work / "many.jsonl", rows)
    run("index", "many.jsonl", "--encoder", "fake:a")
    arguments = ["predict", "indexes/many", "--file", "many.jsonl", *LM, "--exit", 0.8]
    result = run(*arguments, "--exclude-self")
    early = [row for row in lines(result) if row.get("exited")]
    assert 0 < len(early) <= 100
    right = sum(row["gold"] == row["output"] for row in early) / len(early)
    assert f"{len(early)} by early exit, {right:.4f} of them right" in result.stderr


def test_exclude_self_leaves_the_row_out(index, work):
    with Index.open(index, encoder=FakeEncoder()) as opened:
        rows = [{"id": e.id, "text": e.input, "label": e.output} for e in opened]
    write_rows(work / "own.jsonl", rows)
    result = run("predict", index, "--file", "own.jsonl", "--decide", "knn", "--exclude-self")
    for row in lines(result):
        assert row["id"] not in {n["id"] for n in row["neighbors"]}


def test_out_file_continues_where_it_stopped(index, work):
    arguments = ["predict", index, "--file", "things.jsonl", "--k", 3, *LM]
    run(*arguments, "--out", "whole.jsonl")
    whole = (work / "whole.jsonl").read_text().splitlines()
    assert len(whole) == len(ROWS)
    (work / "part.jsonl").write_text("\n".join(whole[:7]) + "\n" + whole[7][:20])
    notes = (work / "whole.jsonl.settings.json").read_text()
    (work / "part.jsonl.settings.json").write_text(notes)
    result = run(*arguments, "--out", "part.jsonl")
    part = (work / "part.jsonl").read_text().splitlines()
    assert part[:7] == whole[:7]
    strip = [{k: v for k, v in json.loads(x).items() if k != "ms"} for x in part]
    assert strip == [{k: v for k, v in json.loads(x).items() if k != "ms"} for x in whole]
    assert f"on {len(ROWS)} rows" in result.stderr
    assert run(*arguments, "--out", "part.jsonl").stdout == ""
    assert (work / "part.jsonl").read_text().splitlines() == part


def test_a_finished_file_loads_nothing_again(index, work, monkeypatch):
    arguments = ["predict", index, "--file", "things.jsonl", "--k", 3, *LM, "--out", "done.jsonl"]
    loaded = []
    monkeypatch.setattr(Engine, "load", lambda self, progress: loaded.append(self))
    run(*arguments)
    assert len(loaded) == 1
    assert f"on {len(ROWS)} rows" in run(*arguments).stderr
    assert len(loaded) == 1


def test_out_file_of_another_run_is_refused(index, work):
    arguments = ["predict", index, "--file", "things.jsonl", "--decide", "knn"]
    run(*arguments, "--k", 3, "--out", "out.jsonl")
    before = (work / "out.jsonl").read_text()
    fails(*arguments, "--k", 4, "--out", "out.jsonl", match="was made with k 3, not 4")
    write_rows(work / "things2.jsonl", ROWS[::-1])
    other = ["predict", index, "--file", "things2.jsonl", "--decide", "knn", "--k", 3]
    fails(*other, "--out", "out.jsonl", match="this input does not have")
    (work / "mine.jsonl").write_text('{"my": "work"}\n')
    fails(*arguments, "--out", "mine.jsonl", match="without the settings")
    assert (work / "out.jsonl").read_text() == before
    assert (work / "mine.jsonl").read_text() == '{"my": "work"}\n'


def test_full_disk_keeps_the_rows_before(tmp_path):
    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    with ResumableFile(tmp_path / "out.jsonl", {}) as file:
        file.write({"id": "1", "input": "a"})
        file._file, kept = Full(), file._file
        with pytest.raises(DataError, match="No space left on device; the rows before are safe"):
            file.write({"id": "2", "input": "b"})
        kept.close()
    with ResumableFile(tmp_path / "out.jsonl", {}) as file:
        assert file.rows == [{"id": "1", "input": "a"}]
        with (
            pytest.raises(DataError, match="another process is writing"),
            ResumableFile(tmp_path / "out.jsonl", {}),
        ):
            pass
    assert {f.name for f in tmp_path.iterdir()} == {"out.jsonl", "out.jsonl.settings.json"}


def test_labels_with_commas_are_quoted(work):
    rows = [{"text": f"{word} {n}", "label": label} for n in range(3)
            for word, label in [("sun", "hot, dry"), ("ice", "cold"), ("fog", "wet")]]  # fmt: skip
    write_rows(work / "w.jsonl", rows)
    run("index", "w.jsonl", "--encoder", "fake:a")
    arguments = ["predict", "indexes/w", "sun", *LM, "--probs", "--labels", '"hot, dry", wet']
    assert set(lines(run(*arguments))[0]["probs"]) == {"hot, dry", "wet"}


def test_table_is_for_people(index):
    text = run("predict", index, "a sweet apple", "--k", 2, *LM, "--format", "table").stdout
    assert text.startswith("a sweet apple\n  => fruit  0.")
    assert text.count(" <- ") == 2


def test_query_over_budget_names_the_row(index, work):
    write_rows(work / "long.jsonl", [{"text": "ok apple"}, {"text": "apple " * 300}])
    arguments = ["predict", index, "--file", "long.jsonl", "--budget", 100, *LM]
    fails(*arguments, match="row 2: the query takes")
    rows = lines(run(*arguments, "--on-error", "skip"))
    assert rows[0]["output"] == "fruit"
    assert rows[1]["output"] is None
    assert "takes" in rows[1]["error"]
    assert lines(run(*arguments, "--truncate"))[1]["truncated"] is True


def test_generation_is_the_default_of_a_generation_index(work):
    pairs = [{"input": f"say {w}", "output": f"{w} {w} to you {n}"} for n, w in enumerate("abcd")]
    write_rows(work / "texts.jsonl", pairs)
    run("index", "texts.jsonl", "--encoder", "fake:a")
    (row,) = lines(run("predict", "indexes/texts", "say c", "--k", 2, *LM))
    assert row["output"] == "c c to you 2"
    assert "probability" not in row


def test_add_info_remove(index, work):
    write_rows(work / "more.jsonl", [{"text": "a loud drum", "label": "music"}, ROWS[0]])
    ids = run("add", index, "more.jsonl").stdout.split()
    report = json.loads(run("info", index).stdout)
    assert report["examples"] == len(ROWS) + 1
    assert report["labels"]["music"] == 1
    run("remove", index, ids[0])
    assert json.loads(run("info", index).stdout)["labels"] == {"fruit": 10, "tool": 10}
    fails("remove", index, ids[0], match="no example with id")


def test_dedupe_and_counts(work):
    rows = [*ROWS, ROWS[0], {"text": ROWS[1]["text"], "label": "tool"}]
    write_rows(work / "twice.jsonl", rows)
    result = run("index", "twice.jsonl", "--encoder", "fake:a")
    assert "1 exact duplicates, kept" in result.stderr
    assert "1 texts occur with more than one output" in result.stderr
    assert "22 examples" in result.stdout
    result = run("index", "twice.jsonl", "--encoder", "fake:a", "--dedupe", "--out", "once")
    assert "21 examples" in result.stdout


def test_running_index_again_embeds_nothing(index):
    result = run("index", "things.jsonl", "--encoder", "fake:a")
    assert "0 rows embedded, 20 were there already" in result.stderr


def test_unfinished_index_says_how_to_finish(index, work):
    manifest = json.loads((index / "manifest.json").read_text())
    (index / "manifest.json").write_text(json.dumps({**manifest, "complete": False}))
    fails("predict", index, "x", *LM, match="is not finished; run `ragicl index")


def bad_file(work, name, content):
    (work / name).write_bytes(content)
    return name


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("empty.jsonl", b"", "empty.jsonl has no rows"),
        ("column.jsonl", b'{"text": "a", "kind": "b"}\n', "no column 'label' or 'output'"),
        ("broken.jsonl", b'{"text": "a", "label": "b"}\n{"text": \n', "broken.jsonl:2: not valid"),
        ("latin.csv", b"text,label\ncaf\xe9,b\n", "latin.csv:2: not UTF-8"),
        ("one.jsonl", b'{"text": "a", "label": "b"}\n', "one row only"),
        ("same.csv", b"text,label\na,x\nb,x\nc,x\n", "same label"),
        ("note.txt", b"hello", "unknown kind of file"),
    ],
)
def test_bad_data(work, name, content, match):
    arguments = ["index", bad_file(work, name, content), "--encoder", "fake:a"]
    fails(*arguments, "--kind", "classify", match=match)
    assert not (work / "indexes").exists()


def test_bad_requests(index, work):
    fails("index", "nowhere.jsonl", match="no such file")
    fails("predict", "nowhere", "x", match="there is no index at nowhere")
    fails("predict", index, "x", "--lm", "gpt9", match="known: smollm2, hf:NAME")
    fails(
        "index",
        "things.jsonl",
        "--out",
        "y",
        "--encoder",
        "bert",
        match="known: minilm, minilm-bf16",
    )
    fails(
        "predict", index, "x", "--lm", f"hf:{work}/no-model", match="cannot load the language model"
    )
    fails("predict", index, "x", *LM, "--k", -1, match="k is -1")
    fails("predict", index, "x", *LM, "--labels", "fruit,rock", match="'rock'")
    fails("predict", index, "x", *LM, "--template", "shiny", match="unknown template")
    fails("predict", index, "apple " * 5000, *LM, match="the budget is 4000")
    fails("predict", index, "x", *LM, "--budget", 3, match="the budget is 3")
    fails("predict", index, "--file", "nowhere.csv", *LM, match="no such file")


def test_damaged_index(index):
    (index / "vectors.faiss").write_bytes(b"garbage")
    assert lines(run("predict", index, "sweet apple", *LM))[0]["output"] == "fruit"
    manifest = (index / "manifest.json").read_text()
    (index / "manifest.json").write_text(manifest.replace('"format": 1', '"format": 7'))
    fails("predict", index, "x", *LM, match="has index format 7; this version of ragicl knows")
    (index / "manifest.json").write_text("{")
    fails("info", index, match="is damaged")
    (index / "manifest.json").write_text(manifest)
    (index / "examples.db").write_bytes(b"garbage" * 1000)
    fails("predict", index, "x", *LM, match="examples.db is damaged")


def test_second_writer(index, monkeypatch):
    holder = subprocess.Popen(
        [sys.executable, "-c",
         "import sys, filelock\nlock = filelock.FileLock(sys.argv[1])\nlock.acquire()\n"
         "print('held', flush=True)\nsys.stdin.read()",
         str(index / "writer.lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    monkeypatch.setattr("ragicl.index.lock.WAIT", 0.2)
    try:
        fails("remove", index, "x", match="another process is writing to")
    finally:
        holder.communicate()
    fails("remove", index, "x", match="no example with id")


@pytest.mark.slow
def test_killed_build_is_finished_by_the_same_command(work):
    rows = [{"text": f"text {n} about {n % 7}", "label": str(n % 2)} for n in range(6000)]
    write_rows(work / "many.jsonl", rows)
    script = (
        "from ragicl.index import build\n"
        "build.CHUNK = 100\n"
        "from ragicl.cli.main import main\n"
        "main(['index', 'many.jsonl', '--encoder', 'fake:a'])\n"
    )
    command = [sys.executable, "-c", script]
    child = subprocess.Popen(command, cwd=work, stderr=subprocess.DEVNULL)
    database = work / "indexes" / "many" / "examples.db-wal"
    deadline = time.monotonic() + 30
    while not (database.exists() and database.stat().st_size > 200_000):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    fails("predict", "indexes/many", "text", *LM, match="is not finished")
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=True)
    embedded, there = [int(s) for s in done.stderr.splitlines()[-1].split() if s.isdigit()]
    assert embedded + there == 6000
    assert there > 0
    assert "6000 examples, 2 labels" in done.stdout


def test_examples_are_what_was_indexed(index):
    with Index.open(index, encoder=FakeEncoder()) as opened:
        stored = sorted((e.input, e.output) for e in opened)
        assert isinstance(next(iter(opened)), Example)
    assert stored == sorted((row["text"], row["label"]) for row in ROWS)


SELECTIONS = ["nearest", "bm25", "hybrid", "mmr", "balanced", "coverage", "dpp", "random"]


def test_demonstrations_by_strategy_and_order(index):
    for select in SELECTIONS:
        options = ["--select", select, "--order", "nearest-first", "--k", 4]
        (row,) = lines(run("predict", index, "a ripe pear", *options, *LM))
        assert len(row["neighbors"]) == row["kept"] == 4
        if select in ("balanced", "coverage"):
            outputs = [n["output"] for n in row["neighbors"]]
            assert outputs.count("fruit") >= 2
    shown = {
        order: run("prompt", index, "a ripe pear", "--k", 4, "--order", order, *LM).stdout
        for order in ("nearest-last", "nearest-first")
    }
    shots = {order: text.split("Text: ")[1:-1] for order, text in shown.items()}
    assert shots["nearest-last"] == shots["nearest-first"][::-1]
    misused("prompt", index, "x", "--select", "q", match="Invalid value for '--select'")


def test_columns_of_a_file_serve_as_filters(work):
    with (work / "shops.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label", "shop", "year"])
        writer.writeheader()
        for n, row in enumerate(ROWS):
            writer.writerow(row | {"shop": "north" if n % 3 else "south=1", "year": 2020 + n % 2})
    run("index", "shops.csv", "--encoder", "fake:a")
    with Index.open("indexes/shops") as opened:
        metas = {e.id: e.meta for e in opened}
    where = ["--where", "shop=south=1", "--where", "year=2020"]
    for options in (["--select", "bm25", *LM], ["--decide", "knn"]):
        asked = run("predict", "indexes/shops", "a sweet apple", "--k", 9, *where, *options)
        (row,) = lines(asked)
        assert len(row["neighbors"]) == 4
        for neighbor in row["neighbors"]:
            assert metas[neighbor["id"]] == {"shop": "south=1", "year": "2020"}
    wrong = ["predict", "indexes/shops", "x", "--decide", "knn", "--where"]
    fails(*wrong, "shop=east", match="has shop=east; they have shop, year")
    fails(*wrong, "shop", match="write it as KEY=VALUE")
