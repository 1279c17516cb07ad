"""Text to token ids, cached for each part; prompt and answer are split where tokens end."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, pairwise
from threading import RLock
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from ragicl.backends.hf.control_tokens import ControlTokens
from ragicl.backends.hf.token_cache import TokenCache
from ragicl.protocols import Parts

TAIL = 3  # tokens at a prompt's end that are encoded again together with the answers
KEPT_ENDS = 64  # ends of prompts, which rarely differ, each with all its answers
KEPT_BOUNDARIES = 2**16  # few, but where queries stand next to what varies

Ids = Sequence[int]
logger = logging.getLogger("ragicl")


class Split(NamedTuple):
    """A prompt and its answers as token ids.

    :ivar ids: what the prompt has whichever answer follows
    :ivar answers: what each answer adds
    :ivar first: how many of the ids the prompt's first part makes; 0 where that is unknown
    """

    ids: list[int]
    answers: tuple[tuple[int, ...], ...]
    first: int = 0


class Tokens:
    """A thread-safe view of a tokenizer (fast tokenizers must not be entered twice).

    Demonstrations come again in many prompts, so that each part's ids are cached. Whether two parts
    have the ids of their joined text is checked at every new boundary; a tokenizer that fails once
    encodes whole prompts from then on.

    :ivar controls: how texts are written: inside, all are, so that keys tell them apart
    :ivar prefix_stable: whether more text has left the ids of a part as they are so far
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._lock = RLock()
        self.controls = ControlTokens(tokenizer)
        self._start = self._find_start()
        self.plain = TokenCache(self._encode_part)
        self._ends = lru_cache(KEPT_ENDS)(self._encode_ends)
        self._stable: set[tuple[int, ...]] = set()  # tokens around ends of parts
        self.prefix_stable = True

    def encode(self, parts: Parts) -> list[int]:
        """Return the token ids of a prompt, beginning with the special tokens it needs."""
        return list(chain(*self.pieces(parts)))

    def count(self, parts: Parts) -> int:
        """Return the number of token ids of a prompt."""
        return sum(map(len, self.pieces(parts)))

    def split(self, parts: Parts, answers: Sequence[str]) -> Split:
        """Return the ids that the prompt has whichever answer follows, and what each answer adds.

        Where the tokenizer merges the prompt's end with an answer's beginning, those tokens are
        counted to the answer, so that each answer is scored in the segmentation it would have had
        in running text.
        """
        parts = self.controls.parts(parts)
        answers = tuple(map(self.controls.written, answers))
        pieces = self._pieces(parts)
        if len(pieces) > 1:
            kept, ends = self._split_end(parts[-1], pieces[-1], answers)
            if kept:  # else an answer reaches back into the part before
                return Split([*chain(*pieces[:-1]), *kept], ends, len(pieces[0]))
        text = "".join(parts)
        kept, ends = self._split_end(text, self._plain([text])[0], answers)
        return Split([*self._start_of(text), *kept], ends)

    def halves(self, parts: Parts) -> tuple[tuple[int, ...], list[int]]:
        """Return a prompt's ids, cut where its first part ends, where others follow."""
        ids = self.encode(parts)
        first = common_prefix(ids[:-1], self.encode(parts[:1])) if len(parts) > 1 else 0
        return tuple(ids[:first]), ids[first:]

    def pieces(self, parts: Parts) -> list[Ids]:
        """Return the ids of each part, or of the whole text where they would differ."""
        return self._pieces(self.controls.parts(parts))

    def _pieces(self, parts: Sequence[str]) -> list[Ids]:
        start = self._start_of(parts[0]) if parts else []
        pieces = [self.plain(part) for part in parts] if self.prefix_stable else []
        if pieces and all(map(self._is_stable, pairwise(parts), pairwise(pieces))):
            return [[*start, *pieces[0]], *pieces[1:]]
        return [[*start, *self._plain(["".join(parts)])[0]]]

    def _is_stable(self, texts: tuple[str, str], ids: tuple[Ids, Ids]) -> bool:
        """Return whether two neighbouring parts have the ids of their text; remember the answer."""
        if not all(ids):
            return False
        boundary = (*ids[0][-2:], -1, *ids[1][:2])
        if boundary in self._stable:
            return True
        if self._plain(["".join(texts)])[0] == [*ids[0], *ids[1]]:
            if len(self._stable) >= KEPT_BOUNDARIES:
                self._stable.clear()
            self._stable.add(boundary)
        elif self.prefix_stable:
            self.prefix_stable = False
            logger.info("this tokenizer merges tokens across demonstrations: "
                        "whole prompts are tokenized")  # fmt: skip
        return boundary in self._stable

    def _split_end(
        self, text: str, ids: Ids, answers: tuple[str, ...]
    ) -> tuple[Ids, tuple[tuple[int, ...], ...]]:
        """Split the end of a prompt from its answers: ids that stay, and what each answer adds."""
        head, tail = self._cut(text, ids)
        shared, ends = self._ends(tail, answers)
        if head and not shared:
            # An answer changed even the end's first token, so perhaps those before it: encode all.
            head, (shared, ends) = 0, self._ends(text, answers)
        return ids[: head + shared], ends

    def _cut(self, text: str, ids: Ids) -> tuple[int, str]:
        """Cut a text into a long beginning, given as a number of ids, and the text of its end.

        The end must encode by itself exactly as it does in place; otherwise the beginning is empty.
        """
        if len(ids) <= TAIL or not self._tokenizer.is_fast or self.controls.is_marked(text):
            return 0, text
        with self._lock:
            encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        tail = text[encoded["offset_mapping"][-TAIL][0] :]
        if list(self.plain(tail)) != list(ids[-TAIL:]):
            return 0, text
        return len(ids) - TAIL, tail

    def _encode_part(self, text: str) -> array[int]:
        return array("i", self._plain([text])[0])

    def _encode_ends(
        self, tail: str, answers: tuple[str, ...]
    ) -> tuple[int, tuple[tuple[int, ...], ...]]:
        """Return how many ids of the tail no answer changes, and what each answer adds to them."""
        ids, *ends = self._plain([tail, *(tail + self.controls.after(tail, a) for a in answers)])
        shared = min((min(common_prefix(ids, e), len(e) - 1) for e in ends), default=len(ids))
        return shared, tuple(tuple(end[shared:]) for end in ends)

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        with self._lock:
            return self.controls.encode(texts, self._encode)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return ids

    def _start_of(self, text: str) -> list[int]:
        # A chat template writes the beginning-of-text token itself; it must not be doubled.
        bos = self._tokenizer.bos_token
        return [] if isinstance(bos, str) and text.startswith(bos) else self._start

    def _find_start(self) -> list[int]:
        """Return the special tokens that this tokenizer puts before a text."""
        plain = self._plain(["a"])[0]
        special: list[int] = self._tokenizer("a")["input_ids"]
        for position in range(len(special)):
            if special[position : position + len(plain)] == plain:
                return special[:position]
        return []


def common_prefix(left: Ids, right: Ids) -> int:
    """Return how many ids two texts begin with alike."""
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
