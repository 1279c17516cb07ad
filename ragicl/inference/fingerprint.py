"""What determines an answer: to tell one run, one cache or one tuning from another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragicl.inference.pipeline import Pipeline


def fingerprint(pipeline: Pipeline) -> Mapping[str, Any]:
    """Return everything that shapes a prediction, by name, as JSON can hold it."""
    index, lm, template = pipeline.index, pipeline.lm, pipeline.template
    tuned = pipeline.tuned if pipeline.blends else None
    return {
        "index": str(index.path.resolve()),
        "generation": index.generation,
        "encoder": index.manifest.encoder.fingerprint,
        "lm": lm.description if lm else None,
        "template": "|".join(template.render("{query}", [("{input}", "{output}")])),
        "blend": tuned.as_json()["blend"] if tuned else None,
        **pipeline.policy.as_dict(),
    }
