"""A scikit-learn classifier of texts: the home of scikit-learn's base classes."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from inspect import Parameter, Signature, signature
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from ragicl.backends import open_encoder, open_lm
from ragicl.backends.capabilities import chat_format
from ragicl.data.examples import check_examples
from ragicl.engine import Engine
from ragicl.errors import DataError, TaskError, quoted
from ragicl.index import Index
from ragicl.integrations.columns import plain_classes, texts_of
from ragicl.policy import Policy, option_fields
from ragicl.prompting.template import Template, named_template
from ragicl.protocols import LM, Encoder
from ragicl.records import Example, Prediction

Classes = NDArray[Any]
Files = dict[str, bytes]


PARAMETERS = {name: own for name, own in option_fields().items() if own.spec.estimator}
"""The policy's fields that are parameters of the estimator, too."""


def _signature(function: Callable[..., None]) -> Signature:
    """Return a function's signature with the policy's fields in place of ``**policy``."""
    own = signature(function)
    fields = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=field.default)
        for name, field in PARAMETERS.items()
    ]
    return own.replace(parameters=[*list(own.parameters.values())[:-1], *fields])


class ICLClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """Predicts the class of texts from labelled ones in a language model's prompt; trains nothing.

    An estimator as scikit-learn has them: for pipelines, cross-validation and grid searches. A text
    that occurs twice with the same class counts once. Parameters changed after ``fit`` hold from
    the next ``fit`` on.

    A pickle holds the examples and vectors, or with ``path`` the path alone; the models are opened
    again. A clone shares models that were given as objects.

    >>> classifier = ICLClassifier(k=4).fit(["late again", "it broke"], [0, 1])  # doctest: +SKIP
    >>> classifier.predict(["arrived in pieces"])                                # doctest: +SKIP
    array([1])

    :param encoder: a spec such as ``minilm`` or ``st:NAME``, or any object of that shape
    :param lm: a spec such as ``smollm2`` or ``hf:NAME``, or any object of that shape; not opened
        where the policy decides by the neighbours' vote
    :param template: as for :meth:`ragicl.Engine.open`, like `instruction` and `dtype`
    :param path: new or empty folder for the index, that stays; for a single ``fit``. None takes a
        temporary one for each, that goes when the estimator does
    :param policy: fields of :class:`ragicl.Policy`, such as ``k=4``; each is a parameter like those
        above: see :data:`PARAMETERS`
    :ivar classes_: the classes, sorted, as the type they came in
    :ivar engine_: the engine that predicts, closed with the estimator; it can also explain
    """

    def __init__(
        self,
        encoder: str | Encoder = "minilm",
        lm: str | LM = "smollm2",
        *,
        template: str | Template = "plain",
        instruction: str | None = None,
        dtype: str = "auto",
        path: str | Path | None = None,
        **policy: Any,
    ) -> None:
        self.encoder = encoder
        self.lm = lm
        self.template = template
        self.instruction = instruction
        self.dtype = dtype
        self.path = path
        for name, own in PARAMETERS.items():
            setattr(self, name, policy.pop(name, own.default))
        if policy:
            raise TypeError(f"ICLClassifier has no parameter {quoted(next(iter(policy)))}")

    __init__.__signature__ = _signature(__init__)  # type: ignore[attr-defined]  # for get_params

    def fit(self, X: Any, y: Any) -> Self:
        """Index labelled texts, in place of earlier ones.

        :param X: texts, shape (n,): a list, an array, a column
        :param y: their classes, shape (n,), of two or more kinds
        :raises DataError: where X holds anything but texts, or y fewer than two classes
        :raises StoreError: where `path` holds something already
        :raises BackendError: where the encoder or the language model cannot be opened
        """
        examples, targets = _labelled(X, y)
        classes = np.unique(targets)
        if len(classes) < 2:
            raise DataError("y holds one class; a classifier needs two or more")
        return self._begin(examples, classes)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Index more labelled texts, for the next prediction on.

        :param classes: all classes that will ever come; needed at the first call, unless ``fit``
            was called before; a class without an example has the probability 0
        :raises DataError: as for :meth:`fit`, and where y holds a class that is not one of them
        """
        first = not hasattr(self, "classes_")
        if first and classes is None:
            raise DataError("classes must be passed on the first call to partial_fit: all of them")
        examples, targets = _labelled(X, y)
        known = np.unique(column_or_1d(classes)) if first else self.classes_
        if not first and classes is not None and not np.array_equal(np.unique(classes), known):
            raise DataError(
                "classes is not the same as on the last call to partial_fit; leave it out"
            )
        if unknown := np.setdiff1d(targets, known).tolist():
            raise DataError(
                f"y holds {quoted(unknown[0])}, which is not one of the classes; fit again"
            )
        if first:
            return self._begin(examples, known)
        self.engine_.add(examples)
        return self

    def predict(self, X: Any) -> Classes:
        """Return the likeliest class of each text, shape (n,).

        :raises NotFittedError: before ``fit``
        :raises DataError: where X holds anything but texts
        :raises BudgetError: where a text does not fit into the budget
        :raises TaskError: where a model without likelihoods generates what is no class
        """
        shares = self._shares(X, _chosen)
        chosen: Classes = self.classes_[shares.argmax(axis=1)]
        return chosen

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return P(class | text), shape (n, len(classes_)), columns as in `classes_`.

        :raises NotFittedError: before ``fit``
        :raises DataError: where X holds anything but texts
        :raises BudgetError: where a text does not fit into the budget
        :raises TaskError: where the language model that decides gives no likelihoods
        """
        return self._shares(X, _no_probs)

    def _shares(
        self, X: Any, otherwise: Callable[[Prediction], Mapping[str, float]]
    ) -> NDArray[np.float64]:
        """Return the share of each class in the prediction of each text.

        :param otherwise: gives the shares of a prediction without probabilities
        """
        engine = self.engine_
        texts = texts_of(X)
        columns = {output: n for n, output in enumerate(_outputs(self.classes_))}
        probs = np.zeros((len(texts), len(columns)))
        seen = engine.index.labels()
        if len(seen) == 1:  # after a partial_fit; the engine would refuse to choose
            probs[:, columns[next(iter(seen))]] = 1.0
            return probs
        for row, prediction in zip(probs, engine.predict_all(texts), strict=True):
            for output, share in (prediction.probs or otherwise(prediction)).items():
                row[columns[output]] = share
        return probs

    @property
    def engine_(self) -> Engine:
        """The engine that predicts; it is closed with the estimator.

        :raises NotFittedError: before ``fit``
        """
        check_is_fitted(self)
        return self._opened.engine

    def _begin(self, examples: Sequence[Example], classes: Classes) -> Self:
        check_examples(examples)  # before there is a folder
        opened = self._open(None)
        opened.engine.add(examples)
        self._opened, self.classes_ = opened, classes
        return self

    def _open(self, files: Files | None) -> _Opened:
        """Open an engine on a new index, on one kept in a pickle, or on the one at the path.

        :param files: what a pickle kept; empty where it kept the path alone; None makes a new one
        """
        policy = self._policy()
        encoder = _encoder(self.encoder) if isinstance(self.encoder, str) else self.encoder
        lm = None if policy.decision.lm_free else self.lm
        model = _lm(lm, self.dtype) if isinstance(lm, str) else lm
        template = self.template
        if isinstance(template, str):
            chat = chat_format(model)
            template = named_template(template, "classify", self.instruction, chat)
        folder = Path(mkdtemp(prefix="ragicl-") if self.path is None else self.path)
        try:
            for name, content in (files or {}).items():
                (folder / name).write_bytes(content)
            opened = (
                Index.create(folder, encoder=encoder)
                if files is None
                else Index.open(folder, encoder=encoder)
            )
            return _Opened(Engine(opened, model, template, policy), self.path is None)
        except BaseException:
            if self.path is None:
                shutil.rmtree(folder)
            raise

    def _policy(self) -> Policy:
        """Return the policy: each of its fields that is a parameter too."""
        return Policy(**{name: getattr(self, name) for name in PARAMETERS})

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def __sklearn_clone__(self) -> Self:
        # A copy of a model would take its memory again, where it can be copied at all.
        clone = type(self)(**self.get_params(deep=False))
        if hasattr(self, "_metadata_request"):
            clone._metadata_request = deepcopy(self._metadata_request)
        return clone

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if (opened := state.pop("_opened", None)) is not None:
            state["_files"] = opened.files()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        files = state.pop("_files", None)
        super().__setstate__(state)
        if files is not None:
            self._opened = self._open(files)


class _Opened:
    """An engine that is closed when the last reference to this goes, with a temporary folder."""

    def __init__(self, engine: Engine, temporary: bool) -> None:
        self.engine = engine
        self._temporary = temporary
        weakref.finalize(self, _close, engine, temporary)

    def files(self) -> Files:
        """Return the files of a temporary folder; none of one that stays."""
        index = self.engine.index
        if not self._temporary:
            return {}
        with index.writing():  # what SQLite has not moved out of its log yet stays there meanwhile
            return {file.name: file.read_bytes() for file in index.path.iterdir() if file.is_file()}


def _close(engine: Engine, temporary: bool) -> None:
    engine.close()
    if temporary:
        shutil.rmtree(engine.index.path, ignore_errors=True)


@lru_cache(maxsize=1)
def _encoder(spec: str) -> Encoder:
    """Open an encoder; the last one stays open, so that cross-validation loads it once."""
    return open_encoder(spec)


@lru_cache(maxsize=1)
def _lm(spec: str, dtype: str) -> LM:
    """Open a language model; the last one stays open, like the encoder."""
    return open_lm(spec, dtype=dtype)


def _labelled(X: Any, y: Any) -> tuple[list[Example], Classes]:
    """Return texts and classes as examples, and the classes as an array."""
    if y is None:
        raise DataError("ICLClassifier requires y to be passed, but the target y is None")
    texts = texts_of(X)
    targets: Classes = column_or_1d(plain_classes(y), warn=True)
    assert_all_finite(targets, input_name="y")
    check_consistent_length(texts, targets)
    check_classification_targets(targets)
    pairs = zip(texts, _outputs(targets), strict=True)
    return [Example(text, output) for text, output in pairs], targets


def _chosen(prediction: Prediction) -> Mapping[str, float]:
    """Return the whole share for the class that a model without likelihoods chose."""
    if not prediction.known_label:
        raise TaskError(
            f"{prediction.lm} generated {quoted(prediction.output)}, which is no class; "
            f"decide by blend, probe or knn"
        )
    return {prediction.output: 1.0}


def _no_probs(prediction: Prediction) -> Mapping[str, float]:
    raise TaskError(f"{prediction.lm} gives no label likelihoods; decide by blend, probe or knn")


def _outputs(classes: Classes) -> list[str]:
    """Return classes as the model reads them."""
    return [str(value) for value in classes.tolist()]
