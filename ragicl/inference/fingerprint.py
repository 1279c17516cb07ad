"""What determines an answer: to tell one run, one cache or one tuning from another."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from ragicl.index import Index
from ragicl.index.ids import content_id
from ragicl.inference.pipeline import Pipeline

SAMPLE = 256  # examples that tell an index from others


def fingerprint(pipeline: Pipeline) -> Mapping[str, Any]:
    """Return everything that shapes a prediction, by name, as JSON can hold it."""
    index, lm, template = pipeline.index, pipeline.lm, pipeline.template
    tuned = pipeline.tuned if pipeline.blends else None
    return {
        "index": _content(index),
        "generation": index.generation,
        "encoder": index.manifest.encoder.fingerprint,
        "lm": lm.description if lm else None,
        "template": "|".join(template.render("{query}", [("{input}", "{output}")])),
        "blend": tuned.as_json()["blend"] if tuned else None,
        **pipeline.policy.as_dict(),
    }


def _content(index: Index) -> str:
    """Return what tells an index from others wherever its folder is."""
    digest = blake2b(f"{index.manifest.created} {len(index)}".encode(), digest_size=8)
    for example in index.sample(SAMPLE):
        digest.update(content_id(example).encode())
    return digest.hexdigest()
