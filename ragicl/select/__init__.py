"""Which examples become demonstrations."""

from ragicl.select.nearest import nearest
from ragicl.select.strategies import STRATEGIES, Asked, Strategy

__all__ = ["STRATEGIES", "Asked", "Strategy", "nearest"]
