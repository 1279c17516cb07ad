"""In-context learning over labelled examples: index, retrieve, compose, predict.

The names below are imported when first used, so that ``import ragicl`` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragicl.engine import Engine
    from ragicl.errors import (
        BackendError,
        BudgetError,
        CorruptError,
        DataError,
        EncoderError,
        ExampleError,
        ForkError,
        FormatError,
        LockedError,
        MissingExtraError,
        NoIndexError,
        RagiclError,
        ReplacedError,
        StoreError,
        TaskError,
    )
    from ragicl.index import Index
    from ragicl.integrations.sklearn import ICLClassifier
    from ragicl.policy import Policy
    from ragicl.prompting.template import PlainTemplate
    from ragicl.records import (
        ContextInfluence,
        Contribution,
        Example,
        Explanation,
        Influence,
        Neighbor,
        Prediction,
        Prompt,
        Support,
    )

_HOMES = {
    "Engine": "ragicl.engine",
    "Policy": "ragicl.policy",
    "ICLClassifier": "ragicl.integrations.sklearn",
    "Index": "ragicl.index",
    "PlainTemplate": "ragicl.prompting.template",
    "ContextInfluence": "ragicl.records",
    "Contribution": "ragicl.records",
    "Example": "ragicl.records",
    "Explanation": "ragicl.records",
    "Influence": "ragicl.records",
    "Neighbor": "ragicl.records",
    "Prediction": "ragicl.records",
    "Prompt": "ragicl.records",
    "Support": "ragicl.records",
    "BackendError": "ragicl.errors",
    "BudgetError": "ragicl.errors",
    "CorruptError": "ragicl.errors",
    "DataError": "ragicl.errors",
    "EncoderError": "ragicl.errors",
    "ExampleError": "ragicl.errors",
    "FormatError": "ragicl.errors",
    "LockedError": "ragicl.errors",
    "ForkError": "ragicl.errors",
    "MissingExtraError": "ragicl.errors",
    "NoIndexError": "ragicl.errors",
    "RagiclError": "ragicl.errors",
    "ReplacedError": "ragicl.errors",
    "StoreError": "ragicl.errors",
    "TaskError": "ragicl.errors",
}

__all__ = [
    "BackendError",
    "BudgetError",
    "ContextInfluence",
    "Contribution",
    "CorruptError",
    "DataError",
    "EncoderError",
    "Engine",
    "Example",
    "ExampleError",
    "Explanation",
    "ForkError",
    "FormatError",
    "ICLClassifier",
    "Index",
    "Influence",
    "LockedError",
    "MissingExtraError",
    "Neighbor",
    "NoIndexError",
    "PlainTemplate",
    "Policy",
    "Prediction",
    "Prompt",
    "RagiclError",
    "ReplacedError",
    "StoreError",
    "Support",
    "TaskError",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # half of what `import ragicl` would take

        return version("ragicl")
    if name not in _HOMES:
        raise AttributeError(f"module 'ragicl' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
