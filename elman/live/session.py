"""A live session: after each element of an item, it returns the prediction so far.

    element -> LiveInput -> numbers (1, n, ...) -> encoder, core -> states (1, n, D) -> LiveTarget

The input, the core and the target each keep a state of constant size, and nothing else is kept.  A
session can therefore be stored, moved to another process and restarted.  A prediction equals that
of a batch for the elements so far.  A step that the next element can still change, such as the
current cell of time if there is a rate, affects only the prediction and no state.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from elman.decode.events import Event
from elman.encode.encoder import Encoder
from elman.encode.pyramid import PyramidStream
from elman.encode.series import SeriesEmbed
from elman.errors import ArgumentError, DataError
from elman.inputs.live import LiveInput, Step
from elman.padded import Composite, Padded, pad_arrays, row_of
from elman.recur.blocks import AnyCore
from elman.recur.stream import Stream
from elman.state import State, hash_of, named_leaves, restored, sealed
from elman.targets.live import LiveTags, LiveTarget

Output = TypeVar("Output")
Session = TypeVar("Session", bound="Live[Any]")


class Live(Generic[Output]):
    """A live session of one item; made by the `stream` of a task.

    Args:
        encode: layer from numbers to vectors, in evaluation mode; None for none.
        core: a recurrence that reads forward only, or with `window` any recurrence.
        begin: returns the input and the target of a new item.
        noun: plural name of the items, for messages.
        skip: whether the target reads the vectors along with the states.
        window: steps that are read again after every element; None to keep the state instead.
        width: number of features of a step, for inputs that have windows; 0 for others.

    Raises:
        ArgumentError: the recurrence reads in both directions.

    Example:
        >>> import elman
        >>> texts = ["so good", "so bad", "good film", "bad film"] * 25
        >>> model = elman.Classifier(
        ...     hidden_size=8, epochs=4, learning_rate=0.02, bidirectional=False, device="cpu"
        ... )
        >>> live = model.fit(texts, ["+", "-", "+", "-"] * 25).stream()
        >>> max(live.push("good").items(), key=lambda pair: pair[1])[0]
        '+'
        >>> blob = live.state_bytes()
        >>> after = live.push("bad")
        >>> live.restore(blob)       # back to the state before "bad"
        >>> live.push("bad") == after
        True
    """

    def __init__(
        self,
        encode: Encoder | None,
        core: AnyCore,
        begin: Callable[[], tuple[LiveInput, LiveTarget[Output]]],
        *,
        noun: str,
        skip: bool = False,
        window: int | None = None,
        width: int = 0,
    ) -> None:
        if window is None and not core.causal:
            raise ArgumentError(
                f"a bidirectional model cannot read {noun} live: train with bidirectional=False"
                f"{', or with windows' if width else ''}"
            )
        plain = encode is None or (isinstance(encode, SeriesEmbed) and encode.layer is None)
        self._encode, self._core, self._skip = None if plain else encode, core, skip
        self._begin, self._window, self._width = begin, window, width
        self._stream = None if window is not None else self._new_stream()
        self.restart()

    def _new_stream(self) -> Stream | PyramidStream:
        return Stream(self._core)

    @torch.inference_mode()
    def restart(self) -> None:
        """Begin a new item."""
        self._input, self._target = self._begin()
        self._shown = self._target  # of the last prediction: the target, or a copy
        self._last = torch.zeros(0, self._width)  # numbers of the last window
        if self._stream is not None:
            self._stream.restart()
        if (first := self._input.begin()) is not None:
            self._advance(first, self._target)

    @torch.inference_mode()
    def push(self, element: Any, at: Any = None) -> Output | None:
        """Read the next element, and return the prediction so far.

        Args:
            element: a step of a recording, a word, a piece of a text, or an element of another
                kind of input.
            at: time of the element; None if it has none.

        Returns:
            The prediction; None if the element adds no step, such as an empty text.

        Raises:
            ArgumentError: the element is not of this kind, or `at` is before the previous time.
        """
        complete, draft = self._input.push(element, at)
        found = None if complete is None else self._advance(complete, self._target)
        self._shown = self._target
        if draft is not None:
            kept, last = self._network_state, self._last
            self._shown = self._target.copy()
            found = self._advance(draft, self._shown)
            self._network_state, self._last = kept, last
        return found

    @torch.inference_mode()
    def finish(self) -> Output | None:
        """Return the prediction after the last element; None if it has not changed."""
        complete = self._input.finish()
        self._shown = self._target
        return None if complete is None else self._advance(complete, self._target)

    def _advance(self, step: Step, target: LiveTarget[Output]) -> Output | None:
        if not len(step.array):
            return None
        if self._stream is None:
            assert self._window is not None
            assert not isinstance(step.array, Composite)
            self._last = torch.cat([self._last, row_of(step.array)])[-self._window :]
            x = self._vectors(self._last)
            states = self._with_vectors(self._core(x)[0], x)
            return target.window(Padded.full(states), step.bag)
        if step.fresh:
            self._stream.restart()
        x = self._steps(step)
        return target.push(self._with_vectors(self._stream.run(x), x), step.bag)

    def _steps(self, step: Step) -> Tensor:
        """Return the vectors (1, n, D) of new steps."""
        array = step.array
        return self._vectors(array if isinstance(array, Composite) else row_of(array))

    def _vectors(self, steps: Composite | Tensor) -> Tensor:
        """Return the vectors (1, n, D) of n steps."""
        if isinstance(steps, Composite):
            x = pad_arrays([steps])
        elif self._encode is None:  # without a batch, which would cost as much as the step
            return steps[None]
        else:
            x = Padded.full(steps[None])
        assert self._encode is not None
        vectors: Tensor = self._encode(x).data
        return vectors

    def _with_vectors(self, states: Tensor, vectors: Tensor) -> Tensor:
        return torch.cat([states, vectors], 2) if self._skip else states

    # The state.

    @property
    def _network_state(self) -> State:
        return () if self._stream is None else self._stream.state

    @_network_state.setter
    def _network_state(self, state: State) -> None:
        if self._stream is not None:
            self._stream.state = state

    def _whole_state(self) -> State:
        """Return the complete state of the session."""
        return (self._input.state, self._network_state, self._target.state, self._last)

    def state_bytes(self) -> bytes:
        """Return the state as bytes, for `restore` here or in another process."""
        return sealed(self._whole_state(), self._key)

    @property
    def _key(self) -> str:
        """The identity of the model, and of the settings that the state depends on."""
        network = [part for part in (self._encode, self._core) if part is not None]
        return hash_of(*network, self._input.key, self._target.key)

    def restore(self, blob: bytes) -> None:
        """Continue from a state that `state_bytes` returned.

        Raises:
            ArgumentError: `blob` is not bytes.
            DataError: the bytes are damaged, from another model, or from a session with other
                settings; the session is unchanged.
        """
        fresh = self._fresh()
        fresh._continue(restored(blob, fresh._whole_state(), self._key))
        self.__dict__ = fresh.__dict__

    def _fresh(self: Session) -> Session:
        """Return a new session of the same model, which shares no state with this one."""
        fresh = copy.copy(self)
        if self._stream is not None:
            fresh._stream = self._new_stream()
        fresh.restart()
        return fresh

    def _continue(self, whole: State) -> None:
        """Continue from a complete state; raise a DataError for impossible values."""
        item, state, target, last = whole
        numbers = [leaf for part in (state, last) for _, leaf in named_leaves(part)]
        if not all(bool(leaf.isfinite().all()) for leaf in numbers):
            raise DataError("the state of the network is damaged: some numbers are not finite")
        assert isinstance(last, Tensor)
        self._input.restore(item)
        self._target.restore(target)
        self._last = last[-self._window :] if self._window else last
        self._network_state = state


class LiveTagging(Live[tuple[str, float]]):
    """A live session that predicts a tag for each step, and the events that the tags form."""

    _target: LiveTags
    _shown: LiveTags

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability of each tag at the last step."""
        return self._shown.probabilities

    @property
    def active(self) -> str | None:
        """The label of the event that has begun and not ended; None if there is none."""
        spotter = self._target.spotter
        return None if spotter is None or spotter.active is None else spotter.labels[spotter.active]

    def events(self) -> list[Event]:
        """Return the events that have ended since the previous call; steps count from 0."""
        found, self._target.found = self._target.found, []
        return found

    def finish(self) -> list[Event]:  # type: ignore[override]
        """Return the remaining events after the last step."""
        super().finish()
        if self._target.spotter is not None:
            self._target.found += self._target.spotter.finish()
        return self.events()
