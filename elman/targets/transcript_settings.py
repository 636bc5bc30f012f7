"""Settings of a model that writes down speech.  This file does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from elman.arguments import check_whole
from elman.errors import ArgumentError
from elman.inputs.settings import InputSettings
from elman.settings import check_counts


@dataclass(kw_only=True)
class TranscriberSettings(InputSettings):
    """Settings of a transcriber: its data, network and training."""

    each_step: ClassVar[bool] = True

    # These settings have no effect on such a model, so they are not fields and not flags.
    window: ClassVar[int | None] = None  # type: ignore[misc]
    overlap: ClassVar[float] = 0.0  # type: ignore[misc]
    skip: ClassVar[bool] = False  # type: ignore[misc]
    vectors: ClassVar[str | None] = None  # type: ignore[misc]

    text: str = "text"
    """Column with the transcript."""
    decoder: Literal["ctc", "transducer"] = "ctc"
    """How tokens are found in the frames: ctc predicts each frame independently; transducer also
    reads the previous tokens, which is more accurate live and slower to train."""
    tokens: Literal["word", "character", "byte", "bpe"] | None = "character"
    """Kind of token; None for words, or characters if the text has no spaces between words."""
    scan: Literal["rows", "columns", "patches", "pixels"] = "columns"
    """Images: pixels of a step; columns read a line of writing in its order. In a series, a step is
    always an image."""
    min_count: int = 1
    """Words and characters that occur fewer times in the training text become <unk>."""
    lowercase: bool = False
    """Convert transcripts to lower case."""
    epochs: int = 30
    """Passes over the training data."""
    average_decay: float = 0.99
    """Decay of a moving average of the weights, which is validated and kept; 0 for none."""
    monitor: Literal["loss", "accuracy", "last"] = "accuracy"
    """Validation score that selects the weights to keep, ties by loss; accuracy is that of the
    tokens, last keeps the last weights."""
    layer_norm: bool | None = None  # type: ignore[assignment]
    """Normalise the inputs of the gates; None for models that read forward only, of which those
    with several layers otherwise often fail to begin to learn."""
    hidden_size: tuple[int, ...] | int = 256
    """Number of hidden units of each layer and direction; several numbers for layers of different
    sizes."""
    num_layers: int = 2
    """Number of recurrent layers."""
    pyramid: int = 0
    """Number of first layers after each of which two steps become one, which is faster; the steps
    must still be as many as the tokens."""
    dropout: float = 0.3
    """Dropout probability between the layers and before the output layer."""
    predictor_size: int = 128
    """Transducer: units of the network that reads the previous tokens."""
    joint_size: int = 256
    """Transducer: units that join a frame and the previous tokens."""
    context: int | None = None
    """Transducer: number of previous tokens that are read; None for all, by a recurrence."""
    ctc_weight: float | None = None
    """Transducer: weight of a CTC loss that is added in training, which helps it to begin; None for
    0.7."""

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """The hidden size of each layer."""
        return self.sizes if len(self.sizes) > 1 else self.sizes * self.num_layers

    def check(self) -> None:
        """Raise an ArgumentError for settings that cannot work."""
        self.check_input(self.text)
        if self.decoder not in ("ctc", "transducer"):
            raise ArgumentError(f"decoder must be ctc or transducer, got {self.decoder!r}")
        check_whole(self.pyramid, "pyramid", least=0)
        if self.pyramid >= len(self.layer_sizes):
            raise ArgumentError(
                f"pyramid must be below the number of layers, {len(self.layer_sizes)}, got "
                f"{self.pyramid}; set num_layers={self.pyramid + 1} or more"
            )
        if self.pyramid and self.bptt is not None:
            raise ArgumentError("bptt and pyramid cannot be combined")
        check_counts(self, "predictor_size", "joint_size", "context")
        if self.context is not None and self.decoder == "ctc":
            raise ArgumentError(
                "context is the number of tokens that a transducer reads; set decoder=transducer"
            )
        if not 0 <= (self.ctc_weight or 0) < 1:
            raise ArgumentError(f"ctc_weight must be in [0, 1), got {self.ctc_weight}")
