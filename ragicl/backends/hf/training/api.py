"""What an evaluation needs of a causal model besides scoring: states, distributions, training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ragicl.backends.hf.lm import HFLM
from ragicl.backends.hf.loading import load_model
from ragicl.backends.hf.training.batches import Row
from ragicl.backends.hf.training.methods import SOFT_TOKENS, merged, soft_prompt
from ragicl.backends.hf.training.trainer import WEIGHTS, Chosen, Trained, Tuner
from ragicl.errors import BackendError, TaskError, require
from ragicl.protocols import LM, FloatArray, Parts, Progress, Scoring, no_progress

Pair = tuple[Parts, str]
"""A prompt and its answer."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """A fine-tuned model.

    :ivar seconds: of training, with the search for its settings
    :ivar bytes: of the weights to store beside the base model's
    :ivar settings: what was chosen, on which loss, and whether time ended the training
    :ivar soft: tokens of the soft prompt that every text is read after
    """

    lm: Scoring
    seconds: float
    bytes: int
    settings: Mapping[str, Any]
    soft: int = 0


def hidden(lm: LM, prompts: Sequence[Parts]) -> FloatArray:
    """Return the last hidden state of each prompt's last token, shape (prompts, width).

    :raises BackendError: where `lm` is not a model of transformers
    :raises BudgetError: where a prompt exceeds the window
    """
    return _hf(lm).hidden(prompts)


def answer_log_probs(lm: LM, parts: Parts, answer: str) -> tuple[FloatArray, tuple[int, ...]]:
    """Return the distributions from which an answer's tokens would be drawn, and its token ids.

    :return: log-probabilities in nats, shape (tokens of the answer, vocabulary); the tokens
    :raises BackendError: where `lm` is not a model of transformers
    :raises BudgetError: where prompt and answer exceed the window
    """
    own = _hf(lm)
    model = own.model()
    split = own.tokens.split(parts, [answer])
    tokens = split.answers[0]
    own.check(split.ids, len(tokens))
    ids = torch.tensor([[*split.ids, *tokens[:-1]]], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, logits_to_keep=len(tokens), use_cache=False).logits[0]
        return logits.float().log_softmax(dim=-1).cpu().numpy(), tokens


def check_tunable(lm: LM, method: str) -> None:
    """Refuse at once what would fail after hours.

    :raises BackendError: where a model cannot be trained so
    :raises MissingExtraError: where a package is missing
    """
    own = _hf(lm)
    if method in ("lora", "prompt-tuning"):
        require("eval", f"training {method}", "peft")
    if method == "prompt-tuning" and not own.packed:
        raise BackendError(f"a soft prompt before {own.spec} cannot be scored; leave it out")


def tune(
    lm: LM,
    method: str,
    pairs: Sequence[Pair],
    folder: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    before: Sequence[Pair] = (),
    progress: Progress = no_progress,
) -> Tuned:
    """Fine-tune a copy of a model on prompts and answers; the search for settings is seed 0's.

    :param method: ``full``, ``partial``, ``lora`` or ``prompt-tuning``
    :param folder: of this method on these rows; what is finished there is not done again
    :param minutes: ends the search and each training early
    :param before: rows of an intermediate task, trained on first, all weights
    :raises BackendError: where `lm` is not a model of transformers, or a package is missing
    """
    check_tunable(lm, method)
    base = _hf(lm)
    load: Callable[[], PreTrainedModel] = partial(load_model, base.name, torch.float32)
    stages = [(method, pairs, folder)]
    if before:
        stages.insert(0, ("full", before, folder / "before"))
    results = []
    for what, some, place in stages:
        tuner = Tuner(load, dtype=base.dtype, progress=progress)
        rows = _rows(base, some)
        results.append((*tuner.tune(what, rows, place, seed, minutes), len(some) - len(rows)))
        load = partial(tuner.tuned, what, place, seed)  # a next stage starts from these weights
    model = load()
    soft = method == "prompt-tuning"
    found = (
        base.variant(base.model(), method, soft_prompt(model, base.model()))
        if soft
        else base.variant(_placed(merged(model), base.model()), method)
    )
    return Tuned(
        found,
        sum(done.seconds + chosen.seconds for done, chosen, _ in results),
        (folder / f"seed-{seed}" / WEIGHTS).stat().st_size,
        _settings(results, seed),
        SOFT_TOKENS if soft else 0,
    )


def _settings(results: Sequence[tuple[Trained, Chosen, int]], seed: int) -> dict[str, Any]:
    """Return what was chosen for the last stage, and what held any stage back."""
    done, chosen, _ = results[-1]
    return asdict(chosen.config) | {
        "seed": seed,
        "epochs": round(done.epochs, 2),
        "held_out_loss": round(chosen.loss, 4),
        "more_might_help": chosen.at_end,
        "rows_left_out": sum(left_out for _, _, left_out in results),
        "complete": all(done.complete for done, _, _ in results),
    }


def _placed(model: PreTrainedModel, like: PreTrainedModel) -> PreTrainedModel:
    moved: Any = model
    placed: PreTrainedModel = moved.to(device=like.device, dtype=like.dtype)
    return placed


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
        raise BackendError(f"{lm.spec} cannot be fine-tuned, nor its states read; use hf:NAME")
    return lm
