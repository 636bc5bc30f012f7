"""A neural cache: tokens that followed similar states in the recent text are likelier.

    p_cache(w) = 1 / Z  sum over the last N steps i with x_{i+1} = w of exp(theta s(h_t, h_i))
    p_t(w) = (1 - b_t) p_model(w) + b_t p_cache(w)
    b_{t+1} = b_t + rate (b_t p_cache(x_{t+1}) / p_t(x_{t+1}) - b_t)

N is `size`, Z makes p_cache sum to one, s is the cosine of the two states, and b_0 is `weight`.
Before the first step is stored, p is p_model.  The cost is one product of N states with the current
one, and nothing is trained.

Source: Grave, Joulin and Usunier 2016 (arXiv:1612.04426).  Their s is the dot product; with the
cosine, one theta fits cells whose states differ in size.  Their weight is fixed, as with rate 0;
here it follows the share of the last tokens that the cache explains, so that a cache that does not
help soon costs little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from elman.arguments import check_number, check_whole
from elman.errors import ArgumentError, DataError
from elman.state import State, named_leaves

LEAST, MOST = 0.001, 0.999  # of the weight, so that it can always return
TINY = 1e-30  # in place of zero as a divisor


@dataclass(frozen=True, kw_only=True)
class NeuralCache:
    """The settings of a neural cache (Grave et al. 2016, arXiv:1612.04426).

    It is an `adapt` of `LanguageModel.evaluate` and `LanguageModel.stream`.

    Attributes:
        size: number of past steps that are kept, N.
        theta: sharpness: the factor of the cosine of two states.
        weight: probability that the cache, not the model, predicts a token, at the beginning.
        rate: speed at which the weight follows the text; 0 keeps it fixed.

    Raises:
        ArgumentError: a value is out of its range.

    Example:
        >>> import elman
        >>> elman.NeuralCache(size=500).size
        500
        >>> elman.NeuralCache(weight=2)
        Traceback (most recent call last):
        elman.errors.ArgumentError: weight must be in [0, 1), got 2
    """

    size: int = 2000
    theta: float = 12.0
    weight: float = 0.1
    rate: float = 0.01

    def __post_init__(self) -> None:
        check_whole(self.size, "size", least=1)
        for name in ("theta", "weight", "rate"):
            check_number(getattr(self, name), name)
        if not 0 <= self.theta < math.inf:
            raise ArgumentError(f"theta must be 0 or more, got {self.theta}")
        for name in ("weight", "rate"):
            if not 0 <= getattr(self, name) < 1:
                raise ArgumentError(f"{name} must be in [0, 1), got {getattr(self, name)}")


class CacheMemory:
    """The last states of a text, each with the token that followed it, in constant memory.

    Args:
        settings: size, theta and weight.
        features: D, the size of a state.

    Example:
        >>> import torch
        >>> from elman.decode.cache import CacheMemory, NeuralCache
        >>> memory = CacheMemory(NeuralCache(size=8, weight=0.5), features=2)
        >>> state, even = torch.ones(1, 2), torch.full((1, 4), 0.25).log()
        >>> memory.read(state, even, torch.tensor([2])).exp().tolist()   # nothing was stored before
        [[0.25, 0.25, 0.25, 0.25]]
        >>> memory.predict(state, even).exp().tolist()
        [[0.125, 0.125, 0.625, 0.125]]
    """

    def __init__(self, settings: NeuralCache, features: int) -> None:
        self.settings = settings
        with torch.inference_mode(False):  # the memory outlives the mode
            self._states = torch.zeros(settings.size, features)  # of length one
            self._tokens = torch.full((settings.size,), -1)  # -1 where no step is stored
            self._next = torch.zeros(1, dtype=torch.int64)  # the place of the next step
            self._weight = torch.tensor([settings.weight], dtype=torch.float64)

    def predict(self, state: Tensor, log_probs: Tensor) -> Tensor:
        """Return the log-probabilities (1, V) of the model and of the cache together.

        Args:
            state: (1, D) of a step.
            log_probs: (1, V) of the model.
        """
        cache, empty = self._look_up(F.normalize(state.float(), dim=1), log_probs.shape[1])
        return _mixed(log_probs, cache, torch.where(empty, 0, self._weight))

    def read(self, states: Tensor, log_probs: Tensor, following: Tensor) -> Tensor:
        """Return the log-probabilities (T, V) of successive steps, and then store the steps.

        Args:
            states: (T, D) of the steps.
            log_probs: (T, V) of the model.
            following: (T) the token after each step, which only later steps use.
        """
        size = self.settings.size
        with torch.inference_mode(False), torch.no_grad():
            new, tokens = F.normalize(states.clone().float(), dim=1), following.clone()
            cache, empty = self._look_up(new, log_probs.shape[1], tokens)
            weights = self._follow(
                log_probs.gather(1, tokens[:, None]), cache.gather(1, tokens[:, None]), empty
            )
            places = ((self._next + torch.arange(len(new))) % size)[-size:]
            self._states[places], self._tokens[places] = new[-size:], tokens[-size:]
            self._next = (self._next + len(new)) % size
        return _mixed(log_probs, cache, weights)

    def _look_up(
        self, query: Tensor, vocabulary_size: int, following: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return p_cache (T, V) for states of length one, and where the cache is empty (T, 1)."""
        size, steps = self.settings.size, len(query)
        keys, tokens = self._states, self._tokens
        order = (torch.arange(size) - self._next) % size  # the oldest step has place 0
        if following is not None:
            keys, tokens = torch.cat([keys, query]), torch.cat([tokens, following])
            order = torch.cat([order, torch.arange(size, size + steps)])
        age = order - torch.arange(steps)[:, None]
        seen = (age >= 0) & (age < size) & (tokens >= 0)  # the `size` steps before each step
        empty = ~seen.any(1, keepdim=True)
        alike = (self.settings.theta * query @ keys.T).masked_fill(~seen & ~empty, -torch.inf)
        places = tokens.clamp(min=0).expand(steps, -1)
        zeros = torch.zeros(steps, vocabulary_size)
        return zeros.scatter_add_(1, places, alike.softmax(1)), empty

    def _follow(self, log_probs: Tensor, cache: Tensor, empty: Tensor) -> Tensor:
        """Return the weight (T, 1) at each step, given the probabilities (T, 1) of its token."""
        weight, rate, used = float(self._weight), self.settings.rate, []
        least = min(LEAST, self.settings.weight)
        rows = torch.cat([log_probs.exp(), cache, empty], 1).tolist()
        for model, found, none in rows:
            used.append(0.0 if none else weight)
            if not none:
                both = max((1 - weight) * model + weight * found, TINY)
                weight += rate * (weight * found / both - weight)
                weight = min(max(weight, least), MOST)
        self._weight.fill_(weight)
        return torch.tensor(used)[:, None]

    @property
    def state(self) -> State:
        """The content: states (N, D), tokens (N), the next place (1) and the weight (1)."""
        return self._states, self._tokens, self._next, self._weight

    def restore(self, state: State, vocabulary_size: int) -> None:
        """Continue from a content with the shapes of `state`.

        Raises:
            DataError: a number is not finite, or a token is not in the vocabulary.
        """
        states, tokens, place, weight = (leaf for _, leaf in named_leaves(state))
        known = (tokens >= -1) & (tokens < vocabulary_size)
        inside = bool(0 <= place < len(tokens)) and bool(0 <= weight <= MOST)
        if not (inside and states.isfinite().all() and known.all()):
            raise DataError("the cache of the text is damaged: it has impossible numbers")
        self._states, self._tokens, self._next, self._weight = states, tokens, place, weight


def _mixed(log_probs: Tensor, cache: Tensor, weights: Tensor) -> Tensor:
    """Return the log-probabilities (T, V) of both, given the weights (T, 1) of the cache."""
    weights = weights.to(log_probs.dtype)
    return torch.logaddexp(log_probs + (1 - weights).log(), (weights * cache).log())
