"""A pool of three labels, and test rows of which one is in the pool."""

from ragicl import Example
from ragicl.records import Query

WORDS = {"late": "parcel", "lost": "card", "reset": "pin"}
POOL = [
    Example(f"{word} number {n}", label, str(f"{label}-{n}"))
    for label, word in WORDS.items()
    for n in range(8)
]
TEST = [
    Query(f"my {word} is odd {n}", f"{label}-test-{n}", label)
    for label, word in WORDS.items()
    for n in range(5)
] + [Query("  PARCEL number: 3!", "leak", "late")]
