"""Rows of distances that follow a known power law."""

import numpy as np

SIZES = (16, 32, 64, 128, 256, 512)


def rows_of(true, rows=400, seed=0):
    """Return distances with these means: rows differ, and each one's distances vary together."""
    rng = np.random.default_rng([2506, seed])
    true = np.array(true)[:, np.newaxis]
    shared, own = rng.uniform(-1, 1, rows), rng.uniform(-1, 1, (len(true), rows))
    return true * (1 + 0.6 * shared + 0.4 * own)


def law_of(a, b, c, sizes=SIZES):
    return a * np.array(sizes, dtype=float) ** -b + c
