"""Settings for reading each kind of input.  This file does not import torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, TypeVar

from elman.arguments import hints_of
from elman.cores import CORES, AnyCell, AnyTimedCell, is_timed
from elman.errors import ArgumentError
from elman.inputs.declared import Declared, read_declared, value_of
from elman.settings import (
    TableSettings,
    TextSettings,
    check_counts,
    check_fraction,
)


@dataclass(kw_only=True)
class RecordingSettings(TableSettings):
    """Settings for reading recordings; they have no effect on texts."""

    channels: tuple[str, ...] = ()
    """Columns of numbers, each a channel of a recording; empty for other data."""
    variable: str | None = None
    """Column with the name of the channel, for tables with one measurement per row."""
    value: str = "value"
    """Column with the measured value, for tables with one measurement per row."""
    static: tuple[str, ...] = ()
    """Columns of numbers or words that do not change within a recording."""
    unique_id: str = "unique_id"
    """Column with the name of the recording; a file without it is one recording."""
    ds: str = "ds"
    """Column with the stamp, a date or a number; rows without it are evenly spaced steps."""
    ds_format: str | None = None
    """Format of dates that are not ISO 8601, such as %d/%m/%Y, or the unit of numbers: s, ms, us or
    ns; None to detect it."""
    rate: float | None = None
    """Steps per second to which recordings are resampled; None to keep the steps as they are."""
    elapsed: bool | None = None
    """Read the time between steps, and the time since the last number of each channel; None to read
    both only if steps are uneven."""
    window: int | None = None
    """Steps of the windows into which recordings are cut; None for whole recordings."""
    overlap: float = 0.5
    """Share of each window that the next window contains as well."""
    jitter: float = 0.0
    """Standard deviation of the noise added in training, relative to that of the channel."""
    rescale: float = 0.0
    """Standard deviation of the relative change of the scale of each channel in training."""
    warp: float = 0.0
    """Standard deviation of the logarithm of the random factor that changes the speed of a
    recording in training."""
    examples: int | None = None
    """Recordings or windows in an epoch; None for all, repeated if they are fewer than 2,000."""

    @property
    def _cells(self) -> tuple[str, ...]:
        """The kinds of recurrent layers for a task with recordings: all of them."""
        return tuple(CORES)

    def check_recordings(self, label: str, *, cell: str | None) -> None:
        """Raise an ArgumentError for values that cannot work.

        Args:
            label: column of the labels.
            cell: kind of recurrent layer.
        """
        check_counts(self, "window", "examples")
        if self.channels and self.variable is None:  # with `variable`, channels are not columns
            self.check_columns(self.channels, (*self.static, label, self.unique_id, self.ds))
        if not 0 <= self.overlap < 1:
            raise ArgumentError(f"overlap must be in [0, 1), got {self.overlap}")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise ArgumentError(
                f"rate must be a positive number of steps per second, got {self.rate}"
            )
        for name in ("jitter", "rescale", "warp"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ArgumentError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.warp and (self.elapsed or is_timed(cell)):
            raise ArgumentError(
                "warp changes the time between steps, which elapsed reads; set warp=0"
            )
        if is_timed(cell) and self.elapsed is False:
            raise ArgumentError(
                f"cell={cell} always reads the time between steps; leave elapsed unset"
            )


@dataclass(kw_only=True)
class AudioSettings:
    """Settings for reading audio; they have no effect on other kinds of inputs."""

    audio: str = "path"
    """Audio: column with the path of the audio file; the columns start and end, in seconds, name a
    part of it."""
    sample_rate: int | None = None
    """Audio: samples per second to which all audio is resampled; None for the most frequent rate of
    the training data, but at most 16,000."""
    channel: int | None = None
    """Audio: channel that is read, from 0; None for the mean of all channels."""
    features: Literal["log-mel", "mfcc"] = "log-mel"
    """Audio: features of a frame, computed every 10 ms."""
    feature_size: int | None = None
    """Audio: number of features of a frame; None for 40 log-mel energies or 13 MFCC."""
    frame_stack: int | None = None
    """Audio: frames that are joined to a step; None for 3, or for 7 with convolution."""
    frame_stride: int | None = None
    """Audio: frames from one step to the next; None for 3, or for 4 with convolution."""
    convolution: int | None = None
    """Audio, images: channels of two convolutions that read the frames of a step, or an image; 0
    for none.  None for none in audio, and 16 for images of at least 16 x 16 pixels."""
    running_norm: Literal["mean", "variance"] | None = None
    """Audio: normalise frames by their running mean, or with variance also by their running
    standard deviation, which removes the colour of a microphone or a room, live as well."""
    max_seconds: float = 600.0
    """Audio: maximum duration of a training clip; a longer one is an error of its row."""
    masks: int | None = None
    """Audio: masked bands of features and stretches of time in each training clip (SpecAugment);
    None for 1."""
    speed: float | None = None
    """Audio: largest relative change of the speed in training; None for 0.1."""
    gain: float | None = None
    """Audio: largest change of the level in training, in decibels; None for 6, or 0 for features
    that were computed elsewhere."""
    shift: float | None = None
    """Audio: largest shift of the clip in training, in seconds; None for 0.05, or 0 for features
    that were computed elsewhere."""
    tract: float = 0.0
    """Audio: largest relative change of the frequencies in training, which sounds like speakers
    with other vocal tracts."""
    noise: str | None = None
    """Audio: folder with clips of noise that is added in training."""
    noise_snr: float = 10.0
    """Audio: lowest signal-to-noise ratio of the added noise, in decibels; each clip draws one
    between it and 20 dB more."""

    def check_audio(self) -> None:
        """Raise an ArgumentError for values that cannot work."""
        check_counts(self, "sample_rate", "feature_size", "frame_stack", "frame_stride")
        if self.sample_rate is not None and not 1000 <= self.sample_rate <= 192_000:
            raise ArgumentError(f"sample_rate must be in 1,000..192,000 Hz, got {self.sample_rate}")
        if self.feature_size is not None and self.feature_size > 256:
            raise ArgumentError(f"feature_size must be at most 256, got {self.feature_size}")
        if not 0 < self.max_seconds < float("inf"):
            raise ArgumentError(f"max_seconds must be positive, got {self.max_seconds}")
        for name in ("speed", "tract"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 0.5:
                raise ArgumentError(f"{name} must be in [0, 0.5), got {value}")
        for name in ("channel", "convolution", "masks", "gain", "shift"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ArgumentError(f"{name} must be at least 0, got {value}")
        if self.noise is None and self.noise_snr != AudioSettings.noise_snr:
            raise ArgumentError("noise_snr needs noise, a folder with clips of noise")
        if not -100 <= self.noise_snr <= 100:
            raise ArgumentError(f"noise_snr must be in -100..100 dB, got {self.noise_snr}")
        if self.convolution and self.frame_stack not in (None, 7):
            raise ArgumentError(
                f"convolution reads 7 frames in a step, got frame_stack={self.frame_stack}; set "
                "frame_stack=None"
            )


@dataclass(kw_only=True)
class ImageSettings:
    """Settings for reading images; they have no effect on other kinds of inputs."""

    image: str = "path"
    """Images: column with the path of the image, or of the folder of a series of images."""
    image_height: int | None = None
    """Images: rows to which images are scaled; None for the median of the training images, but at
    most 64."""
    image_width: int | None = None
    """Images: columns to which images are scaled; None for the usual proportions of the training
    images, or, if columns are read, for those of each image."""
    colour: bool | None = None
    """Images: read colours; None for colours unless all training images are grey."""
    scan: Literal["rows", "columns", "patches", "pixels"] = "rows"
    """Images: pixels of a step.  In a series, a step is always an image."""
    patch_size: int = 8
    """Images: rows and columns of a patch."""
    distort: float | None = None
    """Images: largest random angle, slant (in radians) and change of size and position (relative)
    in training; None for 0.1."""
    mirror: bool = False
    """Images: mirror half of the images in training."""
    brightness: float = 0.0
    """Images: largest random relative change of brightness and of contrast in training."""

    def check_images(self) -> None:
        """Raise an ArgumentError for values that cannot work."""
        check_counts(self, "image_height", "image_width", "patch_size")
        if max(self.image_height or 0, self.image_width or 0) > 4096:
            raise ArgumentError("image_height and image_width must be at most 4,096")
        if self.distort is not None and not 0 <= self.distort < 0.5:
            raise ArgumentError(f"distort must be in [0, 0.5), got {self.distort}")
        if not 0 <= self.brightness < 1:
            raise ArgumentError(f"brightness must be in [0, 1), got {self.brightness}")


SomeInput = TypeVar("SomeInput", bound="InputSettings")


@dataclass(kw_only=True)
class InputSettings(ImageSettings, AudioSettings, RecordingSettings, TextSettings):
    """Settings of a model that reads items of any kind: texts, sentences, recordings, audio,
    images, numbers, categories."""

    each_step: ClassVar[bool] = False  # whether the targets belong to the steps of an item

    inputs: tuple[str, ...] = ()
    """Kind of the input (text, words, recordings, audio, image, number or category), or COLUMN:KIND
    for each of several inputs; if empty, the kind is detected. An input can have its own settings:
    COLUMN:KIND,setting=value,setting=value."""
    fusion: Literal["late", "attention", "early"] = "late"
    """Several inputs: how each other input joins the steps of the main one, which is the first
    sequence: late (what a GRU has read of it), attention (at each step) or early (its vector at the
    same moment)."""
    drop_inputs: float | None = None
    """Several inputs: probability of dropping a whole input of an item in training, as if it were
    missing; None for 0.3."""
    missing_files: bool = False
    """Several inputs: read a file that does not exist as a missing input; otherwise it is an error
    of its row. It is an error if no file of a column exists."""
    group: str | None = None
    """Column with the name of the item to which a row of a table belongs, such as a conversation:
    each row is a step of its item, and is read by recurrent layers of its own; None if each row is
    an item."""
    text: str = "text"
    """Column with the text."""
    words: str | None = None
    """Column of the words: a name in a table or CoNLL-U, otherwise a number from 0; None for words
    in a table, form in CoNLL-U, and otherwise the first column."""
    cell: AnyCell | AnyTimedCell = "lstm"  # type: ignore[assignment]
    """Kind of recurrent layer: rnn (Elman), lstm, gru, slstm or lem; mingru, minlstm, lru or rglru,
    which are linear in their state; deltanet, gated-deltanet, gla, mamba2 or mlstm, whose memory is
    a matrix; for recordings also grud, gruwe or cfc, whose states change with time."""
    hidden_size: tuple[int, ...] | int = 128
    """Number of hidden units of each layer and direction; several numbers for layers of different
    sizes."""
    embedding_size: int | None = None
    """Size of the vectors of tokens (None for hidden_size) or words (None for 100). For recordings,
    the size of a layer that reads the channels; None for no such layer."""
    bidirectional: bool = True
    """Read in both directions; turn it off to use the model live, as the elements arrive."""
    skip: bool = False
    """Let the output layer read the inputs of the recurrence along with its states."""
    dropout: float = 0.5
    """Dropout probability between the layers and before the output layer."""
    input_dropout: float | None = None  # type: ignore[assignment]
    """Dropout probability of the input features, the same features at all steps; None for 0.3
    with texts and words, and 0 with recordings."""
    bptt: int | None = None
    """Number of last steps through which the gradient flows; None for all steps."""
    lowercase: bool = True
    """Ignore the case of texts and words; the characters of words are still read with their
    case."""
    max_tokens: int | None = 1000
    """Maximum number of tokens of a text; a longer text is cut to its two ends. None for no
    limit."""
    vectors: str | None = None
    """File of word vectors to start from: a word and its numbers on each line; may be .gz."""
    character_size: int = 32
    """Size of the character vectors of words, and of the LSTM that reads them; 0 to read the words
    only."""
    validation_fraction: float = 0.1
    """Share of the data that is held out if no validation data are given."""

    @property
    def vector_size(self) -> int:
        """The number of features of a token vector."""
        return self.embedding_size or self.sizes[0]

    def check_input(self, target: str) -> None:
        """Raise an ArgumentError for values that cannot work.

        Args:
            target: column of the targets.
        """
        self.check_text()
        self.check_audio()
        self.check_images()
        self.check_recordings(target, cell=self.cell)
        check_fraction(self, "validation_fraction")
        check_counts(self, "max_tokens")
        if self.drop_inputs is not None and not 0 <= self.drop_inputs < 1:
            raise ArgumentError(f"drop_inputs must be in [0, 1), got {self.drop_inputs}")
        if self.bptt is not None and self.skip:
            raise ArgumentError("bptt and skip cannot be combined")
        if self.character_size < 0:
            raise ArgumentError(f"character_size must be at least 0, got {self.character_size}")
        for one in self.declared:
            if one.settings and one.kind in READS:  # an unknown kind is an error of its own
                with one.named():
                    self.of_input(one.column).check_input(target)

    @property
    def declared(self) -> list[Declared]:
        """The inputs that are set."""
        return [read_declared(one) for one in self.inputs]

    def of_input(self: SomeInput, column: str | None = None) -> SomeInput:
        """Return the settings of one of the inputs: its own ones, and otherwise those of the model.

        Args:
            column: column of the input; None for the only input.

        Raises:
            ArgumentError: an own setting is unknown.

        Example:
            >>> from elman.inputs.settings import InputSettings
            >>> found = InputSettings(inputs=("a:audio,gain=0", "b:audio"), gain=3).of_input("a")
            >>> found.gain, found.inputs
            (0.0, ('a:audio',))
        """
        for one in self.declared:
            if one.settings and (one.column == column or len(self.inputs) == 1):
                check_own(one.kind, one.settings, {field.name for field in fields(self)})
                kind: type = type(self)
                hints = hints_of(kind)
                own: dict[str, Any] = {
                    name: value_of(texts, hints[name][0]) for name, texts in one.settings.items()
                }
                return replace(self, **own, inputs=(one.bare,))
        return self


@dataclass(kw_only=True)
class SourceSettings(InputSettings):
    """Settings of a model that generates texts from other texts, or from items of any kind."""

    # These settings have no effect on such a model, so they are not fields and not flags.
    text: ClassVar[str] = "text"  # type: ignore[misc]
    vectors: ClassVar[str | None] = None  # type: ignore[misc]
    window: ClassVar[int | None] = None  # type: ignore[misc]
    overlap: ClassVar[float] = 0.0  # type: ignore[misc]
    skip: ClassVar[bool] = False  # type: ignore[misc]

    kind: Literal["translation", "summary", "dialogue"] = "translation"
    """Kind of task, which determines the scores and the baseline; dialogues are lists of turns."""
    shared: bool = False
    """Use one vocabulary and one set of token vectors for source and target."""
    source: str = "source"
    """Column of the source in a table."""
    conversation: str = "conversation"
    """Dialogue: column of the conversation in a table, as a list of turns or as one text."""
    separator: str = "__eou__"
    """Dialogue: separator of the turns in a text."""
    history: int = 3
    """Dialogue: number of previous turns that are read before an answer."""
    max_tokens: int = 200
    """Maximum number of tokens read from a source (in a dialogue the last ones) and a target."""


# The settings that an input of each kind reads, and that can therefore be those of one input.  The
# column of an input is not among them.
_LAYER = ("embedding_size", "input_dropout")
_TOKENS = ("vocabulary_size", "min_count", "lowercase", "embedding_dropout", *_LAYER)
READS: dict[str, tuple[str, ...]] = {
    "text": ("tokens", "split_punctuation", "max_tokens", "vectors", *_TOKENS),
    "words": ("character_size", *_TOKENS),
    "recordings": (
        *(name for name in RecordingSettings.__annotations__ if name != "examples"),
        *TableSettings.__annotations__,
        *_LAYER,
    ),
    "audio": (*(name for name in AudioSettings.__annotations__ if name != "audio"), *_LAYER),
    "image": (
        *(name for name in ImageSettings.__annotations__ if name != "image"),
        "convolution",
        *_LAYER,
    ),
    "number": ("decimal",),
    "category": (),
}


def check_own(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise an ArgumentError unless an input of a kind reads settings of these names.

    Args:
        kind: the kind.
        names: names of the settings.
        known: the settings of the model.

    Example:
        >>> from elman.inputs.settings import READS, check_own
        >>> check_own("audio", ["sample_rat"], READS["audio"])
        Traceback (most recent call last):
        elman.errors.ArgumentError: audio has no setting 'sample_rat'; did you mean 'sample_rate'?
    """
    reads = [name for name in READS.get(kind, ()) if name in set(known)]
    for name in names:
        if name in reads:
            continue
        near = get_close_matches(name, reads, 1)
        advice = f"did you mean {near[0]!r}?" if near else f"it has {str(reads)[1:-1] or 'none'}"
        raise ArgumentError(f"{kind} has no setting {name!r}; {advice}")
