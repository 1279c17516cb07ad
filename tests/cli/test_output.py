"""``--format`` and ``--out`` mean the same wherever a command offers them."""

import csv
import io
import json
import os
import threading
from pathlib import Path

import pytest
from cli_runner import LM, fails, lines, misused, run

from ragicl.cli.main import main
from ragicl.cli.output import Output, choose_output, csv_text, rows_text

OFFER = {
    "info": {"table", "json"},
    "predict": {"table", "jsonl", "json", "csv"},
    "prompt": {"table", "json"},
    "explain": {"table", "json"},
    "tune": {"table", "json"},
    "bench": {"table", "json"},
    "plan": {"table", "json"},
    "audit": {"table", "jsonl", "json", "csv"},
    "suggest": {"table", "jsonl", "json", "csv"},
}
WITH_JSON_FLAG = ["tune", "audit", "explain", "bench", "plan"]
DEFAULTS_TO_JSON = {"info": "json", "predict": "jsonl", "suggest": "jsonl"}
FILES = {"table": ["out.txt", "out.md"], "jsonl": ["out.jsonl"], "json": ["out.json"],
         "csv": ["out.csv", "OUT.CSV"]}  # fmt: skip
CASES = [(name, form) for name, forms in OFFER.items() for form in sorted(forms)]


def command(name, things):
    lm = [*LM, "--k", 2]
    return {
        "info": ["info", things],
        "predict": ["predict", things, "a sweet apple", "the steel saw", "--decide", "knn"],
        "prompt": ["prompt", things, "a sweet apple", *lm],
        "explain": ["explain", things, "a sweet apple", *lm],
        "tune": ["tune", things, "--minutes", 0.0001, *LM],
        "bench": ["bench", things, "--queries", 2, "--decide", "knn"],
        "plan": ["plan", things],
        "audit": ["audit", things, "--few", 99],
        "suggest": ["suggest", "things.jsonl", "--n", 3, "--encoder", "fake:a"],
    }[name]


def read(form, text):
    if form == "json":
        return json.loads(text)
    if form == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    if form == "csv":
        return list(csv.DictReader(io.StringIO(text)))
    return text


def without_times(value):
    """What a second run gives again."""
    if isinstance(value, list):
        return [without_times(one) for one in value]
    if isinstance(value, dict):
        return {k: v for k, v in value.items() if k not in ("ms", "seconds_a_row")}
    return value


@pytest.mark.parametrize("name", main.commands)
def test_every_command_that_prints_results_offers_both(name):
    options = {o: p for p in main.commands[name].params for o in p.opts}
    assert ("--format" in options) == (name in OFFER)
    if name in OFFER:
        assert set(options["--format"].type.choices) == OFFER[name]
        assert "[stdout]" in options["--out"].help
    assert ("--json" in options) == (name in WITH_JSON_FLAG)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_a_format_on_stdout(things, name, form):
    shown = run(*command(name, things), "--format", form).stdout
    assert shown.endswith("\n")
    found = read(form, shown)
    assert found
    if form == DEFAULTS_TO_JSON.get(name, "table") and name not in ("tune", "bench"):
        default = read(form, run(*command(name, things)).stdout)
        assert without_times(default) == without_times(found)


@pytest.mark.parametrize(
    ("name", "form"), [c for c in CASES if c[0] not in ("tune", "bench", "predict")]
)
def test_a_file_holds_what_stdout_shows(things, tmp_path, name, form):
    shown = run(*command(name, things), "--format", form).stdout
    for file in FILES[form]:
        result = run(*command(name, things), "--out", tmp_path / "new" / file)
        assert result.stdout == ""
        written = (tmp_path / "new" / file).read_bytes()
        assert written.startswith(b"\xef\xbb\xbf") == (form == "csv")
        text = written.decode("utf-8-sig")
        assert (
            text.replace("\r\n", "\n") == shown
        )  # the runner reads stdout with universal newlines


def test_files_of_measurements(things, tmp_path):
    for name in ("tune", "bench"):
        assert run(*command(name, things), "--out", tmp_path / f"{name}.json").stdout == ""
        assert json.loads((tmp_path / f"{name}.json").read_text())
        run(*command(name, things), "--out", tmp_path / f"{name}.md")
        assert (tmp_path / f"{name}.md").read_text().count("\n") > 1


def test_predictions_are_the_same_in_every_format(things, tmp_path):
    asked = [*command("predict", things), "--probs"]
    rows = without_times(lines(run(*asked)))
    assert without_times(json.loads(run(*asked, "--format", "json").stdout)) == rows
    table = list(csv.DictReader(io.StringIO(run(*asked, "--format", "csv").stdout)))
    assert [r["output"] for r in table] == [r["output"] for r in rows]
    assert [float(r["probability"]) for r in table] == [r["probability"] for r in rows]
    assert [json.loads(r["neighbors"]) for r in table] == [r["neighbors"] for r in rows]
    run(*asked, "--out", tmp_path / "rows.jsonl", "--format", "jsonl")
    written = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert without_times(written) == rows


def test_predictions_go_to_json_lines_only(things):
    for name in ("out.csv", "out.json", "out.txt", "out"):
        misused(*command("predict", things), "--out", name, match="supported: .jsonl")


@pytest.mark.parametrize("name", OFFER)
def test_bad_outputs_are_refused_before_any_work(name):
    asked = command(name, "nowhere")
    misused(*asked, "--out", "out.xlsx", match="--out out.xlsx: unsupported suffix; supported: .j")
    misused(*asked, "--format", "yaml", match="'yaml' is not one of")
    first = ".jsonl" if name == "predict" else ".json"
    match = f"--format table contradicts --out out{first}"
    misused(*asked, "--format", "table", "--out", f"out{first}", match=match)


def test_the_supported_suffixes_are_listed(things):
    match = "supported: .jsonl, .json, .csv, .txt, .md"
    misused(*command("suggest", things), "--out", "x.doc", match=match)
    misused(*command("info", things), "--out", "x.csv", match="supported: .json, .txt, .md")


@pytest.mark.parametrize("name", OFFER)
def test_links_devices_and_pipes_stay_what_they_are(things, tmp_path, name):
    """Links in the test's own folder: a fault must not cost the machine its devices."""
    suffix = ".jsonl" if name == "predict" else ".json"
    file = tmp_path / f"real{suffix}"
    for target in (file, "/dev/null", "/dev/full", "pipe"):
        link = tmp_path / f"link{suffix}"
        link.symlink_to(target)
        if target == "pipe":
            os.mkfifo(tmp_path / "pipe")
            read = []
            reader = threading.Thread(daemon=True, target=lambda: read.append(link.read_text()))  # noqa: B023
            reader.start()
        end = {"match": "choose another --out"} if target == "/dev/full" else {}
        (fails if end else run)(*command(name, things), "--out", link, **end)
        assert link.readlink() == Path(target)
        link.unlink()
    reader.join()
    assert read[0]
    assert file.read_text()
    left = {"real.jsonl.settings.json"} if name == "predict" else set()
    assert set(os.listdir(tmp_path)) - {"indexes", "things.jsonl"} == {file.name, "pipe"} | left


def test_a_device_needs_no_suffix_and_takes_any_format():
    null = Path("/dev/null")  # not written to
    assert choose_output(None, null, ["jsonl"], default="table") == Output("table", null)
    assert choose_output("csv", null, ["jsonl"], default="table") == Output("csv", null)


def test_a_file_that_cannot_be_written(things, tmp_path):
    out = tmp_path / "things.jsonl" / "x.json"
    fails(*command("info", things), "--out", out, match="choose another --out")


@pytest.mark.parametrize("name", WITH_JSON_FLAG)
def test_the_old_flag_works_with_a_warning(things, name):
    old = run(*command(name, things), "--json")
    assert old.stderr.count("Warning: --json is deprecated; use --format json") == 1
    new = run(*command(name, things), "--format", "json")
    assert "deprecated" not in new.stderr
    assert json.loads(old.stdout).keys() == json.loads(new.stdout).keys()
    assert "--json" not in run(name, "--help").stdout
    out = ["--json", "--out", "x.txt"]
    misused(*command(name, things), *out, match="--format json contradicts --out x.txt")


def test_rows_with_different_columns_share_a_csv_table():
    rows = [{"a": 1, "b": 'x, "y"'}, {"a": None, "c": [1], "d": True}]
    assert csv_text(rows) == 'a,b,c,d\r\n1,"x, ""y""",,\r\n,,[1],true\r\n'
    assert csv_text([]) == "\r\n"


def test_rows_of_none():
    assert json.loads(rows_text("json", [], str)) == []
    assert rows_text("jsonl", [], str) == ""
