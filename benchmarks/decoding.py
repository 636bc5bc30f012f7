"""Sentences per second of beam search, beside plain PyTorch.

    python benchmarks/decoding.py [seconds]

A translator of the size of Multi30k (8,000 tokens, LSTM of 256, both directions in the encoder,
attention) with untrained weights decodes 256 sources of 4 to 25 tokens to as many tokens.  The
plain loop is what tutorials write: torch.nn modules with the same weights, one sentence at a time
with its beams as a batch, and a Python list of candidates at every step.  For a beam of 1 there is
also a batched loop, which runs until the last row has ended.  The sentences are compared first, and
must be equal except for ties.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from result import write_result
from side_by_side import Case, MismatchError, measure
from torch import Tensor, nn

from elman import LSTM, kernels
from elman.attend import Attention
from elman.decode.beam import Search, beam_search
from elman.encode.embed import Embed
from elman.heads import TokenHead
from elman.padded import Padded
from elman.seq2seq import Seq2Seq
from elman.seq2seq.recurrent import Recurrent

V, D, H, ROWS, END = 8000, 256, 256, 256, 1
Sentences = list[list[int]]


class Plain(nn.Module):
    """The model built from torch's own modules."""

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        coder = model.coder
        self.encoder = nn.LSTM(D, H, batch_first=True, bidirectional=True)
        self.encoder.load_state_dict(coder.encoder.state_dict())
        self.core = nn.LSTM(D, H, batch_first=True)
        self.core.load_state_dict(coder.core.state_dict())
        self.source = nn.Embedding.from_pretrained(coder.embed_source.weight)
        self.target = nn.Embedding.from_pretrained(coder.embed_target.weight)
        self.bridge, self.key, self.combine = coder.bridge[0], coder.attention.key, coder.combine
        self.out = nn.Linear(H, V)
        self.out.weight, self.out.bias = model.head.weight, model.head.bias

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        states, (h, _) = self.encoder(self.source(tokens))
        first = torch.tanh(self.bridge(torch.cat([h[0], h[1]], 1))).unsqueeze(0)
        return states, self.key(states), (first, torch.zeros_like(first))

    def step(
        self,
        tokens: Tensor,
        memory: tuple[Tensor, Tensor],
        state: tuple[Tensor, Tensor],
        hidden: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        s, state = self.core(self.target(tokens.unsqueeze(1)), state)
        scores = torch.bmm(s, memory[1].transpose(1, 2))
        if hidden is not None:
            scores = scores.masked_fill(hidden.unsqueeze(1), -1e9)
        context = torch.bmm(scores.softmax(2), memory[0])
        d = torch.tanh(self.combine(torch.cat([context, s], 2)))
        return self.out(d[:, 0]).log_softmax(1), state


def one_by_one(plain: Plain, sources: list[Tensor], beam: int) -> Sentences:
    return [_search(plain, source, beam) for source in sources]


def _search(plain: Plain, source: Tensor, beam: int) -> list[int]:
    states, keys, state = plain.read(source.unsqueeze(0))
    live: list[tuple[float, list[int]]] = [(0.0, [END])]
    ended: list[tuple[float, list[int]]] = []
    longest = len(source)
    for length in range(1, longest + 2):
        memory = (states.expand(len(live), -1, -1), keys.expand(len(live), -1, -1))
        log_p, state = plain.step(torch.tensor([t[-1] for _, t in live]), memory, state)
        candidates = []
        for n, (value, tokens) in enumerate(live):
            if length > longest:
                candidates.append((value + float(log_p[n, END]), n, END, tokens))
                continue
            best, which = log_p[n].topk(2 * beam)
            for some, token in zip(best.tolist(), which.tolist(), strict=True):
                candidates.append((value + some, n, token, tokens))
        candidates.sort(key=lambda c: -c[0])
        following, origins = [], []
        for rank, (value, n, token, tokens) in enumerate(candidates[: 2 * beam]):
            if token == END:
                if rank < beam:
                    ended.append((value / ((5 + length) / 6), tokens[1:]))
            elif len(following) < beam:
                following.append((value, [*tokens, token]))
                origins.append(n)
        if not following:
            break
        if ended and (beam == 1 or following[0][0] / ((6 + longest) / 6) <= max(ended)[0]):
            break
        live = following
        chosen = torch.tensor(origins)
        state = (state[0][:, chosen], state[1][:, chosen])
    return max(ended, key=lambda one: one[0])[1]


def batched(plain: Plain, sources: list[Tensor]) -> Sentences:
    order = sorted(range(len(sources)), key=lambda n: -len(sources[n]))
    lengths = torch.tensor([len(sources[n]) for n in order])
    tokens = nn.utils.rnn.pad_sequence([sources[n] for n in order], batch_first=True)
    packed = nn.utils.rnn.pack_padded_sequence(plain.source(tokens), lengths, batch_first=True)
    out, (h, _) = plain.encoder(packed)
    states, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
    first = torch.tanh(plain.bridge(torch.cat([h[0], h[1]], 1))).unsqueeze(0)
    state, memory = (first, torch.zeros_like(first)), (states, plain.key(states))
    hidden = torch.arange(tokens.shape[1]) >= lengths.unsqueeze(1)
    current, found = torch.full((len(order),), END), []
    done = torch.zeros(len(order), dtype=torch.bool)
    for length in range(1, int(lengths.max()) + 1):
        log_p, state = plain.step(current, memory, state, hidden)
        current = log_p.argmax(1)
        found.append(current)
        done |= (current == END) | (lengths <= length)
        if bool(done.all()):
            break
    result: Sentences = [[] for _ in sources]
    for n, row, length in zip(order, torch.stack(found, 1).tolist(), lengths.tolist(), strict=True):
        result[n] = row[: min(length, row.index(END) if END in row else length)]
    return result


def ours(model: Seq2Seq, sources: list[Tensor], beam: int) -> Sentences:
    order = sorted(range(len(sources)), key=lambda n: len(sources[n]))
    result: Sentences = [[] for _ in sources]
    rows = max(1, 256 // beam)  # as in elman.tasks.translator
    for at in range(0, len(order), rows):
        chosen = order[at : at + rows]
        source = Padded.pad([sources[n] for n in chosen])
        found = beam_search(
            model.step,
            torch.full((len(chosen),), END),
            model.read(source),
            select=lambda here, which: here.rows(which),
            search=Search(beam=beam),
            longest=source.lengths.tolist(),
            end=END,
        )
        for n, best in zip(chosen, found, strict=True):
            result[n] = best[0].tokens
    return result


def compare(found: dict[str, Sentences]) -> float:
    """Return the share of sentences that differ, at most 1 %, because rounding decides ties."""
    mine, worst = found.pop("elman"), 0.0
    for name, theirs in found.items():
        share = sum(a != b for a, b in zip(mine, theirs, strict=True)) / len(mine)
        if share > 0.01:
            raise MismatchError(f"{name}: {share:.1%} of the sentences differ")
        worst = max(worst, share)
    return worst


def case_of(model: Seq2Seq, plain: Plain, sources: list[Tensor], beam: int) -> Case:
    peers: dict[str, Callable[[], Sentences]] = {
        "plain PyTorch, a sentence at a time": lambda: one_by_one(plain, sources, beam)
    }
    if beam == 1:
        peers["plain PyTorch, batched"] = lambda: batched(plain, sources)

    def mine() -> Sentences:
        return ours(model, sources, beam)

    def parity() -> float:
        return compare({"elman": mine(), **{name: run() for name, run in peers.items()}})

    return Case(mine, {**peers}, parity, steps=ROWS)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    torch.manual_seed(0)
    coder = Recurrent(
        Embed(V, D),
        LSTM(D, H, batch_first=True, bidirectional=True),
        Embed(V, D),
        LSTM(D, H, batch_first=True),
        Attention(H, 2 * H),
    )
    model = Seq2Seq(coder, TokenHead(H, V), begin=END).eval()
    with torch.no_grad():  # larger weights make tokens differ in likelihood, as training does
        for weight in (*coder.parameters(), *model.head.parameters()):
            weight *= 3
    plain = Plain(model).eval()
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, 26, (ROWS,), generator=draw).tolist()
    sources = [torch.randint(2, V, (n,), generator=draw) for n in lengths]
    cells = []
    with torch.inference_mode():
        for beam in (1, 5):
            cells.append({"beam": beam, **measure(case_of(model, plain, sources, beam), seconds)})
            print(cells[-1], flush=True)
    per_second = {
        f"beam {cell['beam']}": {name: round(1000 / ms[0]) for name, ms in cell["ms"].items()}
        for cell in cells
        if "ms" in cell
    }
    ratios = {
        f"beam {cell['beam']}, {name}": "{:.2f} ({:.2f} to {:.2f})".format(*values)
        for cell in cells
        for name, values in cell.get("ratio", {}).items()
    }
    write_result(
        "decoding",
        {
            "seed": 0,
            "kernels": kernels.name(),
            "what": "ms per sentence and ratios peer / elman as [median, quartile 1, quartile 3]; "
            "error is the share of sentences in which ties are decided differently",
            "time / elman's": ratios,
            "sentences a second": per_second,
            "cells": cells,
        },
    )


if __name__ == "__main__":
    main()
