"""Ways to write the texts of several prompts at once, against one at a time: meqsum, advising_sql.

    python eval/benchmarks/batched_generation.py FOLDER [--rows 8] [--sets NAME…] [--ways NAME…]

`one` is `generate`, prompt by prompt; `padded` is transformers' `generate` on all prompts, padded
on the left; `continuous` is transformers' continuous batching; `slots` is ragicl's own. Texts are
cut at the same stop string. Prints the seconds for all rows, and how many texts are those of `one`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from common import DATA, ragicl, sample
from torch import Tensor
from transformers import (
    ContinuousBatchingConfig,
    GenerationConfig,
    StoppingCriteria,
    StoppingCriteriaList,
)

from ragicl import Engine, Policy
from ragicl.backends.hf.generation.streaming import until_stop
from ragicl.backends.hf.lm import HFLM

SETS = ("meqsum", "advising_sql")
POLICY = Policy(k=8, budget=2048)


class Job:
    """The prompts of some test rows, as texts and as tokens."""

    def __init__(self, engine: Engine, texts: Sequence[str]) -> None:
        assert isinstance(engine.lm, HFLM)
        self.lm = engine.lm
        self.model, self.tokenizer = engine.lm.model(), engine.lm._tokenizer
        self.parts = [engine.prompt(text).parts for text in texts]
        self.ids = [self.lm.tokens.encode("".join(parts)) for parts in self.parts]
        self.stop = engine.template.stops
        self.max_tokens = engine.longest_answer
        self.config = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=self.max_tokens,
            do_sample=False,
            eos_token_id=self.model.generation_config.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id or 0,
        )

    def text(self, ids: Any) -> str:
        """Return written tokens as text, up to the first stop string."""
        whole = self.tokenizer.decode(ids, skip_special_tokens=True)
        return "".join(until_stop([str(whole)], self.stop))

    def stopped(self, ids: Any) -> bool:
        """Return whether a text holds a stop string."""
        whole = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        return any(s in whole for s in self.stop)


class EachStopped(StoppingCriteria):
    """Ends each row of a padded batch at its own stop string."""

    def __init__(self, job: Job, prompt: int) -> None:
        self._job, self._prompt = job, prompt

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Return, for each row, whether it ends here."""
        rows = [self._job.stopped(row[self._prompt :]) for row in input_ids]
        return torch.tensor(rows, device=input_ids.device)


def one(job: Job) -> list[str]:
    """Write one text after the other."""
    options: dict[str, Any] = {"max_tokens": job.max_tokens, "stop": job.stop}
    return ["".join(job.lm.stream(parts, **options)) for parts in job.parts]


def padded(job: Job) -> list[str]:
    """Write all texts in one batch, padded on the left."""
    longest = max(map(len, job.ids))
    rows = [[0] * (longest - len(ids)) + ids for ids in job.ids]
    mask = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in job.ids]
    written = job.model.generate(  # type: ignore[operator]
        torch.tensor(rows),
        attention_mask=torch.tensor(mask),
        generation_config=job.config,
        stopping_criteria=StoppingCriteriaList([EachStopped(job, longest)]),
    )
    return [job.text(row[longest:]) for row in written]


def continuous(job: Job) -> list[str]:
    """Write by continuous batching; a request is cancelled once it holds a stop string."""
    job.model.set_attn_implementation("sdpa")
    tokens = sum(len(ids) + job.max_tokens for ids in job.ids)
    config = ContinuousBatchingConfig(num_blocks=tokens // 256 + 16, max_batch_tokens=4096)
    written: dict[str, list[int]] = {}
    model: Any = job.model
    with model.continuous_batching_context_manager(
        generation_config=job.config, continuous_batching_config=config
    ) as manager:
        names = [
            manager.add_request(ids, max_new_tokens=job.max_tokens, streaming=True)
            for ids in job.ids
        ]
        going = set(names)
        while going:
            result = manager.get_result(timeout=1)
            if result is None or result.request_id not in going:
                continue
            written[result.request_id] = result.generated_tokens
            if result.is_finished() or job.stopped(result.generated_tokens):
                manager.cancel_request(result.request_id)
                going.remove(result.request_id)
    return [job.text(written[name]) for name in names]


def slots(job: Job) -> list[str]:
    """Write by ragicl's own batches."""
    return job.lm.generate_batch(job.parts, max_tokens=job.max_tokens, stop=job.stop)


WAYS: dict[str, Callable[[Job], list[str]]] = {
    way.__name__: way for way in (one, padded, continuous, slots)
}


def main() -> None:
    """Write the texts of some rows of each set in every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--ways", nargs="+", default=tuple(WAYS), choices=tuple(WAYS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.sets:
        index = options.folder / name
        ragicl("index", DATA / name / "train.jsonl", "--out", index, "--kind", "generate")
        texts = [
            row["input"] if "input" in row else row["text"] for row in sample(name, options.rows)
        ]
        with Engine.open(index, policy=POLICY) as engine:
            compare(name, Job(engine, texts), options.ways)


def compare(name: str, job: Job, ways: Sequence[str]) -> None:
    """Run each way, and print a line about it."""
    lengths = [len(ids) for ids in job.ids]
    print(f"{name}: {len(lengths)} prompts of {min(lengths)} to {max(lengths)} tokens", flush=True)
    job.lm.generate_batch(job.parts[:1], max_tokens=2)  # a warm-up
    expected: list[str] = []
    for way in ways:
        start = time.perf_counter()
        texts = WAYS[way](job)
        took = time.perf_counter() - start
        expected = expected or texts
        same = sum(a == b for a, b in zip(texts, expected, strict=True))
        tokens = sum(len(job.tokenizer(text)["input_ids"]) for text in texts)
        print(
            f"  {way:<11}{took:>7.1f} s, {tokens} tokens kept, {same} texts as {ways[0]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
