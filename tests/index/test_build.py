import json

import pytest

from ragicl.backends import registry
from ragicl.backends.fake import FakeEncoder
from ragicl.data.columns import Columns
from ragicl.data.examples import DataFile
from ragicl.errors import DataError, EncoderError, ExampleError, StoreError
from ragicl.index import Index
from ragicl.index.build import build, survey
from ragicl.protocols import no_progress
from ragicl.records import Example

TEN = [{"text": f"text {n}", "label": f"label {n % 2}"} for n in range(10)]
OTHER_TEN = [row | {"text": f"other {row['text']}"} for row in TEN]


class CountingEncoder(FakeEncoder):
    """Remembers every text that it was asked to embed."""

    def __init__(self, seen):
        super().__init__("counting")
        self.spec = "counting"
        self.seen = seen

    def encode(self, texts):
        self.seen.extend(texts)
        return super().encode(texts)


@pytest.fixture
def seen(monkeypatch):
    """Make an encoder available as "counting", and return the texts that it embeds."""
    texts = []
    monkeypatch.setitem(registry.ENCODERS, "counting", f"{__name__}:open_counting_encoder")
    monkeypatch.setitem(globals(), "open_counting_encoder", lambda: CountingEncoder(texts))
    return texts


@pytest.fixture
def rows(tmp_path):
    def write(*rows, name="rows.jsonl", **options):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name).write_text(text)
        return DataFile(str(tmp_path / name), **options)

    return write


def run(data, path, encoder="fake:a", progress=no_progress, **options):
    index, report = build(
        data, path, encoder=encoder, surveyed=survey(data), progress=progress, **options
    )
    index.close()
    return report


def stored(path):
    with Index.open(path) as index:
        return list(index)


def one_line(caught, *words):
    assert "\n" not in str(caught.value)
    for word in words:
        assert str(word) in str(caught.value)


def test_survey_counts(rows):
    found = survey(
        rows(
            {"text": "a", "label": "x"},
            {"text": "a", "label": "x "},
            {"text": "a", "label": "x"},
            {"text": "a", "label": "y"},
            {"text": "b", "label": "longest"},
            {"text": ""},
            {"text": "b"},
            {"text": "c", "label": "x"},
            on_error="skip",
        )
    )
    assert (found.rows, found.skipped) == (6, 2)
    assert (found.duplicates, found.conflicts) == (2, 1)
    assert (found.outputs, found.longest) == (3, 7)


def test_survey_stops_at_the_first_bad_row(rows):
    with pytest.raises(DataError) as caught:
        survey(rows(*TEN, {"text": "no label"}))
    one_line(caught, "rows.jsonl:11:")


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        (["a", "b"] * 5, "classify"),
        (["a", "b", "a", "c"], "generate"),
        (["a", "a", "b", "b"], "classify"),
        ([f"answer {n}" for n in range(10)], "generate"),
        (["y" * 100, "n"] * 5, "classify"),
        (["y" * 101, "n"] * 5, "generate"),
    ],
)
def test_kind_is_guessed_from_outputs_that_are_short_and_come_back(rows, outputs, kind):
    assert survey(rows(*({"text": f"{n}", "label": o} for n, o in enumerate(outputs)))).kind == kind


def test_build_stores_every_row(rows, tmp_path):
    data = rows(*TEN)
    done = []
    report = run(data, tmp_path / "index", progress=lambda *step: done.append(step))
    assert (report.added, report.present, report.dropped) == (10, 0, 0)
    assert done[-1] == ("embedding", 10, 10) == ("embedding", report.survey.rows, 10)
    assert [e.input for e in stored(tmp_path / "index")] == [row["text"] for row in TEN]
    manifest = Index.open(tmp_path / "index").manifest
    assert (manifest.kind, manifest.complete, manifest.source) == ("classify", True, data.source)
    assert (tmp_path / "index" / "vectors.faiss").exists()


def test_a_given_kind_wins(rows, tmp_path):
    run(rows(*TEN), tmp_path / "index", kind="generate")
    assert Index.open(tmp_path / "index").labels() == {}


def test_bad_rows_are_left_out_where_asked(rows, tmp_path):
    report = run(rows(*TEN, {"text": ""}, on_error="skip"), tmp_path / "index")
    assert (report.survey.skipped, report.added) == (1, 10)


def test_duplicates_are_kept_under_ids_of_their_own(rows, tmp_path):
    report = run(rows(*TEN, TEN[0], TEN[0] | {"id": "own"}, TEN[0]), tmp_path / "index")
    assert (report.added, report.dropped, report.survey.duplicates) == (13, 0, 3)
    [first, *others] = [e.id for e in stored(tmp_path / "index") if e.input == "text 0"]
    assert others == [f"{first}-2", "own", f"{first}-4"]


def test_duplicates_are_dropped_where_asked(rows, tmp_path, seen):
    data = rows(*TEN, *TEN[:3], TEN[0] | {"label": "other"})
    report = run(data, tmp_path / "index", encoder="counting", dedupe=True)
    assert (report.added, report.dropped) == (11, 3)
    assert len(seen) == len(stored(tmp_path / "index")) == 11


def test_ids_and_other_columns_are_kept(rows, tmp_path):
    run(rows(*TEN, {"text": "a", "label": "b", "id": 7, "lang": "en"}), tmp_path / "index")
    assert stored(tmp_path / "index")[-1] == Example("a", "b", "7", {"lang": "en"})


@pytest.mark.parametrize("kind", [None, "generate"])
def test_one_row_is_not_enough(rows, tmp_path, kind):
    with pytest.raises(DataError) as caught:
        run(rows(TEN[0]), tmp_path / "index", kind=kind)
    one_line(caught, "rows.jsonl", "one row only")
    assert not (tmp_path / "index").exists()


def test_one_label_is_not_enough_to_classify_but_to_generate(rows, tmp_path):
    data = rows(TEN[0], TEN[2], TEN[4])
    with pytest.raises(DataError) as caught:
        run(data, tmp_path / "index")
    one_line(caught, "rows.jsonl", "3 rows", "same label", "--kind generate")
    assert not (tmp_path / "index").exists()
    assert run(data, tmp_path / "index", kind="generate").added == 3


def test_explicit_ids_must_be_unique(rows, tmp_path):
    data = rows(
        *TEN, {"text": "a", "label": "b", "id": "x"}, {"text": "c", "label": "b", "id": "x"}
    )
    with pytest.raises(DataError) as caught:
        run(data, tmp_path / "index")
    one_line(caught, "rows.jsonl", "'x' occurs twice")


def interrupt_after(chunks):
    done = []

    def progress(*step):
        done.append(step)
        if len(done) == chunks:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("dedupe", [False, True])
def test_an_interrupted_build_goes_on_where_it_stopped(rows, tmp_path, seen, monkeypatch, dedupe):
    monkeypatch.setattr("ragicl.index.build.CHUNK", 4)
    path = tmp_path / "index"
    data = rows(*TEN, TEN[0], TEN[9])
    with pytest.raises(KeyboardInterrupt):
        run(data, path, "counting", interrupt_after(1), dedupe=dedupe)
    assert not Index.open(path).manifest.complete
    assert len(stored(path)) == 4
    del seen[:]
    report = run(data, path, "counting", dedupe=dedupe)
    rest = [row["text"] for row in TEN[4:]] + ([] if dedupe else ["text 0", "text 9"])
    assert seen == rest
    assert (report.added, report.present) == (len(rest), 4)
    assert report.dropped == (2 if dedupe else 0)
    assert len(stored(path)) == 4 + len(rest)
    assert Index.open(path).manifest.complete


def test_a_build_interrupted_before_its_first_row_can_be_finished(rows, tmp_path, monkeypatch):
    path, data = tmp_path / "index", rows(*TEN)
    with monkeypatch.context() as patch:
        patch.setattr(Index, "writing", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(data, path)
    manifest = Index.open(path).manifest
    assert (manifest.complete, manifest.source) == (False, data.source)
    assert run(data, path).added == 10


def test_building_again_embeds_nothing(rows, tmp_path, seen):
    data = rows(*TEN)
    run(data, tmp_path / "index", "counting")
    del seen[:]
    report = run(data, tmp_path / "index", "counting")
    assert (report.added, report.present, seen) == (0, 10, [])


def test_rows_that_were_appended_are_added(rows, tmp_path):
    run(rows(*TEN), tmp_path / "index")
    report = run(rows(*TEN, {"text": "new", "label": "label 0"}), tmp_path / "index")
    assert (report.added, report.present) == (1, 10)


def test_a_changed_row_under_the_same_id_is_refused(rows, tmp_path):
    named = [row | {"id": str(n)} for n, row in enumerate(TEN)]
    run(rows(*named), tmp_path / "index")
    with pytest.raises(ExampleError) as caught:
        run(rows(*named[:9], named[9] | {"label": "label 0"}), tmp_path / "index")
    one_line(caught, "'9'")


def test_a_folder_with_other_data_is_refused(rows, tmp_path, encoder):
    path = tmp_path / "index"
    data = rows(*TEN)
    run(data, path)
    others = [
        (rows(*OTHER_TEN, name="other.jsonl"), {}, data.source),
        (rows(*TEN, columns=Columns(output="label")), {}, data.source),
        (data, {"kind": "generate"}, "begun as classify"),
        (data, {"encoder": "fake:b"}, "fake:b"),
    ]
    for other, options, word in others:
        with pytest.raises(StoreError) as caught:
            run(other, path, **options)
        one_line(caught, path, word)
    assert len(stored(path)) == 10
    Index.create(tmp_path / "program", encoder=encoder).close()
    with pytest.raises(StoreError) as caught:
        run(data, tmp_path / "program")
    one_line(caught, "other examples")


@pytest.mark.parametrize("own_ids", [True, False])
@pytest.mark.parametrize("begun", [None, 1])
def test_data_that_moved_are_the_same(rows, tmp_path, seen, monkeypatch, own_ids, begun):
    monkeypatch.setattr("ragicl.index.build.CHUNK", 4)
    given = [row | {"id": f"r{n}"} for n, row in enumerate(TEN)] if own_ids else TEN
    path, data = tmp_path / "index", rows(*given)
    if begun is not None:
        with pytest.raises(KeyboardInterrupt):
            run(data, path, "counting", interrupt_after(begun))
    else:
        run(data, path, "counting")
    before = len(stored(path))
    del seen[:]
    (tmp_path / "elsewhere").mkdir()
    path.rename(tmp_path / "elsewhere" / "index")
    moved = rows(*given, name="elsewhere/rows.jsonl")
    report = run(moved, tmp_path / "elsewhere" / "index", "counting")
    assert (report.present, report.added, len(seen)) == (before, 10 - before, 10 - before)
    assert Index.open(tmp_path / "elsewhere" / "index").manifest.source == moved.source


def test_other_rows_under_the_same_ids_are_other_data(rows, tmp_path):
    run(rows(*[row | {"id": str(n)} for n, row in enumerate(TEN)]), tmp_path / "index")
    others = rows(*[row | {"id": str(n)} for n, row in enumerate(OTHER_TEN)], name="other.jsonl")
    with pytest.raises(StoreError, match="holds an index of"):
        run(others, tmp_path / "index")


def test_a_folder_with_something_else_is_refused(rows, tmp_path):
    data = rows(*TEN)
    with pytest.raises(StoreError) as caught:
        run(data, tmp_path)
    one_line(caught, tmp_path, "not empty")


def test_correction_survives_building_again(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr("ragicl.index.reading.open_encoder", lambda spec: encoder)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')

    def build_it():
        data = DataFile(str(path))
        return build(
            data, tmp_path / "index", encoder="fake:a", kind="classify", surveyed=survey(data),
            progress=no_progress,
        )  # fmt: skip

    index, _ = build_it()
    with index:
        (wrong,) = [e for e in index if e.input == "a"]
        index.update([Example("a", "y", id=wrong.id)])
        index.add([Example("c", "x")])
    index, report = build_it()
    with index:
        assert (report.added, report.present, report.others) == (0, 2, 1)
        assert {e.input: e.output for e in index} == {"a": "y", "b": "y", "c": "x"}


def test_building_again_with_an_encoder_that_has_changed_is_refused(rows, tmp_path, monkeypatch):
    """Its new vectors would stand beside old ones that they cannot be compared with."""
    data = rows(*TEN)
    run(data, tmp_path / "index", "fake:a")
    monkeypatch.setattr(FakeEncoder, "encode", lambda *_: pytest.fail("embedded"))
    other = FakeEncoder("b")
    other.spec = "fake:a"
    monkeypatch.setitem(registry.ENCODERS, "fake:NAME", f"{__name__}:open_other")
    monkeypatch.setitem(globals(), "open_other", lambda name: other)
    with pytest.raises(EncoderError, match="build a new index"):
        run(data, tmp_path / "index", "fake:a")
