"""Live use of a language model: it reads and writes one token at a time, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.arguments import text_of_argument
from elman.decode.sample import Sampling, sample
from elman.encode.bags import Bag
from elman.encode.text import Vocabulary
from elman.errors import ArgumentError, DataError
from elman.inputs.live import LiveInput, Step, check_no_time
from elman.live.session import Live
from elman.model import SequenceModel
from elman.padded import Padded
from elman.state import State, select_rows
from elman.targets.live import LiveTarget


class LiveText(Live[int]):
    """A language model that reads and writes a text token by token.

    Made by `LanguageModel.stream()`.  The state of the random generator of `next` is not part of
    `state_bytes`.

    Example:
        >>> import elman
        >>> model = elman.LanguageModel(hidden_size=8, epochs=1, device="cpu", bptt=5)
        >>> _ = model.fit(["the cat sat on the mat"] * 30)
        >>> live = model.stream()
        >>> live.push("the cat")
        2
        >>> blob = live.state_bytes()
        >>> live.push("sat")
        1
        >>> live.restore(blob)      # back to the state before "sat"
        >>> len(live.predict(3))
        3
    """

    def __init__(
        self,
        model: SequenceModel,
        vocabulary: Vocabulary,
        *,
        documents_end: bool = False,
        seed: int = 0,
    ) -> None:
        self._head, self._vocabulary = model.eval().head, vocabulary
        self._end = vocabulary.end if documents_end else None
        self._generator = torch.Generator().manual_seed(seed)
        super().__init__(
            model.encode,
            model.core,
            lambda: (LiveTokens(vocabulary.end, fresh=documents_end), LastState()),
            noun="texts",
        )

    def push(self, text: str, at: None = None) -> int:
        """Read the tokens of a text, and return their number.

        Pieces are tokenised separately: pushing "th" and then "e" differs from pushing "the".
        """
        tokens = self._vocabulary.encode(text_of_argument(text, "text"))
        begin = 0
        for n, token in enumerate(tokens):
            if n and token == self._end:
                super().push(tokens[begin:n], at)
                begin = n
        super().push(tokens[begin:], at)
        return len(tokens)

    def finish(self) -> None:
        """End the document: the next token begins a new one, as after the end of a file."""
        super().push([self._vocabulary.end])

    def _scores(self) -> Tensor:
        assert isinstance(self._target, LastState)
        with torch.inference_mode():
            scores: Tensor = self._head(self._target.h)
        return scores

    def predict(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the k likeliest next tokens with their probabilities."""
        return likeliest(self._scores()[0], self._vocabulary, k)

    def next(self, sampling: Sampling | None = None) -> str:
        """Draw the next token, read it, and return its text.

        Raises:
            ArgumentError: sampling has a repetition penalty; a stream does not store tokens.
        """
        if sampling is not None and sampling.repetition_penalty != 1:
            raise ArgumentError(
                "repetition_penalty must be 1 in a stream, which does not store earlier tokens, "
                f"got {sampling.repetition_penalty}; use LanguageModel.generate"
            )
        scores = self._scores().clone()
        if self._vocabulary.unknown is not None:
            scores[:, self._vocabulary.unknown] = -torch.inf
        p = (sampling or Sampling()).probabilities(scores)
        token = int(torch.multinomial(p, 1, generator=self._generator))
        super().push([token])
        return self._vocabulary.decode([token])


class LiveTokens(LiveInput):
    """A text as groups of token numbers.

    Args:
        end: the token that comes before every text.
        fresh: whether the state of the recurrence begins at zero before this token.
    """

    def __init__(self, end: int, *, fresh: bool) -> None:
        self._end, self._fresh = end, fresh

    @property
    def state(self) -> State:
        """Return an empty state."""
        return ()

    def restore(self, state: State) -> None:
        """Do nothing: there is no state."""

    def begin(self) -> Step:
        """Return the token before the text."""
        return self._step([self._end])

    def push(self, element: Sequence[int], at: Any = None) -> tuple[Step | None, Step | None]:
        """Return the step of each token; only the first of them can be `end`."""
        check_no_time(at, "texts")
        return self._step(element), None

    def _step(self, tokens: Sequence[int]) -> Step:
        fresh = self._fresh and tokens[:1] == [self._end]
        return Step(np.array(tokens, dtype=np.int64), fresh=fresh)


class LastState(LiveTarget[int]):
    """The last state h (1, D) of the recurrence, from which scores are computed when needed."""

    h: Tensor

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        return self.h.clone()

    def restore(self, state: State) -> None:
        """Continue from a state of the right shape; DataError for values that are not finite."""
        assert isinstance(state, Tensor)
        if not bool(state.isfinite().all()):
            raise DataError("the state of the text is damaged: some numbers are not finite")
        self.h = state

    def push(self, states: Tensor, bag: Bag | None) -> int:
        """Keep the last of the next states (1, n, D), and return n."""
        self.h = states[:, -1].clone()
        return states.shape[1]


def likeliest(scores_V: Tensor, vocabulary: Vocabulary, k: int) -> list[tuple[str, float]]:
    """Return the k likeliest tokens and their probabilities, without `<unk>`."""
    p = torch.softmax(scores_V.float(), dim=0)
    if vocabulary.unknown is not None:
        p[vocabulary.unknown] = -1
    if not 1 <= k <= len(p):
        raise ArgumentError(f"k must be in 1..{len(p)}, got {k}")
    top = p.topk(k)
    return [
        (vocabulary.token(token), value)
        for token, value in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        if value >= 0
    ]


def read_prompt(
    model: SequenceModel, vocabulary: Vocabulary, text: str, *, rows: int = 1, end: int | None
) -> tuple[Tensor, State]:
    """Return scores (rows, V) of the token after a text, and the state after the text.

    Args:
        model: the network.
        vocabulary: its tokens.
        text: the text, which can be empty.
        rows: number of equal rows.
        end: the token that ends a document; None if documents do not end.
    """
    tokens = vocabulary.encode(text_of_argument(text, "text"))
    if end in tokens:  # only the last document counts
        tokens = tokens[len(tokens) - tokens[::-1].index(end) :]
    with torch.inference_mode():
        h, state = model.run(Padded.full(torch.tensor([[vocabulary.end, *tokens]])))
        copies = torch.zeros(rows, dtype=torch.int64)
        return model.head(h.data[:, -1])[copies], select_rows(state, copies)


def draw_tokens(
    model: SequenceModel,
    vocabulary: Vocabulary,
    text: str,
    *,
    sampling: Sampling,
    max_new_tokens: int,
    seed: int,
    samples: int,
    end: int | None,
) -> Iterator[Tensor]:
    """Yield the tokens (samples,) of each step of random continuations of a text.

    Args:
        model: the network.
        vocabulary: its tokens.
        text: the text to continue.
        sampling: how tokens are drawn.
        max_new_tokens: maximum number of tokens.
        seed: seed of the random choice.
        samples: number of continuations.
        end: the token that ends a document, and with it a continuation; None for none.
    """

    def step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        # Around the whole loop, the mode would also apply to the caller's code between tokens.
        with torch.inference_mode():
            scores, state = model(Padded.full(tokens.unsqueeze(1)), state)
        return scores.data[:, -1], state

    scores, state = read_prompt(model, vocabulary, text, rows=samples, end=end)
    seen = torch.zeros_like(scores, dtype=torch.bool)
    seen[:, vocabulary.encode(text)] = True
    unknown = vocabulary.unknown
    return sample(
        step,
        scores,
        state,
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        seen=seen,
        generator=torch.Generator().manual_seed(seed),
        banned=() if unknown is None else (unknown,),
        end=end,
    )
