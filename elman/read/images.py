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

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from elman.errors import DataError
from elman.read.arrays import map_array
from elman.read.files import AGAIN, check_file, files_below, named

SUFFIXES = "png jpg jpeg jpe jfif gif bmp webp tif tiff ppm pgm pbm pnm apng tga avif"
PICTURES = {f".{suffix}" for suffix in SUFFIXES.split()}
HIGH = 257  # factor from 8 to 16 bits
MOST_PIXELS = 100_000_000  # of one image, which needs at most 800 MB while it is read
BAND = 1 << 20  # pixels that are converted at a time
TURNED = (5, 6, 7, 8)  # values of the EXIF tag that exchange rows and columns
ORIENTATION = 0x0112
COLOURS = (1, 3, 4)  # numbers of channels
PROGRAMS = ("EPS", "WMF")  # formats that another program draws
# What Pillow raises for damaged files, found by changing bytes at random.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, RuntimeError)
TOO_LARGE = f"has more than {MOST_PIXELS:,} pixels; make it smaller"

logging.getLogger("PIL").addHandler(logging.NullHandler())  # its errors become a DataError


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
    check_file(path, place, "an image")
    if path.is_dir():
        try:
            files = tuple(file for file in files_below(path, "images") if is_image(file))
        except DataError as error:
            raise DataError(f"{place}: {error}") from None
        if not files:
            raise DataError(
                f"{named(path, place)} is a folder without images; give a file, or a folder with "
                "the images of a series"
            )
        first = open_picture(files[0], place)
        return replace(first, name=path.name, source=files, count=len(files), series=True)
    if path.suffix.lower() == ".npy":
        return replace(open_pixels(_stored(path, place), place, name=path.name), source=path)
    with _opened(path, place) as image:
        # A photo of two lenses (MPO) is one image: the others show the same.
        count = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
        found = _of_header(image, path.name, place)
        if image.mode == "F":
            pages = ImageSequence.Iterator(image)
            largest = max(_largest(page, place) for page in pages)
            found = replace(found, grey=True, largest=largest)
    return replace(found, source=path, count=count, series=count > 1)


def _largest(image: Image.Image, place: str) -> float:
    """Return the largest fraction of an image, all of which must be finite."""
    _check_size(image.height, image.width)
    rows = _rows_of(image, place)
    bands = (open_pixels(rows(*band), place) for band in _bands(image.height, image.width))
    return max(band.largest or 0.0 for band in bands)


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
    if array.shape[1] * array.shape[2] > MOST_PIXELS:
        raise DataError(f"{place} {TOO_LARGE}")
    least, largest = array.min(), array.max()
    if not (np.isfinite(least) and np.isfinite(largest)):
        raise DataError(
            f"{place}: has a pixel that is not a finite number; replace it, or remove the image"
        )
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
            yield _scaled(partial(_part, pixels), pixels.shape[:2], size, grey=grey)
        return
    if isinstance(source, Image.Image):
        yield _scaled_image(source, place, size, grey=grey)
        return
    for file in (source,) if isinstance(source, Path) else source:
        with _opened(file, place) as image:
            image.draft("L" if grey else "RGB", (size[1] * 2, size[0] * 2))
            several = isinstance(source, Path) and picture.count > 1
            for frame in ImageSequence.Iterator(image) if several else [image]:
                yield _scaled_image(frame, place, size, grey=grey)


def _stored(path: Path, place: str) -> NDArray[Any]:
    """Return the array of a .npy file, mapped into memory."""
    return map_array(path, f"{named(path, place)} is not an array")


@contextmanager
def _opened(path: Path, place: str) -> Iterator[Image.Image]:
    """Open a file with Pillow, whose errors and warnings become a DataError."""
    check_file(path, place, "an image")
    where = named(path, place)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                if image.format in PROGRAMS:
                    raise UnidentifiedImageError
                _check_size(image.height, image.width)
                yield image
    except Image.DecompressionBombError:
        raise DataError(f"{where} {TOO_LARGE}") from None
    except UnidentifiedImageError:
        raise DataError(
            f"{where} is not an image that can be read; convert it to PNG, or remove it from the "
            "data"
        ) from None
    except DAMAGED as error:
        raise DataError(f"{where} is damaged ({error}); {AGAIN}") from None


def _check_size(height: int, width: int) -> None:
    if height * width > MOST_PIXELS:
        raise Image.DecompressionBombError


def _bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last row of parts that are converted at a time."""
    step = max(1, BAND // width)
    for top in range(0, height, step):
        yield top, min(top + step, height)


def _rows_of(image: Image.Image, place: str) -> Callable[[int, int], NDArray[Any]]:
    """Return a function that returns the pixels (n, W, C) of some rows of an image."""
    return lambda top, end: _pixels_of(image.crop((0, top, image.width, end)), place)


def _part(pixels: NDArray[Any], top: int, end: int) -> NDArray[Any]:
    return pixels[top:end]


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
    if pixels.shape[2] == (1 if grey else 3):
        return pixels
    whole = pixels.astype(np.float32, copy=False)
    if pixels.shape[2] == 4:
        share = whole[..., 3:] / top
        whole = whole[..., :3] * share + top * (1 - share)
    if grey and whole.shape[2] > 1:
        whole = whole @ np.array([[0.299], [0.587], [0.114]], dtype=np.float32)
    return whole.round().astype(np.uint8) if pixels.dtype == np.uint8 else whole


def _scaled_image(
    image: Image.Image, place: str, size: tuple[int, int], *, grey: bool
) -> NDArray[Any]:
    """Return the pixels (h, w, C) of an image of Pillow, rotated as its EXIF tag says."""
    _check_size(image.height, image.width)
    if image.getexif().get(ORIENTATION, 1) != 1:  # otherwise this would copy the image
        image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and not grey and not image.has_transparency_data:
        return _resized([image], size)
    return _scaled(_rows_of(image, place), (image.height, image.width), size, grey=grey)


def _scaled(
    rows: Callable[[int, int], NDArray[Any]],
    shape: tuple[int, int],
    size: tuple[int, int],
    *,
    grey: bool,
) -> NDArray[Any]:
    """Return pixels (h, w, C) scaled to a size.

    Args:
        rows: returns the pixels (n, W, C) of some rows of the image.
        shape: H and W.
        size: h and w.
        grey: whether C is 1 instead of 3.
    """
    layers: list[Image.Image] = []
    for top, end in _bands(*shape):
        some = rows(top, end)
        some = _coloured(some, grey=grey or some.shape[2] == 1)
        colours = some.dtype == np.uint8 and some.shape[2] == 3
        parts = [some] if colours else [some[..., c] for c in range(some.shape[2])]
        images = [Image.fromarray(np.ascontiguousarray(part)) for part in parts]
        layers = layers or [Image.new(one.mode, shape[::-1]) for one in images]
        for layer, one in zip(layers, images, strict=True):
            layer.paste(one, (0, top))
    found = _resized(layers, size)
    return found if grey or found.shape[2] == 3 else found.repeat(3, axis=2)


def _resized(layers: list[Image.Image], size: tuple[int, int]) -> NDArray[Any]:
    """Return the pixels (h, w, C) of an image, or of one of each channel, scaled to a size."""
    wanted = size[::-1]
    scaled = [
        np.asarray(one if one.size == wanted else one.resize(wanted, Image.Resampling.BICUBIC))
        for one in layers
    ]
    return scaled[0] if scaled[0].ndim == 3 else np.stack(scaled, axis=2)
