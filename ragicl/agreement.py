"""How often a faster way of attending gives the answers of the exact one, measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path

from ragicl.engine import Engine
from ragicl.records import Prediction

EXAMPLES = 32  # of the index, asked as queries: some 40 s where an exact answer takes one


@dataclass(frozen=True, slots=True)
class Agreement:
    """Answers to examples of the index, none of them among its own demonstrations.

    :ivar asked: how many examples
    :ivar same: how many got the same answer
    :ivar faster: time of scoring in the exact way, divided by the time in the faster one
    """

    asked: int
    same: int
    faster: float

    def __str__(self) -> str:
        return (
            f"blocks: same answer as exact on {self.same} of {self.asked} examples of the index "
            f"(leave-one-out), {self.faster:.1f} x faster once their states are kept"
        )


def agreement(engine: Engine) -> Agreement:
    """Measure an engine against itself with exact attention; a figure on disk is used again."""
    file = _file(engine)
    with suppress(OSError, ValueError, TypeError):
        return Agreement(**json.loads(file.read_text(encoding="utf-8")))
    exact = Engine(
        engine.index,
        engine.lm,
        engine.template,
        replace(engine.policy, attention="exact"),
        engine.tuned,
    )
    examples = engine.index.sample(EXAMPLES)
    texts, own = [e.input for e in examples], [e.id for e in examples]
    _asked(engine, texts, own)  # the first time is spent on computing states
    kept, read = _asked(engine, texts, own), _asked(exact, texts, own)
    pairs = list(zip(kept, read, strict=True))
    measured = Agreement(
        asked=len(pairs),
        same=sum(left.output == right.output for left, right in pairs),
        faster=_seconds(read) / max(_seconds(kept), 1e-9),
    )
    if engine.policy.states_gb:
        with suppress(OSError):
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(asdict(measured)), encoding="utf-8")
    return measured


def _asked(engine: Engine, texts: Sequence[str], own: Sequence[str]) -> list[Prediction]:
    answers = engine.try_all(texts, exclude=own)
    return [answer for answer in answers if isinstance(answer, Prediction)]


def _seconds(predictions: Sequence[Prediction]) -> float:
    return sum(p.timings.get("score", 0.0) for p in predictions) / 1000


def _file(engine: Engine) -> Path:
    """Return the file for figures of this engine on this state of its index."""
    lm = engine.lm.description if engine.lm else ""
    template = engine.template.render("{query}", [("{input}", "{output}")])
    known = f"{engine.index.generation} {lm} {template} {engine.policy}"
    name = blake2b(known.encode(), digest_size=8).hexdigest()
    return engine.index.path / "states" / f"agreement-{name}.json"
