"""--exclude-self: a row is the stored example with its id, or else with its text and label."""

import random

import pytest
from cli_runner import lines, run, write_rows

from ragicl import Example, Index
from ragicl.records import Query
from ragicl.serving.own_examples import OwnExamples


def random_rows(own_ids):
    pick = random.Random(3)
    rows = [
        {"text": f"text {n} {pick.random()}", "label": pick.choice("abcd"), "id": f"r{n}"}
        for n in range(40)
    ]
    return rows if own_ids else [{k: v for k, v in row.items() if k != "id"} for row in rows]


@pytest.mark.parametrize("indexed", [True, False], ids=["ids in the index", "none in the index"])
@pytest.mark.parametrize("asked", [True, False], ids=["ids in the file", "none in the file"])
def test_a_row_never_finds_itself(work, indexed, asked):
    write_rows(work / "stored.jsonl", random_rows(indexed))
    write_rows(work / "asked.jsonl", random_rows(asked))
    run("index", "stored.jsonl", "--encoder", "fake:a", "--kind", "classify")
    options = ["--decide", "knn", "--k", 1, "--exclude-self"]
    found = lines(run("predict", "indexes/stored", "--file", "asked.jsonl", *options))
    with Index.open("indexes/stored") as index:
        inputs = {example.id: example.input for example in index}
    for row in found:
        (near,) = row["neighbors"]
        assert inputs[near["id"]] != row["input"]


def test_a_number_is_no_id(work):
    rows = [{"text": f"text {n}", "label": "ab"[n % 2], "id": str(n)} for n in range(1, 7)]
    write_rows(work / "six.jsonl", rows)
    write_rows(work / "other.jsonl", [{"text": "text 2"}, {"text": "text 7"}])
    run("index", "six.jsonl", "--encoder", "fake:a")
    options = ["--decide", "knn", "--k", 6, "--exclude-self"]
    for source in (["text 2", "text 7"], ["--file", "other.jsonl"]):
        two, seven = lines(run("predict", "indexes/six", *source, *options))
        assert {n["id"] for n in two["neighbors"]} == set("13456")
        assert {n["id"] for n in seven["neighbors"]} == set("123456")
        assert (two["id"], seven["id"]) == ("1", "2")


def test_which_example_a_row_is(tmp_path, encoder):
    with Index.create(tmp_path / "i", encoder=encoder) as index:
        index.add([Example("t", "a", "1"), Example("t", "b", "2"), Example("u", "a", "3")])
        own = OwnExamples(index)
        asked = [
            Query("t", "1", "b"),  # its own id counts, whatever its label
            Query("t", "elsewhere", "b"),
            Query("t", "1", "b", numbered=True),
            Query("t", "1", "c", numbered=True),
            Query("u", "1", numbered=True),
            Query("v", "1", numbered=True),
        ]
        assert own.ids(asked) == ["1", "2", "2", None, "3", None]
