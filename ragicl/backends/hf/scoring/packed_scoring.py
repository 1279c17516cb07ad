"""Log-probabilities of all answers to several prompts, in few passes.

One pass reads the prompts, the next ones the tries of their answers. With a margin, branches that
cannot matter are left out; what is read is scored the same, so the best answer is the exact one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ragicl.backends.hf.scoring.packing import Piece, Reading, States, spans_of
from ragicl.backends.hf.scoring.trie import ROOT, Trie
from ragicl.backends.hf.scoring.trie_search import TrieSearch

LOGIT_ROWS = 64  # rows turned to float32 at once: a vocabulary of 256k stays under 70 MB


@dataclass(frozen=True, slots=True)
class Job:
    """A prompt with its answers.

    :ivar ids: the whole prompt
    :ivar known: states of the prompt's prefix, where they are cached
    """

    ids: Sequence[int]
    trie: Trie
    known: States | None = None


def score_jobs(
    model: PreTrainedModel,
    jobs: Sequence[Job],
    prune_margin: float,
    read: Callable[[int], object] = lambda nodes: None,
) -> list[list[float]]:
    """Return log P(answer | prompt) for each prompt and each answer of its trie.

    :param prune_margin: nats; an answer that is less likely than its prompt's best by more may get
        an upper bound instead, that is itself so far below the best
    :param read: called after each pass with the nodes of the tries that it read
    """
    reading, prefixes = _begin(model, jobs)
    prompts = [
        Piece(job.ids[done:], range(done, len(job.ids)), past)
        for job, (done, past) in zip(jobs, prefixes, strict=True)
    ]
    return score_pieces(reading, prompts, [job.trie for job in jobs], prune_margin, read)


def score_pieces(
    reading: Reading,
    prompts: Sequence[Piece],
    tries: Sequence[Trie],
    prune_margin: float,
    read: Callable[[int], object] = lambda nodes: None,
) -> list[list[float]]:
    """Return log P(answer | prompt) as :func:`score_jobs` does, for prompts laid out by others.

    :param prompts: the rest of each prompt, its last token last, on top of what was read before
    """
    logits, spans = reading.read(prompts, last=True)
    pasts = {
        TrieSearch(trie, prompt.positions[-1] + 1): (*prompt.past, span)
        for trie, prompt, span in zip(tries, prompts, spans, strict=True)
    }
    searches = list(pasts)
    _update(logits, [(search, ROOT) for search in searches])
    while chosen := [(own, nodes) for own in searches if (nodes := own.frontier(prune_margin))]:
        logits, spans = reading.read([own.piece(nodes, pasts[own]) for own, nodes in chosen])
        _update(logits, [(search, node) for search, nodes in chosen for node in nodes])
        for (search, _), span in zip(chosen, spans, strict=True):
            pasts[search] += (span,)
        read(sum(len(nodes) for _, nodes in chosen))
    return [search.scores for search in searches]


def read_states(model: PreTrainedModel, ids: Sequence[int], start: int = 0) -> States:
    """Read a text by itself, its first token at position `start`, and return its states."""
    reading = Reading(model)
    reading.read([Piece(ids, range(start, start + len(ids)))], last=True)
    return reading.states()


def _begin(
    model: PreTrainedModel, jobs: Sequence[Job]
) -> tuple[Reading, list[tuple[int, tuple[slice, ...]]]]:
    """Lay out what is known; return, for each job, how many tokens of it, and where they lie."""
    known = list({id(job.known): job.known for job in jobs if job.known is not None}.values())
    spans = spans_of([states.length for states in known])
    places = {id(states): span for states, span in zip(known, spans, strict=True)}
    return Reading(model, known), [
        (0, ()) if job.known is None else (job.known.length, (places[id(job.known)],))
        for job in jobs
    ]


def _update(logits: Tensor, pairs: Sequence[tuple[TrieSearch, int]]) -> None:
    """Give each search the log-probabilities after the node that its row of logits belongs to."""
    normalisers = torch.cat(
        [rows.float().logsumexp(dim=-1) for rows in torch.split(logits, LOGIT_ROWS)]
    )
    tokens = [search.tokens_after(node) for search, node in pairs]
    rows = torch.tensor([row for row, some in enumerate(tokens) for _ in some])
    columns = torch.tensor([token for some in tokens for token in some])
    rows, columns = rows.to(logits.device), columns.to(logits.device)
    log_probs = (logits[rows, columns].float() - normalisers[rows]).tolist()
    for (search, node), span in zip(pairs, spans_of(list(map(len, tokens))), strict=True):
        search.update(node, log_probs[span])
