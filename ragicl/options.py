"""How a field of a policy is declared: once, with all that commands and documents need of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ragicl.errors import TaskError, quoted

KINDS: Mapping[type, type] = {int: Integral, float: Real, str: str}  # numpy's numbers, too
LARGEST = 2**31 - 1  # of whole numbers: what databases and arrays count with on any machine


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """What a policy's field is, beside its type and its default.

    :ivar help: what it does, for people
    :ivar tunable: whether ``ragicl tune`` chooses it
    :ivar metavar: what stands for its value in help
    :ivar default_text: what its default means, where the value does not tell
    :ivar least: the smallest number allowed
    :ivar most: the largest number allowed
    :ivar share: whether it must lie between 0 and 1, both excluded
    :ivar estimator: whether the scikit-learn estimator has it as a parameter
    :ivar formerly: its deprecated name, taken for one release with a warning
    """

    help: str
    tunable: bool = False
    metavar: str | None = None
    default_text: str | None = None
    least: float | None = None
    most: float | None = None
    share: bool = False
    estimator: bool = True
    formerly: str | None = None


def option(default: Any, help: str, **more: Any) -> Any:  # noqa: A002 - the field's own word
    """Return a field of a policy; see :class:`OptionSpec` for `more`."""
    return field(default=default, metadata={"option": OptionSpec(help, **more)})


@dataclass(frozen=True, slots=True)
class OptionField:
    """A field of a policy, as commands and documents need it.

    :ivar part: the name of the value class that has it
    :ivar type: of a value: int, float, bool, str, or tuple
    :ivar choices: where only these are allowed
    """

    name: str
    part: str
    type: type
    default: Any
    choices: tuple[str, ...]
    spec: OptionSpec

    @property
    def flag(self) -> str:
        """The command line's option."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def default_text(self) -> str:
        """The default, for people."""
        text = self.spec.default_text
        if text is None:
            text = "off" if self.default is False else str(self.default)
        return f"tuned, or {text}" if self.spec.tunable else text


@cache
def fields_of(kind: Callable[..., Any], name: str) -> Sequence[OptionField]:
    """Return the fields of a value class, in order.

    :param name: of the part of a policy that it is
    """
    hints, own_fields = get_type_hints(kind), fields(kind)  # type: ignore[arg-type]  # a dataclass
    return tuple(_option_field(name, own, hints[own.name]) for own in own_fields)


def check(part: Any) -> None:
    """Refuse values that no field of this kind may have.

    :raises TaskError: naming the field
    """
    kind: Callable[..., Any] = type(part)
    for own in fields_of(kind, ""):
        _check_value(own, getattr(part, own.name))


def _check_value(own: OptionField, value: Any) -> None:
    spec = own.spec
    if own.choices and value not in own.choices:
        raise TaskError(f"{own.name} is {quoted(value)}; use one of {', '.join(own.choices)}")
    if value is None:
        return
    if not _has_type(own, value):
        kind = type(value).__name__
        raise TaskError(
            f"{own.name} is {quoted(value)}, of type {kind}; it must be {own.type.__name__}"
        )
    if spec.least is not None and not value >= spec.least:
        raise TaskError(f"{own.name} is {value}; it must be {spec.least} or more")
    most = LARGEST if spec.most is None and own.type is int else spec.most
    if most is not None and not value <= most:
        raise TaskError(f"{own.name} is {value}; it must be {most} or less")
    if spec.share and not 0 < value < 1:
        raise TaskError(f"{own.name} is {value}; it must be between 0 and 1")


def _has_type(own: OptionField, value: Any) -> bool:
    return isinstance(value, KINDS.get(own.type, object))


def _option_field(part: str, own: Field[Any], hint: Any) -> OptionField:
    assert own.default is not MISSING
    given = [kind for kind in get_args(hint) if kind is not type(None)]
    if get_origin(hint) is Literal:
        return OptionField(own.name, part, str, own.default, get_args(hint), own.metadata["option"])
    if get_origin(hint) is not tuple and given:  # a type or None
        hint = given[0]
    kind = get_origin(hint) or hint
    return OptionField(own.name, part, kind, own.default, (), own.metadata["option"])
