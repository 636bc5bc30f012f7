"""Random changes of training images: angle, slant, size, position, a mirror, and light.

    x' = b m + c (x - m)      m is the mean of the image, b its brightness, c its contrast

One change is drawn for all images of a series.  Pixels that come from outside of an image have the
value of its nearest edge.  Source: LeCun et al. 1998, "Gradient-based learning applied to document
recognition", section III.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from elman.encode.image_steps import ImageSteps

Floats = NDArray[np.float32]


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
        values = steps.values.astype(np.float32)
        if self.mirror and draw.random() < 0.5:
            values = values[:, :, ::-1]
        if self.distort:
            matrix = self._matrix(values.shape[1], values.shape[2], draw)
            values = np.stack([_transformed(one, matrix) for one in values])
        if self.brightness:
            b, c = 1 + draw.uniform(-self.brightness, self.brightness, 2)
            mean = float(values.mean())
            values = b * mean + c * (values - mean)
        found = steps.index.steps(values)
        return found, np.arange(len(found))

    def _matrix(self, height: int, width: int, draw: np.random.Generator) -> tuple[float, ...]:
        """Return the affine map from new to old coordinates, around the middle."""
        angle, slant, high, wide, down, right = draw.uniform(-self.distort, self.distort, 6)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        whole = turn @ np.array([[1.0, slant], [0.0, 1.0]]) @ np.diag([1 + wide, 1 + high])
        middle = np.array([width / 2, height / 2])
        side = min(height, width)
        moved = middle - whole @ middle + side * np.array([right, down])
        return (*whole[0], moved[0], *whole[1], moved[1])


def _transformed(pixels: NDArray[np.generic], matrix: tuple[float, ...]) -> Floats:
    """Return pixels (H, W, C) under an affine map, with the nearest pixels outside."""
    height, width, channels = pixels.shape
    edge = max(1, min(height, width) // 2)
    a, b, c, d, e, f = matrix
    shifted = (a, b, c + edge, d, e, f + edge)
    layers = []
    for k in range(channels):
        wide = np.pad(pixels[..., k].astype(np.float32), edge, mode="edge")
        image = Image.fromarray(wide).transform(
            (width, height), Image.Transform.AFFINE, shifted, Image.Resampling.BILINEAR
        )
        layers.append(np.asarray(image))
    return np.stack(layers, axis=2)
