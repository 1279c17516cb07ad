"""What an evaluation finds: frozen records, written to ``report.json`` field by field.

The two kinds of scores are tagged structs: where one of them is read, the tag says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ragicl.records import NOTHING, Kind

SYSTEM = "ragicl"
"""Among the methods: what ``ragicl predict`` answers."""
ICL = "icl"
"""The language model alone, prompted. Where texts are written, that is what `SYSTEM` names."""


if TYPE_CHECKING:
    Number = float
else:

    class Number(float):
        """A float that may be NaN: JSON has null for it."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all records share: they do not change, and are read with their own fields alone."""


class Interval(Record, frozen=True):
    """A measured value and its 95 % confidence interval."""

    value: Number
    low: Number
    high: Number


class LabelScores(Record, frozen=True, tag="labels", tag_field="of"):
    """How good a method's distributions over labels are.

    :ivar nll: mean negative log-likelihood of the right label, in nats; probabilities below one in
        a million count as that
    :ivar ece: expected calibration error of the likeliest label
    """

    accuracy: Interval
    macro_f1: Interval
    nll: Interval
    ece: Interval


class TextScores(Record, frozen=True, tag="texts", tag_field="of"):
    """How near a method's texts are to the right ones; all in [0, 1]."""

    exact_match: Interval
    rouge_l: Interval
    chrf: Interval


class Cost(Record, frozen=True):
    """What a method takes.

    :ivar train_seconds: with the search for its settings
    :ivar extra_bytes: stored beside the base model and the index
    :ivar query_seconds: of answering, a test row
    :ivar query_tokens: that the language model reads, a test row; 0 where none is asked
    """

    train_seconds: Number
    extra_bytes: int
    query_seconds: Number
    query_tokens: Number


class Bin(Record, frozen=True):
    """Test rows on which a method was about as sure.

    :ivar confidence: mean probability of the likeliest label
    :ivar accuracy: share of the rows where that label is right
    """

    rows: int
    confidence: Number
    accuracy: Number


class Paired(Record, frozen=True):
    """A method against `SYSTEM` on the same rows.

    :ivar difference: the method's mean score (accuracy, or ROUGE-L) minus that of `SYSTEM`
    :ivar p_value: of a two-sided permutation test that swaps the two in random rows
    """

    difference: Interval
    p_value: Number


class Method(Record, frozen=True):
    """One way to answer, measured.

    :ivar name: `SYSTEM`, or a reference's name
    :ivar scores: on all test rows
    :ivar clean: without the test rows whose text occurs in the index; None where none does
    :ivar settings: how it was trained: what was chosen on held-out rows, whether time ended it
    :ivar reliability: surest rows last; empty for texts
    :ivar against: beside `SYSTEM`; None for `SYSTEM` itself
    """

    name: str
    scores: LabelScores | TextScores
    clean: LabelScores | TextScores | None
    cost: Cost
    settings: Mapping[str, Any] = msgspec.field(default_factory=lambda: NOTHING)
    reliability: tuple[Bin, ...] = ()
    against: Paired | None = None


class Distance(Record, frozen=True):
    """Total variation between the distributions of `SYSTEM` and a reference's.

    For labels, of a row's two distributions over the labels. For texts, of the two distributions
    over the vocabulary, the mean over the tokens of the right output.

    :ivar mean: over test rows, as are the median and the 90th percentile
    :ivar clean: the mean without the test rows whose text occurs in the index
    :ivar agreement: share of rows (for texts, of tokens) with the same likeliest answer
    :ivar maximum: for texts, the mean over rows of the greatest distance at a token
    :ivar noise_floor: mean distance between references trained with different seeds, by the
        settings that were chosen for the first; None for one without randomness, or with one seed
    :ivar above: by how much the mean is above the noise floor, on the same rows
    :ivar icl: for labels, the mean distance between the distributions of `ICL` and the reference's;
        None for `ICL` itself
    """

    reference: str
    mean: Interval
    median: Number
    p90: Number
    agreement: Interval
    clean: Interval | None = None
    maximum: Interval | None = None
    noise_floor: Interval | None = None
    above: Interval | None = None
    icl: Interval | None = None


class Point(Record, frozen=True):
    """One setting of a curve.

    :ivar size: examples in the pool, demonstrations asked for, or tokens of the budget
    :ivar distance: mean total variation to the curve's reference
    """

    size: int
    distance: Interval
    accuracy: Interval


class PowerLaw(Record, frozen=True):
    """A fit of ε(n) = a·n^(-b) + c to a curve.

    :ivar draws: (a, b, c) of each resample of the rows: the three vary together, so that the
        interval of what is read off the law cannot be had from their own
    """

    a: Interval
    b: Interval
    c: Interval
    draws: tuple[tuple[Number, Number, Number], ...] = ()


class Curve(Record, frozen=True):
    """Distance and accuracy of the language model alone (`ICL`) against one setting.

    :ivar fit: of the distance over the pool's size; None where it was not asked for or not found
    :ivar note: why there is no fit, or what it does not support; empty otherwise
    """

    over: Literal["pool", "k", "budget"]
    reference: str
    points: tuple[Point, ...]
    fit: PowerLaw | None = None
    note: str = ""


class Shown(Record, frozen=True):
    """A demonstration, as shown in the report."""

    input: str
    output: str
    similarity: Number


class Item(Record, frozen=True):
    """A test row on which `SYSTEM` and a reference differ much.

    :ivar system: the likeliest label of `SYSTEM`, or what it writes; as `reference`
    :ivar system_probability: of that label; for texts, the geometric mean of the probabilities of
        the right output's tokens
    :ivar demonstrations: in the prompt of the language model alone, in its order
    """

    input: str
    gold: str
    system: str
    system_probability: Number
    reference: str
    reference_probability: Number
    distance: Number
    demonstrations: tuple[Shown, ...]


class SetReport(Record, frozen=True):
    """The evaluation of one data set.

    :ivar pool: examples in the index
    :ivar rows: test rows
    :ivar leaked: test rows whose text, normalised, occurs in the index
    :ivar labels: number of labels; 0 for texts
    :ivar lm: weights and precision
    :ivar policy: of the language model alone, as ``Policy`` has it
    :ivar worst: the rows with the greatest distance to the first reference of `distances`
    :ivar recommendation: the recommendation, a sentence each
    """

    name: str
    kind: Kind
    pool: int
    rows: int
    leaked: int
    labels: int
    lm: str
    encoder: str
    policy: Mapping[str, Any]
    methods: tuple[Method, ...]
    distances: tuple[Distance, ...]
    curves: tuple[Curve, ...] = ()
    worst: tuple[Item, ...] = ()
    recommendation: tuple[str, ...] = ()


class Report(Record, frozen=True):
    """A whole evaluation.

    :ivar command: that makes it again
    :ivar machine: processor, cores and accelerator
    :ivar versions: of the packages that matter
    """

    sets: tuple[SetReport, ...]
    command: str
    date: str
    machine: str
    versions: Mapping[str, str]
