"""A conversation with a model of dialogues, in constant memory."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from elman.errors import ArgumentError

if TYPE_CHECKING:
    from elman.decode.sample import Sampling
    from elman.tasks.translator import Translator


class Conversation:
    """A conversation with a model; made by `Translator.chat`.

    Args:
        model: a translator of kind dialogue.
        sampling: settings for drawing answers; None for the likeliest ones.
        seed: seed of the random numbers.
    """

    def __init__(self, model: Translator, *, sampling: Sampling | None, seed: int) -> None:
        self._model, self._sampling, self._seed = model, sampling, seed
        self._turns: deque[str] = deque(maxlen=model.history)
        self._answers = 0

    @property
    def turns(self) -> list[str]:
        """The last turns, as many as the model reads."""
        return list(self._turns)

    def say(self, text: str) -> str:
        """Return the answer to a turn.

        Raises:
            ArgumentError: the text is blank.
        """
        if not text.strip():
            raise ArgumentError("a turn must have words, got an empty text")
        self._turns.append(text.strip())
        history = f" {self._model.separator} ".join(self._turns)
        answer = self._model.predict(
            [history], sampling=self._sampling, seed=self._seed + self._answers
        )[0]
        self._answers += 1
        if answer:
            self._turns.append(answer)
        return answer

    def restart(self) -> None:
        """Forget all turns."""
        self._turns.clear()
