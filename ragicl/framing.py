"""Texts that know which of them is a template's own: only there control tokens are meant."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]


class Framed(str):
    """A text of which some spans are a template's frame.

    All else of it, and all of an ordinary string, is what somebody wrote: an example, a label, a
    query. A backend reads that as text, even where it spells a control token.

    :ivar frame: start and stop of each span, in characters, in order
    """

    frame: tuple[Span, ...]

    def __new__(cls, text: str, frame: tuple[Span, ...] = ()) -> Framed:
        """Make one of a text and its spans."""
        made = super().__new__(cls, text)
        made.frame = frame
        return made


def frame(text: str) -> Framed:
    """Return a text that is all a template's own."""
    return Framed(text, ((0, len(text)),))


def frame_of(text: str) -> tuple[Span, ...]:
    """Return the spans of a text that are a template's own."""
    return text.frame if isinstance(text, Framed) else ()


def joined(parts: Iterable[str]) -> Framed:
    """Return parts as one text, which knows what they know."""
    spans: list[Span] = []
    length = 0
    parts = list(parts)
    for part in parts:
        spans += [(length + start, length + stop) for start, stop in frame_of(part)]
        length += len(part)
    return Framed("".join(parts), tuple(spans))


def right_stripped(text: str) -> Framed:
    """Return a text without the white space at its end."""
    end = len(text.rstrip())
    spans = ((start, min(stop, end)) for start, stop in frame_of(text))
    return Framed(text[:end], tuple(span for span in spans if span[0] < span[1]))
