"""The classifier keeps scikit-learn's conventions, by its own checks where they apply."""

import pickle
from copy import deepcopy
from inspect import signature

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError, SkipTestWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import validate_data

import ragicl.integrations.sklearn
from ragicl import DataError, Engine, NoIndexError, Policy, StoreError, TaskError
from ragicl.backends.fake import FakeEncoder, FakeLM
from ragicl.integrations.sklearn import ICLClassifier
from ragicl.policy import option_fields

TEXTS = [
    "my card is lost",
    "i lost my card",
    "the card was stolen",
    "a card is lost again",
    "where is my parcel",
    "parcel has not come",
    "the parcel is late",
    "my parcel is late again",
]
LABELS = ["K", "K", "K", "K", "Q", "Q", "Q", "Q"]
GENERATION_ONLY = {"generate", "max_tokens", "temperature"}
NOT_OF_AN_ESTIMATOR = {
    "labels",
    "where",
    "set_coverage",
    "coverage",
    "ood_level",
}  # y has them; no metadata; about one text


def classifier(**parameters):
    return ICLClassifier(**{"encoder": "fake:a", "lm": "fake:4000", "k": 3} | parameters)


@pytest.fixture(autouse=True)
def models_opened_again():
    ragicl.integrations.sklearn._encoder.cache_clear()
    ragicl.integrations.sklearn._lm.cache_clear()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder that temporary folders are made in."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def contents(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("decide", ["lm", "knn"])
@pytest.mark.parametrize(
    "named",
    [{"K": 10, "Q": 2}, {"K": True, "Q": False}, {"K": "ä b", "Q": "zz"}, {"K": 0.0, "Q": -1.0}],
)
def test_classes_come_back_as_they_are(decide, named):
    y = np.array([named[label] for label in LABELS])
    made = classifier(decide=decide).fit(TEXTS, y)
    assert made.classes_.dtype == y.dtype
    assert made.classes_.tolist() == sorted(named.values())
    predicted = made.predict(["lost card", "late parcel"])
    assert predicted.dtype == y.dtype
    assert predicted.tolist() == [named["K"], named["Q"]]
    assert made.score(TEXTS, y) == 1.0


def test_probabilities_are_the_engines_in_the_order_of_the_classes():
    made = classifier().fit(TEXTS, [10 if label == "K" else 2 for label in LABELS])
    probs = made.predict_proba(TEXTS)
    assert np.allclose(probs.sum(axis=1), 1, atol=1e-12)
    for row, prediction in zip(probs, made.engine_.predict_all(TEXTS), strict=True):
        assert row.tolist() == [prediction.probs["2"], prediction.probs["10"]]


@pytest.mark.parametrize(
    "texts",
    [
        tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, dtype=object), np.array(TEXTS)[:, None],
        pd.Series(TEXTS, index=range(7, -1, -1)), pd.DataFrame({"text": TEXTS}),
    ],
    ids=["tuple", "array", "objects", "column", "series", "frame"],
)  # fmt: skip
def test_texts_come_in_any_single_column(texts):
    made = classifier().fit(texts, pd.Series(LABELS))
    assert made.predict(texts).tolist() == LABELS


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        ([], "no texts"),
        ("a text", "shape"),
        (None, "shape"),
        (iter(TEXTS), "shape"),
        (np.array([TEXTS, TEXTS]), "shape"),
        ([["a", "b"]] * 8, "shape"),
        ([*TEXTS[:7], 3], r"X\[7\] is int"),
        ([*TEXTS[:7], None], r"X\[7\] is NoneType"),
        ([*TEXTS[:7], float("nan")], r"X\[7\] is float"),
    ],
)
def test_what_is_no_column_of_texts_is_refused(texts, match, temporary):
    with pytest.raises(DataError, match=match):
        classifier().fit(texts, LABELS)
    assert contents(temporary) == []
    made = classifier().fit(TEXTS, LABELS)
    with pytest.raises(DataError, match=match):
        made.predict(texts)


def test_an_empty_text_is_refused_before_anything_is_made(temporary):
    with pytest.raises(DataError, match="'input' is empty"):
        classifier().fit([*TEXTS[:7], " "], LABELS)
    assert contents(temporary) == []


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (None, "requires y"),
        (LABELS[:7], "inconsistent"),
        (["K"] * 8, "one class"),
        (np.arange(8) / 3, "Unknown label type"),
        ([1.0] * 7 + [np.nan], "NaN"),
        (np.ones((8, 2)), "1d array"),
        (["K"] * 7 + [" "], "'output' is empty"),
    ],
)
def test_classes_that_cannot_be_learnt_are_refused(y, match):
    with pytest.raises(ValueError, match=match):
        classifier().fit(TEXTS, y)


def test_a_column_of_classes_is_taken_with_a_warning():
    with pytest.warns(DataConversionWarning):
        made = classifier().fit(TEXTS, np.array(LABELS)[:, None])
    assert made.classes_.tolist() == ["K", "Q"]


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_nothing_is_predicted_before_fit(method):
    with pytest.raises(NotFittedError):
        getattr(classifier(), method)(TEXTS)


def test_a_vote_opens_no_language_model():
    made = classifier(lm="hf:not-there", decide="knn").fit(TEXTS, LABELS)
    assert made.predict(TEXTS).tolist() == LABELS
    assert made.engine_.lm is None


def test_every_setting_of_a_classifying_policy_is_a_parameter():
    parameters = signature(ICLClassifier).parameters
    settings = {name: own.default for name, own in option_fields().items()}
    assert settings.keys() - parameters.keys() == GENERATION_ONLY | NOT_OF_AN_ESTIMATOR
    for name in settings.keys() & parameters.keys():
        assert parameters[name].default == settings[name], name
    made = classifier(k=5, exact=True, shortlist=4).fit(TEXTS, LABELS)
    assert made.engine_.policy == Policy(k=5, exact=True, shortlist=4)


@pytest.mark.parametrize("wrong", [{"k": -1}, {"template": "fancy"}, {"shortlist": 0}])
def test_settings_that_make_no_sense_are_refused_at_fit(wrong, temporary):
    made = classifier().set_params(**wrong)
    with pytest.raises(TaskError):
        made.fit(TEXTS, LABELS)
    assert contents(temporary) == []
    assert not hasattr(made, "classes_")


def test_template_and_instruction_are_those_of_the_prompt():
    made = classifier(k=1, template="Q {input} A {output}", instruction="Say.")
    prompt = made.fit(TEXTS, LABELS).engine_.prompt("lost card")
    assert prompt.text.startswith("Say.\nQ ")
    assert prompt.text.endswith("\nQ lost card A")


def test_pipeline_lowercases():
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    shouted = [text.upper() for text in TEXTS]
    pipeline = make_pipeline(lower, classifier()).fit(shouted, LABELS)
    assert {example.input for example in pipeline[-1].engine_.index} == set(TEXTS)
    assert pipeline.predict(shouted).tolist() == LABELS


@pytest.mark.parametrize("given", ["specs", "objects"])
def test_cross_validation_and_grid_search(given, monkeypatch):
    opened = []
    for name in ("open_encoder", "open_lm"):
        real = getattr(ragicl.integrations.sklearn, name)
        monkeypatch.setattr(
            ragicl.integrations.sklearn,
            name,
            lambda spec, real=real, **options: opened.append(spec) or real(spec, **options),
        )
    made = classifier(decide="lm")
    if given == "objects":
        made.set_params(encoder=FakeEncoder(), lm=FakeLM())
    assert cross_val_score(made, TEXTS, LABELS, cv=2).mean() == 1.0
    search = GridSearchCV(
        make_pipeline(made), {"iclclassifier__k": [0, 3]}, cv=2, error_score="raise"
    ).fit(TEXTS, LABELS)
    assert search.best_params_ == {"iclclassifier__k": 3}
    assert search.predict(["late parcel"]).tolist() == ["Q"]
    assert opened == (["fake:a", "fake:4000"] if given == "specs" else [])


def test_a_clone_is_unfitted_and_shares_models_given_as_objects():
    made = classifier(encoder=FakeEncoder(), lm=FakeLM()).fit(TEXTS, LABELS)
    copied = clone(made)
    assert copied.get_params() == made.get_params()
    assert copied.lm is made.lm
    assert not hasattr(copied, "classes_")


def test_a_clone_keeps_what_metadata_it_asks_for():
    with sklearn.config_context(enable_metadata_routing=True):
        made = classifier().set_partial_fit_request(classes=True)
        copied = clone(made)
        assert copied.get_metadata_routing().partial_fit.requests == {"classes": True}
        copied.set_partial_fit_request(classes=False)
        assert made.get_metadata_routing().partial_fit.requests == {"classes": True}


@pytest.mark.parametrize("copied", [lambda made: pickle.loads(pickle.dumps(made)), deepcopy])
def test_a_copy_holds_the_examples_and_lives_by_itself(copied, temporary):
    made = classifier().fit(TEXTS, LABELS)
    probs = made.predict_proba(TEXTS)
    other = copied(made)
    other.partial_fit(["no such thing"], ["K"])
    assert (len(made.engine_.index), len(other.engine_.index)) == (8, 9)
    other.engine_.remove([other.engine_.predict("no such thing").neighbors[0].example.id])
    del made
    assert len(contents(temporary)) == 1
    assert np.array_equal(other.predict_proba(TEXTS), probs)
    assert other.score(TEXTS, LABELS) == 1.0


def test_an_unfitted_pickle_is_unfitted():
    made = pickle.loads(pickle.dumps(classifier()))
    with pytest.raises(NotFittedError):
        made.predict(TEXTS)
    assert made.fit(TEXTS, LABELS).score(TEXTS, LABELS) == 1.0


def test_a_pickle_of_an_index_that_stays_goes_by_its_path(tmp_path):
    made = classifier(path=tmp_path / "mine").fit(TEXTS, LABELS)
    kept = pickle.dumps(made)
    assert TEXTS[0].encode() not in kept
    made.partial_fit(["new card"], ["K"])
    assert len(pickle.loads(kept).engine_.index) == 9
    made.engine_.close()
    (tmp_path / "mine").rename(tmp_path / "away")
    with pytest.raises(NoIndexError, match="mine"):
        pickle.loads(kept)


def test_partial_fit_adds_to_the_same_index():
    made = classifier().partial_fit(TEXTS[:6], LABELS[:6], classes=["X", "Q", "K"])
    assert made.classes_.tolist() == ["K", "Q", "X"]
    assert made.predict_proba(["late parcel"])[0, 2] == 0, "no example yet"
    folder = made.engine_.index.path
    made.partial_fit(["late again", "again late"], ["X", "X"], classes=["K", "Q", "X"])
    assert made.engine_.index.path == folder
    assert made.predict(["late again", "lost card"]).tolist() == ["X", "K"]
    made.fit(TEXTS, LABELS)
    assert made.classes_.tolist() == ["K", "Q"], "fit starts again from nothing"
    made.partial_fit(["a new card"], ["K"])
    assert len(made.engine_.index) == 9


def test_one_class_so_far_is_certain():
    made = classifier().partial_fit(TEXTS[:4], LABELS[:4], classes=["K", "Q"])
    assert made.predict_proba(["late parcel"]).tolist() == [[1.0, 0.0]]
    made.partial_fit(TEXTS[4:], LABELS[4:])
    assert made.predict(["late parcel"]).tolist() == ["Q"]


@pytest.mark.parametrize(
    ("y", "classes", "match"),
    [
        (["K", "z"], None, "'z', which is not one of the classes"),
        (["K", "Q"], ["K", "Q", "z"], "not the same"),
        (["K", "Q", "Q"], None, "inconsistent"),
    ],
)
def test_partial_fit_keeps_to_the_classes_of_its_first_call(y, classes, match):
    made = classifier()
    with pytest.raises(DataError, match="first call"):
        made.partial_fit(TEXTS, LABELS)
    made.partial_fit(TEXTS, LABELS, classes=["K", "Q"])
    with pytest.raises(ValueError, match=match):
        made.partial_fit(["one text", "another"], y, classes=classes)
    assert len(made.engine_.index) == 8


def test_a_temporary_folder_goes_with_the_estimator_and_with_the_next_fit(temporary):
    made = classifier().fit(TEXTS, LABELS)
    (first,) = contents(temporary)
    made.fit(TEXTS[:6], LABELS[:6])
    (second,) = contents(temporary)
    assert first != second
    del made
    assert contents(temporary) == []


def test_a_fit_that_fails_leaves_the_last_one():
    made = classifier().fit(TEXTS, LABELS)
    with pytest.raises(DataError):
        made.fit(TEXTS, ["K"] * 8)
    assert made.predict(TEXTS).tolist() == LABELS


def test_an_index_at_a_path_stays_and_is_not_written_over(tmp_path):
    made = classifier(path=tmp_path / "mine").fit(TEXTS, LABELS)
    with pytest.raises(StoreError, match="not empty"):
        clone(made).fit(TEXTS, LABELS)
    del made
    with Engine.open(tmp_path / "mine", lm=FakeLM(), policy=Policy(k=3)) as engine:
        assert engine.predict("late parcel").output == "Q"


def test_its_engine_explains():
    made = classifier().fit(TEXTS, LABELS)
    assert len(made.engine_.explain("late parcel").influences) == 3


def test_sklearn_itself_checks_estimators_of_texts_by_a_single_check():
    """The reason for `OfRows`; should this fail, the checks know texts and can take its place."""
    with pytest.warns(SkipTestWarning, match="requires input"):
        ((estimator, check),) = estimator_checks_generator(classifier())
    check(estimator)
    assert estimator.__sklearn_tags__().input_tags.string


# scikit-learn yields no checks for estimators of texts, so rows of numbers are written as texts:
# letters for digits, so that no text holds the name of a class.

FIGURES, LETTERS = "0123456789-.e+", "abcdefghijmnxp"
FORTH, BACK = str.maketrans(FIGURES, LETTERS), str.maketrans(LETTERS, FIGURES)


class RowEncoder:
    """Puts texts that were rows of numbers near to each other where the rows are: random features
    of a Gaussian kernel."""

    spec = "rows:"
    description = "rows of numbers"
    fingerprint = "rows"
    dim = 256

    def encode(self, texts):
        return np.stack([self._features(text) for text in texts]).astype(np.float32)

    def _features(self, text):
        row = np.array([float(word) for word in text.translate(BACK).split()])
        weights = np.random.default_rng(0).standard_normal((len(row), self.dim // 2)) * 2
        angles = np.clip(row, -1e6, 1e6) @ weights
        return np.concatenate([np.cos(angles), np.sin(angles)]) / np.sqrt(self.dim / 2)


def written(rows):
    return [" ".join(repr(float(v)).translate(FORTH) for v in row) for row in rows]


class OfRows(ICLClassifier):
    """The classifier, of rows of numbers that are written as texts."""

    def fit(self, X, y):  # noqa: N803
        rows = validate_data(self, X)
        return super().fit(written(rows), y)

    def partial_fit(self, X, y, classes=None):  # noqa: N803
        rows = validate_data(self, X, reset=not hasattr(self, "classes_"))
        return super().partial_fit(written(rows), y, classes)

    def predict_proba(self, X):  # noqa: N803
        self.engine_  # noqa: B018  # not fitted comes first
        return super().predict_proba(written(validate_data(self, X, reset=False)))

    def predict(self, X):  # noqa: N803
        return super().predict(written(validate_data(self, X, reset=False)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


OF_ROWS = [
    OfRows(RowEncoder(), FakeLM(10**6), k=5),
    OfRows(RowEncoder(), FakeLM(10**6), k=5, decide="knn"),
]
CHECKS = [pair for made in OF_ROWS for pair in estimator_checks_generator(made)]


@pytest.mark.parametrize(
    ("estimator", "check"),
    CHECKS,
    ids=[f"{made.decide}-{getattr(check, 'func', check).__name__}" for made, check in CHECKS],
)
def test_sklearn_check(estimator, check):
    check(estimator)


NULLABLE = [
    ([1, 2], "Int64", int), ([1, 2], "UInt8", int), ([True, False], "boolean", bool),
    (["a", "b"], "string", str), ([1.5, 2.0], "Float64", float), (["a", "b"], "category", str),
]  # fmt: skip


@pytest.mark.parametrize(("pair", "dtype", "kind"), NULLABLE)
def test_classes_of_pandas_own_types_come_back_as_given(pair, dtype, kind):
    pandas = pytest.importorskip("pandas")
    y = pandas.Series([pair[0], pair[1]] * 2, dtype=dtype)
    if kind is float:
        with pytest.raises(ValueError, match="Unknown label type: continuous"):
            classifier().fit(TEXTS[:4], y)
        return
    made = classifier(k=1).fit(pandas.Series(TEXTS[:4], dtype="string"), y)
    assert made.classes_.tolist() == sorted(pair)
    assert {type(value) for value in made.predict(TEXTS[:4]).tolist()} == {kind}


@pytest.mark.parametrize("dtype", ["Int64", "boolean", "string", object])
def test_a_missing_class_or_text_is_named(dtype):
    pandas = pytest.importorskip("pandas")
    values = {"Int64": [1, 2], "boolean": [True, False]}.get(dtype, ["a", "b"])
    y = pandas.Series([*values, pandas.NA, values[0]], dtype=dtype)
    for given in (y, y.array) if dtype is not object else (y, y.tolist()):
        with pytest.raises(ValueError, match=r"y\[2\] is (<NA>|nan|NA)|y contains NaN"):
            classifier().fit(TEXTS[:4], given)
    with pytest.raises(ValueError, match=r"X\[1\] is \w+, not a text"):
        classifier().fit([TEXTS[0], pandas.NA], ["a", "b"])


def test_numpys_own_strings_are_classes_and_texts():
    strings = np.dtypes.StringDType()
    y = np.array(LABELS, dtype=strings)
    made = classifier(k=1).fit(np.array(TEXTS, dtype=strings), y)
    assert made.classes_.tolist() == sorted(set(LABELS))
    assert set(made.predict(TEXTS).tolist()) <= set(LABELS)


def test_pickling_an_engine_says_what_to_do_instead():
    made = classifier().fit(TEXTS, LABELS)
    for copied in (pickle.dumps, deepcopy):
        with pytest.raises(TypeError, match=r"open one with Engine\.open\("):
            copied(made.engine_)
