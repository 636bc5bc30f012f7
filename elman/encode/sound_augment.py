"""Random variations of sounds for training.

    speed   the clip is played faster or slower, by a factor of up to 1 + speed     (waveform;
            features that were computed elsewhere are interpolated)
    gain    it is louder or softer, by up to `gain` dB                              (waveform)
    shift   it begins earlier or later, by up to `shift` seconds                    (waveform)
    noise   a part of a noise clip is added, `snr` to `snr` + 20 dB softer          (waveform)
    tract   frequencies are multiplied by 1 - tract to 1 + tract, as by another length of the vocal
            tract: another speaker                                            (log-mel, MFCC)
    masks   bands of features and stretches of time become the mean of the training data

Sources: Ko et al. 2015, "Audio Augmentation for Speech Recognition" (speed); Jaitly and Hinton
2013, "Vocal Tract Length Perturbation (VTLP) improves speech recognition" (tract, here on the
energies of the bands; MFCC become energies and MFCC again, Pitz and Ney 2005, "Vocal Tract
Normalization Equals Linear Transformation in Cepstral Space"); Park et al. 2019, "SpecAugment"
(arXiv:1904.08779; masks, here without warping of time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.encode.sound import Steps
from elman.read.audio import Clip, read_blocks

Floats = NDArray[np.float32]
BAND, STRETCH = 0.25, 0.15  # largest share of the features and of the frames that a mask covers
LOWEST = 20.0  # Hz, the lower end of the first band of kaldi-native-fbank
RANGE = 20.0  # decibels between the loudest and the softest noise
BANDS, LIFTER = 23, 22.0  # least number of energies for MFCC of kaldi-native-fbank; lifter


@dataclass(frozen=True)
class SoundAugment:
    """The strength of each variation; 0 for none.

    Attributes:
        speed: largest relative change of the speed.
        gain: largest change of the level in decibels.
        shift: largest shift in seconds.
        noise: clips of noise.
        snr: lowest signal-to-noise ratio in decibels.
        masks: number of masked bands, and of masked stretches of time.
        tract: largest relative change of the frequencies.
    """

    speed: float = 0.0
    gain: float = 0.0
    shift: float = 0.0
    noise: Sequence[Clip] = ()
    snr: float = 10.0
    masks: int = 0
    tract: float = 0.0

    def __bool__(self) -> bool:
        return bool(self._of_waves or self.masks or self.tract)

    @property
    def _of_waves(self) -> bool:
        return bool(self.speed or self.gain or self.shift or self.noise)

    def __call__(self, steps: Steps, draw: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
        """Return a variation (K', F) of the steps of a clip, and the original step of each step."""
        index, frames, offset, pace = steps.index, np.asarray(steps.frames), 0.0, 1.0
        if self._of_waves and index.rate and steps.clip is not None:
            frames, offset, pace = self._changed(steps, draw)
        elif self.speed and not index.rate:
            changed, faster = self._resampled(frames, draw)
            if index.count(len(changed)):
                frames, pace = changed, faster
        if self.tract and index.kind != "given":
            warp = warped if index.kind == "log-mel" else warped_cepstra
            frames = warp(frames, index.rate, float(draw.uniform(1 - self.tract, 1 + self.tract)))
        frames, _ = index.adapted(frames, None)
        if self.masks:
            frames = self._masked(frames, np.array(index.mean, dtype=np.float32), draw)
        found = index.steps(frames)
        at = (np.arange(len(found)) - offset / index.step_seconds) * pace
        return found, np.rint(at).clip(0, max(0, len(steps) - 1)).astype(np.int64)

    def _changed(self, steps: Steps, draw: np.random.Generator) -> tuple[Floats, float, float]:
        """Return the frames of a changed waveform, its shift in seconds, and its speed."""
        index, clip = steps.index, steps.clip
        x = np.concatenate(list(read_blocks(clip, clip.name)))
        pace = float(draw.uniform(1 - self.speed, 1 + self.speed))
        offset = float(draw.uniform(-self.shift, self.shift))
        x = x * np.float32(10 ** (draw.uniform(-self.gain, self.gain) / 20))
        moved = round(offset * clip.rate)
        if moved > 0:
            x = np.concatenate([np.zeros(moved, dtype=np.float32), x])[: len(x)]
        elif moved < 0:
            x = np.concatenate([x[-moved:], np.zeros(-moved, dtype=np.float32)])[-len(x) :]
        if self.noise:
            x = x + self._noise(x, clip.rate, draw)
        # A clip that is said to have more samples per second becomes shorter.
        frames = index.frames([x], round(clip.rate * pace))
        if not index.count(len(frames)):  # too short after the change
            return np.asarray(steps.frames), 0.0, 1.0
        return frames, offset / pace, pace

    def _resampled(self, frames: Floats, draw: np.random.Generator) -> tuple[Floats, float]:
        """Return frames (T', F) that are interpolated between frames (T, F), and their speed."""
        pace = float(draw.uniform(1 - self.speed, 1 + self.speed))
        last = len(frames) - 1
        at = np.arange(int(last / pace) + 1) * pace
        low = at.astype(np.int64).clip(0, max(0, last - 1))
        share = (at - low).astype(np.float32)[:, None]
        found: Floats = frames[low] + share * (frames[np.minimum(low + 1, last)] - frames[low])
        return found, pace

    def _noise(self, x: Floats, rate: int, draw: np.random.Generator) -> Floats:
        """Return noise (N,) for samples x (N,), at a random signal-to-noise ratio."""
        clip = self.noise[int(draw.integers(len(self.noise)))]
        wanted = min(len(clip), -(-len(x) * clip.rate // rate))
        first = int(draw.integers(len(clip) - wanted + 1))
        found = np.concatenate(list(read_blocks(clip.part(first, first + wanted), clip.name)))
        at = np.arange(len(x)) * (clip.rate / rate)
        found = np.interp(at % len(found), np.arange(len(found)), found).astype(np.float32)
        ratio = 10 ** (draw.uniform(self.snr, self.snr + RANGE) / 20)
        power = [float(np.sqrt(np.mean(np.square(one)))) for one in (x, found)]
        scaled: Floats = found * np.float32(power[0] / max(power[1], 1e-9) / ratio)
        return scaled

    def _masked(self, frames: Floats, mean: Floats, draw: np.random.Generator) -> Floats:
        frames = frames.copy()
        count, size = frames.shape
        for _ in range(self.masks):
            width = int(draw.integers(int(BAND * size) + 1))
            first = int(draw.integers(size - width + 1))
            frames[:, first : first + width] = mean[first : first + width]
            width = int(draw.integers(int(STRETCH * count) + 1))
            first = int(draw.integers(count - width + 1))
            frames[first : first + width] = mean
        return frames


def warped(frames: Floats, rate: int, factor: float) -> Floats:
    """Return log-mel energies (T, F) of a sound whose frequencies are multiplied by a factor.

    The energy of band m, whose centre is the frequency f, is that of the frequency f / factor.

    Args:
        frames: (T, F) log-mel energies.
        rate: samples per second of the sound.
        factor: factor of the frequencies.

    Example:
        >>> import numpy as np
        >>> from elman.encode.sound_augment import warped
        >>> frames = np.zeros((1, 20), dtype=np.float32)
        >>> frames[0, 10] = 1
        >>> warped(frames, 16_000, 1.0).argmax(), warped(frames, 16_000, 1.2).argmax()
        (np.int64(10), np.int64(11))
    """
    size = frames.shape[1]
    low, high = (1127 * np.log1p(f / 700) for f in (LOWEST, rate / 2))  # mel
    width = (high - low) / (size + 1)  # between the centres of two bands
    centres = 700 * np.expm1((low + width * np.arange(1, size + 1)) / 1127)
    at = ((1127 * np.log1p(centres / factor / 700) - low) / width - 1).clip(0, size - 1)
    below = at.astype(np.int64).clip(0, max(0, size - 2))
    share = (at - below).astype(np.float32)
    lower, upper = frames[:, below], frames[:, np.minimum(below + 1, size - 1)]
    found: Floats = lower + share * (upper - lower)
    return found


def warped_cepstra(frames: Floats, rate: int, factor: float) -> Floats:
    """Return MFCC (T, F) of a sound whose frequencies are multiplied by a factor.

    They become log-mel energies, smooth ones if F is below 23, and MFCC again.

    Args:
        frames: (T, F) MFCC.
        rate: samples per second of the sound.
        factor: factor of the frequencies.

    Example:
        >>> import numpy as np
        >>> from elman.encode.sound_augment import warped_cepstra
        >>> frames = np.ones((1, 13), dtype=np.float32)
        >>> bool(np.abs(warped_cepstra(frames, 16_000, 1.0) - frames).max() < 1e-5)
        True
    """
    bands = max(BANDS, frames.shape[1])
    order, band = np.arange(frames.shape[1])[:, None], np.arange(bands)
    cosine = np.sqrt(2 / bands) * np.cos(np.pi / bands * (band + 0.5) * order)
    cosine[0] = np.sqrt(1 / bands)
    lift = 1 + LIFTER / 2 * np.sin(np.pi * order / LIFTER)
    energies = (frames @ (cosine / lift)).astype(np.float32)
    found: Floats = warped(energies, rate, factor) @ (cosine * lift).T.astype(np.float32)
    return found
