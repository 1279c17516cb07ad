"""Labels from language models without likelihoods: by constrained choice, or by generating text.

Such a model gives no probabilities, and none are made up. Generated text that is none of the labels
stays what it is, and is marked as such.
"""

from __future__ import annotations

from collections.abc import Sequence

from ragicl.protocols import LM, Choosing, GenerationOptions, Parts
from ragicl.records import DecidedBy


def choose(
    lm: LM,
    prompts: Sequence[Parts],
    choices: Sequence[tuple[str, ...]],
    options: GenerationOptions,
) -> tuple[list[str], DecidedBy]:
    """Return a label, or the text generated in its place, for each prompt; and how it came about.

    :param choices: the labels to choose from after each prompt
    :param options: how text is generated, where the model cannot choose
    """
    if isinstance(lm, Choosing):
        return _constrained(lm, prompts, choices), "choice"
    texts = lm.generate_batch(prompts, **options)
    pairs = zip(texts, choices, strict=True)
    return [matched(text, labels) for text, labels in pairs], "generation"


def _constrained(
    lm: Choosing, prompts: Sequence[Parts], choices: Sequence[tuple[str, ...]]
) -> list[str]:
    """Ask about prompts with the same choices at once."""
    found: dict[int, str] = {}
    for labels in dict.fromkeys(choices):
        rows = [i for i, own in enumerate(choices) if own == labels]
        found |= zip(rows, lm.choose([prompts[i] for i in rows], labels), strict=True)
    return [found[i] for i in range(len(prompts))]


def matched(text: str, labels: Sequence[str]) -> str:
    """Return the label that a text spells, whatever its case and white space; else the text."""
    plain = _plain(text)
    return next((label for label in labels if _plain(label) == plain), text.strip())


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".").casefold()
