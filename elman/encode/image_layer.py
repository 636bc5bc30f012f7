"""The layer that reads the steps of images: normalisation, and optionally two convolutions.

    z = (x - mean) / deviation                            mean and deviation of the training pixels
    without convolutions: v = z,  or  v = W z + b
    with convolutions:    v = W flat(relu(C_2 * relu(C_1 * z))) + b

C_1 and C_2 are convolutions of 3 x 3 pixels with stride 2, so four rows or columns become one step.
In a series, they read each image by itself, and the steps stay.  Patches are joined to the image
before the convolutions, whose result is cut into as many patches; every patch has the same weights.

Shape legend: B rows of the batch, T steps, F numbers of a step, D features of a vector, C colours,
K channels of a convolution, P side of a patch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elman.dropout import check_probability, locked_dropout
from elman.encode.image_steps import ImageIndex
from elman.errors import ArgumentError
from elman.padded import Padded

JOINED = 128  # default features of a vector after convolutions


class ImageLayer(nn.Module):
    """An encoder of the steps of images.

    Args:
        index: how images become steps, with the statistics of the training data.
        size: D of the linear layer; None for no linear layer, or for 128 after convolutions.
        channels: K; 0 for no convolutions.
        input_dropout: probability of dropping a feature of the vectors, at all steps of a row.

    Raises:
        ArgumentError: there are convolutions, but a step is a pixel or a patch whose side is not
            a multiple of 4.

    Example:
        >>> import torch
        >>> from elman.encode.image_layer import ImageLayer
        >>> from elman.encode.image_steps import ImageIndex
        >>> from elman.padded import Padded
        >>> layer = ImageLayer(ImageIndex(28, 28, 1), channels=4, size=32)
        >>> x = Padded(torch.zeros(2, 28, 28), torch.tensor([28, 9]))
        >>> layer(x).data.shape, layer(x).lengths.tolist()
        (torch.Size([2, 7, 32]), [7, 3])
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        index: ImageIndex,
        *,
        size: int | None = None,
        channels: int = 0,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if channels and not index.series:
            if index.scan == "pixels":
                raise ArgumentError(
                    "convolution reads rows, columns or patches, got scan=pixels; set convolution=0"
                )
            if index.scan == "patches" and index.patch % 4:
                raise ArgumentError(
                    f"convolution needs a patch_size of 4, 8 or another multiple of 4, got "
                    f"{index.patch}; change it or set convolution=0"
                )
        self.colours, self.series, self.height = index.channels, index.series, index.height
        self.patch = index.patch if index.scan == "patches" and not index.series else 0
        self.grid = -(-index.height // index.patch), -(-index.width // index.patch)
        mean = torch.tensor(index.mean or [0.0] * index.channels, dtype=torch.float32)
        deviation = torch.tensor(index.deviation or [1.0] * index.channels, dtype=torch.float32)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("scale", 1 / deviation, persistent=False)
        self.convolve = nn.ModuleList()
        width = index.size
        if channels:
            self.convolve += [
                nn.Conv2d(one, channels, 3, stride=2, padding=1) for one in (self.colours, channels)
            ]
            sides = [index.height, index.width] if index.series else [width // self.colours]
            sides = [self.patch, self.patch] if self.patch else sides
            width = channels
            for side in sides:
                width *= halved(halved(side))
            size = size or JOINED
        self.layer = None if size is None else nn.Linear(width, size)
        self.size = width if size is None else size
        self.input_dropout = check_probability("input_dropout", input_dropout)

    def forward(self, x: Padded, *, generator: torch.Generator | None = None) -> Padded:
        """Return vectors (B, T', D) for steps (B, T, F)."""
        rows, steps, _ = x.data.shape
        z = (x.data.view(rows, steps, -1, self.colours) - self.mean) * self.scale
        v, lengths = Padded(z, x.lengths).cleared(), x.lengths
        if self.convolve and self.series:
            v = v.view(rows * steps, self.height, -1, self.colours).permute(0, 3, 1, 2)
            for convolution in self.convolve:
                v = convolution(v).relu()
            v = v.reshape(rows, steps, -1)
        elif self.convolve and self.patch:
            v = self._patches(v)
        elif self.convolve:
            v = v.permute(0, 3, 1, 2)
            for convolution in self.convolve:
                v, lengths = convolution(v).relu(), halved(lengths)
                v = Padded(v.transpose(1, 2), lengths).cleared().transpose(1, 2)
            v = v.transpose(1, 2).flatten(2)
        else:
            v = v.flatten(2)
        if self.layer is not None:
            v = self.layer(v)
        if self.training:
            v = locked_dropout(v, self.input_dropout, time_dim=1, generator=generator)
        return Padded(v, lengths, x.extra)

    def _patches(self, z: Tensor) -> Tensor:
        """Return what the convolutions find (B, T, K (P / 4)^2) in patches (B, T, P^2, C)."""
        (high, wide), p = self.grid, self.patch
        v = z.view(len(z), high, wide, p, p, self.colours).permute(0, 5, 1, 3, 2, 4)
        v = v.reshape(len(z), self.colours, high * p, wide * p)
        for convolution in self.convolve:
            v = convolution(v).relu()
        v = v.view(len(z), -1, high, p // 4, wide, p // 4).permute(0, 2, 4, 1, 3, 5)
        return v.reshape(len(z), high * wide, -1)


def halved(length: Any) -> Any:
    """Return the length of the output of a convolution with stride 2."""
    return (length + 1) // 2
