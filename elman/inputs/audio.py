"""Audio: clips as log-mel energies or MFCC, or as features that were computed elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.front_end import FrontEnd
from elman.encode.pauses import cut_at_pauses
from elman.encode.sound import CEPSTRA, MELS, SHIFT, Kind, SoundIndex, Steps, statistics_of
from elman.encode.sound_augment import SoundAugment
from elman.encode.sound_frames import Sound, compute, compute_all, frame_blocks
from elman.errors import ArgumentError, DataError
from elman.inputs.frame_tags import frame_tags
from elman.inputs.input import Input, Probabilities, Reader
from elman.inputs.live_audio import LiveAudio
from elman.inputs.settings import InputSettings
from elman.inputs.target_column import TargetColumn, TargetOf, pair
from elman.manifest import SERIES, read_index, write_json
from elman.read.audio import SLOWEST, Clip, named
from elman.read.audio_source import AudioLayout, AudioSource, check_several, clip_of
from elman.read.examples import Examples
from elman.read.rows import Rejects
from elman.report.progress import reading_bar
from elman.report.terminal import counted
from elman.report.window_statistics import AUDIO_REGRESSION as REGRESSION
from elman.report.window_statistics import (
    FOREST,
    Windows,
    all_statistics,
    by_forest,
    by_regression,
)
from elman.settings import dialect_of

USUAL_RATE = 16_000  # highest sample rate that is chosen by default, enough for speech
USUAL = {"speed": 0.1, "gain": 6, "shift": 0.05, "masks": 1}  # default changes in training
NAMED = 3  # clips that a note names
WHOLE = 60.0  # seconds up to which a clip is not cut for a transcript
LONG = 60.0  # seconds of audio from which a bar is shown


class AudioReader(Reader):
    """The reader of audio clips.

    Attributes:
        index: the features, once they are known; a clip is then read as soon as it is an item.
    """

    kind, noun, unit, least = "audio", "audio clips", "frames", 2000
    row_is, named_by = "an audio clip", ("audio",)

    def __init__(self, settings: InputSettings, column: str | None = None) -> None:
        super().__init__(settings, column)
        self.index: SoundIndex | None = None

    @classmethod
    def usual_column(cls, settings: InputSettings) -> str:
        """Return the column with the paths."""
        return settings.audio

    def layout(self, target: TargetColumn, *, labelled: bool) -> AudioLayout:
        """Return how clips are read."""
        s = self.settings
        return AudioLayout(
            column=self.column,
            target=(target.name or target.noun) if labelled else None,
            encoding=s.encoding,
            dialect=dialect_of(s),
            channel=s.channel,
            rate=s.sample_rate,
            size=s.feature_size or CEPSTRA,
        )

    def open(
        self, given: Any, target: TargetColumn, *, labelled: bool = True, lenient: bool = False
    ) -> AudioSource:
        """Return a source of clips, see `Reader.open`."""
        check_several(given)
        source, targets = pair(given)
        spans = target.each and targets is not None and not isinstance(targets, list | tuple)
        values = targets if targets is None or spans else target.values(targets)
        layout = self.layout(target, labelled=labelled)
        return AudioSource(source, values, layout, spans=spans, lenient=lenient)

    def read(
        self,
        source: AudioSource,
        target: TargetColumn,
        target_of: TargetOf,
        rejects: Rejects,
        like: Input | Examples | None = None,
    ) -> Examples:
        """Return all clips with their frames, see `Reader.read`."""
        clips, cells, places = list[Clip](), [], []
        for place, values in source.read():
            if isinstance(values, DataError):
                rejects.add(place, values)
            else:
                assert isinstance(values[0], Clip)
                clips.append(values[0])
                cells.append(values[-1])
                places.append(place)
        examples = Examples()
        if clips:
            index = self._index_like(like) or self.features_of(clips)
            for sound, cell, place in zip(
                self._short_sounds(clips, places, index), cells, places, strict=True
            ):
                try:
                    if isinstance(sound, DataError):
                        raise sound
                    if target.each:
                        cell = frame_tags(cell, len(sound), index.frame_seconds, target, place)
                    answer = target_of(cell, place)
                except DataError as error:
                    rejects.add(place, error)
                else:
                    examples.add(sound, answer, place)
        return self.checked(examples, source.name, target)

    def contents(
        self,
        items: Sequence[Clip | Sound],
        places: Sequence[str],
        like: Input | Examples | None,
    ) -> list[Sound | DataError]:
        """Return clips with their frames, or the error of each, see `Reader.contents`."""
        known = [one for one in items if isinstance(one, Sound)]
        if len(known) == len(items):
            return [*known]
        clips: list[Clip] = [one.clip if isinstance(one, Sound) else one for one in items]
        return self._short_sounds(clips, places, self._index_like(like) or self.features_of(clips))

    def _short_sounds(
        self, clips: Sequence[Clip], places: Sequence[str], index: SoundIndex
    ) -> list[Sound | DataError]:
        """Return clips with their frames, or the error of each; a long clip is an error, too."""
        longest = self.settings.max_seconds
        short = [n for n, clip in enumerate(clips) if clip.seconds <= longest]
        sounds = self._sounds([clips[n] for n in short], [places[n] for n in short], index)
        found = dict(zip(short, sounds, strict=True))
        return [
            found.get(n)
            or DataError(
                f"{named(clip, places[n])} lasts {clip.seconds:,.2f} s, more than "
                f"max_seconds={longest:g}; cut it with the columns start and end, or raise it"
            )
            for n, clip in enumerate(clips)
        ]

    def _sounds(
        self, clips: Sequence[Clip], places: Sequence[str], index: SoundIndex
    ) -> list[Sound | DataError]:
        seconds = sum(clip.seconds for clip in clips)
        with reading_bar(
            "computing features", round(seconds), show=self.show, least=round(LONG)
        ) as advance:
            return compute_all(clips, places, index, lambda n: advance and advance(round(n)))

    def _index_like(self, like: Input | Examples | None) -> SoundIndex | None:
        """Return the features of other data; None if there are none."""
        if isinstance(like, Audio):
            return like.index
        if isinstance(like, Examples) and like.items:
            return self.features_of([one.clip for one in like.items])
        return None

    def features_of(self, clips: Sequence[Clip]) -> SoundIndex:
        """Return the features of training clips according to the settings, without statistics."""
        s, conv = self.settings, bool(self.settings.convolution)
        rates = Counter(clip.rate for clip in clips)
        rate = s.sample_rate or min(rates.most_common(1)[0][0], USUAL_RATE)
        stack, stride = s.frame_stack or (7 if conv else 3), s.frame_stride or (4 if conv else 3)
        size = s.feature_size or (CEPSTRA if s.features == "mfcc" else MELS)
        kind: Kind = s.features
        if not clips[0].rate:
            for name in ("sample_rate", "channel", "features", "tract"):
                if getattr(s, name) != getattr(InputSettings, name):
                    raise ArgumentError(f"{name} needs audio, but the clips are features")
            kind, size, rate = "given", clips[0].width, 0
        index = SoundIndex(kind, size, rate, stack, stride, s.running_norm)
        index.check_size()
        return index

    def item(self, cell: Any, place: str) -> Clip | Sound:
        """Return the clip of a cell; its frames, too, once the features are known."""
        if isinstance(cell, Sound):
            return cell
        layout = self.layout(TargetColumn(None, ""), labelled=False)
        clip = clip_of(cell, place, layout, self.folder)
        return clip if self.index is None else compute(clip, self.index, place)

    def given(self, data: Any, like: Input, target: TargetColumn) -> list[Sound]:
        """Return the clips of a folder, a manifest or a list, with their frames."""
        assert isinstance(like, Audio)
        return [
            compute(clip, like.index, place) if sound is None else sound
            for clip, place, sound in self.clips(data, target)
        ]

    def clips(self, data: Any, target: TargetColumn) -> list[tuple[Clip, str, Sound | None]]:
        """Return the clips of a folder, a manifest or a list, and where each was read.

        The frames are None unless the list has sounds.
        """
        if isinstance(data, list) and all(isinstance(one, Sound) for one in data):
            return [(one.clip, one.clip.name, one) for one in data]
        found: list[tuple[Clip, str, Sound | None]] = []
        for place, values in self.open(data, target, labelled=False).read():
            if isinstance(values, DataError):
                raise values
            clip = values[0]
            assert isinstance(clip, Clip)
            found.append((clip, place, None))
        return found

    def learn(self, train: Examples, notes: list[str], *, classes: int = 0) -> Audio:
        """Return the statistics of the training clips."""
        clips = [one.clip if isinstance(one, Sound) else one for one in train.items]
        index = self.features_of(clips)
        frames = [one.frames for one in train.items if isinstance(one, Sound)]
        if not frames:
            found = self._sounds(clips, train.places, index)
            bad = next((one for one in found if isinstance(one, DataError)), None)
            if bad is not None:
                raise bad
            frames = [one.frames for one in found if isinstance(one, Sound)]
        mean, deviation = statistics_of(frames)
        index = replace(index, mean=tuple(mean), deviation=tuple(deviation))
        return Audio(self, index)

    def load(self, folder: Path) -> Audio:
        """Return the audio of a model folder."""
        return Audio(self, read_index(folder / SERIES, SoundIndex))


class Audio(Input):
    """Audio clips after training.

    Args:
        reader: the reader of the clips.
        index: how sounds become steps, with the statistics of the training data.
    """

    reader: AudioReader

    def __init__(self, reader: AudioReader, index: SoundIndex) -> None:
        self.reader, self.index = reader, index
        self.step_seconds = index.step_seconds
        suffix, self.element = ("wav", "samples") if index.rate else ("npy", "frames")
        self.use = (f'model.predict(["clip.{suffix}"])',)
        reader.index = index

    def save(self, folder: Path) -> None:
        """Write the features and their statistics."""
        write_json(folder / SERIES, asdict(self.index))

    # Encoding.

    def encode(self, items: Sequence[Clip | Sound]) -> list[Any]:
        """Return the steps (K, stack * F) of each clip, which are made when a batch needs them."""
        return [Steps(self.index, one.frames, one.clip) for one in self._sounds(items)]

    def _sounds(self, items: Sequence[Clip | Sound]) -> list[Sound]:
        """Return clips with their frames; one of several inputs has only its header until now."""
        return [
            one if isinstance(one, Sound) else compute(one, self.index, one.name) for one in items
        ]

    def parts(self, data: Any, target: TargetColumn) -> Iterator[tuple[int, float, Sound]]:
        """Yield clips in a form that `fit` accepts; those above 60 s in pieces that end in pauses.

        Yields:
            The number of the clip, the seconds from its beginning to the piece, and the piece.
        """
        index = self.index
        for n, (clip, place, sound) in enumerate(self.reader.clips(data, target)):
            if len(clip) <= WHOLE * (clip.rate or 1 / SHIFT):
                yield n, 0.0, compute(clip, index, place) if sound is None else sound
                continue
            blocks = frame_blocks(clip, index, place) if sound is None else [sound.frames]
            at = 0
            for frames in cut_at_pauses(blocks, index.level):
                yield n, at * index.frame_seconds, Sound(clip, frames)
                at += len(frames)

    def layer(self, settings: InputSettings) -> tuple[FrontEnd, int]:
        """Return the layer that reads steps, with random weights, and its features."""
        layer = FrontEnd(
            self.index,
            size=settings.embedding_size,
            channels=settings.convolution or 0,
            input_dropout=settings.input_dropout or 0.0,
        )
        return layer, layer.size

    def steps(self, item: Sound) -> NDArray[np.int64]:
        """Return the step to which each frame belongs."""
        last = max(0, self.index.count(len(item)) - 1)
        return (np.arange(len(item)) // self.index.stride).clip(0, last)

    def change(self) -> SoundAugment | None:
        """Return the augmentation of training clips; None without one."""
        s = self.reader.settings
        noise: Sequence[Clip] = ()
        if s.noise is not None:
            layout = self.reader.layout(TargetColumn(None, ""), labelled=False)
            rows = AudioSource(s.noise, None, layout).read()
            noise = [row.values[0] for row in rows if isinstance(row.values, tuple)]  # type: ignore[misc]
            if not noise:
                raise DataError(f"{s.noise}: has no audio file that can be read")
        if not self.index.rate and (s.gain or s.shift or noise):
            raise ArgumentError(
                "gain, shift and noise change samples, but the clips are features; set masks and "
                "speed only"
            )
        usual = USUAL if self.index.rate else {**USUAL, "gain": 0, "shift": 0}
        given = {name: getattr(s, name) for name in usual}
        chosen: dict[str, Any] = {
            name: usual[name] if one is None else one for name, one in given.items()
        }
        return SoundAugment(**chosen, noise=noise, snr=s.noise_snr, tract=s.tract) or None

    def epochs(self, count: int) -> int:
        """Return the default number of epochs for a number of clips."""
        return 30

    def live(self, static: Mapping[str, object]) -> LiveAudio:
        """Return a clip that arrives in chunks of samples.

        Args:
            static: `sample_rate` of the samples, if it is not that of the model.
        """
        unknown = ", ".join(sorted(set(static) - {"sample_rate"}))
        if unknown:
            raise ArgumentError(f"stream of audio takes sample_rate, got {unknown}")
        rate: Any = static.get("sample_rate", self.index.rate)
        whole = isinstance(rate, int | float | np.number) and float(rate).is_integer()
        if not whole or (rate < SLOWEST and self.index.rate):
            raise ArgumentError(
                f"sample_rate must be a whole number of at least {SLOWEST:,} Hz, got {rate!r}"
            )
        return LiveAudio(self.index, int(rate))

    # Reports.

    def facts(self) -> dict[str, object]:
        """Return the sizes of the input, for the report."""
        index = self.index
        facts: dict[str, object] = {"features": f"{index.size} {index.kind}"}
        if index.rate:
            facts["sample_rate"] = f"{index.rate:,} Hz"
        return facts | {"step": f"{index.step_seconds * 1000:g} ms"}

    def notes_on(
        self, train: Examples, others: Mapping[str, Examples], arrays: Sequence[Any]
    ) -> list[str]:
        """Return notes about durations and sample rates, and about silent or clipped clips."""
        sounds = [one for part in (train, *others.values()) for one in part.items]
        seconds = [one.clip.seconds for one in sounds]
        notes = []
        if self.index.rate:
            rates = Counter(one.clip.rate for one in sounds)
            shown = ", ".join(f"{rate:,} Hz ({n:,})" for rate, n in rates.most_common())
            notes.append(
                f"{counted(len(sounds), 'clips')}, {sum(seconds) / 60:,.1f} minutes in all, "
                f"{min(seconds):.2f} to {max(seconds):.2f} s each; {shown}, read at "
                f"{self.index.rate:,} Hz"
            )
        silent = [one.clip.name for one in sounds if one.is_silent]
        clipped = [one.clip.name for one in sounds if one.is_clipped]
        for what, names in (("silent", silent), ("clipped", clipped)):
            if names:
                more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
                notes.append(f"{what} clips: {', '.join(names[:NAMED])}{more}")
        return notes

    def seconds(self, item: Clip | Sound) -> float:
        """Return the duration of a clip."""
        clip = item.clip if isinstance(item, Sound) else item
        return clip.seconds if clip.rate else len(clip) * SHIFT

    def show(self, item: Clip | Sound) -> str:
        """Return the name and the duration of a clip, for the report."""
        clip = item.clip if isinstance(item, Sound) else item
        return f"{clip.name} ({self.seconds(item):.2f} s)"

    @property
    def made(self) -> str:
        """A description of the input, for the model card."""
        rate = f" of audio at {self.index.rate:,} Hz" if self.index.rate else ""
        return f"{self.index.size} {self.index.kind} features{rate}"

    # Simpler models, for comparison.

    def sklearn_baselines(self, *, each: bool) -> str:
        """Return the names of the simpler models that need scikit-learn."""
        return "" if each else f"{FOREST}, {REGRESSION}"

    def label_baselines(
        self, train: Examples, targets: Tensor, others: Mapping[str, Examples], classes: int
    ) -> list[Probabilities]:
        """Return the probabilities of two models of the statistics of cepstral coefficients."""
        known, parts = self._cepstra(train), {n: self._cepstra(one) for n, one in others.items()}
        found = [
            by_forest(known, targets, parts, classes),
            by_regression(
                known, targets, parts, classes, features=all_statistics, title=REGRESSION
            ),
        ]
        return [one for one in found if one is not None]

    def _cepstra(self, part: Examples) -> Windows:
        """Return cepstral coefficients and their changes (T, 2 C) of each clip."""
        arrays = [self.index.cepstra(one.frames) for one in self._sounds(part.items)]
        return arrays, np.zeros((len(arrays), 0)), np.arange(len(arrays))
