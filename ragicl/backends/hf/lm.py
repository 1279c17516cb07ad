"""Any Hugging Face causal language model: counting, scoring, generating."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import copy
from functools import cached_property, lru_cache
from math import inf
from threading import Lock
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ragicl.backends.hf.chat import render_chat
from ragicl.backends.hf.generation.batched import generate_batch
from ragicl.backends.hf.generation.streaming import stream
from ragicl.backends.hf.hidden_states import Text, block_states, last_states
from ragicl.backends.hf.layers import Stack
from ragicl.backends.hf.loading import (
    choose_dtype,
    load_config,
    load_model,
    load_tokenizer,
)
from ragicl.backends.hf.roofline import matrix_ceiling, memory_ceiling, prompt_flops
from ragicl.backends.hf.scoring.batching import batches
from ragicl.backends.hf.scoring.counting import Count
from ragicl.backends.hf.scoring.kept_states import restored, to_bytes
from ragicl.backends.hf.scoring.packed_scoring import Job, read_states, score_jobs
from ragicl.backends.hf.scoring.packing import States, enable_packing
from ragicl.backends.hf.scoring.prefix_cache import BYTES as PREFIX_BYTES
from ragicl.backends.hf.scoring.prefix_cache import SHORTEST, PrefixCache
from ragicl.backends.hf.scoring.routes import PACKED, choose_route, score_alone
from ragicl.backends.hf.scoring.trie import Trie, build_trie
from ragicl.backends.hf.tokenization import Split, Tokens
from ragicl.errors import BackendError, BudgetError
from ragicl.forks import compute
from ragicl.protocols import FloatArray, GenerationOptions, Message, Parts, Progress, no_progress

BATCH_TOKENS = 4096  # tokens read in one pass, prompts and answers together
LAST_ONLY: dict[str, Any] = {"logits_to_keep": 1, "use_cache": True}
NO_LIMIT = 2**20  # window of a model that states none
_trie = lru_cache(64)(build_trie)  # most prompts end alike, and have the same answers


class HFLM:
    """A frozen causal model behind the :class:`ragicl.protocols.LM` protocol.

    The weights are loaded when first needed: counting tokens takes the tokenizer alone.

    :param batch_tokens: tokens read in one pass, prompts and answers together
    :param prefix_bytes: memory for the states of prefixes that prompts share; 0 keeps none
    :ivar spec: opens this model again
    :ivar window: the most tokens that a prompt and its answer may have together
    :ivar description: which weights and precision are in use
    :ivar tokens: from text to token ids
    :ivar progress: called while labels are read, which takes long where there are many
    """

    def __init__(
        self,
        spec: str,
        name: str,
        *,
        dtype: str = "auto",
        source: str | None = None,
        batch_tokens: int = BATCH_TOKENS,
        prefix_bytes: int = PREFIX_BYTES,
    ) -> None:
        config = load_config(name).get_text_config()
        self.spec = spec
        self.window = int(getattr(config, "max_position_embeddings", None) or NO_LIMIT)
        self.name = name
        self.dtype = choose_dtype(dtype)
        self.description = f"{source or spec}, {str(self.dtype).removeprefix('torch.')}"
        self._tokenizer = load_tokenizer(name)
        self.tokens = Tokens(self._tokenizer)
        self._prefix_cache = PrefixCache(prefix_bytes)
        self._soft: States | None = None
        self.progress: Progress = no_progress
        self._batch_tokens = batch_tokens
        self._loading = Lock()
        self._scoring = Lock()  # one batch at a time: two would share the same cores and memory

    @cached_property
    def _model(self) -> PreTrainedModel:
        return load_model(self.name, self.dtype)

    @cached_property
    def _route(self) -> str:
        return choose_route(self.model())

    @cached_property
    def _stack(self) -> Stack:
        return Stack(self._model)

    @property
    def packed(self) -> bool:
        """Whether several prompts are read in one pass."""
        return self._route == PACKED

    def route(self) -> str:
        """Return how answers are scored: see :mod:`ragicl.backends.hf.scoring.routes`."""
        return self._route

    @property
    def prefix_stable(self) -> bool:
        """Whether token ids are kept for each part of a prompt; else whole prompts are encoded."""
        return self.tokens.prefix_stable

    def count(self, parts: Parts) -> int:
        """Return the number of tokens of a whole prompt."""
        return self.tokens.count(parts)

    def score(
        self,
        prompts: Sequence[Parts],
        answers: Sequence[str],
        *,
        prune_margin: float | None = None,
        candidate_ids: Sequence[Collection[int]] | None = None,
    ) -> FloatArray:
        """Return log P(answer | prompt) in nats, shape (prompts, answers)."""
        scores = np.full((len(prompts), len(answers)), -inf, dtype=np.float32)
        if not scores.size:
            return scores
        splits = [self.tokens.split(parts, answers) for parts in prompts]
        for split in splits:
            self.check(split.ids, max(map(len, split.answers)))
        chosen: list[tuple[int, ...] | None] = [None] * len(prompts)
        if candidate_ids is not None:
            chosen = [tuple(some) for some in candidate_ids]
        with self._scoring, torch.inference_mode():
            if self.packed:
                tries = [_trie(s.answers, some) for s, some in zip(splits, chosen, strict=True)]
                margin = inf if prune_margin is None else prune_margin
                self._score_packed(splits, tries, margin, scores)
            else:
                alone = score_alone(self.model(), self._route, splits, chosen, self.progress)
                for row, (some, found) in enumerate(alone):
                    scores[row, list(some)] = found
        return scores

    def variant(self, model: PreTrainedModel, what: str, soft: States | None = None) -> HFLM:
        """Return this one with other weights of the same kind, or a soft prompt before each text.

        It scores by the same route, which is the architecture's: sharp weights round differently,
        and may seem not to agree.

        :param what: how they came about, for people
        :param soft: states of the soft prompt, of a model that can be packed; for scoring alone
        """
        other = copy(self)
        other.description += f", {what}"
        other._prefix_cache = PrefixCache(PREFIX_BYTES)
        other.__dict__.pop("_stack", None)
        if self._packs():  # finds the route out, where it is not known yet
            enable_packing(model)
        other.__dict__.update(_model=model, _route=self._route)
        other._soft = soft
        return other

    def stream(
        self,
        parts: Parts,
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield a continuation in pieces, up to the first stop string."""
        ids = self.tokens.encode(parts)
        self.check(ids, max_tokens)
        self._packs()  # packed attention is the faster one for a single token too
        return stream(
            self.model(),
            self._tokenizer,
            ids,
            max_tokens=max_tokens,
            stop=stop,
            temperature=temperature,
            seed=seed,
        )

    def generate_batch(
        self,
        prompts: Sequence[Parts],
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """Return the text that :meth:`stream` would give after each prompt, many at a time."""
        jobs = [self.tokens.encode(parts) for parts in prompts]
        for ids in jobs:
            self.check(ids, max_tokens)
        options = GenerationOptions(
            max_tokens=max_tokens, stop=stop, temperature=temperature, seed=seed
        )
        if not self._packs() or len(prompts) < 2:
            return ["".join(self.stream(parts, **options)) for parts in prompts]
        with torch.inference_mode():
            texts = dict(generate_batch(self.model(), self._tokenizer, jobs, options))
        return [texts[number] for number in range(len(prompts))]

    def chat(self, messages: Sequence[Message]) -> str:
        """Return the messages in the model's own chat format, ready for the assistant's turn."""
        return render_chat(self._tokenizer, self.tokens.controls, messages, self.spec)

    def prefill(self, parts: Parts) -> None:
        """Read a prompt, and do nothing else."""
        ids, model = self.tokens.encode(parts), self.model()
        with self._scoring, torch.inference_mode():
            if self.packed:
                read_states(model, ids)
            else:
                model(input_ids=torch.tensor([ids], device=model.device), **LAST_ONLY)

    def flops(self, tokens: int) -> float:
        """Return the floating-point operations of reading a prompt of that length."""
        return prompt_flops(self.model(), tokens)

    def ceilings(self) -> tuple[float, float]:
        """Return what this machine can do at most: operations and bytes read, per second."""
        device = self.model().device
        return matrix_ceiling(self.dtype, device), memory_ceiling(device)

    def _score_packed(
        self,
        splits: Sequence[Split],
        tries: Sequence[Trie],
        prune_margin: float,
        scores: FloatArray,
    ) -> None:
        first = [tuple(s.ids[: s.first]) for s in splits]
        prefixes = self._prefix_cache.cacheable(first) if self._soft is None else [()] * len(splits)
        vocabulary = self.model().config.get_text_config().vocab_size
        read = Count(self.progress, sum(len(trie.tokens) for trie in tries))
        for batch in batches(
            splits, prefixes, tries, vocabulary=vocabulary, max_tokens=self._batch_tokens
        ):
            known = {ids: self._states(ids) for ids in {prefixes[i] for i in batch} if ids}
            jobs = [self._job(splits[i].ids, tries[i], known.get(prefixes[i])) for i in batch]
            scores[batch] = score_jobs(self.model(), jobs, prune_margin, read)
        read.end()

    def _job(self, ids: list[int], trie: Trie, known: States | None) -> Job:
        if self._soft is None:
            return Job(ids, trie, known)
        return Job([*[0] * self._soft.length, *ids], trie, self._soft)

    def _states(self, ids: tuple[int, ...]) -> States:
        return self._prefix_cache.states(ids, lambda ids: read_states(self.model(), ids))

    def _packs(self) -> bool:
        with self._scoring:  # finding out switches the attention
            return self.packed

    def check(self, ids: Sequence[int], answer: int) -> None:
        """Refuse a prompt that the model cannot read with an answer of so many tokens.

        :raises BudgetError: where it exceeds the window
        """
        if not ids:
            raise BackendError(f"{self.spec} cannot follow an empty prompt; add an instruction")
        needed = len(ids) + answer
        if needed > self.window:
            raise BudgetError(
                f"a prompt with its longest answer takes {needed} tokens; "
                f"{self.spec} reads {self.window}",
                needed=needed,
                budget=self.window,
            )

    def hidden(self, prompts: Sequence[Parts]) -> FloatArray:
        """Return the last hidden state of each prompt's last token, shape (prompts, width).

        :raises BudgetError: where a prompt exceeds the window
        """
        texts = [Text(self._checked(parts)) for parts in prompts]
        with self._scoring:  # finding out whether it packs switches the attention
            return last_states(self.model().base_model, texts, packed=self.packed)

    def states(self, prompts: Sequence[Parts], shares: Sequence[float]) -> FloatArray:
        """Return hidden states of prompts after some of the blocks, nothing above being run.

        A prompt's first part, where others follow, is one that prompts share: its key-value states
        are kept, and its tokens have no part in the mean.

        :param shares: of the blocks, in rising order
        :return: the mean over the tokens after the first part, and the last token's, shape
            (prompts, shares, 2, width)
        :raises BudgetError: where a prompt exceeds the window
        """
        self.load()
        stack = self._stack
        depths = [stack.depth(share) for share in shares]
        blocks = {depth: stack.blocks[depth - 1] for depth in depths}
        with self._scoring:
            texts = [self._text(parts, max(depths)) for parts in prompts]
            backbone = stack.truncated(max(depths))
            found = block_states(backbone, blocks, texts, packed=self.packed)
        return found[:, [list(blocks).index(depth) for depth in depths]]

    def prefix_bytes(self, parts: Parts) -> bytes | None:
        """Return the states of a prompt's first part; None where it is read with each prompt."""
        prefix, _ = self.tokens.halves(parts)
        with self._scoring, torch.inference_mode():
            return to_bytes(prefix, self._states(prefix)) if self._shares(prefix) else None

    def restore_prefix(self, parts: Parts, data: bytes) -> bool:
        """Use what :meth:`prefix_bytes` gave for the same first part; return whether it fits."""
        prefix, _ = self.tokens.halves(parts)
        with self._scoring, torch.inference_mode():
            states = restored(self.model(), prefix, data) if self._shares(prefix) else None
            return states is not None and self._prefix_cache.add(prefix, states)

    def _text(self, parts: Parts, depth: int) -> Text:
        """Return a prompt to read, with the states of its first part where that is shared."""
        self._checked(parts)
        prefix, own = self.tokens.halves(parts)
        if not self._shares(prefix):
            return Text(own, prefix)
        with torch.inference_mode():
            return Text(own, prefix, self._states(prefix).first(depth))

    def _shares(self, prefix: Sequence[int]) -> bool:
        return self.packed and len(prefix) >= SHORTEST

    def _checked(self, parts: Parts) -> list[int]:
        self.check(ids := self.tokens.encode(parts), 0)
        return ids

    def load(self) -> None:
        """Load the weights, unless they are loaded."""
        self.model()

    def model(self) -> PreTrainedModel:
        """Return the model, loaded; refuse where a fork left its threads behind."""
        compute()
        with self._loading:
            return self._model
