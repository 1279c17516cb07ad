r"""Backends without files or downloads, for tests of your own code.

They satisfy the protocols in :mod:`ragicl.protocols`, are deterministic and take milliseconds.
Objects are given in the place of specs; from the shell, they have specs of their own:

- ``--encoder fake:NAME``: :class:`FakeEncoder`
- ``--lm fake:WINDOW``: :class:`FakeLM`, such as ``fake:2000``
- ``--lm fake-text:WINDOW``: :class:`FakeTextLM`, a model without likelihoods
- ``--lm fake-choice:WINDOW``: :class:`FakeChoosingLM`, one that can be held to given answers
- ``--lm fake-features:WINDOW``: :class:`FakeFeaturingLM`, a model with hidden states

>>> vectors = FakeEncoder().encode(["my card is lost", "MY card is lost"])
>>> bool((vectors[0] == vectors[1]).all())
True
>>> FakeTextLM().generate_batch([["Text: a\nLabel: x\nText: b\nLabel:"]], max_tokens=5)
[' x']
>>> int(FakeLM().score([["Label: x\nLabel: x\nLabel: y\nLabel:"]], [" x", " y"]).argmax())
0
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from ragicl.errors import BackendError, quoted
from ragicl.protocols import FloatArray, Message, Parts

WINDOW = 2000
NO_EXAMPLE = "nothing"  # what is generated where the prompt holds no answer to repeat


class FakeEncoder:
    """Bags of hashed words: the same text always has the same unit vector, whatever its case.

    Texts that share words are similar.

    :param name: encoders of different names have different vectors
    """

    def __init__(self, name: str = "a", dim: int = 64) -> None:
        self.spec = f"fake:{name}"
        self.description = f"hashed words, seed {name}"
        self.fingerprint = f"fake-{name}-{dim}"
        self.dim = dim
        self._name = name

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return unit-length embeddings, shape (len(texts), dim)."""
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                vectors[row] += self._word(word)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.where(norms == 0, 1, norms), dtype=np.float32)

    def _word(self, word: str) -> FloatArray:
        digest = hashlib.blake2b(f"{self._name}{word}".encode(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(digest, "big"))
        return rng.standard_normal(self.dim).astype(np.float32)


class FakeTextLM:
    """Generates text and gives no likelihoods, as many remote models do; a token is a word.

    It repeats the last answer of the prompt: what follows the prompt's last line where an earlier
    line begins with it too.
    """

    description = "fake text model, for tests"
    kind = "fake-text"

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window

    @property
    def spec(self) -> str:
        """The spec that opens this model again."""
        return f"{self.kind}:{self.window}"

    def load(self) -> None:
        """Do nothing: there is nothing to load."""

    def count(self, parts: Parts) -> int:
        """Return the number of words."""
        return len("".join(parts).split())

    def stream(
        self,
        parts: Parts,
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield the words of the last answer in the prompt, each with a space before it."""
        text = "".join(f" {word}" for word in _last_answer("".join(parts)).split()[:max_tokens])
        ends = [at for s in stop if s and (at := text.find(s)) >= 0]
        for word in text[: min(ends, default=None)].split():
            yield f" {word}"

    def generate_batch(
        self,
        prompts: Sequence[Parts],
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """Return the whole text that :meth:`stream` would give for each prompt."""
        return [
            "".join(
                self.stream(
                    parts, max_tokens=max_tokens, stop=stop, temperature=temperature, seed=seed
                )
            )
            for parts in prompts
        ]


class FakeChoosingLM(FakeTextLM):
    """Can be held to one of several answers, without likelihoods."""

    description = "fake choosing model, for tests"
    kind = "fake-choice"

    def choose(self, prompts: Sequence[Parts], choices: Sequence[str]) -> list[str]:
        """Return the choice that each prompt holds most often, the first of equals."""
        return [max(choices, key="".join(parts).count) for parts in prompts]


class FakeLM(FakeTextLM):
    """Finds those answers likely that the prompt holds often; has a chat format too."""

    description = "fake language model, for tests"
    kind = "fake"

    def score(
        self,
        prompts: Sequence[Parts],
        answers: Sequence[str],
        *,
        prune_margin: float | None = None,
        candidate_ids: Sequence[Collection[int]] | None = None,
    ) -> FloatArray:
        """Return the logarithm of how often a prompt holds each answer, plus a half."""
        counts = [["".join(parts).count(a.strip()) for a in answers] for parts in prompts]
        scores: FloatArray = np.log(np.array(counts, dtype=np.float32) + 0.5)
        for row, chosen in zip(scores, candidate_ids or (), strict=False):
            row[[i not in chosen for i in range(len(answers))]] = -np.inf
        return scores

    def chat(self, messages: Sequence[Message]) -> str:
        """Return the messages between tags of their roles."""
        turns = "".join(f"<{m['role']}>{m['content']}</>\n" for m in messages)
        return turns + "<assistant>"


class FakeFeaturingLM(FakeLM):
    """Gives hidden states as well: a :class:`FakeEncoder`'s vectors, whatever the depth."""

    description = "fake language model with hidden states, for tests"
    kind = "fake-features"

    def states(self, prompts: Sequence[Parts], shares: Sequence[float]) -> FloatArray:
        """Return vectors of words, shape (prompts, shares, 2, dim).

        The first of a pair is of what follows a prompt's first part, the other of the last part.
        """
        encode = FakeEncoder("features").encode
        own = encode(["".join(parts[1:] or parts) for parts in prompts])
        last = encode([parts[-1] for parts in prompts])
        pairs = np.stack([own, last], axis=1)
        return np.repeat(pairs[:, None], len(shares), axis=1)


def open_encoder(name: str) -> FakeEncoder:
    """Open ``fake:NAME``."""
    return FakeEncoder(name)


def open_lm(window: str, *, dtype: str = "auto") -> FakeLM:
    """Open ``fake:WINDOW``."""
    return FakeLM(_window(window))


def open_text_lm(window: str, *, dtype: str = "auto") -> FakeTextLM:
    """Open ``fake-text:WINDOW``."""
    return FakeTextLM(_window(window))


def open_choosing_lm(window: str, *, dtype: str = "auto") -> FakeChoosingLM:
    """Open ``fake-choice:WINDOW``."""
    return FakeChoosingLM(_window(window))


def open_featuring_lm(window: str, *, dtype: str = "auto") -> FakeFeaturingLM:
    """Open ``fake-features:WINDOW``."""
    return FakeFeaturingLM(_window(window))


def _window(text: str) -> int:
    if not text.isdecimal():
        raise BackendError(
            f"{quoted(text)} is no window; give a fake model's in words, as in fake:2000"
        )
    return int(text)


def _last_answer(prompt: str) -> str:
    *before, cue = prompt.splitlines() or [""]
    answers = [line.removeprefix(cue) for line in before if cue and line.startswith(cue)]
    return answers[-1] if answers else NO_EXAMPLE
