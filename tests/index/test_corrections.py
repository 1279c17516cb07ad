import json

import pytest
from click.testing import CliRunner

from ragicl import DataError, Example, ExampleError, Index
from ragicl.backends.fake import FakeEncoder
from ragicl.cli.main import main
from ragicl.data.examples import DataFile
from ragicl.index.corrections import Corrected, correct
from ragicl.records import Correction

STORED = [
    Example("red apple", "fruit", "a", {"by": "me"}),
    Example("steel saw", "tool", "b"),
    Example("old pear", "tool", "c"),
]


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", encoder=FakeEncoder()) as index:
        index.add(STORED)
        yield index


def contents(index):
    return {e.id: (e.input, e.output) for e in index}


def test_only_what_differs_is_changed_and_meta_stays(index):
    done = correct(
        index,
        [
            Correction("a", "green apple", "fruit"),
            Correction("b", "steel saw", "tool"),
            Correction("c", "old pear", "fruit"),
        ],
    )
    assert done == Corrected(changed=2, removed=0, same=1)
    assert contents(index) == {
        "a": ("green apple", "fruit"),
        "b": ("steel saw", "tool"),
        "c": ("old pear", "fruit"),
    }
    assert index.get(["a"])["a"].meta == {"by": "me"}
    assert index.search(["green"], 1)[0][0].example.id == "a"


def test_nothing_to_change_writes_nothing(index):
    before = index.generation
    same = [Correction(e.id, e.input, e.output) for e in STORED]
    assert correct(index, same) == Corrected(0, 0, 3)
    assert index.generation == before


def test_changes_and_removals_are_one_transaction(index):
    before = index.generation
    some = [Correction("a", "red apple", None), Correction("c", "old pear", "fruit")]
    assert correct(index, some, remove_empty=True) == Corrected(1, 1, 0)
    assert index.generation == before + 1
    assert set(contents(index)) == {"b", "c"}


def test_removing_alone_needs_no_encoder(index):
    with Index.open(index.path) as other:
        assert correct(other, [Correction("a", "x", None)], remove_empty=True).removed == 1
        assert other._encoder is None
    assert set(contents(index)) == {"b", "c"}


@pytest.mark.parametrize(
    ("last", "error", "match"),
    [
        (Correction("z", "new", "tool"), ExampleError, "no example with id 'z'"),
        (Correction("c", "older pear", "fruit"), ExampleError, "'c' is given twice"),
        (Correction("a", "red apple", None), DataError, "'a' has no label left"),
    ],
)
def test_one_bad_correction_and_nothing_is_changed(index, last, error, match):
    before = contents(index)
    with pytest.raises(error, match=match):
        correct(index, [Correction("c", "old pear", "fruit"), last])
    assert contents(index) == before


def test_corrections_are_read_by_id_text_and_label_alone(tmp_path):
    file = tmp_path / "some.csv"
    file.write_text("id,text,label,suggested\na,red apple, fruit ,\nb,saw,,tool\n")
    assert list(DataFile(str(file)).corrections()) == [
        Correction("a", "red apple", "fruit"),
        Correction("b", "saw", None),
    ]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("text,label\nsaw,tool\n", r"some.csv:2: no id; give the id"),
        ("id,text,label\n,saw,tool\n", r"some.csv:2: no id; give the id"),
        ("id,text\nb,saw\n", "no column 'label' or 'output'"),
        ("id,text,label\nb, ,tool\n", "'text' is empty"),
    ],
)
def test_rows_that_correct_nothing_are_refused(tmp_path, content, match):
    file = tmp_path / "some.csv"
    file.write_text(content)
    with pytest.raises(DataError, match=match):
        list(DataFile(str(file)).corrections())


def test_the_command_removes_only_when_told(index, tmp_path):
    file = tmp_path / "some.jsonl"
    file.write_text(json.dumps({"id": "c", "text": "old pear", "label": ""}) + "\n")
    command = ["update", str(index.path), str(file)]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 1
    assert "has no label left" in refused.stderr
    assert len(index) == 3
    done = CliRunner().invoke(main, [*command, "--remove-empty"])
    assert done.exit_code == 0
    assert "0 changed, 1 removed, 0 as they were, 2 examples" in done.stderr
    assert set(contents(index)) == {"a", "b"}
