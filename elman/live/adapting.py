"""A live language model that adapts to the text: its weights follow it, or a cache remembers it.

A segment is learned when the token after it is known, and that token is read with the new weights.
A session therefore predicts the same as `LanguageModel.evaluate` with the same `adapt`.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from elman.decode.cache import CacheMemory, NeuralCache
from elman.decode.sample import Sampling
from elman.encode.text import Vocabulary
from elman.errors import DataError
from elman.inputs.live import Step
from elman.live.text import LastState, LiveText
from elman.model import SequenceModel
from elman.padded import Padded
from elman.state import State, hash_of, map_state, named_leaves
from elman.targets.live import LiveTarget
from elman.train.dynamic import Learner


class AdaptingText(LiveText):
    """A language model that reads and writes a text, and adapts to the text that it reads.

    Made by `LanguageModel.stream(adapt=...)`.  Sessions of one model affect neither each other nor
    the model: each has its own weights and its own cache.  `state_bytes` contains them exactly, so
    with dynamic evaluation its result is about as large as the model.  Tokens that `next` draws are
    read, but nothing is learned from them.  `restart` returns to the trained weights and an empty
    cache.

    Args:
        model: the trained model, which does not change.
        vocabulary: its tokens.
        learner: a copy of the model for this session alone; None for a cache alone.
        cache: the settings of the cache; None for dynamic evaluation alone.
        documents_end: whether `<eos>` ends a document, and the state begins at zero after it.
        seed: seed of the random choice.

    Example:
        >>> import elman
        >>> model = elman.LanguageModel(hidden_size=8, epochs=1, device="cpu", bptt=5)
        >>> _ = model.fit(["the cat sat on the mat"] * 30)
        >>> live = model.stream(adapt=elman.DynamicEvaluation(learning_rate=0.001, segment=5))
        >>> before = dict(live.predict(5))["mat"]
        >>> for _ in range(20):
        ...     _ = live.push("mat")
        >>> dict(live.predict(5))["mat"] > before
        True
    """

    def __init__(
        self,
        model: SequenceModel,
        vocabulary: Vocabulary,
        *,
        learner: Learner | None = None,
        cache: NeuralCache | None = None,
        documents_end: bool = False,
        seed: int = 0,
    ) -> None:
        self._origin, self._learner, self._cache = model, learner, cache
        self._learning = True  # whether the tokens that are read now are learned
        used = model if learner is None else learner.model
        super().__init__(used, vocabulary, documents_end=documents_end, seed=seed)

    def restart(self) -> None:
        """Begin a new text, with the trained weights and an empty cache."""
        if self._learner is not None:
            self._learner.restart()
        features, cache = self._origin.core.output_size, self._cache
        self._memory = None if cache is None else CacheMemory(cache, features)
        self._tokens: list[int] = []  # inputs of the segment so far
        self._learned: list[bool] = []  # whether each of them is learned, as a target
        self._start: State = ()  # the state before the segment
        super().restart()

    def next(self, sampling: Sampling | None = None) -> str:
        """Draw the next token, read it without learning from it, and return its text.

        Raises:
            ArgumentError: sampling has a repetition penalty; a stream does not store tokens.
        """
        self._learning = False
        try:
            return super().next(sampling)
        finally:
            self._learning = True

    def _scores(self) -> Tensor:
        scores = super()._scores()
        if self._memory is None:
            return scores
        assert isinstance(self._target, LastState)
        with torch.inference_mode():
            return self._memory.predict(self._target.h, scores.float().log_softmax(1))

    def _advance(self, step: Step, target: LiveTarget[int]) -> int | None:
        """Read tokens; learn each segment when the token after it is known."""
        assert isinstance(step.array, np.ndarray)
        assert isinstance(target, LastState)
        tokens, fresh = step.array, step.fresh
        segment = len(tokens) if self._learner is None else self._learner.settings.segment
        before = vars(target).get("h")  # the state from which the first token was predicted
        if before is not None:
            self._remember(before, tokens[:1])
        while len(tokens):
            if self._tokens and (fresh or len(self._tokens) >= segment):
                self._learn(int(tokens[0]))
            piece, tokens = np.split(tokens, [segment - len(self._tokens)])
            states = self._read(piece, fresh)
            target.push(states, None)
            self._remember(states[0], np.concatenate([piece[1:], tokens[:1]]))
            fresh = False
        return len(step.array)

    def _read(self, tokens: NDArray[np.int64], fresh: bool) -> Tensor:
        """Read tokens with the current weights, and return the states (1, n, D)."""
        assert self._stream is not None
        if fresh:
            self._stream.restart()
        if self._learner is not None:
            if not self._tokens:
                self._start = self._network_state
            self._tokens += tokens.tolist()
            self._learned += [self._learning] * len(tokens)
        return self._stream.run(self._steps(Step(tokens)))

    def _remember(self, states: Tensor, following: NDArray[np.int64]) -> None:
        """Store states (n, D) in the cache whose following tokens are known."""
        if self._memory is not None and self._learning and len(following):
            states = states[: len(following)]
            log_p = self._head(states).float().log_softmax(1)
            self._memory.read(states, log_p, torch.from_numpy(following))

    def _learn(self, following: int) -> None:
        """Learn the segment, given the token after it, and begin another one."""
        assert self._learner is not None
        network = self._learner.model
        learned = torch.tensor([*self._learned[1:], self._learning])
        if learned.any():
            with torch.inference_mode(False), torch.enable_grad():
                inputs = torch.tensor([self._tokens])
                targets = torch.tensor([*self._tokens[1:], following])[learned.clone()]
                h, _ = network.run(Padded.full(inputs), map_state(torch.clone, self._start))
                scores = network.head(h.data[0][learned.clone()]).float()
                loss = F.cross_entropy(scores, targets, reduction="sum")
                self._learner.learn(loss, len(targets))
        self._tokens, self._learned = [], []

    # The state.

    @property
    def _key(self) -> str:
        learner = None if self._learner is None else self._learner.key
        return hash_of(self._origin, self._input.key, self._target.key, learner, self._cache)

    def _whole_state(self) -> State:
        memory: State = () if self._memory is None else self._memory.state
        if self._learner is None:
            return super()._whole_state(), memory
        segment = torch.full((self._learner.settings.segment, 2), -1)
        read = list(zip(self._tokens, self._learned, strict=True))
        segment[: len(read)] = torch.tensor(read)
        return super()._whole_state(), memory, segment, self._start, self._learner.state

    def _fresh(self) -> AdaptingText:
        if self._learner is None:
            return super()._fresh()
        other = copy.copy(self)
        other._learner = self._learner.renewed()
        model = other._learner.model
        other._encode, other._core, other._head = model.encode, model.core, model.head
        return super(AdaptingText, other)._fresh()

    def _continue(self, whole: State) -> None:
        plain, memory, *rest = whole
        super()._continue(plain)
        if self._memory is not None:
            self._memory.restore(memory, self._vocabulary.size)
        if self._learner is None:
            return
        segment, self._start, weights = rest
        assert isinstance(segment, Tensor)
        numbers = [leaf for part in (self._start, weights) for _, leaf in named_leaves(part)]
        read = segment[segment[:, 0] >= 0].tolist()
        self._tokens = [token for token, _ in read]
        self._learned = [bool(learned) for _, learned in read]
        known = len(read) >= 1 and max(self._tokens) < self._vocabulary.size
        if not known or not all(bool(leaf.isfinite().all()) for leaf in numbers):
            raise DataError("the weights or the segment of the session are damaged")
        self._learner.restore(weights)
