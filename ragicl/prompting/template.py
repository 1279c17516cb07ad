"""Templates: how demonstrations and a query become text, and what ends an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ragicl.errors import TaskError, encodable, quoted
from ragicl.framing import frame, joined, right_stripped
from ragicl.protocols import Message
from ragicl.records import Kind

INPUT, OUTPUT = "{input}", "{output}"
PLAIN_SHOTS = {
    "classify": "Text: {input}\nLabel: {output}",
    "generate": "Input: {input}\nOutput: {output}",
}
INSTRUCTIONS = {
    "classify": "Classify each text.",
    "generate": "Write the output for each input.",
}
SEPARATORS = {"classify": "\n", "generate": "\n\n"}


class Template(Protocol):
    """How demonstrations and a query become text.

    Where a text holds control tokens that are meant, it says so: :func:`ragicl.framing.frame`.
    """

    def render(self, query: str, shots: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Return the prompt in pieces, for (input, output) demonstrations in prompt order."""

    def messages(self, query: str, shots: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
        """Return the same prompt as chat messages: what a model behind a chat API takes."""

    def answer(self, output: str) -> str:
        """Return the text that answers the prompt with `output`, its ending included."""

    def ended(self, output: str) -> str:
        """Return the answer and as much of what follows as stops a generated one."""

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end a generated answer."""


@dataclass(frozen=True, slots=True)
class PlainTemplate:
    """One pattern for demonstrations and query.

    What precedes ``{output}`` in the shot, stripped of white space at its end, ends the prompt;
    that white space and the output are the answer. So ``render(q, [])`` followed by the answer is
    the filled-in shot, and a label's leading space is never left behind in the prompt.

    :ivar shot: a demonstration, with ``{input}`` before ``{output}``, each once
    :ivar instruction: comes first; may be empty
    :ivar separator: between instruction, demonstrations and query; it also closes an answer, so
        that a label that begins another label is told apart from it
    :ivar one_line: whether line breaks inside an input become spaces: an input cannot write lines
        then that look like demonstrations
    """

    shot: str
    instruction: str = ""
    separator: str = "\n"
    one_line: bool = False

    def __post_init__(self) -> None:
        if (
            self.shot.count(INPUT) != 1
            or self.shot.count(OUTPUT) != 1
            or self.shot.index(INPUT) > self.shot.index(OUTPUT)
        ):
            raise TaskError(
                f"the template {quoted(self.shot)} must hold {INPUT} once and, after it, "
                f"{OUTPUT} once"
            )
        if not encodable(f"{self.shot}{self.instruction}{self.separator}"):
            raise TaskError(
                "the template or its instruction holds half a character (a lone surrogate); "
                "leave it out"
            )
        if not self.separator:
            raise TaskError("the template needs a separator, or an answer would have no end")

    def render(self, query: str, shots: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Return the instruction, one piece for each demonstration, and the query."""
        pieces: list[str] = [frame(self.instruction)] if self.instruction else []
        pieces += [joined((self._before(text), self._after(output))) for text, output in shots]
        pieces.append(self._before(query))
        return (pieces[0], *(joined((frame(self.separator), piece)) for piece in pieces[1:]))

    def messages(self, query: str, shots: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
        """Return the instruction as system message, demonstrations and query as turns."""
        return chat_turns(self.instruction, query, shots)

    def answer(self, output: str) -> str:
        """Return the white space, the output, what the shot has after it, and the separator."""
        return joined((self._after(output), frame(self.separator)))

    def ended(self, output: str) -> str:
        """Return the answer and what the next demonstration has before its input."""
        following = self.shot.partition(INPUT)[0].rstrip(" ")
        return joined((self.answer(output), frame(following)))

    @property
    def stops(self) -> tuple[str, ...]:
        """The text between an output and the next demonstration's input, or a second output.

        A small model may go on with another output for the same input. None where the white space
        before an output holds it: it would end every answer at once.
        """
        head, _, rest = self.shot.partition(INPUT)
        name = rest.partition(OUTPUT)[0].strip()
        lead, _, end = self._after(OUTPUT).partition(OUTPUT)
        between = end + self.separator + head
        stop = between.strip(" ") or between
        stops = [] if stop in lead else [stop]
        if head and name and end + self.separator not in lead:
            stops.append(end + self.separator + name)
        return tuple(stops)

    def _before(self, text: str) -> str:
        head, _, rest = self.shot.partition(INPUT)
        middle, _, _ = rest.partition(OUTPUT)
        return right_stripped(joined((frame(head), self._input(text), frame(middle))))

    def _input(self, text: str) -> str:
        if not self.one_line:
            return text.strip()
        lines = (line.strip() for line in text.splitlines())
        return " ".join(line for line in lines if line)

    def _after(self, output: str) -> str:
        before, _, end = self.shot.partition(OUTPUT)
        return joined((frame(before[len(before.rstrip()) :]), output, frame(end)))


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The model's own chat format, demonstrations as turns.

    :ivar chat: renders messages, ready for the assistant's turn; see
        :meth:`ragicl.protocols.ChatFormatting.chat`
    :ivar ending: what the format writes after an assistant's turn; it closes an answer
    :ivar instruction: the system message; may be empty
    """

    chat: Callable[[Sequence[Message]], str]
    ending: str
    instruction: str = ""

    def render(self, query: str, shots: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Return the whole chat as one piece: formats differ too much to cut one up."""
        return (self.chat(self.messages(query, shots)),)

    def messages(self, query: str, shots: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
        """Return the turns that the chat format renders."""
        return chat_turns(self.instruction, query, shots)

    def answer(self, output: str) -> str:
        """Return the output and the ending."""
        return joined((output, frame(self.ending)))

    def ended(self, output: str) -> str:
        """Return the answer: its ending stops it."""
        return self.answer(output)

    @property
    def stops(self) -> tuple[str, ...]:
        """The ending; most models end by a token anyway."""
        return (self.ending,)


def chat_turns(
    instruction: str, query: str, shots: Sequence[tuple[str, str]]
) -> tuple[Message, ...]:
    """Return the instruction, where there is one, a pair of turns for each shot, the query."""
    turns = [_turn("system", instruction)] if instruction else []
    for text, output in shots:
        turns += [_turn("user", text.strip()), _turn("assistant", output)]
    return (*turns, _turn("user", query.strip()))


def chat_template(chat: Callable[[Sequence[Message]], str], instruction: str = "") -> ChatTemplate:
    """Return a chat template with the ending that the format really writes."""
    marks = "\u241fanswer\u241f", "\u241fnext\u241f"
    turns = [_turn("user", "?"), _turn("assistant", marks[0]), _turn("user", marks[1])]
    between = chat(turns).partition(marks[0])[2].partition(marks[1])[0]
    return ChatTemplate(chat, between.partition("\n")[0] or "\n", instruction)


def plain_template(kind: Kind, instruction: str | None = None) -> PlainTemplate:
    """Return the plain template for a kind of index; None takes its usual instruction."""
    if instruction is None:
        instruction = INSTRUCTIONS[kind]
    one_line = kind == "classify"  # texts to write may well be about lines
    return PlainTemplate(PLAIN_SHOTS[kind], instruction, SEPARATORS[kind], one_line)


def named_template(
    name: str,
    kind: Kind,
    instruction: str | None = None,
    chat: Callable[[Sequence[Message]], str] | None = None,
) -> Template:
    """Return the template that ``plain``, ``chat`` or a pattern stands for.

    :param instruction: None takes the usual one for the kind of index
    :param chat: renders messages for ``chat``; None where there is no model to ask
    :raises TaskError: where the name is unknown, or the pattern is not one
    """
    plain = plain_template(kind, instruction)
    if name == "chat" and chat is not None:
        return chat_template(chat, plain.instruction)
    if name in ("plain", "chat"):
        return plain
    if INPUT not in name and OUTPUT not in name:
        raise TaskError(
            f"unknown template {quoted(name)}; use plain, chat, or a text with {INPUT} and {OUTPUT}"
        )
    return replace(plain, shot=name)


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}
