"""What is checked and made of examples before they are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from ragicl.errors import BackendError, ExampleError, quoted
from ragicl.index.ids import content_id, same_content
from ragicl.protocols import Encoder, FloatArray
from ragicl.records import Example

Known = Mapping[str, Example]
"""The stored examples with some ids, as far as there are any."""


def encoded(examples: Sequence[Example], encoder: Encoder, dim: int) -> FloatArray:
    """Return vectors that are fit to be stored, shape (len(examples), dim).

    :raises BackendError: where the encoder gives others
    """
    vectors = np.asarray(encoder.encode([e.input for e in examples]), dtype=np.float32)
    shape = (len(examples), dim)
    if vectors.shape != shape or not np.isfinite(vectors).all():
        raise BackendError(
            f"the encoder {quoted(encoder.spec)} gave vectors of shape {vectors.shape}, or not "
            f"finite, in place of {shape}; nothing was stored, use another encoder"
        )
    return vectors


def named(example: Example, get: Callable[[Sequence[str]], Known]) -> Example:
    """Return the example with the first content id that is free, or is its own."""
    for occurrence in count(1):
        identity = content_id(example, occurrence)
        other = get([identity]).get(identity)
        if other is None or same_content(other, example):
            return replace(example, id=identity)
    raise AssertionError("count() never ends")


def fresh(examples: Sequence[Example], known: Known, path: Path) -> list[Example]:
    """Return the examples that are not stored yet, each once.

    :raises ExampleError: where an id is taken by other content
    """
    taken, found = dict(known), []
    for example in examples:
        other = taken.get(example.id)
        if other is None:
            taken[example.id] = example
            found.append(example)
        elif not same_content(other, example):
            raise ExampleError(
                f"id {quoted(example.id)} is taken by another example in {path}; "
                f"use another id, or update it"
            )
    return found


def check_present(ids: Sequence[str], known: Known, path: Path) -> None:
    """Refuse ids that are not stored, or are given twice.

    :raises ExampleError: naming one
    """
    if missing := [i for i in ids if i not in known]:
        raise ExampleError(f"there is no example with id {quoted(missing[0])} in {path}")
    if len(known) < len(ids):
        raise ExampleError("an id is given twice; give each example once")
