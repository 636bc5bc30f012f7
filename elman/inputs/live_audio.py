"""An audio clip that arrives in chunks of samples, or frames of features in chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.encode.sound import Floats, FrameStream, SoundIndex
from elman.errors import ArgumentError, DataError
from elman.inputs.live import LiveInput, Step, check_no_time
from elman.read.audio import open_array, read_blocks
from elman.state import State


class LiveAudio(LiveInput):
    """An audio clip that arrives in chunks of any size.

    A step is complete as soon as its last frame is; its numbers are those of the whole clip.

    Args:
        index: how sounds become steps.
        rate: samples per second that arrive.
    """

    def __init__(self, index: SoundIndex, rate: int) -> None:
        self._index, self._rate, self.key = index, rate, f"{rate} Hz"
        self._stream = FrameStream(index, rate) if index.rate else None
        self._tail = np.zeros((0, index.size), dtype=np.float32)  # frames that a later step reads
        self._skip = 0  # frames before the next step, if steps do not overlap
        self._running: Floats | None = None  # statistics, see `SoundIndex.adapted`
        self.ended = False  # a resampler cannot continue after its end

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        running = self._index.adapted(self._tail[:0], self._running)[1]
        own = (np.array([self._skip, self.ended]), self._tail, running)
        leaves = tuple(torch.from_numpy(np.array(one)) for one in own)
        return (leaves, () if self._stream is None else self._stream.state)

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; raise a DataError for impossible values."""
        own, stream = state
        counts, tail, running = (leaf.numpy().copy() for leaf in own if isinstance(leaf, Tensor))
        skip, ended = counts.tolist()
        finite = np.isfinite(tail).all() and np.isfinite(running).all() and (running[1] >= 0).all()
        longest = self._index.stack
        possible = finite and 0 <= skip <= self._index.stride and ended in (0, 1)
        if not (possible and len(tail) < longest + 1):
            raise DataError("the state of the audio is damaged: it has impossible values")
        if self._stream is not None:
            self._stream.restore(stream)
        self._skip, self._tail, self.ended = skip, tail, bool(ended)
        self._running = running if self._index.running else None

    def push(self, element: Any, at: Any = None) -> tuple[Step | None, Step | None]:
        """Read more samples (n,) or (n, channels), or frames (n, F) if the model reads features.

        Raises:
            ArgumentError: the samples are not numbers in [-1, 1], or not integers, or the sound has
                ended.
        """
        check_no_time(at, "audio clips")
        if self.ended:
            raise ArgumentError(
                "the sound has ended with finish(); call restart() before the samples of the next "
                "sound"
            )
        try:
            array = np.asarray(element)
        except ValueError:
            raise ArgumentError(
                "expected an array of samples, got nested values of different lengths"
            ) from None
        if array.ndim == 0:
            array = array[None]
        try:
            if self._stream is None:
                frames = self._given(array)
            elif array.size:
                clip = open_array(array, self._rate, "samples")
                frames = np.concatenate([*map(self._stream.push, read_blocks(clip, "samples"))])
            else:
                return None, None
        except DataError as error:
            raise ArgumentError(str(error)) from None
        return self._step(frames), None

    def _given(self, frames: Any) -> Floats:
        """Return frames (n, F) that were computed elsewhere, after checking them."""
        size = self._index.size
        frames = frames[None] if frames.ndim == 1 and frames.shape == (size,) else frames
        kind = frames.dtype.kind in "fiu"
        if frames.ndim != 2 or frames.shape[1] != size or not kind or not np.isfinite(frames).all():
            raise ArgumentError(
                f"expected frames (n, {size}) of finite numbers, got {frames.shape}"
            )
        found: Floats = frames.astype(np.float32)
        return found

    def finish(self) -> Step | None:
        """Return the steps that are complete because no sample follows."""
        if self._stream is None or self.ended:
            return None
        self.ended = True
        return self._step(self._stream.finish())

    def _step(self, frames: Floats) -> Step | None:
        """Return the steps that are complete after more frames."""
        if not len(frames):
            return None
        index = self._index
        frames, self._running = index.adapted(frames, self._running)
        frames = np.concatenate([self._tail, frames])
        begin = min(self._skip, len(frames))
        self._skip -= begin
        frames = frames[begin:]
        count = index.count(len(frames))
        used = count * index.stride
        self._skip += max(0, used - len(frames))
        self._tail = frames[used:]
        return Step(index.steps(frames)) if count else None
