"""What only some language models can do, asked for before it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragicl.errors import BackendError
from ragicl.protocols import LM, ChatFormatting, Message, Scoring


def as_scoring(lm: LM) -> Scoring:
    """Return the model as one that gives likelihoods.

    :raises BackendError: where it gives none
    """
    if not isinstance(lm, Scoring):
        raise BackendError(
            f"{lm.spec} gives no label likelihoods; use a local model (smollm2, hf:NAME)"
        )
    return lm


def chat_format(lm: LM | None) -> Callable[[Sequence[Message]], str] | None:
    """Return what renders messages in the model's chat format; None where there is no model.

    Of a model without a chat format, what is returned raises BackendError when it is called.
    """
    if lm is None:
        return None
    if isinstance(lm, ChatFormatting):
        return lm.chat
    spec = lm.spec

    def refuse(messages: Sequence[Message]) -> str:
        raise BackendError(f"{spec} has no chat format; use the plain template")

    return refuse
