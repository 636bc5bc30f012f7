"""Synthetic sequences that test what a cell can remember, for cells.py.

State tracking.  The answer is asked for at every prefix, as in arXiv:2404.08819, so a sequence of
256 steps holds a test of every length up to 256.  Models learn from 40 steps, where prefixes of 3
steps and more count, and are scored at the prefixes of 40 to 256 steps.

parity      bits; whether the number of ones so far is odd
arithmetic  digits 0 to 2 with + - * between them; the value so far modulo 3, products before sums
            (arXiv:2207.02098, without brackets and with 3 instead of 5, because no cell learned
            rules that hold for longer sequences in the time); prefixes that end with a digit count
s5, a5      elements of the group of all permutations of five things, or of the even ones; their
            product so far (arXiv:2404.08819).  A step is one of two elements that generate the
            group, not any element: (1 2) or (1 2 3 4 5) in S5, (1 2 3) or (1 2 3 4 5) in A5.

Recall.  Models are scored on new sequences of the same length.

mqar        pairs of a key and a value, then keys again among blanks; the value of each
            (multi-query associative recall, arXiv:2312.04927; blanks instead of random tokens)
selective   ten symbols at random places among 190 blanks, then ten questions; the symbols in order
            (selective copying, arXiv:2312.00752)
copy-200    ten symbols, 200 blanks, then ten questions; the symbols in order
copy-1000   the same with 1,000 blanks
adding      numbers in 0..1, two of them marked, one in each half; their sum at the end of 2,000
            steps (mean squared error; 0.167 for a constant)

Shape legend: B rows, T steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

LEARNED, TESTED = 40, 256  # steps of state tracking
FEWEST = 3  # steps of the shortest prefix that counts in training
SYMBOLS, KINDS = 10, 8  # symbols to copy, and how many kinds of them there are
KEYS = 32  # and as many values


class Batch(NamedTuple):
    """Sequences and the answers asked for."""

    x: Tensor  # (B, T) tokens, or (B, T, 2) numbers
    targets: Tensor  # (B, T), read only where `asked`
    asked: Tensor  # (B, T), whether an answer counts


Draw = Callable[[torch.Generator, int, int], Batch]  # generator, rows, steps


@dataclass(frozen=True)
class Test:
    """One test and the budget of a training run.

    Args:
        draw: makes sequences.
        tokens: size of the vocabulary; 0 for numbers.
        classes: number of different answers; 0 for a number.
        chance: score of a model that does not read the sequence.
        steps: steps of a training sequence.
        test_steps: steps of a test sequence.
        counts_from: prefixes of a test sequence that are shorter do not count.
        rows: sequences in a batch.
        parameters: size of each model, within a few percent.
        minutes: processor time of a training run.
        rates: learning rates tried.
    """

    draw: Draw
    tokens: int
    classes: int
    chance: float
    steps: int = LEARNED
    test_steps: int = TESTED
    counts_from: int = LEARNED
    rows: int = 32
    parameters: int = 30_000
    minutes: float = 1.0
    rates: tuple[float, ...] = (0.002, 0.005, 0.012)

    def settings(self) -> dict[str, object]:
        """Return everything but the function, for the file of results."""
        return {name: value for name, value in asdict(self).items() if name != "draw"}


def every_prefix(answers: Tensor) -> Tensor:
    """Return where prefixes of at least `FEWEST` steps end, (B, T)."""
    return (torch.arange(answers.shape[1]) >= FEWEST - 1).expand(answers.shape)


def parity(draw: torch.Generator, rows: int, steps: int) -> Batch:
    bits = torch.randint(2, (rows, steps), generator=draw)
    answers = bits.cumsum(1) % 2
    return Batch(bits, answers, every_prefix(answers))


def arithmetic(modulus: int, draw: torch.Generator, rows: int, steps: int) -> Batch:
    """Make digits below the modulus at even steps, and + - * as the next tokens between them."""
    digits = torch.randint(modulus, (rows, steps), generator=draw)
    signs = torch.randint(3, (rows, steps), generator=draw)
    answers = torch.zeros(rows, steps, dtype=torch.int64)
    total, term = torch.zeros(rows, dtype=torch.int64), digits[:, 0].clone()
    answers[:, 0] = term
    for t in range(2, steps, 2):
        sign, digit = signs[:, t - 1], digits[:, t]
        total = torch.where(sign == 2, total, total + term)
        term = torch.where(sign == 2, term * digit, torch.where(sign == 1, -digit, digit))
        total, term = total % modulus, term % modulus
        answers[:, t] = (total + term) % modulus
    ends = torch.arange(steps) % 2 == 0
    return Batch(torch.where(ends, digits, modulus + signs), answers, every_prefix(answers) & ends)


def products(moves: tuple[tuple[int, ...], ...], size: int) -> Tensor:
    """Return the index of each product (elements, moves) in the group that the moves generate."""
    elements = [tuple(range(len(moves[0])))]
    for found in elements:  # it grows while new elements appear
        for move in moves:
            new = tuple(found[place] for place in move)
            if new not in elements:
                elements.append(new)
    assert len(elements) == size
    number = {element: n for n, element in enumerate(elements)}
    return torch.tensor(
        [[number[tuple(found[place] for place in move)] for move in moves] for found in elements]
    )


def word_problem(table: Tensor, draw: torch.Generator, rows: int, steps: int) -> Batch:
    words = torch.randint(table.shape[1], (rows, steps), generator=draw)
    answers, now = [], torch.zeros(rows, dtype=torch.int64)
    for t in range(steps):
        now = table[now, words[:, t]]
        answers.append(now)
    found = torch.stack(answers, 1)
    return Batch(words, found, every_prefix(found))


def mqar(pairs: int, draw: torch.Generator, rows: int, steps: int) -> Batch:
    """Make keys as tokens 1 to `KEYS`, their values after them, and blanks as 0.

    The questions are at even places after the pairs; near ones are more frequent, by the power law
    of the source.
    """
    keys = torch.rand(rows, KEYS, generator=draw).argsort(1)[:, :pairs]
    values = torch.randint(KEYS, (rows, pairs), generator=draw)
    places = (steps - 2 * pairs) // 2
    near = torch.arange(1, places + 1, dtype=torch.float32) ** (0.01 - 1)
    asked_at = 2 * pairs + 2 * torch.multinomial(near.expand(rows, -1), pairs, generator=draw)
    x = torch.zeros(rows, steps, dtype=torch.int64)
    x[:, : 2 * pairs] = torch.stack([1 + keys, 1 + KEYS + values], 2).flatten(1)
    x.scatter_(1, asked_at, 1 + keys)
    targets = torch.zeros(rows, steps, dtype=torch.int64).scatter_(1, asked_at, values)
    asked = torch.zeros(rows, steps, dtype=torch.bool).scatter_(1, asked_at, True)
    return Batch(x, targets, asked)


def copying(draw: torch.Generator, rows: int, steps: int, *, scattered: bool = False) -> Batch:
    """Make symbols 0 to 7, blanks as 8 and questions as 9."""
    symbols = torch.randint(KINDS, (rows, SYMBOLS), generator=draw)
    x = torch.full((rows, steps), KINDS)
    places = torch.arange(SYMBOLS).expand(rows, -1)
    if scattered:
        order = torch.rand(rows, steps - SYMBOLS, generator=draw).argsort(1)
        places = order[:, :SYMBOLS].sort(1).values
    x.scatter_(1, places, symbols)
    x[:, -SYMBOLS:] = KINDS + 1
    targets = torch.zeros(rows, steps, dtype=torch.int64)
    targets[:, -SYMBOLS:] = symbols
    asked = (torch.arange(steps) >= steps - SYMBOLS).expand(rows, -1)
    return Batch(x, targets, asked)


def adding(draw: torch.Generator, rows: int, steps: int) -> Batch:
    numbers = torch.rand(rows, steps, generator=draw)
    half = steps // 2
    marked = torch.randint(half, (rows, 2), generator=draw) + torch.tensor([0, half])
    marks = torch.zeros(rows, steps).scatter_(1, marked, 1.0)
    targets = torch.zeros(rows, steps)
    targets[:, -1] = (numbers * marks).sum(1)
    asked = (torch.arange(steps) == steps - 1).expand(rows, -1)
    return Batch(torch.stack([numbers, marks], 2), targets, asked)


MODULUS = 3
TURN, SWAP, THREE = (1, 2, 3, 4, 0), (1, 0, 2, 3, 4), (1, 2, 0, 3, 4)
PAIRS = 8


def recall(draw: Draw, steps: int, **options: object) -> Test:
    """Return a test whose sequences are as long as those of the training."""
    given = {"tokens": KINDS + 2, "classes": KINDS, "chance": 1 / KINDS, **options}
    return Test(draw, steps=steps, test_steps=steps, counts_from=0, **given)  # type: ignore[arg-type]


TESTS = {
    "parity": Test(parity, 2, 2, 1 / 2),
    "arithmetic": Test(
        partial(arithmetic, MODULUS), MODULUS + 3, MODULUS, 1 / MODULUS, minutes=1.5
    ),
    "s5": Test(partial(word_problem, products((SWAP, TURN), 120)), 2, 120, 1 / 120),
    "a5": Test(partial(word_problem, products((THREE, TURN), 60)), 2, 60, 1 / 60),
    "mqar": recall(partial(mqar, PAIRS), 64, tokens=2 * KEYS + 1, classes=KEYS, chance=1 / KEYS),
    "selective": recall(partial(copying, scattered=True), 210, rows=16),
    "copy-200": recall(copying, 220, rows=16),
    "copy-1000": recall(copying, 1020, rows=8, minutes=2.0),
    "adding": recall(
        adding, 2000, tokens=0, classes=0, chance=1 / 6, rows=8, parameters=10_000, minutes=2.0
    ),
}
