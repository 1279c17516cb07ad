"""What `ragicl tune` found for an index, as it stands in the index's manifest."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec

from ragicl.calibration.blend import Blend
from ragicl.calibration.conformal import ConformalRecord
from ragicl.errors import CorruptError, TaskError
from ragicl.index import Index
from ragicl.index.manifest import NAME
from ragicl.options import LARGEST
from ragicl.policy import DEFAULT, PARTS, TUNABLE, Policy, option_fields
from ragicl.protocols import LM
from ragicl.records import NOTHING

NARROWING = ("labels", "where", "budget", "fixed")  # settings that are tuned at their usual values
ADDED_SINCE = {"context"}  # fields that a record of an earlier version may lack
Examples = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
SHRUNK = 0.1  # share of the examples that may be removed before the record no longer holds


class Tuned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A policy, a template and a blend that did best on the index's own examples, left out.

    :ivar policy: the fields that are chosen: :data:`ragicl.policy.TUNABLE`
    :ivar template: its name; None for the usual one
    :ivar lm: description of the language model it was found with; it holds for no other
    :ivar calibration: what the blend's offsets were taken from
    :ivar record: how probable the blend's predictions were, on examples it was not fitted on
    :ivar evidence: what was tried, on how many examples, and how each did
    """

    policy: Mapping[str, Any]
    template: str | None
    lm: str
    calibration: str
    blend: Blend
    record: ConformalRecord
    evidence: Mapping[str, Any] = msgspec.field(default_factory=lambda: NOTHING)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        plain: dict[str, Any] = msgspec.to_builtins(self, enc_hook=dict)
        return plain

    @classmethod
    def from_json(cls, values: object, index: Path) -> Self:
        """Read what :meth:`as_json` wrote.

        :param index: the folder whose manifest holds it
        :raises CorruptError: where it is something else
        """
        try:
            tuned = msgspec.convert(values, cls)
            _check_types(tuned.policy)
            tuned.policy_over()  # whether it knows the fields
            _check_whole(tuned, values)
            return tuned
        except (msgspec.ValidationError, TaskError) as error:
            raise CorruptError(
                f"what tuning found, in {index / NAME}, cannot be read ({error}); forget it with "
                f"`ragicl tune {index} --forget`, and tune again"
            ) from error

    def conformal_record(self, policy: Policy, examples: int) -> ConformalRecord:
        """Return the record, where it holds for answers by this policy.

        :param examples: that the index has now
        :raises TaskError: where other prompts or examples were tuned
        """
        changed = [
            name for name, own in self.policy_over(policy).as_dict().items() if own != policy[name]
        ]
        changed += [name for name in NARROWING if policy[name] != DEFAULT[name]]
        if changed:
            raise TaskError(
                f"set_coverage and coverage go by what tuning recorded, which was with another "
                f"{changed[0]}; leave {changed[0]} out"
            )
        if examples < (1 - SHRUNK) * self.evidence["examples"]:
            raise TaskError(
                f"set_coverage and coverage go by what tuning recorded of "
                f"{self.evidence['examples']} examples, and {examples} are left; run `ragicl tune` "
                f"again"
            )
        return self.record

    def policy_over(self, base: Policy = DEFAULT) -> Policy:
        """Return a policy with what tuning chose."""
        return base.replace(**self.policy)


def tuned_for(index: Index, lm: LM) -> Tuned | None:
    """Return what tuning found for an index with this language model, if it was tuned with it.

    :raises CorruptError: where what the manifest holds cannot be read
    """
    found = index.manifest.tuned
    if found is None or _names_another(found, lm):
        return None
    return Tuned.from_json(found, index.path)


def _names_another(found: Any, lm: LM) -> bool:
    """Whether it was found with another model, perhaps by another version; damage is no name."""
    named = found.get("lm") if isinstance(found, dict) else None
    return isinstance(named, str) and named != lm.description


def _check_types(policy: Mapping[str, Any]) -> None:
    """Refuse values of a wrong type.

    :raises ValidationError: naming the field
    """
    for name, own in option_fields().items():
        if name in policy:
            msgspec.convert({name: policy[name]}, PARTS[own.part])


def _check_whole(tuned: Tuned, values: Any) -> None:
    """Refuse a record that lacks something: a default would take its place unnoticed.

    :raises ValidationError: naming the field
    """
    for place, expected, found in (
        ("policy", TUNABLE, tuned.policy),
        ("blend", Blend.__struct_fields__, values["blend"]),
        ("record", ConformalRecord.__struct_fields__, values["record"]),
        ("evidence", ("examples",), tuned.evidence),
    ):
        if missing := set(expected) - set(found) - ADDED_SINCE:
            raise msgspec.ValidationError(f"no `{min(missing)}` in `$.{place}`")
    if more := set(tuned.policy) - set(TUNABLE):
        raise msgspec.ValidationError(f"`{min(more)}` in `$.policy` is never tuned")
    msgspec.convert(tuned.evidence["examples"], Examples)
    if not _all_finite(tuned.evidence):
        raise msgspec.ValidationError("a number in `$.evidence` is not finite")


def _all_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_all_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_all_finite, value))
    return not isinstance(value, float) or isfinite(value)
