"""Messages in a model's own chat format."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from ragicl.backends.hf.control_tokens import ControlTokens
from ragicl.errors import BackendError, first_line
from ragicl.framing import Framed
from ragicl.protocols import Message


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    controls: ControlTokens,
    messages: Sequence[Message],
    spec: str,
) -> Framed:
    """Return the messages in the tokenizer's chat format, ready for the assistant's turn.

    The format is the frame; control tokens that a message spells are not.

    :param spec: of the model, for messages of errors
    :raises BackendError: where there is no chat format, or it refuses the messages
    """
    if not tokenizer.chat_template:
        raise BackendError(f"{spec} has no chat template; use the plain template")
    try:
        text = tokenizer.apply_chat_template(
            [{**turn, "content": controls.written(turn["content"])} for turn in messages],
            tokenize=False,
            add_generation_prompt=True,
        )
    except Exception as error:  # a chat template is a program, and may raise anything
        raise BackendError(
            f"{spec} cannot put these messages into its chat format: "
            f"{first_line(error)}; use an empty instruction, or the plain template"
        ) from error
    return controls.read(str(text))
