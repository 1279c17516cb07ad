"""Control tokens that somebody's text spells are text: only a template's frame holds real ones.

A text is written for the tokenizer first: inside each control token that is not a frame's, a mark
is put, which no text can guess. So an ordinary text stays as it is, a marked one is told from the
same text in a frame wherever texts are keys, and only marked ones take the longer way.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from ragicl.framing import Framed, frame, frame_of, joined

NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]  # never in texts that are exchanged
LENGTH = 16  # of a mark: 80 bits

Encode = Callable[[Sequence[str]], list[list[int]]]


class ControlTokens:
    """The control tokens of a tokenizer, and how texts that spell them are encoded.

    They are its special tokens, and what else it adds to its vocabulary that its chat format
    writes: some models do not call their turns' marks special.

    :ivar ids: of the control tokens, by their text
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.ids = control_ids(tokenizer)
        longest_first = sorted(self.ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._reach = max(map(len, self.ids), default=1) - 1
        # What stands for an unknown character is no control token that was asked for.
        self._meant = frozenset(self.ids.values()) - {tokenizer.unk_token_id}
        self._mark, self._open, self._close = (_mark() for _ in range(3))

    def written(self, text: str) -> str:
        """Return a text with a mark in each control token that is not its frame's."""
        if self._pattern.search(text) is None:
            return str(text)
        pieces, end = [], 0
        for start, stop in frame_of(text):
            for found in self._pattern.finditer(text, start, stop):
                pieces += [self._marked(text[end : found.start()]), found[0]]
                end = found.end()
        return "".join([*pieces, self._marked(text[end:])])

    def read(self, written: str) -> Framed:
        """Return a written text as a frame with a gap in each control token that is text."""
        return joined(map(frame, written.split(self._mark)))

    def parts(self, parts: Sequence[str]) -> list[str]:
        """Return parts as they are written, with a mark where they together spell a token."""
        written: list[str] = []
        before = ""
        for part in parts:
            own = self.after(before, self.written(part))
            written.append(own)
            before = (before + own)[-self._reach :] if self._reach else ""
        return written

    def after(self, left: str, right: str) -> str:
        """Return a text as it is written after another, both written."""
        border = left[-self._reach :] if self._reach else ""
        around = border + right[: self._reach]
        crossing = (m.start() < len(border) < m.end() for m in self._pattern.finditer(around))
        return self._mark + right if any(crossing) else right

    def is_marked(self, text: str) -> bool:
        """Return whether a written text spells control tokens that are text."""
        return self._mark in text

    def encode(self, texts: Sequence[str], encode: Encode) -> list[list[int]]:
        """Return the ids of written texts.

        :param encode: the tokenizer's own way, which takes all control tokens for real ones
        """
        ids = encode([text.replace(self._mark, "") for text in texts])
        return [
            self._encode_marked(text) if self.is_marked(text) or self._is_fooled(text, own) else own
            for text, own in zip(texts, ids, strict=True)
        ]

    def _is_fooled(self, text: str, ids: Sequence[int]) -> bool:
        """Return whether an unmarked text gave other control tokens than it spells.

        A tokenizer may find them in the normalized text only, such as ones of full-width letters.
        """
        if self._meant.isdisjoint(ids):
            return False
        spelled = sum(self.ids[found] in self._meant for found in self._pattern.findall(text))
        return sum(token in self._meant for token in ids) > spelled

    def _encode_marked(self, text: str) -> list[int]:
        if self._renamed is not None:
            wrapped = self._pattern.sub(lambda found: self._name(found[0]), text)
            ids = self._renamed.encode(
                wrapped.replace(self._mark, ""), add_special_tokens=False
            ).ids
            return [self._original.get(token, token) for token in ids]
        pieces, end = [], 0
        for found in self._pattern.finditer(text):
            pieces += [*self._encode_text(text[end : found.start()]), self.ids[found[0]]]
            end = found.end()
        return [*pieces, *self._encode_text(text[end:])]

    def _encode_text(self, marked: str) -> list[int]:
        """Return the ids of a text in which no control token is meant, by any tokenizer."""
        whole = self._ids(marked.replace(self._mark, ""))
        if self._meant.isdisjoint(whole):
            return whole
        return [token for piece in marked.split(self._mark) for token in self._ids(piece)]

    def _ids(self, text: str) -> list[int]:
        options: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": True}
        ids: list[int] = self._tokenizer(text, **options)["input_ids"]
        return ids

    def _marked(self, text: str) -> str:
        return self._pattern.sub(lambda found: found[0][0] + self._mark + found[0][1:], text)

    def _name(self, token: str) -> str:
        return f"{self._open}{token}{self._close}"

    @cached_property
    def _renamed(self) -> Tokenizer | None:
        """The same tokenizer with names for its control tokens that no text can spell.

        None of a tokenizer that is not of the kind that can be renamed.
        """
        if not self._tokenizer.is_fast:
            return None
        state = json.loads(self._tokenizer.backend_tokenizer.to_str())
        renamed = Tokenizer.from_str(json.dumps(rename(state, self.ids, self._name)))
        each = [
            (renamed.encode(self._name(t), add_special_tokens=False).tokens, t) for t in self.ids
        ]
        return renamed if all(tokens == [self._name(t)] for tokens, t in each) else None

    @cached_property
    def _original(self) -> dict[int, int]:
        """The tokenizer's own ids of control tokens, by the ids of the renamed one."""
        assert self._renamed is not None
        new = self._renamed.get_vocab()
        return {new[self._name(text)]: own for text, own in self.ids.items()}


def control_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return a tokenizer's control tokens: text and id."""
    chat = str(tokenizer.chat_template or "")
    return {
        str(token.content): int(number)
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.content.strip() and (token.special or token.content in chat)
    }


def rename(state: Any, tokens: dict[str, int], name: Callable[[str], str]) -> Any:
    """Give tokens other names in a saved tokenizer, its model's vocabulary included."""
    state |= {"truncation": None, "padding": None}
    for token in state["added_tokens"]:
        if token["content"] in tokens:
            token["content"] = name(token["content"])
    model = state["model"]
    if isinstance(model["vocab"], dict):
        known = model["vocab"].items()
        model["vocab"] = {name(own) if own in tokens else own: number for own, number in known}
    else:
        model["vocab"] = [
            [name(own) if own in tokens else own, score] for own, score in model["vocab"]
        ]
    if model.get("unk_token") in tokens:
        model["unk_token"] = name(model["unk_token"])
    if "merges" in model:
        model["merges"] = [own for own in model["merges"] if not _made_by(own) & set(tokens)]
    return state


def _made_by(merge: str | Sequence[str]) -> set[str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return {left, right, left + right}


def _mark() -> str:
    return "".join(secrets.choice(NONCHARACTERS) for _ in range(LENGTH))
