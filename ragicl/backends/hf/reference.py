"""What an evaluation asks of a causal model besides scoring: states, distributions, training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ragicl.backends.hf.adapt import merged, soft_prompt
from ragicl.backends.hf.clock import Steps
from ragicl.backends.hf.lm import HFLM
from ragicl.backends.hf.load import load_model
from ragicl.backends.hf.tuning import WEIGHTS, Row, Tuner
from ragicl.errors import BackendError, TaskError
from ragicl.protocols import LM, FloatArray, Parts

Pair = tuple[Parts, str]
"""A prompt and its answer."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """A fine-tuned model.

    :ivar seconds: of training, with the search for its settings
    :ivar bytes: of the weights to store beside the base model's
    :ivar settings: what was chosen, on which loss, and whether time ended the training
    """

    lm: LM
    seconds: float
    bytes: int
    settings: Mapping[str, Any]


def hidden(lm: LM, prompts: Sequence[Parts]) -> FloatArray:
    """Return the last hidden state of each prompt's last token, shape (prompts, width).

    :raises BackendError: where `lm` is not a model of transformers
    """
    model = _hf(lm).model()
    rows: list[Tensor] = []
    output: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    hook = output.register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0][0, -1].float()))
    try:
        with torch.inference_mode():
            for parts in prompts:
                ids = torch.tensor([_hf(lm).tokens.encode(parts)], device=model.device)
                model(input_ids=ids, logits_to_keep=1, use_cache=False)
    finally:
        hook.remove()
    return np.stack([row.cpu().numpy() for row in rows])


def answer_log_probs(lm: LM, parts: Parts, answer: str) -> tuple[FloatArray, tuple[int, ...]]:
    """Return the distributions from which an answer's tokens would be drawn, and its token ids.

    :return: log-probabilities in nats, shape (tokens of the answer, vocabulary); the tokens
    :raises BackendError: where `lm` is not a model of transformers
    """
    model = _hf(lm).model()
    split = _hf(lm).tokens.split(parts, [answer])
    tokens = split.answers[0]
    ids = torch.tensor([[*split.ids, *tokens[:-1]]], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, logits_to_keep=len(tokens), use_cache=False).logits[0]
        return logits.float().log_softmax(dim=-1).cpu().numpy(), tokens


def tune(
    lm: LM,
    method: str,
    pairs: Sequence[Pair],
    folder: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    before: Sequence[Pair] = (),
    steps: Steps | None = None,
) -> Tuned:
    """Fine-tune a copy of a model on prompts and answers; the search for settings is seed 0's.

    :param method: ``full``, ``partial``, ``lora`` or ``prompt-tuning``
    :param folder: of this method on these rows; what is finished there is not done again
    :param minutes: ends the search and each training early
    :param before: rows of an intermediate task, trained on first, all weights
    :raises BackendError: where `lm` is not a model of transformers, or a package is missing
    """
    base = _hf(lm)
    if method == "prompt-tuning" and not base.packed:
        raise BackendError(f"a soft prompt before {base.spec} cannot be scored; leave it out")
    load = partial(load_model, base.name, torch.float32)
    bf16 = base.dtype == torch.bfloat16
    spent = 0.0
    if before:
        first = Tuner(load, bf16=bf16, steps=steps)
        stage = folder / "before"
        done, chosen = first.tune("full", _rows(base, before), stage, seed, minutes)
        spent += done.seconds + (chosen.seconds if seed == 0 else 0.0)
        load = partial(first.tuned, "full", stage, seed)  # the next stage starts from these
    tuner = Tuner(load, bf16=bf16, steps=steps)
    done, chosen = tuner.tune(method, _rows(base, pairs), folder, seed, minutes)
    model = tuner.tuned(method, folder, seed)
    if method == "prompt-tuning":
        found = base.variant(base.model(), method, soft_prompt(model, base.model()))
    else:
        found = base.variant(merged(model).to(base.dtype).to(base.model().device), method)  # type: ignore[arg-type]
    settings = asdict(chosen.recipe) | {
        "seed": seed,
        "epochs": round(done.epochs, 2),
        "held_out_loss": round(chosen.loss, 4),
        "complete": done.complete,
    }
    return Tuned(
        found,
        spent + done.seconds + chosen.seconds,
        (folder / f"seed-{seed}" / WEIGHTS).stat().st_size,
        settings,
    )


def _rows(lm: HFLM, pairs: Sequence[Pair]) -> list[Row]:
    """Return pairs as token ids; those that the model cannot read whole are left out.

    :raises TaskError: where fewer than ten are left
    """
    splits = [lm.tokens.split(parts, [answer]) for parts, answer in pairs]
    rows = [Row(tuple(s.ids), s.answers[0]) for s in splits]
    rows = [row for row in rows if len(row.prompt) + len(row.answer) <= lm.window]
    if len(rows) < 10:
        raise TaskError(f"{len(rows)} examples are too few to fine-tune on; give ten or more")
    return rows


def _hf(lm: LM) -> HFLM:
    if not isinstance(lm, HFLM):
        raise BackendError(f"{lm.spec} cannot be fine-tuned or looked into; use hf:NAME or smollm2")
    return lm
