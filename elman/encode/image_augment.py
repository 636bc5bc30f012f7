"""Random changes of training images: angle, slant, size, position, a mirror, and light.

    x' = b m + c (x - m)      m is the mean of the image, b its brightness, c its contrast

One change is drawn for all images of a series.  Pixels that come from outside of an image have the
value of its nearest edge.  Source: LeCun et al. 1998, "Gradient-based learning applied to document
recognition", section III.

An image whose width is free is a line of writing, and everything written in it stays in it: its
width changes together with its content, it is not shifted to the side, and the angle of a line that
is longer than high is multiplied by H / W.

Shape legend: N images of a series, H rows, W columns, C channels, T steps, F numbers of a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from elman.encode.image_steps import ImageSteps

Floats = NDArray[np.float32]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class ImageAugment:
    """The strength of the changes; 0 for none.

    Attributes:
        distort: largest angle and slant in radians, and largest relative change of size and
            position.
        mirror: whether half of the images are mirrored.
        brightness: largest difference of b and c from 1.

    Example:
        >>> import numpy as np
        >>> from elman.encode.image_augment import ImageAugment
        >>> from elman.encode.image_steps import ImageIndex, ImageSteps, Pixels
        >>> from elman.read.images import open_pixels
        >>> image = open_pixels(np.arange(6).reshape(2, 3), "row 0")
        >>> steps = ImageSteps(ImageIndex(2, 3, 1), Pixels(image))
        >>> change = ImageAugment(mirror=True)
        >>> sorted({change(steps, np.random.default_rng(n))[0][0, 0].item() for n in range(9)})
        [0.0, 2.0]
    """

    distort: float = 0.0
    mirror: bool = False
    brightness: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.distort or self.mirror or self.brightness)

    def __call__(
        self, steps: ImageSteps, draw: np.random.Generator
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Return the steps (T, F) of changed images, and the numbers of the original steps."""
        index, values = steps.index, steps.values.astype(np.float32)
        columns = np.arange(values.shape[2])
        if self.mirror and draw.random() < 0.5:
            values, columns = values[:, :, ::-1], columns[::-1]
        if self.distort:
            matrix, width = self._matrix(index.height, values.shape[2], draw, line=not index.width)
            values = np.stack([_transformed(one, matrix, width) for one in values])
            middle = np.array([np.arange(width), np.full(width, index.height / 2), np.ones(width)])
            columns = columns[(matrix @ middle)[0].astype(np.int64).clip(0, len(columns) - 1)]
        if self.brightness:
            b, c = 1 + draw.uniform(-self.brightness, self.brightness, 2)
            mean = float(values.mean())
            values = b * mean + c * (values - mean)
        found = index.steps(values)
        by_column = index.scan == "columns" and not index.series
        return found, columns if by_column else np.arange(len(found))

    def _matrix(
        self, height: int, width: int, draw: np.random.Generator, *, line: bool
    ) -> tuple[Matrix, int]:
        """Return the affine map (2, 3) from new to old coordinates, and the new width."""
        angle, slant, high, wide, down, right = draw.uniform(-self.distort, self.distort, 6)
        new = width
        if line:
            angle, right = angle * min(1, height / width), 0.0
            new = max(1, round(width / (1 + wide) + abs(slant) * height))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        whole = turn @ np.array([[1.0, slant], [0.0, 1.0]]) @ np.diag([1 + wide, 1 + high])
        old_middle, middle = np.array([width, height]) / 2, np.array([new, height]) / 2
        moved = old_middle - whole @ middle + min(height, width) * np.array([right, down])
        return np.column_stack([whole, moved]), new


def _transformed(pixels: NDArray[np.generic], matrix: Matrix, width: int) -> Floats:
    """Return pixels (H, width, C) under an affine map, with the nearest pixels outside."""
    height, old, channels = pixels.shape
    corners = matrix @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    beyond = max(-corners.min(), *(corners - [[old], [height]]).max(1))
    edge = max(0, math.ceil(beyond)) + 1
    shifted = matrix + np.array([[0, 0, edge], [0, 0, edge]])
    layers = []
    for k in range(channels):
        wide = np.pad(pixels[..., k].astype(np.float32), edge, mode="edge")
        image = Image.fromarray(wide).transform(
            (width, height), Image.Transform.AFFINE, shifted.ravel(), Image.Resampling.BILINEAR
        )
        layers.append(np.asarray(image))
    return np.stack(layers, axis=2)
