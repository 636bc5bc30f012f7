"""The wide part of a classifier: a linear model of sparse features, next to the deep part.

    s = f(x) + V z / tau + g(z),      V = argmin  C sum_n loss(V z_n, y_n) + |V|^2 / 2

z are the features of a row, f(x) the scores of the recurrence, which start at 0: training starts
from the linear model and learns what it cannot express.  V is too confident on rows that it was
fitted to, so in training the scores of a row come from a fit to the other folds (Wolpert 1992,
"Stacked generalization").  These scores also determine the temperature tau.  For statistics of
recordings they also determine C, which rises as long as their loss falls, and the share of a forest
g (`elman.heads.forest`) in the scores.

Source: Cheng et al. 2016, "Wide & Deep Learning" (arXiv:1606.07792), who train both together; here
V is fitted first, by L-BFGS, and then stays fixed.

Shape legend: N rows, V features, K classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.encode.bags import LEVELS, Bag
from elman.errors import ArgumentError
from elman.heads.forest import Forest

C, FOLDS = 3.0, 4
COSTS = (0.003, 0.03, 0.3, C)  # values of C for levels of statistics, in the order of trials
STEPS, WORK = 60, 3e10  # maximum of L-BFGS steps, and of multiplications in all of them
MIXES = 0.0, 0.25, 0.5, 0.75, 1.0  # shares of the forest in the scores
BACK = 10  # steps that L-BFGS remembers
FEW = 100  # examples; with fewer, the network has less influence than the wide part


def share_of(count: int) -> float:
    """Return the influence, in 0..1, of what was learned from a number of examples."""
    return round(count / (count + FEW), 4)


def check_share(share: object) -> float:
    """Return the factor of the network's scores; raise an ArgumentError unless it is in (0, 1]."""
    if not (isinstance(share, int | float) and 0 < share <= 1):
        raise ArgumentError(f"share must be above 0 and at most 1, got {share!r}")
    return share


class Wide(nn.Module):
    """Scores (N, K) of bags of V features; the weights are buffers, not trained by an optimiser.

    Args:
        features: V.
        classes: K.
        trees: trees of the forest, for features that are levels of statistics; 0 for none.

    Example:
        >>> import torch
        >>> from elman.encode.bags import Bag
        >>> from elman.heads.wide import Wide
        >>> bag = Bag(torch.tensor([0, 1, 0]), torch.ones(3), torch.tensor([0, 1, 2]))
        >>> wide = Wide(2, 2)
        >>> wide.fit(bag, torch.tensor([0, 1, 0]), torch.ones(3, 2)).shape
        torch.Size([3, 2])
        >>> wide(bag).argmax(1).tolist()
        [0, 1, 0]
    """

    def __init__(self, features: int, classes: int, trees: int = 0) -> None:
        super().__init__()
        self.forest = Forest(classes, trees) if trees else None
        self.register_buffer("weight", torch.zeros(features, classes, dtype=torch.float32))
        self.register_buffer("bias", torch.zeros(classes, dtype=torch.float32))
        self.weight: Tensor
        self.bias: Tensor

    def forward(self, bag: Bag) -> Tensor:
        """Return the scores of the rows of a bag."""
        scores = _times(bag, self.weight) + self.bias
        return scores if self.forest is None else scores + self.forest(_levels(bag))

    def fit(
        self,
        bag: Bag,
        targets: Tensor,
        weights: Tensor,
        groups: Tensor | None = None,
        *,
        levels: int = 1,
    ) -> Tensor:
        """Fit to rows; return the scores (N, K) of each row from a fit to the other folds.

        Args:
            bag: features of the rows.
            targets: classes (N), or with several labels (N, K) of zeros and ones.
            weights: (N, K) weights of the loss of each row and class.
            groups: (N) group numbers; a group stays in one fold. None for one group per row.
            levels: number of features that are levels of one statistic, in ascending order;
                |V|^2 then sums the squared differences between adjacent levels.
        """
        features, classes = self.weight.shape
        wanted = targets.float() if targets.dim() == 2 else F.one_hot(targets, classes).float()
        several = targets.dim() == 2
        groups = torch.arange(len(wanted)) if groups is None else groups
        draw = torch.Generator().manual_seed(0)
        fold = (torch.randperm(int(groups.max()) + 1, generator=draw) % FOLDS)[groups]
        back = _transposed(bag, features)
        least, scores, rate, chosen = math.inf, torch.zeros_like(wanted), 0.0, C
        starts: list[Tensor | None] = [None] * FOLDS
        for c in (C,) if levels == 1 else COSTS:
            found = torch.empty_like(wanted)
            for k in range(FOLDS):
                part = weights * (fold != k)[:, None]
                flat = _search(
                    bag, back, wanted, part, several=several, levels=levels, c=c, start=starts[k]
                )
                starts[k] = None if levels == 1 else flat
                v, b = _parted(flat, classes, levels)
                found[fold == k] = (_times(bag, v) + b)[fold == k]
            scale = _best_scale(found, wanted, weights, several=several, careful=levels > 1)
            loss = _loss(found * scale, wanted, weights, several=several)[0]
            if loss >= least:
                break
            least, scores, rate, chosen = loss, found * scale, scale, c
        v, b = _fit(bag, back, wanted, weights, several=several, levels=levels, c=chosen)
        if self.forest is not None:
            scores, share = self._mix(bag, targets, weights, fold, scores)
            rate *= share
        self.weight.copy_(v * rate)
        self.bias.copy_(b * rate)
        return scores

    def _mix(
        self, bag: Bag, targets: Tensor, weights: Tensor, fold: Tensor, linear: Tensor
    ) -> tuple[Tensor, float]:
        """Fit the forest; return the scores with it, and the factor of the linear ones.

        Args:
            bag, targets, weights: as for `fit`.
            fold: (N) fold of each row.
            linear: (N, K) scores from fits to the other folds.
        """
        assert self.forest is not None
        forest, levels = self.forest, _levels(bag)
        wanted = F.one_hot(targets, linear.shape[1]).float()
        of_row, logs = (weights * wanted).sum(1), torch.empty_like(linear)
        forest.beta.fill_(1.0)
        for k in range(FOLDS):
            forest.grow(levels, targets, of_row * (fold != k))
            logs[fold == k] = forest(levels[fold == k])
        forest.grow(levels, targets, of_row)
        linear = linear.log_softmax(1)
        best, scores, share = math.inf, linear, 1.0
        for mix in MIXES:
            mixed = (1 - mix) * linear + mix * logs
            rate = _best_scale(mixed, wanted, weights, several=False, careful=True)
            loss = _loss(mixed * rate, wanted, weights, several=False)[0]
            if loss < best:
                best, scores, share = loss, mixed * rate, (1 - mix) * rate
                forest.beta.fill_(mix * rate)
        return scores, share


def _fit(
    bag: Bag,
    back: Bag,
    wanted: Tensor,
    weights: Tensor,
    *,
    several: bool,
    levels: int = 1,
    c: float = C,
) -> tuple[Tensor, Tensor]:
    """Fit weights (V, K) and bias (K); `back` is the bag transposed."""
    found = _search(bag, back, wanted, weights, several=several, levels=levels, c=c, start=None)
    return _parted(found, wanted.shape[1], levels)


def _parted(flat: Tensor, classes: int, levels: int) -> tuple[Tensor, Tensor]:
    """Return weights (V, K) and bias (K)."""
    return _summed(flat[:-classes].view(-1, classes), levels), flat[-classes:]


def _search(
    bag: Bag,
    back: Bag,
    wanted: Tensor,
    weights: Tensor,
    *,
    several: bool,
    levels: int,
    c: float,
    start: Tensor | None,
) -> Tensor:
    """Return the steps between levels, and the bias, at the smallest loss."""
    classes, features = wanted.shape[1], len(back.starts)
    flat = wanted.new_zeros(features * classes + classes) if start is None else start.clone()
    decay = 1 / (c * max(1.0, float(weights.mean() * len(wanted))))
    steps = int(min(STEPS, max(10, WORK / (len(bag.numbers) * classes + len(flat) * BACK))))
    flat.requires_grad_()
    search = torch.optim.LBFGS(
        [flat],
        max_iter=steps,
        history_size=BACK,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-6,
    )

    @torch.no_grad()
    def loss() -> float:
        v = flat[:-classes].view(features, classes)
        scores = _times(bag, _summed(v, levels)) + flat[-classes:]
        value, gradient = _loss(scores, wanted, weights, several=several)
        slope = _summed(_times(back, gradient), levels, back=True) + decay * v
        flat.grad = torch.cat([slope.flatten(), gradient.sum(0)])
        return value + 0.5 * decay * float(v.square().sum())

    search.step(loss)
    return flat.detach()


def _summed(v: Tensor, levels: int, *, back: bool = False) -> Tensor:
    """Return sums of v (V, K) up to each level of a statistic, or with `back` from each level."""
    if levels == 1:
        return v
    steps = v.view(-1, levels, v.shape[1])
    steps = steps.flip(1).cumsum(1).flip(1) if back else steps.cumsum(1)
    return steps.reshape(v.shape)


def _losses(scores: Tensor, wanted: Tensor, share: Tensor, *, several: bool) -> Tensor:
    """Return the loss (N) of each row."""
    if several:
        return F.binary_cross_entropy_with_logits(scores, wanted, share, reduction="none").sum(1)
    return -(scores.log_softmax(1) * wanted * share).sum(1)


def _shares(weights: Tensor) -> Tensor:
    """Return weights (N, K) that make a sum of losses their mean."""
    return weights * weights.shape[1] / weights.sum().clamp(min=1e-12)


def _loss(
    scores: Tensor, wanted: Tensor, weights: Tensor, *, several: bool
) -> tuple[float, Tensor]:
    """Return the mean loss, and its gradient (N, K) with respect to the scores."""
    share = _shares(weights)
    value = float(_losses(scores, wanted, share, several=several).sum())
    if several:
        return value, (scores.sigmoid() - wanted) * share
    of_row = (share * wanted).sum(1, keepdim=True)
    return value, (scores.softmax(1) - wanted) * of_row


def _best_scale(
    scores: Tensor, wanted: Tensor, weights: Tensor, *, several: bool, careful: bool = False
) -> float:
    """Return the factor of the scores, in 1/4..4, with the smallest loss.

    If `careful`, it is the smallest factor, from 1/64, whose loss is within a standard error (of
    the difference) of the smallest loss.
    """
    rates = [2 ** (n / 8) for n in range(-48 if careful else -16, 17)]
    share = _shares(weights)
    losses = [_losses(scores * rate, wanted, share, several=several) for rate in rates]
    best = min(range(len(rates)), key=lambda n: float(losses[n].sum()))
    if not careful:
        return rates[best]
    for rate, each in zip(rates, losses, strict=True):
        more = each - losses[best]
        if float(more.sum()) <= float(more.std(correction=0)) * len(more) ** 0.5:
            return rate
    return rates[best]


def _levels(bag: Bag) -> Tensor:
    """Return the levels (N, S) of the statistics of a bag of levels."""
    numbers = bag.numbers.view(len(bag.starts), -1)
    return numbers - LEVELS * torch.arange(numbers.shape[1], device=numbers.device)


def _times(bag: Bag, v: Tensor) -> Tensor:
    """Return Z v for sparse rows Z (N, V) and v (V, K)."""
    return F.embedding_bag(bag.numbers, v, bag.starts, mode="sum", per_sample_weights=bag.values)


def _transposed(bag: Bag, features: int) -> Bag:
    """Return the bag with rows and columns exchanged."""
    ends = torch.cat([bag.starts[1:], torch.tensor([len(bag.numbers)])])
    row = torch.repeat_interleave(torch.arange(len(ends)), ends - bag.starts)
    order = bag.numbers.argsort(stable=True)
    counts = torch.bincount(bag.numbers, minlength=features)
    return Bag(row[order], bag.values[order], counts.cumsum(0) - counts)
