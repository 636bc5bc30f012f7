"""A tag for every step: scores of K tags, independently or as a chain.

    s_t = r (W h_t + b) + v_t,  v the scores of a wide part, if there is one (`elman.heads.wide`);
                                r = 1 in training, and afterwards at most 1: with few examples the
                                wide part has more weight
    alone:   p(y | x) = prod_t softmax(s_t)_{y_t}
    chain:   p(y | x) = exp(sum_t s_t[y_t] + sum_t A[y_{t-1}, y_t] + begin[y_1] + end[y_T]) / Z

Z sums over all sequences of tags, by the forward algorithm; Viterbi finds the best sequence.
Source: Lafferty, McCallum and Pereira 2001, "Conditional Random Fields", ICML; with LSTMs: Huang,
Xu and Yu 2015 (arXiv:1508.01991), Lample et al. 2016 (arXiv:1603.01360).

Shape legend: B rows, T steps, D features, K tags.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.heads.wide import Wide
from elman.padded import Padded

IGNORED = -1  # marks a tag that is unknown in training


class TagHead(nn.Module):
    """Predict a tag for every step of a sequence.

    Args:
        input_size: D, features of the states.
        tags: K.
        chain: whether neighbouring tags depend on each other (a linear-chain CRF).
        features: number of features of the wide part, which holds their weights and is called
            before batches are built; W and b then start at zero. 0 for no wide part.
        share: r, the factor of the scores of the states outside of training.

    Example:
        >>> import torch
        >>> from elman.heads import TagHead
        >>> from elman.padded import Padded
        >>> head = TagHead(4, 3, chain=True)
        >>> states = Padded(torch.zeros(2, 5, 4), torch.tensor([5, 2]))
        >>> head.best(states).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        input_size: int,
        tags: int,
        *,
        chain: bool = False,
        features: int = 0,
        share: float = 1.0,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, tags)
        self.share = share
        self.wide = Wide(features, tags) if features else None
        if self.wide is not None:
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)
        self.chain = chain
        if chain:
            self.transitions = nn.Parameter(torch.empty(tags, tags).uniform_(-0.1, 0.1))
            self.begin = nn.Parameter(torch.empty(tags).uniform_(-0.1, 0.1))
            self.end = nn.Parameter(torch.empty(tags).uniform_(-0.1, 0.1))

    def forward(self, states: Tensor) -> Tensor:
        """Return scores (..., K) for states (..., D), without the wide part and transitions."""
        scores: Tensor = self.linear(states).float()
        if not self.training:
            scores = self.share * scores
        return scores

    def scores(self, states: Padded) -> Tensor:
        """Return scores (B, T, K), without those of transitions; `extra` is v (B, T, K)."""
        scores: Tensor = self(states.cleared())
        return scores if states.extra is None else scores + states.extra

    def loss(self, states: Padded, targets: Tensor) -> tuple[Tensor, int]:
        """Return the sum of -log p over rows, for targets (B, T), and the number of tags."""
        scores, mask = self.scores(states), states.mask()
        count = int(states.lengths.sum())
        if self.chain:
            wanted = self._score(scores, targets, mask)
            return (self._total(scores, states.lengths) - wanted).sum(), count
        return F.cross_entropy(scores[mask], targets[mask], reduction="sum"), count

    def score(self, states: Padded, targets: Tensor) -> dict[str, float]:
        """Return sums over a batch, for `summary`; tags unknown in training count as wrong."""
        mask = states.mask()
        known = (targets != IGNORED) | ~mask
        whole = known.all(1)
        extra = None if states.extra is None else states.extra[whole]
        some = Padded(states.data[whole], states.lengths[whole], extra)
        loss, count = (
            self.loss(some, targets[whole])
            if bool(whole.any())
            else (torch.zeros((), dtype=torch.float32), 0)
        )
        right = ((self.best(states) == targets) & mask).sum()
        tags = int(states.lengths.sum())
        return {"loss": loss.item(), "count": count, "right": right.item(), "tags": tags}

    @staticmethod
    def summary(sums: dict[str, float]) -> dict[str, float]:
        """Return loss (nats per tag) and accuracy."""
        return {
            "loss": sums["loss"] / max(1.0, sums["count"]),
            "accuracy": sums["right"] / max(1.0, sums["tags"]),
            "tags": int(sums["tags"]),
        }

    def best(self, states: Padded) -> Tensor:
        """Return the likeliest sequence of tags (B, T) of each row; ignore those after its end."""
        scores = self.scores(states)
        return self._viterbi(scores, states.lengths) if self.chain else scores.argmax(2)

    # The chain.

    def _score(self, scores: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Return unnormalised scores (B) of given tags."""
        tags = torch.where(mask, tags, 0)
        steps = scores.gather(2, tags.unsqueeze(2)).squeeze(2)
        moves = self.transitions[tags[:, :-1], tags[:, 1:]]
        total = torch.where(mask, steps, 0).sum(1) + torch.where(mask[:, 1:], moves, 0).sum(1)
        lengths = mask.sum(1)
        last = tags.gather(1, (lengths - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        ends = self.begin[tags[:, 0]] + self.end[last]
        return total + torch.where(lengths > 0, ends, 0)

    def _total(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """Return log Z (B), the sum over all sequences of tags."""
        alpha = self.begin + scores[:, 0]
        for t in range(1, scores.shape[1]):
            following = (alpha.unsqueeze(2) + self.transitions).logsumexp(1) + scores[:, t]
            alpha = torch.where((t < lengths).unsqueeze(1), following, alpha)
        return torch.where(lengths > 0, (alpha + self.end).logsumexp(1), 0)

    def _viterbi(self, scores: Tensor, lengths: Tensor) -> Tensor:
        best = self.begin + scores[:, 0]
        steps = scores.shape[1]
        back = []
        for t in range(1, steps):
            value, origin = (best.unsqueeze(2) + self.transitions).max(1)
            running = (t < lengths).unsqueeze(1)
            best = torch.where(running, value + scores[:, t], best)
            back.append(
                torch.where(running, origin, torch.arange(origin.shape[1], device=origin.device))
            )
        tag = (best + self.end).argmax(1)
        path = [tag]
        for origin in reversed(back):
            tag = origin.gather(1, tag.unsqueeze(1)).squeeze(1)
            path.append(tag)
        return torch.stack(path[::-1], dim=1)
