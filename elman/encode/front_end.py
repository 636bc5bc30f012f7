"""The layer that reads the steps of sounds: normalisation, and optionally two convolutions.

    z = (x - mean) / deviation                            mean and deviation of the training frames
    without convolutions: v = z,  or  v = W z + b
    with convolutions:    v = W flat(relu(C_2 * relu(C_1 * z))) + b

C_1 and C_2 are convolutions of 3 x 3 (frames x features) with stride 2.  A step has the 7 frames
that reach its output, so a convolution needs no frame of another step: its tail is kept where
frames become steps, live too.  Source: Amodei et al. 2015, "Deep Speech 2" (arXiv:1512.02595), with
larger kernels and padding.

Shape legend: B rows, T steps, F features of a frame, D features of a vector.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elman.dropout import check_probability, locked_dropout
from elman.encode.sound import SoundIndex
from elman.errors import ArgumentError
from elman.padded import Padded

FRAMES = 7  # frames that reach an output of two convolutions


class FrontEnd(nn.Module):
    """An encoder of the steps of sounds.

    Args:
        index: how sounds become steps, with the statistics of the training data.
        size: D of the linear layer; None for no linear layer, or for 128 after convolutions.
        channels: channels of each convolution; 0 for none.
        input_dropout: probability of dropping a feature of the vectors, at all steps of a row.

    Raises:
        ArgumentError: there are convolutions, but a step has other than 7 frames.

    Example:
        >>> import torch
        >>> from elman.encode.front_end import FrontEnd
        >>> from elman.encode.sound import SoundIndex
        >>> from elman.padded import Padded
        >>> index = SoundIndex("mfcc", 13, 8000, stack=7, stride=4)
        >>> FrontEnd(index, channels=4, size=32)(Padded.full(torch.zeros(2, 5, 91))).data.shape
        torch.Size([2, 5, 32])
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        index: SoundIndex,
        *,
        size: int | None = None,
        channels: int = 0,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if channels and index.stack != FRAMES:
            raise ArgumentError(
                f"convolution needs frame_stack={FRAMES}, the frames that two convolutions read, "
                f"got {index.stack}"
            )
        self.stack, self.features = index.stack, index.size
        mean = torch.tensor(index.mean or [0.0] * index.size, dtype=torch.float32)
        deviation = torch.tensor(index.deviation or [1.0] * index.size, dtype=torch.float32)
        self.register_buffer("mean", mean.repeat(index.stack), persistent=False)
        self.register_buffer("scale", (1 / deviation).repeat(index.stack), persistent=False)
        self.convolve: nn.Module | None = None
        width = index.stack * index.size
        if channels:
            self.convolve = nn.Sequential(
                nn.Conv2d(1, channels, 3, stride=2, padding=(0, 1)),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, stride=2, padding=(0, 1)),
                nn.ReLU(),
            )
            width = channels * ((index.size + 3) // 4)
            size = size or 128
        self.layer = None if size is None else nn.Linear(width, size)
        self.size = width if size is None else size
        self.input_dropout = check_probability("input_dropout", input_dropout)

    def forward(self, x: Padded, *, generator: torch.Generator | None = None) -> Padded:
        """Return vectors (B, T, D) for steps (B, T, stack * F)."""
        v = (x.cleared() - self.mean) * self.scale
        if self.convolve is not None:
            rows, steps, _ = v.shape
            v = self.convolve(v.reshape(rows * steps, 1, self.stack, self.features))
            v = v.reshape(rows, steps, -1)
        if self.layer is not None:
            v = self.layer(v)
        if self.training:
            v = locked_dropout(v, self.input_dropout, time_dim=1, generator=generator)
        return Padded(v, x.lengths, x.extra)
