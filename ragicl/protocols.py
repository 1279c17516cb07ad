"""What the author of a backend has to provide, and nothing else.

Arrays are numpy's; every method may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol, TypedDict, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Float64Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Parts = Sequence[str]
"""A text in pieces; the text is their concatenation.

The first piece is the one that other texts may begin with too: a backend may keep what it computed
for it.
"""
Message = Mapping[str, str]
"""One chat turn: ``role`` (system, user, assistant) and ``content``."""


class Progress(Protocol):
    """Called during long work with the name of the step, how much of it is done, and its total."""

    def __call__(self, what: str, done: int, total: int, /) -> None: ...


def no_progress(what: str, done: int, total: int, /) -> None:
    """Report nothing."""


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors."""

    @property
    def spec(self) -> str:
        """The spec that opens this encoder again."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the weights or the settings that shape a vector change."""

    @property
    def description(self) -> str:
        """Which weights are in use, for people."""

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return unit-length embeddings, shape (len(texts), dim)."""


class GenerationOptions(TypedDict):
    """How texts are generated: the options of :meth:`LM.stream` and :meth:`LM.generate_batch`."""

    max_tokens: int
    stop: Sequence[str]
    temperature: float
    seed: int


@runtime_checkable
class LM(Protocol):
    """A frozen causal language model: what every model can do, local or remote.

    What only some can do is in protocols of its own, each asked for before it is used:
    :class:`Scoring`, :class:`Choosing`, :class:`Featuring`, :class:`PrefixKeeping`,
    :class:`ChatFormatting`, :class:`Reporting`, :class:`Profiled`.
    """

    @property
    def spec(self) -> str:
        """The spec that opens this model again."""

    @property
    def description(self) -> str:
        """Which weights and precision are in use, for people."""

    @property
    def window(self) -> int:
        """The most tokens that a prompt and its answer may have together."""

    def load(self) -> None:
        """Load what the first answer needs; counting tokens does not need it."""

    def count(self, parts: Parts) -> int:
        """Return the number of tokens of a whole prompt, special tokens included."""

    def stream(
        self,
        parts: Parts,
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield a continuation in pieces of text, up to the first stop string (left out).

        :param temperature: 0 takes the likeliest token each time
        """

    def generate_batch(
        self,
        prompts: Sequence[Parts],
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """Return the whole text that :meth:`stream` would give for each prompt.

        A text does not depend on the prompts beside it, but for rounding.
        """


@runtime_checkable
class Scoring(LM, Protocol):
    """A language model that gives the likelihood of an answer; optional."""

    def score(
        self,
        prompts: Sequence[Parts],
        answers: Sequence[str],
        *,
        prune_margin: float | None = None,
        candidate_ids: Sequence[Collection[int]] | None = None,
    ) -> FloatArray:
        """Return log P(answer | prompt) in nats, shape (len(prompts), len(answers)).

        An answer is scored as text that directly follows the prompt: it brings its own leading
        space and its own ending.

        :param prune_margin: allows less work: an answer that is more than this many nats less
            likely than its prompt's best may get an upper bound instead, that is itself that far
            below the best
        :param candidate_ids: for each prompt the positions of the answers to score, one or more;
            the others get minus infinity; None scores all
        :raises BudgetError: where a prompt with its longest answer exceeds the window
        """


@runtime_checkable
class Choosing(LM, Protocol):
    """A language model that can be held to one of several texts, without likelihoods; optional."""

    def choose(self, prompts: Sequence[Parts], choices: Sequence[str]) -> list[str]:
        """Return the choice that the model makes after each prompt, by constrained decoding."""


@runtime_checkable
class ChatFormatting(LM, Protocol):
    """A language model with a chat format of its own; optional."""

    def chat(self, messages: Sequence[Message]) -> str:
        """Return the messages in the model's own chat format, ready for the assistant's turn.

        :raises BackendError: where the model has no chat format
        """


@runtime_checkable
class Reporting(Protocol):
    """A language model that says how far it is while it scores one batch of prompts; optional.

    :ivar progress: called during scoring; set by who waits, :func:`no_progress` at first
    """

    progress: Progress


@runtime_checkable
class Profiled(Protocol):
    """A language model that can say how much work it does; optional."""

    def route(self) -> str:
        """Return how answers are scored, in a word."""

    def prefill(self, parts: Parts) -> None:
        """Read a prompt, and do nothing else."""

    @property
    def prefix_stable(self) -> bool:
        """Whether token ids are kept for each part of a prompt; else whole prompts are encoded."""

    def flops(self, tokens: int) -> float:
        """Return the floating-point operations of reading a prompt of that length."""

    def ceilings(self) -> tuple[float, float]:
        """Return what the machine can do at most: operations and bytes read, per second."""


@runtime_checkable
class Featuring(LM, Protocol):
    """A language model that shows its hidden states; optional."""

    def states(self, prompts: Sequence[Parts], shares: Sequence[float]) -> FloatArray:
        """Return hidden states of prompts after some of the model's blocks.

        :param prompts: where a prompt has several parts, the first is one that prompts share: it is
            read once, and has no part in the mean
        :param shares: of the blocks, in rising order; nothing above the last is run
        :return: the mean over the tokens after the first part, and the last token's state, shape
            (prompts, shares, 2, width), of any length and origin
        :raises BudgetError: where a prompt exceeds the window
        """


@runtime_checkable
class PrefixKeeping(LM, Protocol):
    """A language model whose key-value states of a prompt's first part can be kept; optional.

    A process that is given them need not read that part again.
    """

    def prefix_bytes(self, parts: Parts) -> bytes | None:
        """Return the states of a prompt's first part; None where they are not worth keeping."""

    def restore_prefix(self, parts: Parts, data: bytes) -> bool:
        """Use what :meth:`prefix_bytes` gave for the same first part; return whether it fits."""


@runtime_checkable
class Classifier(Protocol):
    """Anything that gives a distribution over labels: the engine and every reference."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of :meth:`probs`."""

    def probs(self, texts: Sequence[str]) -> FloatArray:
        """Return P(label | text), shape (len(texts), len(labels)); each row sums to 1."""
