"""Ids made from content, so that the same example is the same everywhere."""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Iterable

from ragicl.errors import encodable
from ragicl.records import Example


def content_id(example: Example, occurrence: int = 1) -> str:
    """Return an id that is the same for the same input and output.

    :param occurrence: 2 and up for the same content seen again in one file
    """
    content = f"{example.input}\0{example.output}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(content, digest_size=10).digest()
    name = b32encode(digest).decode().lower()
    return name if occurrence == 1 else f"{name}-{occurrence}"


def same_content(left: Example, right: Example) -> bool:
    """Return whether two examples have the same input and output."""
    return (left.input, left.output) == (right.input, right.output)


def storable(ids: Iterable[str]) -> list[str]:
    """Return the ids that an example can have: a database takes no half characters."""
    return [identity for identity in ids if encodable(identity)]
