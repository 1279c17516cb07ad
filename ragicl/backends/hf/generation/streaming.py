"""Text from a model, piece by piece, up to a stop string."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from threading import Event, Thread
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
    TextStreamer,
)

DECODING: dict[str, Any] = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}

# A model may bring a way of writing along, such as a penalty on words of the prompt, which is where
# the answers are; transformers takes it for all that is not set here.
LIKELIEST: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
}


class GumbelSampling(LogitsProcessor):
    """Makes the likeliest token a sample: the Gumbel-max trick, with a generator of its own.

    transformers samples from torch's global generator, which other threads advance too; with this,
    a seed gives the same text whatever else runs.
    """

    def __init__(self, temperature: float, seed: int) -> None:
        self._temperature = temperature
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores whose largest is a sample of the distribution they stand for."""
        noise = torch.empty(scores.shape).exponential_(generator=self._generator).log()
        return scores.float() / self._temperature - noise.to(scores.device)


class Pieces(TextStreamer):
    """Gathers the pieces of text that a :func:`stream` of the same tokens would yield."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer, **DECODING)
        self.text = ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Take the next piece."""
        self.text += text


class Stopped(StoppingCriteria):
    """Ends a generation that nobody reads any more."""

    def __init__(self) -> None:
        self.event = Event()

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Return, for each sequence, whether it ends here."""
        return torch.full((len(input_ids),), self.event.is_set(), device=input_ids.device)


def stream(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    *,
    max_tokens: int,
    stop: Sequence[str],
    temperature: float,
    seed: int,
) -> Iterator[str]:
    """Yield pieces of the continuation; closing the iterator early ends the generation."""
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, **DECODING)
    stopped, failures = Stopped(), list[Exception]()
    sampling = [GumbelSampling(temperature, seed)] if temperature > 0 else []
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max_tokens,
        **LIKELIEST,
        eos_token_id=model.generation_config.eos_token_id,
        pad_token_id=tokenizer.pad_token_id or 0,
    )

    def work() -> None:
        try:
            model.generate(  # type: ignore[operator]
                torch.tensor([list(ids)], device=model.device),
                attention_mask=torch.ones((1, len(ids)), dtype=torch.long, device=model.device),
                generation_config=config,
                logits_processor=LogitsProcessorList(sampling),
                stopping_criteria=StoppingCriteriaList([stopped]),
                streamer=streamer,
            )
        except Exception as error:  # handed to the reader, who would wait for ever otherwise
            failures.append(error)
            streamer.end()  # type: ignore[no-untyped-call]

    worker = Thread(target=work, daemon=True)
    worker.start()
    try:
        yield from until_stop(streamer, stop)
    finally:
        stopped.event.set()
        worker.join()
    if failures:
        raise failures[0]


def end_tokens(model: PreTrainedModel) -> list[int]:
    """Return the tokens that end a text."""
    ends = model.generation_config.eos_token_id
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def until_stop(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """Yield the pieces up to the first stop string, holding back what may be its beginning.

    The first is the one that is complete first, so that the text does not depend on the pieces;
    empty stop strings are ignored.
    """
    held = ""
    for piece in pieces:
        held += piece
        found = [(at + len(s), at) for s in stop if s and (at := held.find(s)) >= 0]
        if found:
            _, at = min(found)
            if at:
                yield held[:at]
            return
        keep = max((_overlap(held, s) for s in stop), default=0)
        if len(held) > keep:
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
    if held:
        yield held


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop`."""
    return max((n for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
