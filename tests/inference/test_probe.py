"""``decide="probe"``: the vote and the classifier on the stored vectors, and no language model."""

import json
import subprocess
import sys

import numpy as np
import pytest
from cli_runner import ROWS, fails, lines, run

from ragicl import Engine, Policy, TaskError
from ragicl.backends.fake import FakeEncoder, FakeLM
from ragicl.calibration.blend import DEFAULT_WEIGHTS, Blend
from ragicl.calibration.conformal import ConformalRecord
from ragicl.index import Index
from ragicl.inference.tuned_settings import Tuned
from ragicl.prompting.template import plain_template

TEXTS = ["a sweet apple", "the steel saw", "ripe hammer", "quantum flux of neutrinos"]
SEEN = """
import json, sys
from ragicl.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)))
"""


def test_no_model_is_loaded(things):
    arguments = ("predict", str(things), ROWS[0]["text"], "--decide", "probe")
    done = subprocess.run(
        [sys.executable, "-c", SEEN, *arguments], capture_output=True, text=True, check=True
    )
    row, loaded = map(json.loads, done.stdout.splitlines())
    assert (row["output"], row["decided_by"], row["lm"]) == ("fruit", "probe", None)
    assert row["percentile"] > 0
    assert not {"torch", "transformers", "ragicl.backends.hf"} & {*loaded}
    assert "ragicl.backends.registry" in loaded, "the encoder is opened"


def test_a_language_model_that_is_given_is_not_opened(things):
    with Engine.open(things, lm="nowhere:at-all", decide="probe") as engine:
        assert engine.lm is None
        assert engine.tuned is None
        assert engine.predict(TEXTS[0]).output == "fruit"


def test_it_is_the_blend_of_vote_and_vectors_alone(things):
    _, vote, vectors, *_ = DEFAULT_WEIGHTS
    blend = Blend(0.0, vote, vectors, 0.0)
    tuned = Tuned(
        Policy().tunable(), None, FakeLM().description, "without", blend, ConformalRecord()
    )
    with Engine.open(things, decide="probe") as engine:
        found = engine.probs(TEXTS)
        answers = list(engine.predict_all(TEXTS))
    index = Index.open(things, encoder=FakeEncoder())
    with Engine(index, FakeLM(), plain_template("classify"), Policy(), tuned) as engine:
        np.testing.assert_array_equal(found, engine.probs(TEXTS))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert (found > 0).all()
    for answer in answers:
        assert 0 <= answer.percentile <= 1
        assert answer.prompt is None
        assert set(answer.timings) == {"embed", "search", "blend"}


def test_strange_texts_are_out_of_scope_without_a_model(things):
    options = ("--decide", "probe", "--ood-level", 0.05)
    own, strange = lines(run("predict", things, ROWS[0]["text"], TEXTS[3], *options))
    assert "out_of_scope" not in own
    assert strange["out_of_scope"] is True
    assert strange["percentile"] < 0.05 <= own["percentile"]


def test_what_goes_by_a_tuned_blend_or_by_vectors_is_refused_elsewhere(things, texts_folder):
    for name in ("--set-coverage", "--coverage"):
        for decide in ("probe", "lm", "knn"):
            match = "set_coverage and coverage go by the blend"
            fails("predict", things, "x", "--decide", decide, name, 0.9, match=match)
    for decide in ("lm", "knn"):
        with pytest.raises(TaskError, match="use decide blend or probe"):
            Policy(decide=decide, ood_level=0.1)
    with pytest.raises(TaskError, match="texts to generate"):
        Engine.open(texts_folder, decide="probe")
