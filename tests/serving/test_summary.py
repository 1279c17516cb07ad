"""Accuracy in words, and gold labels that cannot be predicted."""

import pytest
from cli_runner import lines, run, write_rows

from ragicl.serving.summary import summarize


def rows(*pairs):
    return [{"gold": gold, "output": output} for gold, output in pairs]


def test_without_unknown_labels_it_is_one_line():
    text = summarize(rows(("a", "a"), ("b", "a"), ("b", "b")), {"a", "b"})
    assert text == "accuracy 0.6667 on 3 rows, macro-F1 0.6667"


def test_unknown_labels_are_counted_named_and_left_out():
    given = rows(("a", "a"), ("b", "a"), *[("c", "a")] * 2, ("Billing ", "a"))
    first, second = summarize(given, {"a", "b", "billing"}).splitlines()
    assert first.startswith("accuracy 0.2000 on 5 rows")
    assert second == (
        "3 of these rows have a gold label that is not in the index: 'c', 'Billing ' (there is "
        "'billing'); without them: accuracy 0.5000 on 2 rows"
    )


def test_where_all_are_unknown():
    text = summarize(rows(*[(f"g{n}", "a") for n in range(7)]), {"a", "b"})
    assert text.endswith("'g0', 'g1', 'g2', 'g3', 'g4' and 2 more")


def test_texts_to_write_have_no_known_labels():
    assert summarize(rows(("a", "b"))) == "accuracy 0.0000 on 1 rows"


@pytest.mark.parametrize("hidden", [-1, "-1"])
def test_a_hidden_label_is_none(work, things, hidden):
    write_rows(work / "test.jsonl", [{"text": f"ripe {n}", "label": hidden} for n in range(3)])
    result = run("predict", things, "--file", "test.jsonl", "--decide", "knn")
    assert all("gold" not in row for row in lines(result))
    assert "accuracy" not in result.stderr


def test_minus_one_that_the_index_has_is_a_label(work):
    labelled = [{"text": f"text {n}", "label": n % 3 - 1} for n in range(9)]
    write_rows(work / "mood.jsonl", labelled)
    run("index", "mood.jsonl", "--encoder", "fake:a")
    result = run("predict", "indexes/mood", "--file", "mood.jsonl", "--decide", "knn", "--k", 1)
    assert {row["gold"] for row in lines(result)} == {"-1", "0", "1"}


def test_unknown_gold_on_the_command_line(work, things):
    write_rows(work / "t.jsonl", [{"text": "sweet", "label": "Fruit"}, {"text": "saw", "label": 4}])
    result = run("predict", things, "--file", "t.jsonl", "--decide", "knn")
    assert "2 of these rows have a gold label that is not in the index" in result.stderr
    assert "'Fruit' (there is 'fruit'), '4'" in result.stderr
