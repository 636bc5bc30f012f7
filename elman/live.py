"""A live session: elements of one item arrive, and after each the prediction so far is returned.

    element -> LiveInput -> numbers (1, n, ...) -> encoder, core -> states (1, n, D) -> LiveTarget

Each of the three keeps a state of constant size, and nothing else is kept, so a session can be
stored, moved to another process, and begun again.  A prediction equals that of the batch for the
elements so far.  A step that the next element can still change, such as the current cell of time at
a rate, is predicted and then forgotten.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from elman.decode.events import Event
from elman.encode.series import SeriesEmbed
from elman.errors import ArgumentError, DataError
from elman.inputs.input import Input
from elman.inputs.live import LiveInput, Step
from elman.model import SequenceModel
from elman.padded import Joint, Padded, pad_arrays, row_of
from elman.recur.stream import Stream
from elman.state import State, leaves_from_bytes, map_state, named_leaves, to_bytes
from elman.targets.live import LiveTags, LiveTarget

Output = TypeVar("Output")


class Live(Generic[Output]):
    """A live session of one item; made by the `stream` of a task.

    Args:
        network: a network that reads forward only, or with `window` any network.
        learned: the input after training.
        begin: returns what predicts a new item.
        static: values that do not change within an item, by name.
        window: steps that are read again after every element; None to keep the state instead.

    Raises:
        ArgumentError: the network reads in both directions, or a static column is unknown.

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
        >>> live.restore(blob)       # back before "bad"
        >>> live.push("bad") == after
        True
    """

    def __init__(
        self, network: SequenceModel, learned: Input, begin: Callable[[], LiveTarget[Output]],
        static: Mapping[str, object], *, window: int | None = None,
    ) -> None:  # fmt: skip
        if window is None and not network.core.causal:
            windows = ", or with windows" if learned.reader.windows is not None else ""
            raise ArgumentError(
                f"a bidirectional model cannot read {learned.reader.noun} live: train with "
                f"bidirectional=False{windows}"
            )
        self._network, self._learned, self._window = network.eval(), learned, window
        self._begin, self._static = begin, dict(static)
        self._stream: Stream | None = None
        encode, core = network.encode, network.core
        plain = isinstance(encode, SeriesEmbed) and encode.layer is None
        if plain and core.causal:
            self._stream = Stream(core)
        self.restart()

    def restart(self) -> None:
        """Begin a new item."""
        self._input: LiveInput = self._learned.live(self._static)
        self._target: LiveTarget[Output] = self._begin()
        self._shown = self._target  # predicted last: the target, or a copy that is forgotten
        self._state: State | None = None
        self._last = torch.zeros(0, self._learned.numbers)  # numbers of the last window
        if self._stream is not None:
            self._stream.restart()

    @torch.inference_mode()
    def push(self, element: Any, at: Any = None) -> Output | None:
        """Read the next element, and return the prediction so far.

        Args:
            element: a step of a recording, a word, a piece of a text, or an element of another
                kind of input.
            at: time of the element; None if it has none.

        Returns:
            The prediction; None if the element makes no step, such as an empty text.

        Raises:
            ArgumentError: it is no element of this kind, or `at` is before the previous one.
        """
        complete, draft = self._input.push(element, at)
        found = None if complete is None else self._advance(complete, self._target)
        self._shown = self._target
        if draft is not None:
            kept = self._network_state, self._last
            self._shown = self._target.copy()
            found = self._advance(draft, self._shown)
            self._network_state, self._last = kept
        return found

    @torch.inference_mode()
    def finish(self) -> Output | None:
        """Return the prediction when no element follows; None if it does not change any more."""
        complete = self._input.finish()
        self._shown = self._target
        return None if complete is None else self._advance(complete, self._target)

    def _advance(self, step: Step, target: LiveTarget[Output]) -> Output | None:
        if not len(step.array):
            return None
        if isinstance(step.array, Joint):
            states, self._state = self._network.run(pad_arrays([step.array]), self._state)
            return target.push(states.data, step.bag)
        x = row_of(step.array)[None]
        if self._window is not None:
            self._last = torch.cat([self._last, x[0]])[-self._window :]
            states, _ = self._network.run(Padded.full(self._last[None]))
            return target.window(states, step.bag)
        if self._stream is not None:
            y = self._stream.run(x)
            return target.push(torch.cat([y, x], 2) if self._network.skip else y, step.bag)
        states, self._state = self._network.run(Padded.full(x), self._state)
        return target.push(states.data, step.bag)

    # The state.

    @property
    def _network_state(self) -> State | None:
        return self._state if self._stream is None else self._stream.state

    @_network_state.setter
    def _network_state(self, state: State | None) -> None:
        if self._stream is None:
            self._state = state
        elif state is not None:
            self._stream.state = state

    def _whole_state(self) -> State:
        """Return all that the session keeps; a recurrence that has read nothing has zeros."""
        state: State | None = () if self._window is not None else self._network_state
        if state is None:
            core = self._network.core
            with torch.inference_mode():
                state = map_state(torch.zeros_like, core(torch.zeros(1, 1, core.input_size))[1])
        return (self._input.state, state, self._target.state, self._last)

    def state_bytes(self) -> bytes:
        """Return the state as bytes, for `restore` here or in another process."""
        return to_bytes(self._whole_state())

    def restore(self, blob: bytes) -> None:
        """Continue from a state that `state_bytes` returned.

        Raises:
            DataError: the bytes are damaged, or come from another model; the session is unchanged.
        """
        leaves, fresh = leaves_from_bytes(blob), copy.copy(self)
        if self._stream is not None:
            fresh._stream = Stream(self._stream.core)
        fresh.restart()
        template = fresh._whole_state()
        wanted = dict(named_leaves(template))
        if leaves.keys() != wanted.keys() or not all(
            _fits(leaves[name], leaf) for name, leaf in wanted.items()
        ):
            raise DataError(
                f"the state has leaves {_shown(leaves)}, but this model needs {_shown(wanted)}: "
                "restore it into the model that it came from"
            )
        item, state, target, last = _filled(template, leaves, "state")
        numbers = [leaf for part in (state, last) for _, leaf in named_leaves(part)]
        if not all(bool(leaf.isfinite().all()) for leaf in numbers):
            raise DataError("the state of the network is damaged: some numbers are not finite")
        assert isinstance(last, Tensor)
        fresh._input.restore(item)
        fresh._target.restore(target)
        fresh._last = last[-self._window :] if self._window else last
        if self._window is None:
            fresh._network_state = state
        self.__dict__ = fresh.__dict__


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
        """Return the remaining events when no step follows."""
        super().finish()
        if self._target.spotter is not None:
            self._target.found += self._target.spotter.finish()
        return self.events()


def _filled(template: State, leaves: Mapping[str, Tensor], name: str) -> State:
    """Return named leaves in the structure of another state."""
    if isinstance(template, Tensor):
        return leaves[name]
    return tuple(_filled(part, leaves, f"{name}.{n}") for n, part in enumerate(template))


def _fits(found: Tensor, wanted: Tensor) -> bool:
    """Return whether a leaf has the right dtype and shape; an empty leaf can become longer."""
    longer = wanted.dim() > 0 and wanted.shape[0] == 0 and found.dim() == wanted.dim()
    shapes = (found.shape[1:], wanted.shape[1:]) if longer else (found.shape, wanted.shape)
    return found.dtype == wanted.dtype and shapes[0] == shapes[1]


def _shown(leaves: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {leaf.dtype} {tuple(leaf.shape)}" for name, leaf in leaves.items())
