"""Images as sequences: which pixels a step has.

    rows, columns   a row or a column of the image
    patches         a square of P x P pixels, in reading order; images end with zeros
    pixels          a pixel, in reading order
    series          of a series of images, each step is an image

Shape legend: N images of a series, H rows, W columns, C channels, P side of a patch, T steps,
F numbers of a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError, DataError
from elman.padded import Delayed
from elman.read.images import MOST_PIXELS, Picture, read_pixels

Scan = Literal["rows", "columns", "patches", "pixels"]
Floats = NDArray[np.float32]
TALLEST = 64  # rows to which images are scaled by default at most
BRIGHTEST = 2.0  # no fraction in 0..1 is larger, even if it is amplified
WIDEST = 100  # largest width in heights, for columns


@dataclass(frozen=True)
class ImageIndex:
    """How images become steps.

    Attributes:
        height: H to which images are scaled.
        width: W; 0 to keep the proportions of each image.
        channels: C, 1 for grey or 3.
        scan: the pixels of a step.
        patch: P.
        series: whether each step is an image of a series.
        unit: factor of fractions; 255, for fractions in 0..1, unless training had larger ones.
        mean, deviation: of each channel in the training data.

    Example:
        >>> import numpy as np
        >>> from elman.encode.image_steps import ImageIndex
        >>> pixels = np.arange(12).reshape(1, 3, 4, 1)
        >>> ImageIndex(3, 4, 1, "columns").steps(pixels)[1].tolist()
        [1.0, 5.0, 9.0]
        >>> ImageIndex(3, 4, 1, "patches", patch=2).steps(pixels)[3].tolist()
        [10.0, 11.0, 0.0, 0.0]
    """

    height: int
    width: int
    channels: int
    scan: Scan = "rows"
    patch: int = 8
    series: bool = False
    unit: float = 1.0
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))
        object.__setattr__(self, "deviation", tuple(map(float, self.deviation)))
        self.check()

    def check(self) -> None:
        """Raise an ArgumentError for impossible values."""
        if not (
            min(self.height, self.width + 1, self.patch) >= 1
            and self.channels in (1, 3)
            and self.scan in ("rows", "columns", "patches", "pixels")
            and (self.width or self.scan == "columns")
            and {len(self.mean), len(self.deviation)} <= {0, self.channels}
            and all(map(math.isfinite, (*self.mean, self.unit)))
            and all(0 < one < math.inf for one in self.deviation)
        ):
            raise ArgumentError("the sizes of the images have impossible values")

    @property
    def size(self) -> int:
        """F."""
        if self.series:
            return self.height * self.width * self.channels
        sides = {"rows": self.width, "columns": self.height, "patches": self.patch**2, "pixels": 1}
        return sides[self.scan] * self.channels

    def shape(self, picture: Picture) -> tuple[int, int]:
        """Return the rows and columns to which an image is scaled."""
        wide = round(picture.width * self.height / picture.height)
        return self.height, self.width or min(max(1, wide), WIDEST * self.height)

    def count(self, picture: Picture) -> int:
        """Return T for an image or a series."""
        if self.series:
            return len(picture)
        height, width = self.shape(picture)
        across = -(-width // self.patch)
        return {
            "rows": height,
            "columns": width,
            "patches": -(-height // self.patch) * across,
            "pixels": height * width,
        }[self.scan]

    def steps(self, pixels: NDArray[Any]) -> Floats:
        """Return the steps (T, F) of images (N, H, W, C)."""
        whole: Floats = pixels.astype(np.float32)
        if self.series:
            return whole.reshape(len(whole), -1)
        image: Floats = whole[0]
        if self.scan == "columns":
            image = image.transpose(1, 0, 2)
        elif self.scan == "patches":
            p, (height, width, c) = self.patch, image.shape
            image = np.pad(image, ((0, -height % p), (0, -width % p), (0, 0)))
            high, wide = image.shape[0] // p, image.shape[1] // p
            image = image.reshape(high, p, wide, p, c).swapaxes(1, 2).reshape(high * wide, -1, c)
        elif self.scan == "pixels":
            image = image.reshape(-1, 1, image.shape[2])
        return image.reshape(len(image), -1)


class Pixels(NamedTuple):
    """The pixels of an image or of a series, scaled to the size of the index.

    Attributes:
        picture: the image or the series.
        values: (N, H, W, C), uint8 or float32; None to read them when a batch needs them, without
            keeping them.
    """

    picture: Picture
    values: NDArray[Any] | None = None

    @property
    def path(self) -> str:
        """The path of the file or the folder."""
        return self.picture.label

    def __len__(self) -> int:
        return len(self.picture)


class ImageSteps(Delayed):
    """The steps (T, F) of an image, which are made when a batch needs them."""

    def __init__(self, index: ImageIndex, item: Pixels) -> None:
        self.index, self.item = index, item

    def __len__(self) -> int:
        return self.index.count(self.item.picture)

    @property
    def values(self) -> NDArray[Any]:
        """The pixels (N, H, W, C)."""
        return values_of(self.item, self.index)

    def read(self) -> Floats:
        """Return the steps."""
        return self.index.steps(self.values)


def picture_in(item: Picture | Pixels) -> Picture:
    """Return the image of an item, whether or not its pixels have been read."""
    return item.picture if isinstance(item, Pixels) else item


def values_of(item: Picture | Pixels, index: ImageIndex) -> NDArray[Any]:
    """Return the pixels (N, H, W, C) of an item, which are read if this has not been done.

    Raises:
        DataError: a file is damaged, an image is given in place of a series or the reverse, or
            fractions have another range than those of the training data.
    """
    if isinstance(item, Pixels) and item.values is not None:
        return item.values
    picture = picture_in(item)
    place = picture.place
    if picture.series != index.series:
        found, wanted = ("a series", "images") if picture.series else ("an image", "series")
        raise DataError(
            f"{place} is {found}, but the others are {wanted}; convert it, or remove it from the "
            "data"
        )
    size = index.shape(picture)
    if len(picture) * size[0] * size[1] > MOST_PIXELS:
        raise DataError(
            f"{place}: has {len(picture):,} images, which are more than {MOST_PIXELS:,} pixels at "
            f"{size[0]} x {size[1]}; cut the series, or set a smaller image_height"
        )
    whole = np.stack([*read_pixels(picture, grey=index.channels == 1, size=size)])
    if picture.largest is None:
        return whole
    if index.unit > 1 and picture.largest > BRIGHTEST:
        raise DataError(
            f"{place}: has a pixel of {picture.largest:g}, but the training data were fractions in "
            "0..1, integers or files; divide the pixels, or give integers"
        )
    scaled: Floats = whole * np.float32(index.unit)
    return scaled


def statistics_of(
    items: Sequence[Picture | Pixels], index: ImageIndex
) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel; a constant channel has deviation 1."""
    sums = np.zeros((3, index.channels))
    for one in items:
        values = values_of(one, index).reshape(-1, index.channels).astype(np.float64)
        sums += [np.full(values.shape[1], len(values)), values.sum(0), np.square(values).sum(0)]
    mean = sums[1] / sums[0]
    deviation = np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 0))
    return mean.tolist(), np.where(deviation > 1e-6, deviation, 1.0).tolist()
