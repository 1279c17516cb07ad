"""Text to token ids; prompt and answer are parted where the tokenizer really parts them."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from transformers import PreTrainedTokenizerBase

TAIL = 8  # tokens at a prompt's end that are encoded again together with each answer


class Tokens:
    """A thread-safe view of a tokenizer (fast tokenizers must not be entered twice)."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._lock = Lock()
        self._start = self._find_start()

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a prompt, beginning with the special tokens it needs."""
        return self._start_of(text) + self._plain([text])[0]

    def split(self, prompt: str, answers: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """Return the ids that the prompt has whichever answer follows, and what each answer adds.

        Where the tokenizer merges the prompt's end with an answer's beginning, those tokens are
        counted to the answer, so that each answer is scored in the segmentation it would have had
        in running text.
        """
        start, ids = self._start_of(prompt), self._plain([prompt])[0]
        head, tail = self._cut(prompt, ids)
        ends = self._plain([tail + answer for answer in answers])
        shared = _shared(ids[head:], ends)
        if head and not shared:
            # An answer changed even the end's first token, so perhaps those before it: encode all.
            head, ends = 0, self._plain([prompt + answer for answer in answers])
            shared = _shared(ids, ends)
        return start + ids[: head + shared], [end[shared:] for end in ends]

    def _cut(self, prompt: str, ids: list[int]) -> tuple[int, str]:
        """Cut a prompt into a long beginning, given as a number of ids, and the text of its end.

        The end must encode by itself exactly as it does in place; otherwise the beginning is empty.
        """
        if len(ids) <= TAIL or not self._tokenizer.is_fast:
            return 0, prompt
        with self._lock:
            encoded = self._tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
        tail = prompt[encoded["offset_mapping"][-TAIL][0] :]
        if self._plain([tail])[0] != ids[-TAIL:]:
            return 0, prompt
        return len(ids) - TAIL, tail

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        with self._lock:
            encoded = self._tokenizer(list(texts), add_special_tokens=False)
        ids: list[list[int]] = encoded["input_ids"]
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


def _shared(ids: Sequence[int], ends: Sequence[Sequence[int]]) -> int:
    """Return how many ids begin every one of the ends and leave each at least one more."""
    return min((min(_common_prefix(ids, end), len(end) - 1) for end in ends), default=len(ids))


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
