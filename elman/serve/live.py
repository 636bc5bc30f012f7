"""Live use of a language model: it reads one token at a time and keeps only its state.

Reading tokens one by one gives exactly the states of reading the sequence at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from elman.arguments import text_of_argument
from elman.decode.sample import Sampling
from elman.encode.text import Vocabulary
from elman.errors import ArgumentError, DataError
from elman.model import SequenceModel
from elman.padded import Padded
from elman.state import State, from_bytes, named_leaves, to_bytes

ONE = torch.ones(1, dtype=torch.int64)


class LiveText:
    """A language model that reads and writes a text token by token.

    Made by `LanguageModel.stream()`.

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
        >>> live.restore(blob)      # back before "sat"
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
        if not model.core.causal:
            raise ArgumentError("a bidirectional model cannot be used live: it needs later tokens")
        self._model, self._vocabulary = model.eval(), vocabulary
        self._documents_end = documents_end
        self._generator = torch.Generator().manual_seed(seed)
        self.restart()

    def restart(self) -> None:
        """Begin a new text."""
        self._hidden: Tensor = torch.empty(0, dtype=torch.float32)
        self._state: State | None = None
        self._step(self._vocabulary.end)

    def finish(self) -> None:
        """End the document: the next token begins a new one, as after the end of a file."""
        self._step(self._vocabulary.end)

    def _step(self, token: int) -> None:
        if self._documents_end and token == self._vocabulary.end:
            self._state = None  # each document starts from zeros, as in training
        with torch.inference_mode():
            x = Padded(torch.tensor([[token]]), ONE)
            h, self._state = self._model.run(x, self._state)
            self._hidden = h.data

    def push(self, text: str) -> int:
        """Read the tokens of a text, one by one, and return their number.

        Texts are separate tokens: pushing "th" and then "e" is not the same as pushing "the".
        """
        tokens = self._vocabulary.encode(text_of_argument(text, "text"))
        for token in tokens:
            self._step(token)
        return len(tokens)

    def _scores(self) -> Tensor:
        with torch.inference_mode():
            scores: Tensor = self._model.head(self._hidden[:, -1])
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
        self._step(token)
        return self._vocabulary.decode([token])

    def state_bytes(self) -> bytes:
        """Return the state of the stream as bytes, for `restore` here or in another process.

        The state of the random generator of `next` is not included.
        """
        assert self._state is not None
        return to_bytes((self._hidden, self._state))

    def restore(self, blob: bytes) -> None:
        """Continue from a state that `state_bytes` returned.

        Raises:
            DataError: the bytes are damaged or come from a model of another shape.
        """
        restored = from_bytes(blob)
        assert self._state is not None
        here, there = (
            {name: (leaf.dtype, *leaf.shape) for name, leaf in named_leaves(state)}
            for state in ((self._hidden, self._state), restored)
        )
        if here != there:
            raise DataError(
                f"the state has leaves {there}, but this model needs {here}: "
                "restore it into the model that it came from"
            )
        hidden, state = restored
        assert isinstance(hidden, Tensor)
        self._hidden, self._state = hidden, state


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
