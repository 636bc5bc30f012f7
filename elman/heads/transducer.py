"""Predict a sequence of any length from the states, without an alignment: an RNN transducer.

    z(t, u) = W tanh(e_t + p_u) + b,      p(k | t, u) = softmax(z(t, u))_k
    alpha(t, u) = alpha(t-1, u) p(blank | t-1, u) + alpha(t, u-1) p(y_u | t, u-1)
    loss = -log (alpha(T-1, U) p(blank | T-1, U)),    alpha(0, 0) = 1

e_t is a linear map of the states, p_u of the prediction network, which reads the first u tokens
(`elman.heads.predictor`).  A blank goes to the next frame, and any other symbol is written, so the
loss sums over all alignments of frames and tokens.  `plain_loss` is the definition; if
`kernels.transducer` supports the tensors, it computes the same without storing the scores.

With a weight w > 0, loss = (1 - w) transducer + w CTC, a linear layer on the states.

Source: Graves 2012, "Sequence transduction with recurrent neural networks" (arXiv:1211.3711).

Shape legend: B rows, T frames, U target tokens, N hypotheses, D features, J joint units, V scores,
the last one of the blank.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.arguments import check_whole
from elman.decode.transducer import greedy_transducer
from elman.dropout import check_probability, locked_dropout
from elman.errors import ArgumentError
from elman.heads.ctc import CTCHead, count_tokens, token_errors
from elman.heads.predictor import RecurrentPredictor, StatelessPredictor
from elman.kernels import transducer
from elman.padded import Padded, time_mask
from elman.state import State


class TransducerHead(nn.Module):
    """An RNN transducer on top of an encoder.

    Args:
        input_size: D, features of the states.
        vocabulary_size: the number of tokens, V - 1; the blank is token number V - 1.
        predictor_size: features of the prediction network.
        joint_size: J.
        context: the number of tokens that a stateless prediction network sees; None for a
            recurrent one, which sees all.
        ctc_weight: the weight w of an auxiliary CTC loss, 0..1.
        dropout: dropout probability of the features of the prediction network, the same ones at all
            tokens of a row; few transcripts are otherwise learned by heart.

    Example:
        >>> import torch
        >>> from elman.heads.transducer import TransducerHead
        >>> from elman.padded import Padded
        >>> head = TransducerHead(4, 9, predictor_size=8, joint_size=8)
        >>> states = Padded(torch.zeros(2, 5, 4), torch.tensor([5, 3]))
        >>> total, count = head.loss(states, torch.tensor([[3, 3], [8, -1]]))
        >>> count
        3
    """

    def __init__(
        self,
        input_size: int,
        vocabulary_size: int,
        *,
        predictor_size: int = 256,
        joint_size: int = 256,
        context: int | None = None,
        ctc_weight: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.blank = vocabulary_size
        self.dropout = check_probability("dropout", dropout)
        self.ctc_weight = check_probability("ctc_weight", ctc_weight)
        self.predictor: RecurrentPredictor | StatelessPredictor
        if context is None:
            self.predictor = RecurrentPredictor(vocabulary_size, predictor_size)
        else:
            check_whole(context, "context", least=1)
            self.predictor = StatelessPredictor(vocabulary_size, predictor_size, context)
        self.from_states = nn.Linear(input_size, joint_size)
        self.from_tokens = nn.Linear(predictor_size, joint_size, bias=False)
        self.output = nn.Linear(joint_size, vocabulary_size + 1)
        self.ctc = CTCHead(input_size, vocabulary_size) if ctc_weight else None

    def forward(self, states: Tensor) -> Tensor:
        """Return e (B, T, J) for states (B, T, D); scores also need tokens, see `join`."""
        e: Tensor = self.from_states(states)
        return e

    def loss(self, states: Padded, targets: Tensor) -> tuple[Tensor, int]:
        """Return the sum of -log p over rows in nats, and the number of tokens.

        Args:
            states: (B, T, D).
            targets: (B, U), integers in 0..V-2, filled with -1 after the end of a row.

        Raises:
            ArgumentError: a target is out of range or follows a -1, or a row has tokens but no
                frames.
        """
        loss, count = self._transducer_loss(states, targets)
        if self.ctc is not None:
            w = self.ctc_weight
            loss = (1 - w) * loss + w * self.ctc.loss(states, targets)[0]
        return loss, count

    def score(self, states: Padded, targets: Tensor) -> dict[str, float]:
        """Return sums over a batch, for `summary`; the loss is that of the transducer alone."""
        loss, count = self._transducer_loss(states, targets)
        found = greedy_transducer(self, Padded(self(states.cleared()), states.lengths))
        return {"loss": loss.item(), "count": count, "errors": token_errors(found, targets)}

    summary = staticmethod(CTCHead.summary)

    def _transducer_loss(self, states: Padded, targets: Tensor) -> tuple[Tensor, int]:
        tokens = count_tokens(targets, self.blank, len(states.lengths))
        frames = states.lengths.to(tokens.device)
        empty = (frames == 0) & (tokens > 0)
        if bool(empty.any()):
            row = int(empty.nonzero()[0])
            raise ArgumentError(
                f"row {row} of the batch has {int(tokens[row])} tokens, but no frames: drop it"
            )
        known = targets.clamp(min=0)
        e = self(states.cleared())
        h = self.predictor(known, tokens)
        if self.training and self.dropout:
            h = locked_dropout(h, self.dropout, time_dim=1)
        p = self.from_tokens(h)
        given = (e, p, self.output.weight, self.output.bias)
        run = transducer.transducer_loss if transducer.covers(*given) else plain_loss
        return run(*given, known, frames, tokens), int(tokens.sum())

    # Decoding, of N hypotheses at once.

    def encode(self, states: Tensor) -> Tensor:
        """Return e (B, T, J) for states (B, T, D)."""
        e: Tensor = self(states)
        return e

    def begin(self, n: int) -> tuple[Tensor, State]:
        """Return p (n, J) before the first token, and the state of the prediction network."""
        h, state = self.predictor.begin(n)
        return self.from_tokens(h), state

    def advance(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return p (N, J) after tokens (N,), and the state."""
        h, state = self.predictor.advance(tokens, state)
        return self.from_tokens(h), state

    def join(self, e: Tensor, p: Tensor) -> Tensor:
        """Return log-probabilities (..., V) for e and p (..., J)."""
        return _join(e, p, self.output.weight, self.output.bias)


def _join(e: Tensor, p: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return log-probabilities (..., V), in float64 or float32."""
    scores = F.linear(torch.tanh(e + p), weight, bias)
    return (scores if scores.dtype == torch.float64 else scores.float()).log_softmax(-1)


def plain_loss(
    e: Tensor,
    p: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    frames: Tensor,
    tokens: Tensor,
) -> Tensor:
    """Return the sum of the negative log-likelihoods of the targets, of any dtype and device.

    The arguments are those of `elman.kernels.transducer.transducer_loss`.  Rows are processed
    together, frame by frame.
    """
    T, U = e.shape[1], targets.shape[1]
    e = torch.where(time_mask(frames, T).unsqueeze(2), e, 0)
    p = torch.where(time_mask(tokens + 1, U + 1).unsqueeze(2), p, 0)
    if T == 0:
        return e.sum() + p.sum() * 0
    log_p = _join(e.unsqueeze(2), p.unsqueeze(1), weight, bias)  # (B, T, U + 1, V)
    blank = log_p[..., -1]
    wanted = targets[:, None, :, None].expand(-1, T, -1, -1)
    label = log_p[:, :, :U].gather(3, wanted).squeeze(3)
    written = F.pad(label.cumsum(2), (1, 0))  # of the first u tokens, all in frame t
    alpha = written[:, 0]
    ends = [alpha]
    for t in range(1, T):
        alpha = written[:, t] + (alpha + blank[:, t - 1] - written[:, t]).logcumsumexp(1)
        ends.append(alpha)
    rows = torch.arange(len(e), device=e.device)
    total = (torch.stack(ends, 1) + blank)[rows, frames - 1, tokens]
    return -torch.where(frames > 0, total, 0).sum()
