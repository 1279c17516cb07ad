"""Which examples become demonstrations."""

from ragicl.retrieval.nearest import nearest
from ragicl.retrieval.strategies import STRATEGIES, Asked, Strategy

__all__ = ["STRATEGIES", "Asked", "Strategy", "nearest"]
