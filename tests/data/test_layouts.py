"""Exports of other tools, and layouts of instruction and chat data."""

import json

import pytest

from ragicl.data.examples import DataFile
from ragicl.errors import DataError
from ragicl.records import Example, Query


def say(role, content):
    return {"role": role, "content": content}


def task(choices, **annotation):
    value = {"value": {"choices": choices}, "from_name": "sentiment", "type": "choices"}
    return {
        "id": 7,
        "data": {"review": "nice", "stars": 5},
        "annotations": [{"result": [value], **annotation}],
        "predictions": [],
    }


SYSTEM = say("system", "be brief")
HELLO = [say("user", "hello"), say("assistant", "hi")]
LAYOUTS = {
    "alpaca": (
        {"instruction": "Translate", "input": "Haus", "output": "house", "id": 3},
        Example("Translate\nHaus", "house", "3"),
    ),
    "alpaca without input": (
        {"instruction": "Say hi", "input": "", "output": "hi"},
        Example("Say hi", "hi"),
    ),
    "chat": (
        {"messages": [SYSTEM, *HELLO, say("user", "bye"), say("assistant", "see you")], "n": 1},
        Example("bye", "see you", "", {"n": 1}),
    ),
    "chat in parts": (
        {"messages": [say("user", [{"type": "text", "text": "a"}, {"type": "image"}]), HELLO[1]]},
        Example("a", "hi"),
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        Example("a", "b"),
    ),
    "label studio": (task(["good"]), Example("nice", "good", "7", {"stars": 5})),
    "doccano": ({"id": 1, "text": "a", "label": ["x"]}, Example("a", "x", "1")),
    "doccano data": ({"id": 1, "data": "a", "label": ["x"]}, Example("a", "x", "1")),
    "doccano labels": ({"id": 1, "text": "a", "labels": ["x"]}, Example("a", "x", "1")),
}


def read(path, **options):
    told = []
    return list(DataFile(str(path), notify=told.append, **options).examples()), told


@pytest.mark.parametrize("whole", [True, False], ids=["array", "lines"])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_known_layouts(tmp_path, kind, whole):
    row, example = LAYOUTS[kind]
    text = json.dumps([row, row], indent=1) if whole else f"{json.dumps(row)}\n" * 2
    (tmp_path / "r.json").write_text(text)
    found, told = read(tmp_path / "r.json")
    assert found == [example, example]
    assert told
    assert all(line.startswith(f"{tmp_path / 'r.json'}: ") for line in told)


def test_a_text_column_comes_before_any_layout(tmp_path):
    row = {"text": "a", "label": "x", "messages": HELLO, "instruction": "i", "output": "o"}
    (tmp_path / "r.jsonl").write_text(json.dumps(row))
    [example], told = read(tmp_path / "r.jsonl")
    assert (example.input, example.output, told) == ("a", "x", [])


def test_a_chat_that_waits_for_an_answer_is_a_query(tmp_path):
    (tmp_path / "r.jsonl").write_text(json.dumps({"messages": [*HELLO, say("user", "and now?")]}))
    assert list(DataFile(str(tmp_path / "r.jsonl")).queries()) == [Query("and now?", "1")]
    with pytest.raises(DataError, match="'label' is missing"):
        read(tmp_path / "r.jsonl")


@pytest.mark.parametrize(
    ("row", "match"),
    [
        (task(["good", "bad"]), "'label' holds 2 labels"),
        (task(["good"], was_cancelled=True), "'label' is missing"),
        ({"id": 1, "data": {"a": "x", "b": "y"}, "annotations": []}, "no column 'text' or 'input'"),
        ({"messages": [say("assistant", "hi")]}, "'text' is missing"),
        ({"text": "a", "label": ["x", "y"]}, "'label' holds 2 labels"),
        ({"text": "a", "label": [[0, 3, "ORG"]]}, "'label' is list"),
    ],
)
def test_what_has_no_text_or_no_one_label(tmp_path, row, match):
    (tmp_path / "r.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=match):
        read(tmp_path / "r.jsonl")


RASA = """
version: "3.1"
nlu:
- intent: greet
  examples: |
    - hey
    - good morning [Anna](name)
- intent: book
  examples:
  - text: |
      - a table in [Rome]{"entity": "city"}
- synonym: Rome
  examples: |
    - roma
"""


@pytest.mark.parametrize("suffix", [".yml", ".yaml"])
def test_rasa_yaml(tmp_path, suffix):
    (tmp_path / f"nlu{suffix}").write_text(RASA)
    found, told = read(tmp_path / f"nlu{suffix}")
    assert [(e.input, e.output) for e in found] == [
        ("hey", "greet"),
        ("good morning Anna", "greet"),
        ("a table in Rome", "book"),
    ]
    assert "Rasa" in told[0]


@pytest.mark.parametrize("indent", [None, 2])
def test_rasa_json(tmp_path, indent):
    examples = [{"text": "hey", "intent": "greet", "entities": []}]
    data = {"rasa_nlu_data": {"common_examples": examples, "regex_features": []}}
    (tmp_path / "nlu.json").write_text(json.dumps(data, indent=indent))
    assert read(tmp_path / "nlu.json")[0] == [Example("hey", "greet", "", {"entities": []})]


@pytest.mark.parametrize("content", ["a: [", "just text", "nlu: 3", "[]", "", "a: &a [*a]"])
def test_other_yaml_is_one_line(tmp_path, content):
    (tmp_path / "r.yml").write_text(content)
    with pytest.raises(DataError, match=r"r\.yml") as caught:
        read(tmp_path / "r.yml")
    assert "\n" not in str(caught.value)
