"""Every error ragicl raises on purpose.

::

    RagiclError
    ├── DataError            a row, a column or a file of examples that cannot be used
    ├── StoreError           an index folder that cannot be used
    │   ├── NoIndexError         there is no index at that path
    │   ├── LockedError          another process is writing to it
    │   ├── ReplacedError        another index took its place while it was open
    │   ├── FormatError          its format is unknown to this version
    │   ├── CorruptError         its examples are damaged
    │   ├── EncoderError         it was built with another encoder
    │   └── ExampleError         an example id that is missing, or taken by other content
    ├── BudgetError          a query that does not fit into the token budget
    ├── BackendError         an encoder or a language model that cannot be loaded or used
    ├── ForkError            a process was forked from one that had opened or used what it uses
    ├── MissingExtraError    a package that one of ragicl's extras installs is missing
    └── TaskError            a request that the index or its labels do not support

Each message says what is wrong, where, and what to do next, in one line.
"""

import re

QUOTED = 200  # characters of what was given that a message repeats, at most
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""What a terminal obeys in place of showing it, but for tab and line feed."""


class RagiclError(Exception):
    """Base of every error ragicl raises on purpose."""


class DataError(RagiclError, ValueError):
    """A row, a column or a file of examples cannot be used; a ValueError too, for scikit-learn."""


class StoreError(RagiclError):
    """An index folder cannot be used."""


class NoIndexError(StoreError):
    """There is no index at the path given."""


class LockedError(StoreError):
    """Another process is writing to the index."""


class ReplacedError(StoreError):
    """Another index took the place of the one that is open."""


class FormatError(StoreError):
    """The index has a format that this version does not know."""


class CorruptError(StoreError):
    """The index's examples are damaged."""


class EncoderError(StoreError):
    """The index was built with another encoder."""


class ExampleError(StoreError):
    """An example id is missing, or is taken by other content."""


class BudgetError(RagiclError):
    """A query does not fit into the token budget.

    :ivar needed: tokens that the query needs, its instruction and the room for an answer included
    :ivar budget: tokens that there are
    """

    def __init__(self, message: str, *, needed: int, budget: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.budget = budget


class BackendError(RagiclError):
    """An encoder or a language model cannot be loaded or used."""


class ForkError(RagiclError):
    """A process was forked from one that had opened, or computed with, what it uses."""


class MissingExtraError(RagiclError):
    """A package is missing that one of ragicl's extras installs."""


class TaskError(RagiclError):
    """A request asks for something that the index or its labels do not support."""


def require(extra: str, purpose: str, *modules: str) -> None:
    """Refuse what needs modules that are not installed; none of them is imported.

    :raises MissingExtraError: at the first that is missing, naming the extra to install
    """
    from importlib.util import find_spec

    for module in modules:
        if find_spec(module) is None:
            raise MissingExtraError(
                f"{purpose} needs {module}; install it with: pip install 'ragicl[{extra}]'"
            )


def first_line(error: BaseException) -> str:
    """Return the first line of what another library says, for use inside a one-line message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def visible(text: str) -> str:
    r"""Return a text in which what a terminal would obey is written as JSON does, ``\u001b``.

    Inside JSON it is the same value as before.
    """
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def encodable(text: str) -> bool:
    """Whether UTF-8 can hold a text: it has no half of a character (a lone surrogate)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def quoted(value: object) -> str:
    """Return what somebody gave, for a message: as Python writes it, and not all of a long one."""
    text = repr(value[: QUOTED + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"
