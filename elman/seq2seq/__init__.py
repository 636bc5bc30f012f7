"""Sequence to sequence: a coder reads the source and the target so far; a head predicts tokens.

    d_t = coder(x, y_{<t})
    p(y_t | y_{<t}, x) = softmax(W d_t + b)

There are two coders: recurrent.py, and transformer.py for comparison.  With attention a_t:

    copying    p = g_t p_vocabulary + (1 - g_t) sum over x_i = y of a_ti,   g_t = sigmoid(w d_t)
    coverage   loss + lambda sum_t sum_i min(a_ti, sum_{t' < t} a_t'i)

See, Liu and Manning 2017 (arXiv:1704.04368); their g also depends on the inputs of d_t.  Attention
that depends on its coverage is in attend.py.  Source and target share a vocabulary, so with
subwords every source can be copied.  Label smoothing: Szegedy et al. 2015 (arXiv:1512.00567).
Scheduled sampling: Bengio et al. 2015 (arXiv:1506.03099), for all steps at once as in Mihaylova and
Martins 2019 (arXiv:1906.07651): a first pass predicts the likeliest tokens, and the second pass
reads some of them instead of the right ones; their share grows linearly from zero in training.

Shape legend: B rows, T elements of the source, S of the target, D features of d, V tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from elman.dropout import check_probability, locked_dropout
from elman.errors import ArgumentError
from elman.heads import TokenHead
from elman.model import Loss
from elman.padded import Padded
from elman.state import State

NOTHING = -1  # fills targets after their ends
TINY = torch.finfo(torch.float32).tiny


class Coder(Protocol):
    """An encoder and a decoder, whose place is an object with a method `rows(which)`."""

    @property
    def attends(self) -> bool:
        """Whether `decode` returns attention weights."""

    def read(self, source: Padded, *, generator: torch.Generator | None = None) -> Any:
        """Read the source (B, T, ...) and return the place at which the decoder starts."""

    def decode(
        self, tokens: Padded, start: Any, *, generator: torch.Generator | None = None
    ) -> tuple[Padded, Tensor | None, Any]:
        """Return states d (B, S, D) for inputs (B, S), weights (B, S, T), and the next place."""


class Place(NamedTuple):
    """The place of a decoder: its source and its state after the target so far.

    Attributes:
        source: (B, T, ...) tokens, or other elements, which are not copied.
        coder: the place of the coder.
    """

    source: Tensor
    coder: Any

    def rows(self, which: Tensor) -> Place:
        """Return rows by index; a beam search may repeat or drop a row."""
        return Place(self.source.index_select(0, which), self.coder.rows(which))


class Seq2Seq(nn.Module):
    """A model of a coder and a head that predicts the tokens of the target.

    Args:
        coder: reads the source and the target so far.
        head: turns states d into scores of the target's tokens.
        begin: the token before every target.
        dropout: probability of dropping a feature of d_t.
        label_smoothing: share of the target that is spread over all tokens.
        copying: whether tokens of the source can be copied; source and target share a vocabulary.
        coverage: lambda, the weight of the penalty for repeated attention to the same place.
        scheduled_sampling: probability that an input is the model's prediction, at the end of
            training.

    Raises:
        ArgumentError: copying or coverage is set, but the coder has no attention.

    Example:
        >>> import torch, elman
        >>> from elman.attend import Attention
        >>> from elman.encode.embed import Embed
        >>> from elman.heads import TokenHead
        >>> from elman.padded import Padded
        >>> from elman.seq2seq import Seq2Seq
        >>> from elman.seq2seq.recurrent import Recurrent
        >>> coder = Recurrent(
        ...     Embed(10, 4), elman.GRU(4, 6, batch_first=True, bidirectional=True),
        ...     Embed(12, 4), elman.GRU(4, 8, batch_first=True), Attention(8, 12),
        ... )
        >>> model = Seq2Seq(coder, TokenHead(8, 12), begin=0)
        >>> source = Padded(torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([3, 1]))
        >>> loss = model.loss(source, torch.tensor([[5, 6], [7, -1]]))
        >>> loss.elements
        3
    """

    def __init__(
        self,
        coder: Coder,
        head: TokenHead,
        *,
        begin: int,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        copying: bool = False,
        coverage: float = 0.0,
        scheduled_sampling: float = 0.0,
    ) -> None:
        super().__init__()
        self.coder: Coder = coder
        if (copying or coverage) and not self.coder.attends:
            raise ArgumentError("copying and coverage need attention")
        self.head, self.begin = head, begin
        self.dropout = check_probability("dropout", dropout)
        self.label_smoothing = check_probability("label_smoothing", label_smoothing)
        self.coverage = coverage
        self.scheduled_sampling = check_probability("scheduled_sampling", scheduled_sampling)
        self.gate = nn.Linear(head.weight.shape[1], 1) if copying else None

    def read(self, source: Padded, *, generator: torch.Generator | None = None) -> Place:
        """Read the source (B, T, ...) and return the place at which the decoder starts."""
        return Place(source.data, self.coder.read(source, generator=generator))

    def decode(
        self, tokens: Padded, start: Place, *, generator: torch.Generator | None = None
    ) -> tuple[Padded, Tensor | None, Place]:
        """Return states d (B, S, D) for inputs (B, S), weights (B, S, T), and the next place."""
        d, weights, here = self.coder.decode(tokens, start.coder, generator=generator)
        return d, weights, Place(start.source, here)

    def step(self, tokens: Tensor, here: Place) -> tuple[Tensor, Place, Tensor | None]:
        """Return log-probabilities (B, V) after tokens (B,), the next place, weights (B, T)."""
        d, weights, here = self.decode(Padded.full(tokens.unsqueeze(1)), here)
        log_p = self.log_p(d.data, weights, here.source)[:, 0]
        return log_p, here, None if weights is None else weights[:, 0]

    def log_p(self, d: Tensor, weights: Tensor | None, source: Tensor) -> Tensor:
        """Return log-probabilities (B, S, V) for states d (B, S, D)."""
        scores: Tensor = self.head(d).float()
        if self.gate is None:
            return scores.log_softmax(-1)
        assert weights is not None
        g = torch.sigmoid(self.gate(d).float())
        p: Tensor = (g * scores.softmax(-1)).scatter_add(
            2, source.unsqueeze(1).expand_as(weights), (1 - g) * weights.float()
        )
        return p.clamp(min=TINY).log()

    # Training.

    def inputs_of(self, targets: Tensor) -> Padded:
        """Return the decoder's inputs for targets (B, S): the targets shifted right by one."""
        first = targets.new_full((len(targets), 1), self.begin)
        inputs = torch.cat([first, targets[:, :-1].clamp(min=0)], dim=1)
        return Padded(inputs, (targets != NOTHING).sum(1).cpu())

    def loss(
        self,
        source: Padded,
        targets: Tensor,
        state: State | None = None,
        *,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> Loss:
        """Return the loss for targets (B, S), padded with NOTHING; in training it is smoothed.

        `progress` is the completed share of the training.
        """
        start = self.read(source, generator=generator)
        inputs = self.inputs_of(targets)
        share = self.scheduled_sampling * progress
        if self.training and share:
            inputs = self._own(inputs, start, share, generator)
        d, weights, _ = self.decode(inputs, start, generator=generator)
        if self.training:
            dropped = locked_dropout(d.data, self.dropout, time_dim=1, generator=generator)
            d = Padded(dropped, d.lengths)
        smoothing = self.label_smoothing if self.training else 0.0
        if self.gate is None:
            total, elements = self.head.loss(d, targets)
            if smoothing:
                total = total + smoothing * self._surplus(d, targets)
        else:
            log_p, wanted = self._elements(d, weights, start.source, targets)
            total, elements = -log_p.gather(1, wanted.unsqueeze(1)).sum(), len(wanted)
            if smoothing:
                total = (1 - smoothing) * total - smoothing * log_p.mean(1).sum()
        if self.training and self.coverage:
            assert weights is not None
            before = weights.cumsum(1) - weights
            twice = torch.minimum(weights, before).sum(2)
            total = total + self.coverage * twice[d.mask()].sum()
        return Loss(total, elements, None, ())

    def _own(
        self, inputs: Padded, start: Place, share: float, generator: torch.Generator | None
    ) -> Padded:
        """Return the inputs with a share of them replaced by the model's predictions."""
        with torch.no_grad():
            d, weights, _ = self.decode(inputs, start, generator=generator)
            guess = self.log_p(d.data, weights, start.source).argmax(2)
        device = generator.device if generator is not None else inputs.data.device
        drawn = torch.rand(
            inputs.data.shape, generator=generator, device=device, dtype=torch.float32
        )
        own = drawn.to(guess.device) < share
        own[:, 0] = False  # every target has the same first input
        shifted = torch.cat([inputs.data[:, :1], guess[:, :-1]], dim=1)
        return Padded(torch.where(own, shifted, inputs.data), inputs.lengths)

    def _surplus(self, d: Padded, targets: Tensor) -> Tensor:
        """Return the sum of s_y - mean_v s_v, which smoothing adds, without storing the scores.

        (1 - e) (-log p_y) + e mean_v(-log p_v) = -log p_y + e (s_y - mean_v s_v)
        """
        mask = d.mask()
        h, wanted = d.data[mask].float(), targets[mask]
        weight, bias = self.head.weight, self.head.bias
        own = (h * nn.functional.embedding(wanted, weight)).sum() + bias[wanted].sum()
        return own - (h @ weight.mean(0)).sum() - len(h) * bias.mean()

    def _elements(
        self, d: Padded, weights: Tensor | None, source: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (N, V) and targets (N,) of the elements within the lengths."""
        mask = d.mask()
        return self.log_p(d.data, weights, source)[mask], targets[mask]

    def score(
        self, source: Padded, targets: Tensor, state: State | None = None
    ) -> tuple[dict[str, float], State]:
        """Return sums for `head.summary`; no state is carried."""
        start = self.read(source)
        d, weights, _ = self.decode(self.inputs_of(targets), start)
        if self.gate is None:
            return self.head.score(d, targets), ()
        log_p, wanted = self._elements(d, weights, start.source, targets)
        loss = -log_p.gather(1, wanted.unsqueeze(1)).sum().item()
        right = (log_p.argmax(1) == wanted).sum().item()
        return {"loss": loss, "count": len(wanted), "right": right}, ()
