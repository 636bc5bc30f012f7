"""Images: files that Pillow reads, arrays, and series of images.

    .png .jpg .gif .webp .tif ...   an image, rotated as its EXIF tag says; a series if the file is
                                    animated or has several pages
    a folder                        a series: its images in the order of their names
    .npy                            an array
    arrays                          (H, W) or (H, W, C) with 1, 3 or 4 channels, or a series
                                    (N, H, W) or (N, H, W, C)

Integers are in 0..255 (of 16 bits in 0..65,535).  Only the header of a file is read until its
pixels are needed.  Transparent pixels become white.

Shape legend: N images of a series, H rows, W columns, C channels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from elman.errors import DataError
from elman.read.files import files_below, reading, size_of

SUFFIXES = "png jpg jpeg jpe jfif gif bmp webp tif tiff ppm pgm pbm pnm apng tga avif"
PICTURES = {f".{suffix}" for suffix in SUFFIXES.split()}
MOST_PIXELS = 100_000_000  # of one image, which needs 400 MB while it is read
TURNED = (5, 6, 7, 8)  # values of the EXIF tag that exchange rows and columns
ORIENTATION = 0x0112
COLOURS = (1, 3, 4)  # numbers of channels


@dataclass(frozen=True)
class Picture:
    """An image or a series of images, of which only the headers have been read.

    Attributes:
        name: name for reports.
        source: a file, the files of a series, or an array (N, H, W, C).
        height, width: H and W of the first image.
        grey: whether the first image has no colours.
        count: N.
        series: whether it is a series, which can have one image.
    """

    name: str
    source: Path | tuple[Path, ...] | NDArray[Any]
    height: int
    width: int
    grey: bool
    count: int = 1
    series: bool = False

    @property
    def is_float(self) -> bool:
        """Whether it is an array of fractions, whose range the training data determine."""
        return isinstance(self.source, np.ndarray) and self.source.dtype.kind == "f"

    @property
    def label(self) -> str:
        """The path of the file or the folder, or the name of the array."""
        if isinstance(self.source, np.ndarray):
            return self.name
        return str(self.source if isinstance(self.source, Path) else self.source[0].parent)

    def __len__(self) -> int:
        return self.count

    def __str__(self) -> str:
        return self.name


def is_image(path: Path) -> bool:
    """Return whether the name of a file is that of an image."""
    return path.suffix.lower() in PICTURES


def open_picture(path: Path, place: str) -> Picture:
    """Return the image of a file, or the series of a folder.

    Args:
        path: the file, or the folder.
        place: where the path was read, for messages.

    Raises:
        DataError: the file is missing, is not an image, or is too large.
    """
    if path.is_dir():
        files = tuple(file for file in files_below(path) if is_image(file))
        if not files:
            raise DataError(f"{_named(path, place)} is a folder without images")
        first = open_picture(files[0], place)
        return Picture(path.name, files, first.height, first.width, first.grey, len(files), True)
    if path.suffix.lower() == ".npy":
        with reading(path):
            try:
                return open_pixels(np.load(path, allow_pickle=False), place, name=path.name)
            except ValueError as error:
                raise DataError(f"{_named(path, place)} is not an array ({error})") from None
    with _opened(path, place) as image:
        height, width = image.height, image.width
        if image.getexif().get(ORIENTATION) in TURNED:
            height, width = width, height
        count = int(getattr(image, "n_frames", 1))
        grey = image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")
    return Picture(path.name, path, height, width, grey, count, count > 1)


def open_pixels(given: Any, place: str, *, name: str = "") -> Picture:
    """Return the image or the series of an array.

    Raises:
        DataError: the array has another shape or type, no pixel, or a number out of range.
    """
    array = np.asarray(given)
    expected = "expected pixels (H, W) or (H, W, C) with 1, 3 or 4 channels, or a series of them"
    if array.dtype.kind not in "fiub" or array.ndim not in (2, 3, 4):
        raise DataError(f"{place}: {expected}, got an array {array.shape} of {array.dtype}")
    colours = array.shape[-1] in COLOURS and array.ndim > 2
    series = array.ndim == 4 or (array.ndim == 3 and not colours)
    if not colours:
        array = array[..., None]
    if not series:
        array = array[None]
    if array.ndim != 4 or array.shape[-1] not in COLOURS:
        raise DataError(f"{place}: {expected}, got {np.shape(given)}")
    if not array.size:
        raise DataError(f"{place}: has no pixels, got {np.shape(given)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{place}: has a pixel that is not a finite number")
    if array.dtype.kind in "iu" and (array.min() < 0 or array.max() > 65_535):
        raise DataError(
            f"{place}: integers of pixels must be in 0..255, or 0..65,535 of 16 bits, got "
            f"{array.min()}..{array.max()}"
        )
    count, height, width, channels = array.shape
    return Picture(name or place, array, height, width, channels == 1, count, series)


def read_pixels(
    picture: Picture, place: str, *, grey: bool, size: tuple[int, int]
) -> Iterator[Any]:
    """Yield the pixels (h, w, C) of each image of a series, scaled to a size.

    Args:
        picture: the image or the series.
        place: where it was read, for messages.
        grey: whether C is 1 instead of 3.
        size: rows h and columns w.

    Returns:
        Arrays of uint8; of float32 for an array of fractions.

    Raises:
        DataError: a file is damaged or has become another one.
    """
    source = picture.source
    if isinstance(source, np.ndarray):
        for pixels in source:
            yield _resized(_coloured(pixels, grey=grey), size)
        return
    for file in (source,) if isinstance(source, Path) else source:
        with _opened(file, place) as image:
            image.draft("L" if grey else "RGB", (size[1] * 2, size[0] * 2))
            frames = ImageSequence.Iterator(image) if picture.count > 1 else [image]
            for frame in frames if isinstance(source, Path) else [image]:
                whole = ImageOps.exif_transpose(frame)
                yield _resized(_coloured(_eight_bits(whole), grey=grey), size)


@contextmanager
def _opened(path: Path, place: str) -> Iterator[Image.Image]:
    """Open a file with Pillow, whose errors and warnings become a DataError."""
    named = _named(path, place)
    if not path.exists():
        raise DataError(f"{named} does not exist")
    if not size_of(path):
        raise DataError(f"{named} is an empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise Image.DecompressionBombError
                yield image
    except Image.DecompressionBombError:
        raise DataError(f"{named} has more than {MOST_PIXELS:,} pixels; make it smaller") from None
    except UnidentifiedImageError:
        raise DataError(f"{named} is not an image that can be read") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{named} is damaged ({error})") from None


def _named(path: Path, place: str) -> str:
    return place if place == str(path) else f"{place}: {path}"


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels (H, W, C) of an image, with white where it is transparent."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        wide = np.asarray(image).astype(np.float64)
        if image.mode == "F" and wide.max(initial=0) <= 1:
            wide = wide * 255
        elif wide.max(initial=0) > 255:
            wide = wide / 257
        found: NDArray[np.uint8] = wide.clip(0, 255).round().astype(np.uint8)[..., None]
        return found
    if image.has_transparency_data:
        above = image.convert("RGBA")
        image = Image.new("RGBA", above.size, "white")
        image.alpha_composite(above)
    kind = "L" if image.mode in ("1", "L") else "RGB"
    pixels: NDArray[np.uint8] = np.asarray(image.convert(kind))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _coloured(pixels: NDArray[Any], *, grey: bool) -> NDArray[Any]:
    """Return pixels (H, W, 1) or (H, W, 3), as uint8 or float32."""
    if pixels.dtype.kind == "b":
        pixels = pixels.astype(np.uint8) * 255
    elif pixels.dtype.kind in "iu" and pixels.dtype != np.uint8:
        high = pixels.dtype.itemsize == 2 and pixels.max(initial=0) > 255
        pixels = (pixels // 257 if high else pixels.clip(0, 255)).astype(np.uint8)
    whole = pixels.astype(np.float32)
    if pixels.shape[2] == 4:
        top = 255.0 if pixels.dtype == np.uint8 else max(1.0, float(whole.max(initial=0)))
        share = whole[..., 3:] / top
        whole = whole[..., :3] * share + top * (1 - share)
    if grey and whole.shape[2] > 1:
        whole = whole @ np.array([[0.299], [0.587], [0.114]], dtype=np.float32)
    elif not grey and whole.shape[2] == 1:
        whole = whole.repeat(3, axis=2)
    return whole.round().astype(np.uint8) if pixels.dtype == np.uint8 else whole


def _resized(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Return pixels (h, w, C) scaled to a size."""
    if pixels.shape[:2] == size:
        return pixels
    turned = (size[1], size[0])
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return np.asarray(Image.fromarray(pixels).resize(turned, Image.Resampling.BICUBIC))
    layers = [
        np.asarray(Image.fromarray(pixels[..., c]).resize(turned, Image.Resampling.BICUBIC))
        for c in range(pixels.shape[2])
    ]
    return np.stack(layers, axis=2)
