"""Scoring with demonstrations whose key-value states were computed once.

Exact scoring reads a demonstration anew in every prompt, because its states depend on all that
stands before it. Here they are computed once, in a group of similar demonstrations that are read
one after the other, as they are in a prompt; then they are turned to where the demonstration
stands, and sharpened: a demonstration that was not read after the others of its prompt is attended
to less decidedly, which a temperature below 1 makes up for (APE, Yang et al. 2025, 2502.05431). The
query is read anew in each prompt. So can be what gathers most from the demonstrations
before: the last tokens of each, which hold its label, and the nearest ones whole. That costs much
of the time saved and was not seen to agree much better, so that neither is read by default
(eval/results/speed-blocks.md).
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ragicl.backends.hf.block_store import Block, BlockStore
from ragicl.backends.hf.packed import Piece, Reading, States, spans_of
from ragicl.backends.hf.rotary import frequencies_of, turn
from ragicl.backends.hf.scoring import score_pieces
from ragicl.backends.hf.trie import Trie

ENDS = 0  # last tokens of each demonstration, read in every prompt
NEAREST = 0  # demonstrations at the end of a prompt, read whole
TEMPERATURE = 0.9  # of attention to kept demonstrations, what begins the prompt left out
READ_TOKENS = 2048  # read in one pass when states are computed

Ids = tuple[int, ...]
Source = tuple[Ids, ...]
"""A piece of a prompt, last, after the texts that it was read after when its states were kept."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which tokens of a prompt have kept states, and which are read anew.

    :ivar kept: key of a block, position of its first token, how many of its tokens are used
    :ivar tokens: ids that are read anew
    :ivar positions: where these stand in the prompt
    """

    kept: tuple[tuple[str, int, int], ...]
    tokens: tuple[int, ...]
    positions: tuple[int, ...]

    @property
    def length(self) -> int:
        """Number of tokens with kept states."""
        return sum(length for _, _, length in self.kept)

    def mask(self) -> Tensor:
        """Return what each token read anew sees, shape (anew, kept + anew): all up to itself."""
        kept = chain.from_iterable(range(start, start + n) for _, start, n in self.kept)
        rows = torch.tensor(self.positions)
        return torch.cat([torch.tensor(list(kept), dtype=rows.dtype), rows]) <= rows[:, None]


class Blocks:
    """Demonstrations' states for one model.

    :raises BackendError: where the model's keys cannot be turned
    """

    def __init__(self, model: PreTrainedModel, store: BlockStore) -> None:
        self._model = model
        self._store = store
        self._frequencies = frequencies_of(model)

    def score(
        self, prompts: Sequence[Sequence[Source]], tries: Sequence[Trie], floor: float
    ) -> list[list[float]]:
        """Return log P(answer | prompt) as :func:`ragicl.backends.hf.scoring.score_jobs` does.

        :param prompts: each in pieces: its beginning, its demonstrations, its query; a prompt of
            one piece is read whole
        """
        sources: dict[str, Source] = {}
        layouts = [_lay_out(pieces, sources) for pieces in prompts]
        spans = spans_of([layout.length for layout in layouts])
        known = [self._states(layouts, sources)] if spans[-1].stop else []
        pieces = [
            Piece(layout.tokens, layout.positions, (span,), layout.mask())
            for layout, span in zip(layouts, spans, strict=True)
        ]
        return score_pieces(Reading(self._model, known), pieces, tries, floor)

    def _states(self, layouts: Sequence[Layout], sources: dict[str, Source]) -> States:
        """Return the kept states of all prompts end to end, keys turned to their positions."""
        blocks = self._store.get(list(sources), lambda keys: self._compute(keys, sources))
        used = [(blocks[key], start, n) for layout in layouts for key, start, n in layout.kept]
        device = self._model.device  # what was kept on disk is not there yet
        by = torch.cat([torch.full((n,), start) for _, start, n in used]).to(device)
        sharper = torch.where(by > 0, 1 / TEMPERATURE, 1.0)
        keys = torch.cat([block.keys[:, :, :n].to(device) for block, _, n in used], dim=2)
        values = torch.cat([block.values[:, :, :n].to(device) for block, _, n in used], dim=2)
        turned = turn(keys, by, self._frequencies, sharper)
        return States(tuple((k[None], v[None]) for k, v in zip(turned, values, strict=True)))

    def _compute(self, keys: Sequence[str], sources: dict[str, Source]) -> list[Block]:
        """Compute blocks; of texts that begin others, only the longest are read."""
        readings = _longest([sources[key] for key in keys])
        found: dict[str, Block] = {}
        for batch in _batches(readings):
            found |= self._read(batch)
        return [found[key] for key in keys]

    def _read(self, readings: Sequence[Source]) -> dict[str, Block]:
        """Read lists of texts in one pass; return the block of each text in each list."""
        reading = Reading(self._model)
        flat = [list(chain.from_iterable(texts)) for texts in readings]
        _, spans = reading.read([Piece(ids, range(len(ids))) for ids in flat], last=True)
        layers = reading.states().layers
        keys = torch.stack([key[0] for key, _ in layers])
        values = torch.stack([value[0] for _, value in layers])
        found = {}
        for texts, span in zip(readings, spans, strict=True):
            for number, own in enumerate(spans_of([len(text) for text in texts])):
                place = slice(span.start + own.start, span.start + own.stop)
                back = torch.full((len(texts[number]),), -own.start, device=keys.device)
                found[_key(texts[: number + 1])] = Block(
                    turn(keys[:, :, place], back, self._frequencies), values[:, :, place].clone()
                )
        return found


def identity_of(model: PreTrainedModel) -> str:
    """Return what tells the states of one model from those of another."""
    digest = hashlib.blake2b(model.config.to_json_string().encode())
    for name, weights in model.named_parameters():
        few = weights.detach().flatten()[:: max(1, weights.numel() // 64)].float()
        digest.update(f"{name} {weights.dtype} {few.tolist()}".encode())
    return digest.hexdigest()


def _lay_out(pieces: Sequence[Source], sources: dict[str, Source]) -> Layout:
    """Choose what is read anew; note in `sources` what each block is computed from."""
    kept: list[tuple[str, int, int]] = []
    anew: list[tuple[int, int]] = []
    starts = accumulate((len(source[-1]) for source in pieces), initial=0)
    for number, (source, start) in enumerate(zip(pieces, starts, strict=False)):
        length = _kept_tokens(number, len(source[-1]), len(pieces))
        if length:
            key = _key(source)
            sources[key] = source
            kept.append((key, start, length))
        anew += [(token, start + at) for at, token in enumerate(source[-1]) if at >= length]
    tokens, positions = zip(*anew, strict=True)
    return Layout(tuple(kept), tokens, positions)


def _kept_tokens(number: int, length: int, pieces: int) -> int:
    """Return how many of a piece's tokens have kept states."""
    last = pieces - 1
    if number == last or number >= max(1, last - NEAREST):
        return 0
    return length if number == 0 else max(0, length - ENDS)


def _longest(readings: Sequence[Source]) -> list[Source]:
    """Leave out those that begin another."""
    ordered = sorted(set(readings), reverse=True)
    return [
        texts
        for texts, longer in zip(ordered, [(), *ordered], strict=False)
        if longer[: len(texts)] != texts
    ]


def _batches(readings: Sequence[Source]) -> Iterator[list[Source]]:
    batch: list[Source] = []
    tokens = 0
    for texts in readings:
        length = sum(map(len, texts))
        if batch and tokens + length > READ_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(texts)
        tokens += length
    if batch:
        yield batch


def _key(texts: Source) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        digest.update(array("q", [len(text), *text]).tobytes())
    return digest.hexdigest()
