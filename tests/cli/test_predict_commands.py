"""Commands that answer, and show why."""

import csv
import json
from contextlib import chdir, contextmanager

import pytest
from cli_runner import LM, ROWS, fails, lines, run, write_rows

from ragicl import Engine, Index
from ragicl.backends.fake import FakeEncoder, FakeLM
from ragicl.protocols import no_progress


def test_index_then_predict(things):
    rows = lines(run("predict", things, "a sweet apple", "the steel saw", "--k", 3, *LM, "--probs"))
    assert [row["output"] for row in rows] == ["fruit", "tool"]
    for row in rows:
        assert row["probability"] == max(row["probs"].values())
        assert {"id", "similarity", "output"} == set(row["neighbors"][0])
        assert (row["kept"], row["dropped"]) == (3, 0)
        assert row["tokens"] > 0
        assert row["lm"] == "fake language model, for tests"
        assert {"embed", "search", "compose", "score", "blend"} == set(row["ms"])


def test_prompt_and_show_prompt_agree(things):
    shown = run("prompt", things, "a sweet apple", "--k", 2, *LM)
    (row,) = lines(run("predict", things, "a sweet apple", "--k", 2, *LM, "--show-prompt"))
    assert shown.stdout == row["prompt"] + "\n"
    assert f"{row['tokens']} tokens, 2 demonstrations kept, 0 dropped" in shown.stderr


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "json", "stdin"])
def test_every_format_gives_the_same_predictions(things, work, form):
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
    theirs = run("predict", things, "--file", "things.jsonl", "--decide", "knn")
    pick = [(r["output"], r["neighbors"], r["gold"]) for r in lines(ours)]
    assert pick == [(r["output"], r["neighbors"], r["gold"]) for r in lines(theirs)]


def test_summary_counts_labelled_rows(things, work):
    write_rows(work / "test.jsonl", [*ROWS[:4], {"text": "sweet apple", "label": "tool"}])
    result = run("predict", things, "--file", "test.jsonl", "--decide", "knn", "--k", 3)
    assert "accuracy 0.8000 on 5 rows, macro-F1 0.4444" in result.stderr
    assert "accuracy" not in run("predict", things, "sweet apple", "--decide", "knn").stderr


def test_early_exit_is_reported(work):
    rows = [{**row, "text": f"{row['text']} n{n}"} for n in range(5) for row in ROWS]
    write_rows(work / "many.jsonl", rows)
    run("index", "many.jsonl", "--encoder", "fake:a", "--kind", "classify")
    arguments = ["predict", "indexes/many", "--file", "many.jsonl", *LM, "--exit", 0.8]
    result = run(*arguments, "--exclude-self")
    early = [row for row in lines(result) if row.get("exited")]
    assert 0 < len(early) <= 100
    right = sum(row["gold"] == row["output"] for row in early) / len(early)
    assert f"{len(early)} by early exit, {right:.4f} of them right" in result.stderr


def test_exclude_self_leaves_the_row_out(things, work):
    with Index.open(things, encoder=FakeEncoder()) as opened:
        rows = [{"id": e.id, "text": e.input, "label": e.output} for e in opened]
    write_rows(work / "own.jsonl", rows)
    result = run("predict", things, "--file", "own.jsonl", "--decide", "knn", "--exclude-self")
    for row in lines(result):
        assert row["id"] not in {n["id"] for n in row["neighbors"]}


def test_out_file_continues_where_it_stopped(things, work):
    arguments = ["predict", things, "--file", "things.jsonl", "--k", 3, *LM]
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


def test_a_moved_project_goes_on(things, work):
    arguments = ["predict", "indexes/things", "--file", "things.jsonl", "--decide", "knn"]
    run(*arguments, "--out", "votes.jsonl")
    whole = (work / "votes.jsonl").read_text().splitlines(keepends=True)
    (work / "votes.jsonl").write_text("".join(whole[:5]))
    moved = work / "moved"
    moved.mkdir()
    for name in ("indexes", "things.jsonl", "votes.jsonl", "votes.jsonl.settings.json"):
        (work / name).rename(moved / name)
    with chdir(moved):
        run(*arguments, "--out", "votes.jsonl")
        assert len((moved / "votes.jsonl").read_text().splitlines()) == len(ROWS)
        assert "0 rows embedded" in run("index", "things.jsonl", "--encoder", "fake:a").stderr
        write_rows(moved / "others.jsonl", [row | {"text": row["text"] + "!"} for row in ROWS])
        run("index", "others.jsonl", "--encoder", "fake:a")
        others = ["predict", "indexes/others", *arguments[2:], "--out", "votes.jsonl"]
        fails(*others, match="was made with index")


def test_a_finished_file_loads_nothing_again(things, work, monkeypatch):
    arguments = ["predict", things, "--file", "things.jsonl", "--k", 3, *LM, "--out", "done.jsonl"]
    loaded = []
    monkeypatch.setattr(Engine, "load", lambda self, progress: loaded.append(self))
    run(*arguments)
    assert len(loaded) == 1
    assert f"on {len(ROWS)} rows" in run(*arguments).stderr
    assert len(loaded) == 1


def test_out_file_of_another_run_is_refused(things, work):
    arguments = ["predict", things, "--file", "things.jsonl", "--decide", "knn"]
    run(*arguments, "--k", 3, "--out", "out.jsonl")
    before = (work / "out.jsonl").read_text()
    fails(*arguments, "--k", 4, "--out", "out.jsonl", match="was made with k 3, not 4")
    write_rows(work / "things2.jsonl", ROWS[::-1])
    other = ["predict", things, "--file", "things2.jsonl", "--decide", "knn", "--k", 3]
    fails(*other, "--out", "out.jsonl", match="this input does not have")
    (work / "mine.jsonl").write_text('{"my": "work"}\n')
    fails(*arguments, "--out", "mine.jsonl", match="without the settings")
    assert (work / "out.jsonl").read_text() == before
    assert (work / "mine.jsonl").read_text() == '{"my": "work"}\n'


def test_table_is_for_people(things):
    text = run("predict", things, "a sweet apple", "--k", 2, *LM, "--format", "table").stdout
    assert text.startswith("a sweet apple\n  => fruit  0.")
    assert text.count(" <- ") == 2


def test_query_over_budget_names_the_row(things, work):
    write_rows(work / "long.jsonl", [{"text": "ok apple"}, {"text": "apple " * 300}])
    arguments = ["predict", things, "--file", "long.jsonl", "--budget", 100, *LM]
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


def test_unfinished_index_says_how_to_finish(things, work):
    manifest = json.loads((things / "manifest.json").read_text())
    (things / "manifest.json").write_text(json.dumps({**manifest, "complete": False}))
    fails("predict", things, "x", *LM, match="is not finished; run `ragicl index")


def test_bad_requests(things, work):
    fails("index", "nowhere.jsonl", match="no such file")
    fails("predict", "nowhere", "x", match="there is no index at nowhere")
    fails("predict", things, "x", "--lm", "gpt9", match="known: smollm2, hf:NAME")
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
        "predict",
        things,
        "x",
        "--lm",
        f"hf:{work}/no-model",
        match="cannot load the language model",
    )
    fails("predict", things, "x", *LM, "--k", -1, match="k is -1")
    fails("predict", things, "x", *LM, "--labels", "fruit,rock", match="'rock'")
    fails("predict", things, "x", *LM, "--template", "shiny", match="unknown template")
    fails("predict", things, "apple " * 5000, *LM, match="the budget is 4000")
    fails("predict", things, "x", *LM, "--budget", 3, match="the budget is 3")
    fails("predict", things, "--file", "nowhere.csv", *LM, match="no such file")


def test_damaged_index(things):
    (things / "vectors.faiss").write_bytes(b"garbage")
    assert lines(run("predict", things, "sweet apple", *LM))[0]["output"] == "fruit"
    manifest = (things / "manifest.json").read_text()
    (things / "manifest.json").write_text(manifest.replace('"format": 1', '"format": 7'))
    fails("predict", things, "x", *LM, match="has index format 7; this version of ragicl knows")
    (things / "manifest.json").write_text("{")
    fails("info", things, match="is damaged")
    (things / "manifest.json").write_text(manifest)
    (things / "examples.db").write_bytes(b"garbage" * 1000)
    fails("predict", things, "x", *LM, match="examples.db is damaged")


@pytest.mark.parametrize(("labels", "options", "said"), [
    (201, [], True), (200, [], False), (201, ["--shortlist", 16], False), (201, ["--k", 3], True),
])  # fmt: skip
def test_many_labels_for_the_language_model_are_worth_a_word(work, labels, options, said):
    rows = [{"text": f"text {i}", "label": f"label {i}"} for i in range(labels)]
    write_rows(work / "many.jsonl", rows)
    run("index", "many.jsonl", "--encoder", "fake:a", "--kind", "classify")
    write_rows(work / "test.jsonl", rows[:2])
    result = run("predict", "indexes/many", "a text", *LM, "--decide", "lm", *options)
    word = f"reads {labels} labels for each text; --shortlist 16"
    assert (word in result.stderr) == said
    bench = ["bench", "indexes/many", "--queries", 1, "--decide", "lm"]
    assert (word in run(*bench, *LM, *options).stderr) == said
    test = ["--test", "test.jsonl", "--out", "report", "--reference", "majority"]
    assert (word in run("evaluate", "indexes/many", *test, *LM, *options).stderr) == said


def test_one_text_of_many_labels_is_not_waited_for_in_silence(things, monkeypatch):
    told = []

    @contextmanager
    def shown():
        yield lambda *report: told.append(report)

    def score(self, prompts, answers, **options):
        self.progress("reading labels", 0, len(answers))
        return original(self, prompts, answers, **options)

    original = FakeLM.score
    monkeypatch.setattr("ragicl.cli.predict.within", shown)
    monkeypatch.setattr(FakeLM, "score", score)
    monkeypatch.setattr(FakeLM, "progress", no_progress, raising=False)
    run("predict", things, "a sweet apple", *LM, "--decide", "lm")
    assert told == [("reading labels", 0, 2)]
    run("explain", things, "a sweet apple", *LM)
    assert len(told) > 1


@pytest.mark.parametrize(("option", "value", "match"), [
    ("--ensemble", 1_000_000, "ensemble is 1000000; it must be 64 or less"),
    ("--k", 2**63 - 1, "it must be 2147483647 or less"),
    ("--seed", -1, "seed is -1; it must be 0 or more"),
    ("--temperature", "inf", "temperature is inf; it must be 100 or less"),
    ("--temperature", "nan", "temperature is nan"),
])  # fmt: skip
def test_numbers_that_would_never_end_are_refused(things, option, value, match):
    fails("predict", things, "x", *LM, option, value, match=match)
