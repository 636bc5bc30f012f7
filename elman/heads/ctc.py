"""Predict a shorter sequence without an alignment: connectionist temporal classification.

    p(k | t) = softmax(W h_t + b)_k,   k a token or the blank
    p(y) = sum over paths that become y of prod_t p(path_t | t)

A path has one symbol per frame.  It becomes a target when repeated symbols are merged and then
blanks are removed, so two equal tokens in succession need a blank between them.

Source: Graves et al. 2006, "Connectionist temporal classification", ICML.

Shape legend: B rows, T frames, U target tokens, D features, V scores, the last one of the blank.
"""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein
from torch import Tensor, nn
from torch.nn import functional as F

from elman.decode.ctc import greedy_ctc
from elman.decode.hypotheses import Hypothesis
from elman.errors import ArgumentError
from elman.kernels.cross_entropy import as_integers
from elman.padded import Padded, time_mask

NO_TOKEN = -1  # fills targets after the end of a row


class CTCHead(nn.Module):
    """Scores of V - 1 tokens and the blank for every frame.

    Args:
        input_size: D, features of the states.
        vocabulary_size: the number of tokens, V - 1; the blank is token number V - 1.

    Example:
        >>> import torch
        >>> from elman.heads.ctc import CTCHead
        >>> from elman.padded import Padded
        >>> head = CTCHead(4, 9)
        >>> states = Padded(torch.zeros(2, 5, 4), torch.tensor([5, 3]))
        >>> total, count = head.loss(states, torch.tensor([[3, 3], [8, -1]]))
        >>> head(states.data).shape, count
        (torch.Size([2, 5, 10]), 3)
    """

    def __init__(self, input_size: int, vocabulary_size: int) -> None:
        super().__init__()
        self.blank = vocabulary_size
        self.linear = nn.Linear(input_size, vocabulary_size + 1)

    def forward(self, states: Tensor) -> Tensor:
        """Return scores (..., V) for states (..., D)."""
        scores: Tensor = self.linear(states)
        return scores.float()

    def loss(self, states: Padded, targets: Tensor) -> tuple[Tensor, int]:
        """Return the sum of -log p over rows in nats, and the number of tokens.

        A row whose target is too long for its frames adds nothing to the sum; see `feasible`.

        Args:
            states: (B, T, D).
            targets: (B, U), integers in 0..V-2, filled with -1 after the end of a row.

        Raises:
            ArgumentError: a target is out of range, or follows a -1.
        """
        return self._loss(self._log_p(states), states.lengths, targets)

    def _log_p(self, states: Padded) -> Tensor:
        """Return log-probabilities (B, T, V)."""
        log_p: Tensor = self(states.cleared()).log_softmax(2)
        return log_p

    def _loss(self, log_p: Tensor, lengths: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        tokens = count_tokens(targets, self.blank, len(lengths))
        log_p = log_p.transpose(0, 1)
        if len(log_p) == 0:
            log_p = F.pad(log_p, (0, 0, 0, 0, 0, 1))  # torch refuses a batch without any frame
        loss = F.ctc_loss(
            log_p,
            targets.clamp(min=0),
            lengths.to(targets.device),
            tokens,
            blank=self.blank,
            reduction="sum",
            zero_infinity=True,
        )
        return loss, int(tokens.sum())

    def score(self, states: Padded, targets: Tensor) -> dict[str, float]:
        """Return sums over a batch, for `summary`."""
        log_p = self._log_p(states)
        loss, count = self._loss(log_p, states.lengths, targets)
        errors = token_errors(greedy_ctc(Padded(log_p, states.lengths)), targets)
        return {"loss": loss.item(), "count": count, "errors": errors}

    @staticmethod
    def summary(sums: dict[str, float]) -> dict[str, float]:
        """Return the loss (nats per token), the accuracy and the number of tokens.

        The accuracy is 1 - (inserted, deleted and substituted tokens) / (tokens).
        """
        count = max(1.0, sums["count"])
        return {
            "loss": sums["loss"] / count,
            "accuracy": 1 - sums["errors"] / count,
            "tokens": sums["count"],
        }


def token_errors(found: Sequence[Hypothesis], targets: Tensor) -> int:
    """Return how many tokens must be inserted, deleted or substituted to get the targets.

    Args:
        found: B hypotheses.
        targets: (B, U), filled with -1 after the end of a row.

    Example:
        >>> import torch
        >>> from elman.decode.hypotheses import Hypothesis
        >>> from elman.heads.ctc import token_errors
        >>> token_errors([Hypothesis((7, 4), (3, 9), (0.9, 0.8), 0, 0)], torch.tensor([[7, 5, 4]]))
        1
    """
    rows = zip(found, targets.tolist(), strict=True)
    return sum(
        Levenshtein.distance(one.tokens, [token for token in row if token != NO_TOKEN])
        for one, row in rows
    )


def feasible(targets: Tensor, lengths: Tensor) -> Tensor:
    """Return which rows (B,) have enough frames for their target: one per token and repetition.

    Args:
        targets: (B, U), filled with -1 after the end of a row.
        lengths: (B,), the number of frames of each row.

    Example:
        >>> import torch
        >>> from elman.heads.ctc import feasible
        >>> feasible(torch.tensor([[4, 4], [4, 5], [4, -1]]), torch.tensor([2, 2, 0])).tolist()
        [False, True, False]
    """
    there = targets != NO_TOKEN
    repeated = (targets[:, 1:] == targets[:, :-1]) & there[:, 1:]
    return there.sum(1) + repeated.sum(1) <= lengths.to(targets.device)


def count_tokens(targets: Tensor, vocabulary_size: int, rows: int) -> Tensor:
    """Return the number of tokens (B,) of each row of targets (B, U).

    Args:
        targets: integers in 0..vocabulary_size-1, filled with -1 after the end of a row.
        vocabulary_size: the number of tokens.
        rows: B.

    Raises:
        ArgumentError: a target is out of range, or follows a -1.

    Example:
        >>> import torch
        >>> from elman.heads.ctc import count_tokens
        >>> count_tokens(torch.tensor([[3, 1], [2, -1], [-1, -1]]), 4, 3).tolist()
        [2, 1, 0]
    """
    targets = as_integers(targets)
    if targets.dim() != 2 or len(targets) != rows:
        raise ArgumentError(
            f"targets must have shape (B, U) with B={rows}, got {tuple(targets.shape)}"
        )
    there = targets != NO_TOKEN
    counts = there.sum(1)
    known = (targets >= 0) & (targets < vocabulary_size)
    wrong = (there != time_mask(counts, targets.shape[1])) | (there & ~known)
    if bool(wrong.any()):
        row, place = wrong.nonzero()[0].tolist()
        raise ArgumentError(
            f"targets must be in 0..{vocabulary_size - 1}, with {NO_TOKEN} only after the end of a "
            f"row, got {int(targets[row, place])} at row {row}, token {place}"
        )
    return counts
