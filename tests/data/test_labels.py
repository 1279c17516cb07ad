"""Labels that differ invisibly are named, and merged on request."""

import json
import unicodedata

import pytest
from cli_runner import run, write_rows
from hypothesis import given
from hypothesis import strategies as st

from ragicl import Example, Index
from ragicl.backends.fake import FakeEncoder
from ragicl.curation.audit import audit
from ragicl.data.labels import lookalikes, one_spelling, plain_form

SAME = {
    "case": "Café Bar",
    "decomposed": unicodedata.normalize("NFD", "café bar"),
    "no-break space": "café\u00a0bar",
    "zero width": "caf\u200bé bar\ufeff",
    "soft hyphen": "café b\u00adar",
    "blanks": " café  bar ",
    "tab": "café\tbar",
}


@pytest.mark.parametrize("kind", SAME)
def test_these_differ_invisibly(kind):
    assert lookalikes({"café bar": 2, SAME[kind]: 1, "other": 3}) == (("café bar", SAME[kind]),)


def test_accents_and_words_are_visible():
    assert lookalikes(dict.fromkeys(["cafe", "café", "ca fe", "caf-e", "cafes"], 1)) == ()


@given(st.text(max_size=20))
def test_plain_forms_are_their_own(label):
    assert plain_form(plain_form(label)) == plain_form(label)


def test_the_known_spelling_comes_first_then_the_most_frequent():
    counts = {"A": 1, "a": 5, "b": 1, "B": 2, "c": 1}
    assert one_spelling(counts, ()) == {"A": "a", "b": "B"}
    assert one_spelling(counts, {"A", "B"}) == {"a": "A", "b": "B"}
    assert one_spelling(counts, {"A", "a"}) == {"b": "B"}


@pytest.fixture
def mixed(work):
    labels = ["Billing", "billing", "billing\u00a0", "caf\u00e9", "cafe\u0301", "caf\u00e9"]
    rows = [{"text": f"text {n}", "label": label} for n, label in enumerate(labels * 3)]
    write_rows(work / "mixed.jsonl", rows)
    return rows


def test_index_names_the_groups(mixed):
    told = run("index", "mixed.jsonl", "--encoder", "fake:a").stderr
    assert "differ invisibly, --normalize-labels merges them: 'billing', 'Billing'" in told
    assert r"'caf\xe9', 'cafe\u0301'" in told


def test_normalize_merges_and_can_be_run_again(mixed, work):
    command = ["index", "mixed.jsonl", "--encoder", "fake:a", "--normalize-labels"]
    told = run(*command).stderr
    assert "2 spellings of labels merged with others" in told
    assert "differ invisibly" not in told
    assert json.loads(run("info", "indexes/mixed").stdout)["labels"] == {
        "billing": 9,
        "caf\u00e9": 9,
    }
    assert "0 rows embedded, 18 were there already" in run(*command).stderr
    write_rows(work / "more.jsonl", [{"text": f"m{n}", "label": "BILLING"} for n in range(20)])
    run("add", "indexes/mixed", "more.jsonl", "--normalize-labels")
    assert json.loads(run("info", "indexes/mixed").stdout)["labels"]["billing"] == 29


def test_texts_to_write_are_not_compared(work):
    rows = [{"text": f"t{n}", "label": f"{'Aa'[n % 2]}nswer {n // 2}"} for n in range(6)]
    write_rows(work / "texts.jsonl", rows)
    assert "invisibly" not in run("index", "texts.jsonl", "--encoder", "fake:a").stderr


def test_audit_names_the_groups(tmp_path):
    rows = [Example(f"text {n}", ["x", "X ", "y"][n % 3], str(n)) for n in range(12)]
    with Index.create(tmp_path / "i", encoder=FakeEncoder()) as index:
        index.add(rows)
        assert audit(index).lookalikes == (("X ", "x"),)
    assert "1 groups of labels differ invisibly\n  'X ', 'x'" in run("audit", tmp_path / "i").stdout
