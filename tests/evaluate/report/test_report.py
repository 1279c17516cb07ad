import json
import math
import re
from html.parser import HTMLParser

import made_reports
import pytest
from made_reports import item, label_set, report, text_set
from msgspec.structs import fields, replace

import ragicl.evaluate.report.write as writing
from ragicl.errors import DataError
from ragicl.evaluate.report.format import duration, listed, number, span, storage
from ragicl.evaluate.report.recommendation import recommend
from ragicl.evaluate.report.serialize import load_report, to_json
from ragicl.evaluate.report.write import write_report
from ragicl.evaluate.results import Interval

BAD = "<script>alert('x')</script> & \"q\" | $a$ `c` *b* [l](http://x)\nnew"
SINGLE = {"meta", "path", "use", "rect", "stop", "circle"}


class Page(HTMLParser):
    """Checks that tags match, and gathers what a page holds."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.words = [], [], [], [], []
        self.attributes = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.note(dict(attrs))
        if tag not in SINGLE or tag == "path":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.note(dict(attrs))

    def note(self, attributes):
        self.attributes.append(attributes)
        self.ids += [attributes["id"]] if "id" in attributes else []
        for name in ("href", "xlink:href", "src"):
            self.links += [attributes[name]] if name in attributes else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("found")
    made = report()
    made = replace(made, sets=tuple(replace(s, recommendation=recommend(s)) for s in made.sets))
    paths = write_report(made, folder)
    return made, paths


def small(**changes):
    """Return a set that is quick to draw."""
    return label_set(curves=(), methods=label_set().methods[:3], **changes)


def files(written):
    return [path.read_text(encoding="utf-8") for path in written[1]]


def figures(found):
    """Yield every figure of a set as the report writes it."""
    yield from (found.name, found.lm, found.encoder)
    for method in found.methods:
        yield from scores_of(method.scores)
        yield duration(method.cost.train_seconds)
        yield storage(method.cost.extra_bytes)
        yield duration(method.cost.query_seconds)
        yield f"{method.cost.query_tokens:,.0f}"
        if method.clean is not None:
            yield from scores_of(method.clean)
    for distance in found.distances:
        yield from (distance.reference, number(distance.median), number(distance.p90))
        kept = (distance.mean, distance.agreement, distance.noise_floor, distance.maximum)
        yield from (span(value) for value in kept if value is not None)
    for point in [point for curve in found.curves for point in curve.points]:
        yield from (f"{point.size:,}", span(point.distance), span(point.accuracy))


def scores_of(scores):
    for field in fields(scores):
        score = getattr(scores, field.name)
        yield from (number(score.value), span(score))


def test_every_method_and_figure_is_there(written):
    _, markdown, html = files(written)
    words = " ".join(Page(html).words)
    for found in written[0].sets:
        for method in found.methods:
            assert re.search(rf"^\| (\*\*)?{method.name}(\*\*)? \|", markdown, re.MULTILINE)
        for figure in figures(found):
            assert figure in words
            assert figure in markdown


def test_advice_and_explanations_are_there(written):
    _, markdown, html = files(written)
    words = " ".join(Page(html).words)
    for found in written[0].sets:
        for said in found.recommendation:
            assert said in words
            assert said.replace("<", "&lt;") in markdown
        heading = markdown.index(f"\n## {found.name}\n")
        advice = markdown.index(found.recommendation[0][:30], heading)
        assert heading < advice < markdown.index("### Scores and costs", heading)
    for name in ("total variation", "noise floor", "ECE", "prompt-tuning", "leaked rows"):
        assert name in words
    assert "two-stage" not in words  # no set has it


def test_worst_items_have_their_demonstrations(written):
    _, markdown, html = files(written)
    for text in (markdown, html):
        assert "item 9: how far is" in text
        assert text.count("demonstration 3, similarity 0.70") == 11
    assert html.count("<details>") == 12  # with how methods were trained


def test_the_page_is_sound_and_needs_nothing_else(written):
    page = Page(files(written)[2])
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not {"script", "img", "link", "iframe", "object"} & set(page.tags)
    assert page.tags.count("svg") == 9
    drawings = [found for found in page.attributes if found.get("role") == "img"]
    assert len(drawings) == 9
    assert all(found["aria-label"] for found in drawings)


def test_markdown_has_its_plots_and_whole_tables(written):
    data, path, _ = written[1]
    markdown = path.read_text(encoding="utf-8")
    plots = re.findall(r"\]\((plots/\S+\.svg)\)", markdown)
    assert len(plots) == 9
    for plot in plots:
        assert (path.parent / plot).read_text(encoding="utf-8").startswith("<svg")
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    assert not list(data.parent.rglob("*.tmp"))


def test_a_report_comes_back_as_it_was(written):
    assert load_report(written[1][0]) == written[0]


def test_what_json_lacks_becomes_null_and_comes_back_as_nan(tmp_path):
    curve = replace(
        label_set().curves[0],
        points=(made_reports.Point(1, Interval(math.nan, -math.inf, math.inf), Interval(1, 1, 1)),),
    )
    text = to_json(
        report(label_set(curves=(curve,), policy={"odd": 1j, "set": {1, 2}, "k": math.nan}))
    )
    json.loads(text, parse_constant=pytest.fail)
    (tmp_path / "report.json").write_text(text, encoding="utf-8")
    back = load_report(tmp_path / "report.json").sets[0]
    distance = back.curves[0].points[0].distance
    assert [math.isnan(value) for value in (distance.value, distance.low, distance.high)] == [
        True
    ] * 3
    assert back.policy == {"odd": "1j", "set": [1, 2], "k": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("date"), "missing required field `date`"),
        (
            lambda d: d["sets"][0].update(more=1),
            r"unknown field `more` - at `\$.sets\[0\]`",
        ),
        (
            lambda d: d["sets"][0].update(rows="many"),
            r"Expected `int`, got `str` - at `\$.sets\[0\].rows`",
        ),
        (
            lambda d: d["sets"][0].update(kind="sing"),
            r"Invalid enum value 'sing' - at `\$.sets\[0\].kind`",
        ),
        (lambda d: d["sets"][0]["methods"][0].update(scores={"f": 1}), r"methods\[0\].scores`"),
        (lambda d: d["sets"][0]["methods"][0].update(scores=None), r"methods\[0\].scores`"),
        (
            lambda d: d["sets"][0]["distances"][0].update(p90="far"),
            r"Expected a number, got `str` - at `\$.sets\[0\].distances\[0\].p90`",
        ),
        (lambda d: d.pop("format"), "before 0.2.0, calls `ragicl` what is now `icl`"),
        (lambda d: d.update(format=3), "its format is 3, and 2 is read"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, change, message):
    data = json.loads(to_json(report()))
    change(data)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        load_report(path)
    assert str(path) in str(caught.value)


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        load_report(tmp_path / "none.json")
    (tmp_path / "bad.json").write_bytes(b"\xff{")
    with pytest.raises(DataError, match="not a report of this version"):
        load_report(tmp_path / "bad.json")


def test_texts_of_the_data_are_shown_and_not_acted_on(tmp_path):
    shown = made_reports.Shown(BAD, BAD, 0.5)
    worst = replace(item(made_reports.random.Random(0), BAD), gold=BAD, system=BAD)
    worst = replace(worst, demonstrations=(shown,))
    named = replace(label_set().methods[0], name=BAD, settings={BAD: BAD})
    gap = replace(label_set().distances[0], reference=BAD)
    bad = label_set(
        name=BAD, lm=BAD, encoder=BAD, policy={BAD: BAD}, recommendation=(BAD,), worst=(worst,),
        methods=(named, *label_set().methods), distances=(gap,), curves=(),
    )  # fmt: skip
    made = replace(report(bad), command=BAD, machine=BAD, versions={BAD: BAD})
    _, markdown, html = write_report(made, tmp_path)
    page = Page(html.read_text(encoding="utf-8"))
    assert not {"script", "b"} & set(page.tags)
    assert "http://x" not in page.links
    assert "<script>alert('x')</script>" in " ".join(page.words)
    text = markdown.read_text(encoding="utf-8")
    outside = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    assert "<script" not in outside
    assert not re.search(r"(?<!\\)[`$]", outside)
    assert not re.search(r"(?<!\\)\[l", outside)


def test_half_a_surrogate_is_no_reason_to_fail(tmp_path):
    write_report(report(small(lm="m\ud800")), tmp_path)
    assert "m?" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert load_report(tmp_path / "report.json").sets[0].lm == "m?"


def test_long_texts_are_cut_in_markdown_alone(tmp_path):
    long = "word " * 300 + "end"
    made = report(text_set(worst=(item(made_reports.random.Random(0), long),)))
    _, markdown, html = write_report(made, tmp_path)
    assert "characters more in report.json" in markdown.read_text(encoding="utf-8")
    assert long in html.read_text(encoding="utf-8")


def test_one_set_needs_no_overview_and_equal_names_are_told_apart(tmp_path):
    write_report(report(small(worst=())), tmp_path / "one")
    assert "Overview" not in (tmp_path / "one" / "report.md").read_text(encoding="utf-8")
    twice = report(*(small(name=name) for name in ("a b", "A-b", "問")))
    page = Page(write_report(twice, tmp_path)[2].read_text(encoding="utf-8"))
    assert {"a-b", "a-b-2", "set", "overview"} <= set(page.ids)


def test_a_set_with_nothing_measured_is_still_a_report(tmp_path):
    bare = label_set(methods=(), distances=(), leaked=0)
    _, markdown, _ = write_report(report(bare, text_set(methods=(), distances=())), tmp_path)
    assert "No test row's text occurs in the index." in markdown.read_text(encoding="utf-8")


def test_figures_outlive_a_failure_to_draw(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "sections_of", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(report(), tmp_path)
    assert load_report(tmp_path / "report.json") == report()


def test_a_folder_that_is_none_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*file"):
        write_report(report(), tmp_path / "file" / "inside")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (2e-6, "2 µs"), (0.0061, "6.1 ms"), (0.152, "152 ms"), (1, "1 s"), (9.96, "10 s"),
     (84, "1.4 min"), (7300, "2 h")],
)  # fmt: skip
def test_times_are_in_the_unit_that_suits(seconds, words):
    assert duration(seconds) == words


def test_bytes_and_lists():
    assert [storage(n) for n in (0, 999, 1_000, 269_030_400)] == ["0 B", "999 B", "1 kB", "269 MB"]
    assert (listed(["a"]), listed(["a", "b", "c"])) == ("a", "a, b and c")
    assert number(math.nan) == "–"
