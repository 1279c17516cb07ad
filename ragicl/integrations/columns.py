"""Columns of texts and classes, as lists, numpy and pandas have them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ragicl.errors import DataError

MISSING = ("NAType", "NaTType")  # pandas'; pandas itself is not imported


def plain_classes(y: Any) -> Any:
    """Return classes in numpy's own types: pandas' nullable ones and numpy's StringDType are not.

    :raises DataError: where one is missing
    """
    own = getattr(y, "dtype", None)
    values = y.tolist() if hasattr(y, "tolist") else y
    if isinstance(values, list | tuple):
        for number, value in enumerate(values):
            if value is None or type(value).__name__ in MISSING:
                raise DataError(f"y[{number}] is {value}; give every text a class")
    if getattr(own, "kind", None) == "T":  # numpy's StringDType
        return np.array(values, dtype=str)
    if (numpy_type := getattr(own, "numpy_dtype", None)) is not None:
        return np.array(values, dtype=numpy_type)
    return y


def texts_of(given: Any) -> list[str]:
    """Return texts as a list; a single column counts as one."""
    column = np.asarray(given, dtype=object)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1:
        raise DataError(f"X has the shape {column.shape}; give texts, in a list or a single column")
    if len(column) == 0:
        raise DataError("X holds no texts; give one or more")
    texts = column.tolist()
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"X[{number}] is {type(text).__name__}, not a text")
    return [str(text) for text in texts]  # numpy's own strings are no plain ones
