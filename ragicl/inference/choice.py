"""Labels from language models without likelihoods: by constrained choice, or by generating text.

Such a model gives no probabilities, and none are made up. Generated text that is none of the labels
stays what it is, and is marked as such.
"""

from __future__ import annotations

from collections.abc import Sequence

from ragicl.protocols import LM, Choosing, GenerationOptions, Parts
from ragicl.records import DecidedBy


def choose(
    lm: LM, prompts: Sequence[Parts], labels: Sequence[str], options: GenerationOptions
) -> tuple[list[str], DecidedBy]:
    """Return a label, or the text generated in its place, for each prompt; and how it came about.

    :param options: how text is generated, where the model cannot choose
    """
    if isinstance(lm, Choosing):
        return lm.choose(prompts, labels), "choice"
    texts = lm.generate_batch(prompts, **options)
    return [matched(text, labels) for text in texts], "generation"


def matched(text: str, labels: Sequence[str]) -> str:
    """Return the label that a text spells, whatever its case and white space; else the text."""
    plain = _plain(text)
    return next((label for label in labels if _plain(label) == plain), text.strip())


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".").casefold()
