"""Images: files that Pillow reads, arrays, and series of images.

    .png .jpg .gif .webp .tif ...   an image, rotated as its EXIF tag says; a series if the file is
                                    animated or has several pages
    a folder                        a series: its images in the order of their names
    .npy                            an array
    arrays                          (H, W) or (H, W, C) with 1, 3 or 4 channels, or a series
                                    (N, H, W) or (N, H, W, C)

The type of the pixels decides their scale, never their values:

    uint16, files of 16 bits        0..65,535, divided by 257
    all other integers              0..255
    true and false                  255 and 0
    fractions                       unchanged, see `Picture.largest`

Only the header of a file is read until its pixels are needed.  Transparent pixels become white.

Shape legend: N images of a series, H rows, W columns, C channels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from elman.errors import DataError
from elman.read.arrays import map_array
from elman.read.files import AGAIN, RELATIVE, files_below, size_of

SUFFIXES = "png jpg jpeg jpe jfif gif bmp webp tif tiff ppm pgm pbm pnm apng tga avif"
PICTURES = {f".{suffix}" for suffix in SUFFIXES.split()}
HIGH = 257  # factor from 8 to 16 bits
MOST_PIXELS = 100_000_000  # of one image, which needs 400 MB while it is read
TURNED = (5, 6, 7, 8)  # values of the EXIF tag that exchange rows and columns
ORIENTATION = 0x0112
COLOURS = (1, 3, 4)  # numbers of channels


@dataclass(frozen=True)
class Picture:
    """An image or a series of images, of which only the headers have been read.

    Attributes:
        name: name for reports.
        place: where it was read, for messages.
        source: a file, the files of a series, an image of Pillow, or an array (N, H, W, C).
        height, width: H and W of the first image.
        grey: whether the first image has no colours.
        count: N.
        series: whether it is a series, which can have one image.
        largest: largest of its fractions, whose range the training data determine; None for
            integers.
    """

    name: str
    place: str
    source: Path | tuple[Path, ...] | Image.Image | NDArray[Any]
    height: int
    width: int
    grey: bool
    count: int = 1
    series: bool = False
    largest: float | None = None

    @property
    def label(self) -> str:
        """The path of the file or the folder, or the name of the array."""
        if isinstance(self.source, tuple):
            return str(self.source[0].parent)
        return str(self.source) if isinstance(self.source, Path) else self.name

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
            raise DataError(
                f"{_named(path, place)} is a folder without images; give a file, or a folder with "
                "the images of a series"
            )
        first = open_picture(files[0], place)
        return replace(first, name=path.name, source=files, count=len(files), series=True)
    if path.suffix.lower() == ".npy":
        return replace(open_pixels(_stored(path, place), place, name=path.name), source=path)
    with _opened(path, place) as image:
        if image.mode == "F":
            pages = [np.asarray(page) for page in ImageSequence.Iterator(image)]
            whole = np.stack(pages) if len(pages) > 1 else pages[0]
            return replace(open_pixels(whole, place, name=path.name), source=path)
        found, count = _of_header(image, path.name, place), int(getattr(image, "n_frames", 1))
    return replace(found, source=path, count=count, series=count > 1)


def open_image(image: Image.Image, place: str) -> Picture:
    """Return an image of Pillow; of an animated one, the current image."""
    if image.mode == "F":
        return open_pixels(np.asarray(image), place)
    return _of_header(image, place, place)


def _of_header(image: Image.Image, name: str, place: str) -> Picture:
    """Return an image of integers, of which only the header is read."""
    height, width = image.height, image.width
    if image.getexif().get(ORIENTATION) in TURNED:
        height, width = width, height
    grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
    return Picture(name, place, image, height, width, grey)


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
        raise DataError(f"{place}: has no pixels, got {np.shape(given)}; remove the image")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(
            f"{place}: has a pixel that is not a finite number; replace it, or remove the image"
        )
    least, largest = array.min(), array.max()
    if array.dtype.kind in "iu" and array.dtype != np.uint16 and (least < 0 or largest > 255):
        raise DataError(
            f"{place}: pixels of type {array.dtype} must be in 0..255, got {least}..{largest}; "
            "convert pixels of 16 bits to uint16, and others to fractions in 0..1"
        )
    fractions, transparent = array.dtype.kind == "f", array.shape[-1] == 4
    if fractions and transparent and (least < 0 or largest > 1):
        raise DataError(
            f"{place}: fractions with a fourth channel, the opacity, must be in 0..1, got "
            f"{least:g}..{largest:g}; divide them, or give uint8"
        )
    count, height, width, channels = array.shape
    top = float(largest) if fractions else None
    return Picture(name or place, place, array, height, width, channels == 1, count, series, top)


def read_pixels(picture: Picture, *, grey: bool, size: tuple[int, int]) -> Iterator[Any]:
    """Yield the pixels (h, w, C) of each image of a series, scaled to a size.

    Args:
        picture: the image or the series.
        grey: whether C is 1 instead of 3.
        size: rows h and columns w.

    Returns:
        Arrays of uint8; of float32 for fractions and integers of 16 bits.

    Raises:
        DataError: a file is damaged or has become another one.
    """
    source, place = picture.source, picture.place
    if isinstance(source, Path) and source.suffix.lower() == ".npy":
        source = open_pixels(_stored(source, place), place).source
    if isinstance(source, np.ndarray):
        for pixels in source:
            yield _resized(_coloured(pixels, grey=grey), size)
        return
    if isinstance(source, Image.Image):
        whole = ImageOps.exif_transpose(source)
        yield _resized(_coloured(_pixels_of(whole, place), grey=grey), size)
        return
    for file in (source,) if isinstance(source, Path) else source:
        with _opened(file, place) as image:
            image.draft("L" if grey else "RGB", (size[1] * 2, size[0] * 2))
            frames = ImageSequence.Iterator(image) if picture.count > 1 else [image]
            for frame in frames if isinstance(source, Path) else [image]:
                whole = ImageOps.exif_transpose(frame)
                yield _resized(_coloured(_pixels_of(whole, place), grey=grey), size)


def _stored(path: Path, place: str) -> NDArray[Any]:
    """Return the array of a .npy file, mapped into memory."""
    return map_array(path, f"{_named(path, place)} is not an array")


@contextmanager
def _opened(path: Path, place: str) -> Iterator[Image.Image]:
    """Open a file with Pillow, whose errors and warnings become a DataError."""
    named = _named(path, place)
    if not path.exists():
        raise DataError(f"{named} does not exist; {RELATIVE}")
    if not size_of(path):
        raise DataError(f"{named} is an empty file, expected an image; {AGAIN}")
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
        raise DataError(
            f"{named} is not an image that can be read; convert it to PNG, or remove it from the "
            "data"
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{named} is damaged ({error}); {AGAIN}") from None


def _named(path: Path, place: str) -> str:
    return place if place == str(path) else f"{place}: {path}"


def _pixels_of(image: Image.Image, place: str) -> NDArray[Any]:
    """Return the pixels (H, W, C) of an image, with white where it is transparent."""
    if image.mode == "F":
        return np.asarray(image)[..., None]
    if image.mode.startswith("I"):
        wide = np.asarray(image)
        if wide.min(initial=0) < 0 or wide.max(initial=0) > 65_535:
            raise DataError(
                f"{place}: has integers of 32 bits in {wide.min()}..{wide.max()}, expected at most "
                "16 bits; convert it"
            )
        return wide.astype(np.uint16)[..., None]
    if image.has_transparency_data:
        above = image.convert("RGBA")
        image = Image.new("RGBA", above.size, "white")
        image.alpha_composite(above)
    kind = "L" if image.mode in ("1", "L") else "RGB"
    pixels: NDArray[np.uint8] = np.asarray(image.convert(kind))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def full_scale(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return integers in 0..255, by their type, as uint8 or float32; fractions unchanged.

    Example:
        >>> import numpy as np
        >>> from elman.read.images import full_scale
        >>> full_scale(np.array([257, 65535], dtype=np.uint16)).tolist()
        [1.0, 255.0]
    """
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * 255
    if pixels.dtype == np.uint16:
        return pixels.astype(np.float32) / HIGH
    return pixels.astype(np.float32 if pixels.dtype.kind == "f" else np.uint8, copy=False)


def _coloured(pixels: NDArray[Any], *, grey: bool) -> NDArray[Any]:
    """Return pixels (H, W, 1) or (H, W, 3), as uint8 or float32."""
    top = 1.0 if pixels.dtype.kind == "f" else 255.0
    pixels = full_scale(pixels)
    whole = pixels.astype(np.float32, copy=False)
    if pixels.shape[2] == 4:
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
