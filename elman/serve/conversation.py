"""A conversation with a model of dialogue, in constant memory."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from elman.errors import ArgumentError

if TYPE_CHECKING:
    from elman.decode.sample import Sampling
    from elman.tasks.translator import Translator


class Conversation:
    """Turns by turns; made by `Translator.chat`.

    Args:
        model: of kind dialogue.
        sampling: how answers are drawn; None for the likeliest.
        seed: of what is drawn.
    """

    def __init__(self, model: Translator, *, sampling: Sampling | None, seed: int) -> None:
        self._model, self._sampling, self._seed = model, sampling, seed
        self._turns: deque[str] = deque(maxlen=model.history)
        self._said = 0

    @property
    def turns(self) -> list[str]:
        """The last turns, as many as the model reads."""
        return list(self._turns)

    def say(self, text: str) -> str:
        """Take a turn; give the answer.

        Raises:
            ArgumentError: the text is blank.
        """
        if not text.strip():
            raise ArgumentError("a turn must have words, got none")
        self._turns.append(text.strip())
        history = f" {self._model.separator} ".join(self._turns)
        answer = self._model.predict(
            [history], sampling=self._sampling, seed=self._seed + self._said
        )[0]
        self._said += 1
        if answer:
            self._turns.append(answer)
        return answer

    def restart(self) -> None:
        """Forget the turns."""
        self._turns.clear()
