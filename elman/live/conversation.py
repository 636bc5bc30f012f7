"""A conversation with a model of dialogues, in constant memory."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from elman.arguments import is_unicode, text_of_argument
from elman.errors import ArgumentError, DataError
from elman.inputs.live import check_no_time
from elman.state import MOST, State, restored, sealed


class Conversation:
    """A live session whose elements are turns; made by `Translator.chat`.

    Args:
        answer: returns the answer to the last turns, given a seed.
        history: maximum number of turns that the model reads.
        seed: seed of the first answer; the seed of each further answer is larger by 1.
    """

    def __init__(
        self, answer: Callable[[Sequence[str], int], str], *, history: int, seed: int = 0
    ) -> None:
        self._answer, self._first = answer, seed
        self._turns: deque[str] = deque(maxlen=history)
        self.restart()

    @property
    def turns(self) -> list[str]:
        """The last turns, as many as the model reads."""
        return list(self._turns)

    def push(self, turn: str, at: None = None) -> str:
        """Read a turn and return the answer, which is the next turn.

        Args:
            turn: the turn, which must not be blank.
            at: must be None, as turns have no times.

        Raises:
            ArgumentError: the turn is blank or not a string, or `at` is given.
        """
        check_no_time(at, "turns")
        text = text_of_argument(turn, "turn").strip()
        if not text:
            raise ArgumentError(f"turn must contain words, got {turn!r}")
        answer = self._answer([*self._turns, text], self._seed)
        self._turns.extend(filter(None, (text, answer)))
        self._seed += 1
        return answer

    def finish(self) -> None:
        """Do nothing: every turn was answered when it was pushed."""

    def restart(self) -> None:
        """Begin a new conversation."""
        self._turns.clear()
        self._seed = self._first

    def state_bytes(self) -> bytes:
        """Return the state as bytes, for `restore` here or in another process."""
        return sealed(self._state(), "conversation")

    def restore(self, blob: bytes) -> None:
        """Continue from a state that `state_bytes` returned.

        Raises:
            ArgumentError: `blob` is not bytes.
            DataError: the bytes are damaged, or come from another kind of session.  The state is
                that of the turns, and every model of dialogues can continue it.
        """
        like = (torch.zeros((), dtype=torch.int64), torch.zeros(0, dtype=torch.uint8))
        seed, text = restored(blob, like, "conversation")
        assert isinstance(seed, Tensor)
        assert isinstance(text, Tensor)
        try:
            turns = json.loads(text.numpy().tobytes())
        except (RecursionError, ValueError):
            turns = None
        if not (isinstance(turns, list) and all(map(_is_turn, turns)) and abs(int(seed)) < MOST):
            raise DataError("the state of the conversation is damaged: it is not a list of turns")
        self._turns.clear()
        self._turns.extend(turns)
        self._seed = int(seed)

    def _state(self) -> State:
        text = np.frombuffer(json.dumps(self.turns).encode(), dtype=np.uint8)
        return (torch.tensor(self._seed), torch.from_numpy(text.copy()))


def _is_turn(turn: object) -> bool:
    return isinstance(turn, str) and bool(turn.strip()) and is_unicode(turn)
