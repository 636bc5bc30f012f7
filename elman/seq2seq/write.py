"""Generate targets with a trained model: the likeliest ones by beam search, or random ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from elman.decode.beam import Found, Search, beam_search
from elman.decode.sample import Sampling, sample
from elman.seq2seq import Place, Seq2Seq


@torch.inference_mode()
def write_best(
    network: Seq2Seq,
    start: Place,
    longest: list[int],
    *,
    search: Search,
    sources: list[int],
    end: int,
    banned: Sequence[int],
) -> list[list[Found]]:
    """Return the likeliest targets of each row of a batch, the best first.

    Args:
        network: the model.
        start: the place after reading B sources.
        longest: maximum number of tokens of the targets of each row.
        sources: number of elements of each source.
        search: settings of the beam search.
        end: the token that ends a target.
        banned: tokens that are never generated.
    """
    first = torch.full((len(longest),), network.begin)
    return beam_search(
        network.step,
        first,
        start,
        select=Place.rows,
        search=search,
        longest=longest,
        end=end,
        banned=banned,
        sources=sources,
    )


@torch.inference_mode()
def write_random(
    network: Seq2Seq,
    start: Place,
    longest: list[int],
    *,
    count: int,
    sampling: Sampling,
    generator: torch.Generator,
    end: int,
    banned: Sequence[int],
) -> list[list[list[int]]]:
    """Return `count` random targets of each row of a batch, see `write_best`.

    Args:
        network: the model.
        start: the place after reading B sources.
        longest: maximum number of tokens of the targets of each row.
        count: number of targets of each row.
        sampling: how tokens are drawn.
        generator: source of random numbers.
        end: the token that ends a target.
        banned: tokens that are never generated.
    """
    rows = torch.arange(len(longest)).repeat_interleave(count)
    first = torch.full((len(rows),), network.begin)
    scores, here, _ = network.step(first, start.rows(rows))
    steps = sample(
        lambda tokens, place: network.step(tokens, place)[:2],
        scores,
        here,
        sampling=sampling,
        max_new_tokens=max(longest),
        generator=generator,
        banned=banned,
        end=end,
        select=Place.rows,
    )
    result: list[list[list[int]]] = [[] for _ in longest]
    for row, tokens in zip(rows.tolist(), torch.stack(list(steps), 1).tolist(), strict=True):
        ends = tokens.index(end) if end in tokens else longest[row]
        result[row].append(tokens[: min(ends, longest[row])])
    return result
