"""Audio features: samples to frames, and frames to the steps that a network reads.

    samples -> resample -> frames (T, F): log-mel energies or MFCC, every 10 ms from 25 ms of sound
            -> adapt: x_t - m_t + mean,  m_t = a m_{t-1} + (1 - a) x_t      (running mean)
                      (x_t - m_t) deviation / sqrt(v_t) + mean,             (running variance)
                      v_t = a v_{t-1} + (1 - a) (x_t - m_t)^2
            -> step k: the frames k * stride .. k * stride + stack - 1, side by side

MFCC: Davis and Mermelstein 1980.  Features are computed by kaldi-native-fbank and resampled by
soxr, both of which accept samples in chunks; a whole clip is one chunk.  A live clip therefore has
exactly the frames of the file, for chunks of any size.

Shape legend: N samples, T frames, F features of a frame, K steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import ArgumentError, DataError
from elman.optional import need
from elman.padded import Delayed
from elman.recur.scan import linear_recurrence
from elman.state import MOST, State

Floats = NDArray[np.float32]
Kind = Literal["log-mel", "mfcc", "given"]
Running = Literal["mean", "variance"]
MELS, CEPSTRA = 40, 13  # default numbers of features
MEMORY = 0.995  # a: the mean adapts with a time constant of 2 s
QUIET = 0.3  # lowest running standard deviation, as a share of that of the training data
HISTORY = 4096  # samples after which the beginning has no effect on the resampled sound
LONGEST = 0.025  # seconds of sound in a frame
SHIFT = 0.010  # seconds between frames
SHALLOW = 1e-3  # lowest standard deviation of a feature


@dataclass(frozen=True)
class SoundIndex:
    """How sounds become steps, and the statistics of the training data.

    Attributes:
        kind: log-mel, mfcc, or given for features that were computed elsewhere.
        size: F.
        rate: samples per second from which features are computed; 0 for given ones.
        stack: frames of a step.
        stride: frames from one step to the next.
        running: mean if frames are relative to their running mean, variance if also to their
            running standard deviation; None for neither.
        mean, deviation: (F,) of the training frames.

    Example:
        >>> import numpy as np
        >>> from elman.encode.sound import SoundIndex
        >>> index = SoundIndex("log-mel", 40, 8000, stack=3, stride=3)
        >>> frames = index.frames([np.zeros(8000, dtype=np.float32)], 8000)
        >>> frames.shape, index.steps(frames).shape
        ((98, 40), (32, 120))
    """

    kind: Kind
    size: int
    rate: int
    stack: int = 1
    stride: int = 1
    running: Running | None = None
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))
        object.__setattr__(self, "deviation", tuple(map(float, self.deviation)))
        self.check()

    def check(self) -> None:
        """Raise an ArgumentError for impossible values."""
        wanted = {0, self.size}
        if not (
            self.kind in ("log-mel", "mfcc", "given")
            and self.running in (None, "mean", "variance")
            and min(self.size, self.stack, self.stride, self.rate + 1) >= 1
            and {len(self.mean), len(self.deviation)} <= wanted
            and all(map(math.isfinite, self.mean))
            and all(0 < one < math.inf for one in self.deviation)
        ):
            raise ArgumentError("the features of the sounds have impossible values")

    @property
    def least(self) -> float:
        """The shortest duration in seconds that gives a step; 0 for given features."""
        return LONGEST + (self.stack - 1) * SHIFT if self.rate else 0.0

    @property
    def frame_seconds(self) -> float:
        """The seconds from one frame to the next; given features have 100 frames in a second."""
        return self.shift / self.rate if self.rate else SHIFT

    @property
    def step_seconds(self) -> float:
        """The seconds from one step to the next."""
        return self.frame_seconds * self.stride

    @property
    def shift(self) -> int:
        """The samples between frames."""
        return int(self.rate * SHIFT)

    def frames(self, blocks: Iterable[Floats], rate: int) -> Floats:
        """Return the frames (T, F) of the samples of a clip, given in blocks.

        Args:
            blocks: samples (n,) in [-1, 1].
            rate: samples per second.
        """
        return np.concatenate([*self.frame_blocks(blocks, rate)])

    def frame_blocks(self, blocks: Iterable[Floats], rate: int) -> Iterator[Floats]:
        """Yield the same frames in blocks (n, F)."""
        stream = FrameStream(self, rate)
        yield from map(stream.push, blocks)
        yield stream.finish()

    def level(self, frames: Floats) -> Floats:
        """Return the level (n,) of frames (n, F): the energy of log-mel and MFCC, else the mean."""
        level: Floats = frames[:, 0] if self.kind == "mfcc" else frames.mean(1)
        return level

    def computer(self) -> Any:
        """Return an object of kaldi-native-fbank that computes frames."""
        kaldi = need("kaldi_native_fbank", "audio")
        options = kaldi.MfccOptions() if self.kind == "mfcc" else kaldi.FbankOptions()
        options.frame_opts.samp_freq = self.rate
        options.frame_opts.dither = 0  # equal samples have equal features
        if self.kind == "mfcc":
            options.num_ceps, options.use_energy = self.size, False
            options.mel_opts.num_bins = max(23, self.size)
            return kaldi.OnlineMfcc(options)
        options.mel_opts.num_bins = self.size
        return kaldi.OnlineFbank(options)

    def check_size(self) -> None:
        """Raise an ArgumentError if features cannot be computed from sound of this rate."""
        if not self.rate:
            return
        try:
            self.computer()
        except (RuntimeError, ValueError):
            raise ArgumentError(
                f"feature_size={self.size} does not fit audio of {self.rate:,} Hz: the bands would "
                "be too narrow or too few; 13 to 40 are usual"
            ) from None

    def adapted(self, frames: Floats, before: Floats | None) -> tuple[Floats, Floats]:
        """Return frames relative to their running statistics, and the statistics after them.

        Args:
            frames: (T, F).
            before: mean and variance (2, F) before them; None for those of the training data.
        """
        mean, deviation = (np.array(one, dtype=np.float32) for one in (self.mean, self.deviation))
        before = np.stack([mean, deviation**2]) if before is None else before
        if self.running is None or not len(frames):
            return frames, before
        x = torch.tensor(np.asarray(frames))[None]  # a copy, as cached frames are read-only
        decay, first = x.new_full((1, 1, self.size), MEMORY), torch.from_numpy(before)[:, None]
        means, last = linear_recurrence(decay, (1 - MEMORY) * x, first[0])
        x, after = x - means, first[1]
        if self.running == "variance":
            variances, after = linear_recurrence(decay, (1 - MEMORY) * x * x, after)
            scale = torch.from_numpy(deviation)
            x = x * (scale / variances.sqrt().clamp_min(QUIET * scale))
        return (x + torch.from_numpy(mean))[0].numpy(), torch.cat([last, after]).numpy()

    def steps(self, frames: Floats) -> Floats:
        """Return the steps (K, stack * F) of frames (T, F)."""
        count = self.count(len(frames))
        if self.stack == self.stride == 1:
            return frames
        if not count:
            return np.zeros((0, self.stack * self.size), dtype=np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(frames, self.stack, 0)
        chosen = np.moveaxis(windows[:: self.stride], 2, 1)  # (K, stack, F)
        return np.array(chosen).reshape(count, -1)

    def count(self, frames: int) -> int:
        """Return the number of steps of a number of frames."""
        return max(0, (frames - self.stack) // self.stride + 1)

    def cepstra(self, frames: Floats) -> NDArray[np.float64]:
        """Return cepstral coefficients and their changes (T, 2 C) of frames (T, F).

        Features that are not log-mel energies are taken as coefficients.
        """
        x = np.asarray(frames, dtype=np.float64)
        count = min(CEPSTRA, self.size)
        if self.kind == "log-mel":
            n, k = np.arange(self.size), np.arange(count)[:, None]
            x = x @ np.cos(np.pi * k * (2 * n + 1) / (2 * self.size)).T
        x = x[:, :count]
        return np.concatenate([x, np.gradient(x, axis=0) if len(x) > 1 else 0 * x], 1)


class FrameStream:
    """The frames of samples that arrive in chunks.

    Args:
        index: the features.
        rate: samples per second that arrive.
    """

    def __init__(self, index: SoundIndex, rate: int) -> None:
        self._index, self._rate = index, rate
        self._computer, self._done = index.computer(), 0
        self._pending = np.zeros(0, dtype=np.float32)  # samples from the next frame on
        self._resampler: Any = None
        self._period = rate // math.gcd(rate, index.rate)  # input samples after which it repeats
        self._history = np.zeros(0, dtype=np.float32)  # last input samples
        self._begin = self._given = self._taken = 0  # of the history; samples in and out
        # After `restore`: samples that the resampler returned too early, and how many too late.
        self._held, self._late = self._history, 0
        if rate != index.rate:
            self._resampler = self._new_resampler()

    def _new_resampler(self) -> Any:
        soxr = need("soxr", f"audio of {self._rate} Hz for a model of {self._index.rate} Hz")
        return soxr.ResampleStream(self._rate, self._index.rate, 1, dtype="float32", quality="HQ")

    def push(self, samples: Floats) -> Floats:
        """Return the frames (n, F) that are complete after more samples (n,)."""
        if self._resampler is None:
            return self._frames(samples)
        history = np.concatenate([self._history, samples])
        self._given += len(samples)
        spare = max(0, self._given - HISTORY) // self._period * self._period - self._begin
        self._history, self._begin = history[spare:], self._begin + spare
        return self._frames(self._resampled(np.ascontiguousarray(samples)))

    def finish(self) -> Floats:
        """Return the frames that are complete because no sample follows."""
        if self._resampler is None:
            return self._frames(self._pending[:0])
        return self._frames(self._resampled(self._pending[:0], last=True))

    def _resampled(self, samples: Floats, *, last: bool = False) -> Floats:
        """Return the samples that the resampler completes after more samples."""
        found = self._resampler.resample_chunk(samples, last=last)
        late = min(self._late, len(found))
        found, self._late = np.concatenate([self._held, found[late:]]), self._late - late
        self._held = self._held[:0]
        self._taken += len(found)
        return found

    def _frames(self, samples: Floats) -> Floats:
        index = self._index
        self._computer.accept_waveform(index.rate, samples)
        ready = self._computer.num_frames_ready
        count = ready - self._done
        found = np.zeros((count, index.size), dtype=np.float32)
        for n in range(count):
            found[n] = self._computer.get_frame(self._done + n)
        self._computer.pop(count)  # frees the memory of the frames
        self._pending = np.concatenate([self._pending, samples])[count * index.shift :]
        self._done = ready
        return found

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        counts = np.array([self._begin, self._given, self._taken])
        arrays = (counts, self._pending, self._history)
        return tuple(torch.from_numpy(np.array(one)) for one in arrays)

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; raise a DataError for impossible values."""
        leaves = [leaf.numpy().copy() for leaf in state if isinstance(leaf, Tensor)]
        (begin, given, taken), pending, history = leaves[0].tolist(), *leaves[1:]
        rate, longest = self._index.rate, 2 * (HISTORY + self._period) + self._rate
        ahead = given * rate / self._rate - taken
        if not (
            0 <= begin <= given < MOST
            and len(history) == (given - begin if self._resampler is not None else 0)
            and begin % self._period == 0
            and taken >= 0
            and -2 <= ahead < 2 * rate
            and len(pending) <= 2 * rate
            and len(history) <= longest
            and all(bool((np.abs(one) < 1e6).all()) for one in (pending, history))
        ):
            raise DataError("the state of the sound is damaged: it has impossible values")
        self._computer, self._done = self._index.computer(), 0
        self._pending = self._pending[:0]
        if self._resampler is not None:
            self._resampler = self._new_resampler()
            again = self._resampler.resample_chunk(history)
            # The division is exact, because `begin` is a multiple of the period.
            before = taken - begin * rate // self._rate
            self._held, self._late = again[before:], max(0, before - len(again))
        self._history, self._begin, self._given, self._taken = history, begin, given, taken
        self._frames(pending)


@dataclass(frozen=True)
class Steps(Delayed):
    """The steps (K, stack * F) of a clip, which are made from its frames when a batch needs them.

    Attributes:
        index: the features.
        frames: (T, F), possibly mapped from a file.
        clip: the clip, from which augmentation computes changed frames; None without it.
    """

    index: SoundIndex
    frames: Floats
    clip: Any = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.index.count(len(self.frames))

    def read(self) -> Floats:
        """Return the steps (K, stack * F)."""
        frames, _ = self.index.adapted(np.asarray(self.frames), None)
        found = self.index.steps(frames)
        return found if found.flags.writeable and found is not self.frames else found.copy()


def statistics_of(arrays: Sequence[Floats]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the standard deviation (F,) of all frames of arrays (T, F).

    Example:
        >>> import numpy as np
        >>> from elman.encode.sound import statistics_of
        >>> [one.tolist() for one in statistics_of([np.array([[1.0], [3.0]]), np.array([[2.0]])])]
        [[2.0], [0.816496580927726]]
    """
    count, total, square = 0, 0.0, 0.0
    shift = np.asarray(arrays[0][:1], dtype=np.float64)  # keeps the squares small
    for array in arrays:
        x = np.asarray(array, dtype=np.float64) - shift
        count, total, square = count + len(x), total + x.sum(0), square + (x * x).sum(0)
    mean = total / max(1, count)
    deviation = np.sqrt(np.maximum(square / max(1, count) - mean * mean, 0))
    return mean + shift[0], np.maximum(deviation, SHALLOW)
