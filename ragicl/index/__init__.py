"""The example store: SQLite is the truth, FAISS is derived from it."""

from ragicl.index.index import Index
from ragicl.index.reading import Stats

__all__ = ["Index", "Stats"]
