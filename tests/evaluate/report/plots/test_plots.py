import subprocess
import sys
from itertools import combinations, pairwise
from xml.etree import ElementTree

import made_reports
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_reports import LABEL_METHODS, curve, label_set, text_set
from msgspec.structs import replace

from ragicl.evaluate.report.plots import (
    calibrated,
    plot_curves,
    plot_distances,
    plot_reliability,
    plot_scores,
)
from ragicl.evaluate.report.plots.label_layout import along, lead, place

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    """Return the words of a drawing, which must be well-formed."""
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    return ["".join(node.itertext()).strip() for node in root.iter(f"{SVG}text")]


def test_scores_name_every_method_and_its_bytes():
    words = texts(plot_scores(label_set()))
    assert "Accuracy against time for an answer, 400 test rows" in words
    assert "majority: 0.188 (not drawn)" in words
    for name, (_, _, size, *_) in LABEL_METHODS.items():
        if name != "majority":
            assert [word for word in words if word.split(" +")[0] == name], name
            assert bool(size) == (name not in words)
    assert "lora +1.8 MB" in words


def test_a_majority_among_the_others_is_drawn():
    report = label_set()
    methods = [m for m in report.methods if m.name in ("majority", "random-icl")]
    methods[1] = replace(methods[1], scores=methods[0].scores)
    assert "majority" in texts(plot_scores(replace(report, methods=tuple(methods))))


def test_texts_are_scored_by_rouge():
    assert "ROUGE-L, with its 95 % interval" in texts(plot_scores(text_set()))


def test_distances_stand_beside_their_floors():
    words = texts(plot_distances(label_set()))
    for found in label_set().distances:
        assert found.reference in words
    assert "0.268, noise floor 0.071" in words
    assert "0.302" in words  # probe: no floor


def test_reliability_shows_the_engine_the_best_and_the_rows():
    report = label_set()
    shown = calibrated(report)
    assert [method.name for method in shown] == ["ragicl", "lora", "full", "partial"]
    words = texts(plot_reliability(report))
    assert "ragicl, ECE 0.130" in words
    for method in shown:
        assert {f"{found.rows:,}" for found in method.reliability} <= set(words)


def test_bins_without_rows_are_left_out():
    report = label_set()
    empty = made_reports.Bin(0, float("nan"), float("nan"))
    methods = tuple(replace(m, reliability=(empty, *m.reliability)) for m in report.methods)
    drawn = plot_reliability(replace(report, methods=methods))
    assert drawn == plot_reliability(report)


@pytest.mark.parametrize(
    ("over", "label", "size"),
    [
        ("pool", "examples in the pool (logarithmic)", "500"),
        ("k", "demonstrations asked for (logarithmic)", "0"),
        ("budget", "tokens of the budget (logarithmic)", "2,048"),
    ],
)
def test_curves_have_their_sizes_and_their_law(over, label, size):
    words = texts(plot_curves(label_set(), over))
    assert {label, size, "icl", "full"} <= set(words)
    assert ("fit: 0.62·n^(−0.22) + 0.05" in words) == (over == "pool")


def test_curves_of_several_references_and_of_one_point():
    report = label_set(curves=(curve("k", (0, 4)), curve("k", (0, 4), "lora")))
    assert {"full", "lora"} <= set(texts(plot_curves(report, "k")))
    assert "8" in texts(plot_curves(label_set(curves=(curve("k", (8,)),)), "k"))


def test_sizes_too_near_each_other_are_not_all_written():
    report = label_set(curves=(curve("pool", (100, 490, 500)),))
    words = texts(plot_curves(report, "pool"))
    assert {"100", "500"} <= set(words)
    assert "490" not in words


def test_the_same_figures_are_the_same_file_and_settings_stay():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    assert plot_scores(label_set()) == plot_scores(label_set())
    assert dict(mpl.rcParams) == before


def test_dollars_are_no_formula():
    report = label_set(distances=(made_reports.distance("$x_1$ & <b>", 0.2, 0.1),))
    assert "$x_1$ & <b>" in texts(plot_distances(report))


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_matplotlib_the_extra_is_named():
    done = run("import sys; sys.modules['matplotlib'] = None; import ragicl.evaluate.report.write")
    assert "MissingExtraError" in done.stderr
    assert "pip install 'ragicl[eval]'" in done.stderr


def test_advice_and_saved_reports_need_no_matplotlib_and_plots_no_pyplot():
    done = run(
        "import sys, ragicl.evaluate.report.recommendation, ragicl.evaluate.report.serialize\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import ragicl.evaluate.report.write\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr


def overlap(one, other):
    return (
        min(one[2], other[2]) - max(one[0], other[0]) > 1e-6
        and min(one[3], other[3]) - max(one[1], other[1]) > 1e-6
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(120, 480), st.floats(60, 340)), max_size=8, unique=True))
def test_names_cover_no_other_name(points):
    markers = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    boxes = place(points, [(60, 12)] * len(points), markers, (0, 0, 600, 400))
    assert not any(overlap(one, other) for one, other in combinations(boxes, 2))
    assert all(b[0] >= 0 and b[2] <= 600 and b[1] >= 0 and b[3] <= 400 for b in boxes)


def test_a_name_moves_away_from_what_is_there():
    inside = (0, 0, 600, 400)
    free = place([(100, 100)], [(60, 12)], [], inside)[0]
    assert free == (107, 94, 167, 106)  # beside its point, and so without a line
    assert not lead(free, (100, 100))
    moved = place([(100, 100)], [(60, 12)], [free], inside)[0]
    assert not overlap(moved, free)


def test_a_line_is_covered_from_end_to_end():
    boxes = along([(0, 0), (100, 0)])
    assert (boxes[0][0], boxes[-1][2]) == (-2, 102)
    assert all(later[0] - sooner[2] < 1.1 for sooner, later in pairwise(boxes))
    assert along([]) == []
