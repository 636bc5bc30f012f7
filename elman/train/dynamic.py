"""Dynamic evaluation: the weights of a language model follow the text that it reads.

After each segment of n tokens, with the gradient g of their summed loss (back-propagation through
the segment) and the trained weights W0,

    W <- W - learning_rate * g / (m s)
    W <- W + min(1, decay * n * s) * (W0 - W),        s = r / m + STABLE

r is the root mean square of the gradient of one token on the training text, for each weight, and m
is the mean of r over all weights.  Weights with large gradients therefore also decay faster.
Without the training text s is 1, m is the root mean square of all gradients of the segments read
so far, and the learning rate is a quarter: plain gradient descent, which is less stable.

Source: Krause, Kahembwe, Murray and Renals 2017 (arXiv:1709.07432).  They divide the gradient by
the number of tokens of a segment and measure r on batches; here both are in units of one token, so
that one learning rate fits segments of any length and a shorter segment counts for less.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from elman.arguments import check_number, check_whole
from elman.errors import ArgumentError, DivergenceError
from elman.model import SequenceModel
from elman.state import State, named_leaves
from elman.train.chunks import Chunk

STABLE = 0.3  # share of the mean that is added to each root mean square
PLAIN = 0.25  # share of the learning rate without a training text
TINY = 1e-30  # in place of zero as a divisor


@dataclass(frozen=True, kw_only=True)
class DynamicEvaluation:
    """The settings of dynamic evaluation (Krause et al. 2017, arXiv:1709.07432).

    It is an `adapt` of `LanguageModel.evaluate` and `LanguageModel.stream`.

    Attributes:
        learning_rate: change of a weight for each token whose gradient is as large as usual.
        decay: share of the difference from the trained weights that is lost with each token.
        segment: number of tokens after which the weights change, and through which gradients flow.

    Raises:
        ArgumentError: a value is out of its range.

    Example:
        >>> import elman
        >>> elman.DynamicEvaluation(segment=5).segment
        5
        >>> elman.DynamicEvaluation(decay=-1)
        Traceback (most recent call last):
        elman.errors.ArgumentError: decay must be in [0, 1], got -1
    """

    learning_rate: float = 2e-4
    decay: float = 2.5e-4
    segment: int = 20

    def __post_init__(self) -> None:
        check_number(self.learning_rate, "learning_rate")
        check_number(self.decay, "decay")
        check_whole(self.segment, "segment", least=1)
        if not 0 <= self.learning_rate < math.inf:
            raise ArgumentError(f"learning_rate must be 0 or more, got {self.learning_rate}")
        if not 0 <= self.decay <= 1:
            raise ArgumentError(f"decay must be in [0, 1], got {self.decay}")


class Sizes(NamedTuple):
    """The sizes of the gradients of one token: their mean m, and s for each weight, see above."""

    mean: float
    relative: list[Tensor]


@torch.enable_grad()
def gradient_sizes(model: SequenceModel, chunks: Iterable[Chunk]) -> Sizes:
    """Measure the root mean square of the gradient of one token, for each weight that is trained.

    The gradients of the tokens of a chunk are taken as independent: the mean square of their sum is
    their number times that of one token.

    Args:
        model: the trained model, which does not change.
        chunks: batches of the training text, in evaluation mode.
    """
    training, weights = model.training, trained_weights(model)
    squares, count, state = [torch.zeros_like(one) for one in weights], 0, None
    model.eval()
    for chunk in chunks:
        found = model.loss(chunk.inputs, chunk.targets, chunk.enter(state))
        state = chunk.leave(found.state)
        gradients = torch.autograd.grad(found.total, weights, allow_unused=True)
        for square, gradient in zip(squares, gradients, strict=True):
            if gradient is not None:
                square.addcmul_(gradient, gradient, value=1 / found.elements)
        count += 1
    model.train(training)
    sizes = [square.div_(max(1, count)).sqrt_() for square in squares]
    total = sum(float(size.double().sum()) for size in sizes)
    mean = max(total / sum(size.numel() for size in sizes), TINY)
    return Sizes(mean, [size.div_(mean).add_(STABLE) for size in sizes])


def trained_weights(model: SequenceModel) -> list[torch.nn.Parameter]:
    """Return the weights of a model that have gradients, each once."""
    return [weight for weight in model.parameters() if weight.requires_grad]


class Learner:
    """A copy of a language model whose weights follow a text.

    Args:
        model: the trained model, whose weights stay as they are.
        settings: learning rate, decay and length of segments.
        sizes: the result of `gradient_sizes`; None without a training text.

    Attributes:
        model: the copy, in evaluation mode.
    """

    def __init__(
        self,
        model: SequenceModel,
        settings: DynamicEvaluation,
        sizes: Sizes | None = None,
    ) -> None:
        self.settings, self._origin, self._sizes = settings, model, sizes
        with torch.inference_mode(False):
            self.model = copy.deepcopy(model).eval()
            self._trained = [one.detach() for one in trained_weights(model)]
            self._weights = trained_weights(self.model)
            self._plain = torch.zeros(2)  # sum and number of the mean squares read, without sizes

    def learn(self, loss: Tensor, tokens: int) -> None:
        """Change the weights by the gradient of a loss.

        Args:
            loss: () summed over the tokens of a segment, from `model` with gradients.
            tokens: their number.

        Raises:
            DivergenceError: the loss is not finite.
        """
        if not math.isfinite(loss.item()):
            raise DivergenceError(
                f"the loss became {loss.item()} while the weights followed the text; give "
                f"DynamicEvaluation a learning_rate below {self.settings.learning_rate:g}"
            )
        gradients = torch.autograd.grad(loss, self._weights, allow_unused=True)
        decay, rate, sizes = self.settings.decay * tokens, self.settings.learning_rate, self._sizes
        with torch.no_grad():
            if sizes is None:
                rate *= PLAIN / self._measured(gradients, tokens)
                relative = [torch.ones(())] * len(gradients)
            else:
                rate, relative = rate / sizes.mean, sizes.relative
            each = zip(self._weights, self._trained, gradients, relative, strict=True)
            for weight, trained, gradient, size in each:
                if gradient is not None:
                    weight.addcdiv_(gradient, size, value=-rate)
                weight.lerp_(trained, (size * decay).clamp_(max=1))

    def _measured(self, gradients: Sequence[Tensor | None], tokens: int) -> float:
        """Return the root mean square of the gradient of one token in the segments so far."""
        total = sum(float(one.square().sum()) for one in gradients if one is not None)
        count = sum(weight.numel() for weight in self._weights)
        self._plain += torch.tensor([total / count / tokens, 1.0])
        return max(math.sqrt(self._plain[0] / self._plain[1]), TINY)

    def renewed(self) -> Learner:
        """Return another learner of the same model, with the trained weights."""
        return Learner(self._origin, self.settings, self._sizes)

    @property
    def key(self) -> str:
        """Text that identifies the settings, and whether gradients were measured in training."""
        return f"{self.settings} {'plain' if self._sizes is None else 'scaled'}"

    @property
    def state(self) -> State:
        """The weights, and what was measured on the text."""
        return (*(one.detach() for one in self._weights), self._plain)

    @torch.no_grad()
    def restore(self, state: State) -> None:
        """Continue from weights with the shapes of `state`."""
        for mine, (_, given) in zip(
            (*self._weights, self._plain), named_leaves(state), strict=True
        ):
            mine.copy_(given)

    def restart(self) -> None:
        """Return to the trained weights."""
        with torch.inference_mode(False):
            self.restore((*self._trained, torch.zeros(2)))
