"""The example store: SQLite is the truth, FAISS is derived from it."""

from ragicl.index.index import Index, Stats

__all__ = ["Index", "Stats"]
