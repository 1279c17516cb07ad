"""Demonstrations that every prompt begins with, so that the model need read them only once.

They are typical examples: the ones nearest to the centres of a k-means clustering. With several
clusters, each has a set of its own, and a query gets the set of the cluster it lies in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragicl.protocols import FloatArray
from ragicl.records import Example, Neighbor


@dataclass(frozen=True, slots=True, eq=False)
class FixedSet:
    """The fixed demonstrations of one cluster, in prompt order.

    :ivar vectors: their embeddings, shape (examples, dim)
    """

    examples: tuple[Example, ...]
    vectors: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class FixedSets:
    """Fixed demonstrations by cluster.

    :ivar centres: shape (clusters, dim)
    """

    sets: tuple[FixedSet, ...]
    centres: FloatArray

    def of(self, vector: FloatArray, exclude: str | None) -> tuple[Neighbor, ...]:
        """Return the demonstrations for a query's vector, in prompt order."""
        chosen = self.sets[int(np.argmax(self.centres @ vector))]
        similarities = np.round(chosen.vectors @ vector, 6)
        return tuple(
            Neighbor(example, float(similarity), rank)
            for rank, (example, similarity) in enumerate(
                zip(chosen.examples, similarities, strict=True)
            )
            if example.id != exclude
        )

    @property
    def ids(self) -> set[str]:
        """The ids of all fixed demonstrations."""
        return {example.id for chosen in self.sets for example in chosen.examples}


def learn_fixed(
    examples: Sequence[Example], vectors: FloatArray, size: int, clusters: int, seed: int = 0
) -> FixedSets:
    """Return `size` typical examples for each of so many clusters.

    :param vectors: unit vectors of the examples, shape (examples, dim)
    """
    members, centres = _clustered(vectors, clusters, seed)
    sets = []
    for own in members:
        _, middles = _clustered(vectors[own], size, seed)
        # The same example may be nearest to two centres.
        nearest = dict.fromkeys(own[int(np.argmax(vectors[own] @ middle))] for middle in middles)
        chosen = list(nearest)
        sets.append(FixedSet(tuple(examples[i] for i in chosen), vectors[chosen]))
    return FixedSets(tuple(sets), centres)


def _clustered(vectors: FloatArray, number: int, seed: int) -> tuple[list[np.ndarray], FloatArray]:
    """Return the positions of each cluster's members, and the clusters' centres as unit vectors."""
    from sklearn.cluster import KMeans

    number = min(number, len(np.unique(vectors, axis=0)))
    found = KMeans(number, n_init=1, random_state=seed).fit(vectors)
    members = [np.flatnonzero(found.labels_ == cluster) for cluster in range(number)]
    norms = np.linalg.norm(found.cluster_centers_, axis=1, keepdims=True)
    return members, (found.cluster_centers_ / np.maximum(norms, 1e-9)).astype(np.float32)
