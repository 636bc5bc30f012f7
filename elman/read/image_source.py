"""Sources of images: folders, manifests, and lists of files or arrays, see `file_source`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from elman.errors import DataError
from elman.read.file_source import FileSource, file_of_cell, names_files
from elman.read.images import Picture, is_image, open_image, open_picture, open_pixels


class ImageSource(FileSource):
    """A source of images and their targets.

    Args:
        source: a folder, a manifest, a file, a data frame, or a list.
        targets: a list of targets, or a file with a target on each line; None if they are in the
            source.
        layout: how images are read.
        lenient: whether bytes that are not text are an error of their row instead of the file.

    Raises:
        ArgumentError: a column does not exist, or there are no targets.
        DataError: a file is missing, or a folder has no image.

    Example:
        >>> import numpy as np
        >>> from elman.read.file_source import FileLayout
        >>> from elman.read.image_source import ImageSource
        >>> source = ImageSource([np.zeros((8, 6))], ["dark"], FileLayout(target="label"))
        >>> [(row.values[0].height, row.values[1]) for row in source.read()]
        [(8, 'dark')]
    """

    noun, file_noun, items_noun = "images", "image", "images"
    formats = "PNG, JPEG, GIF, BMP, WebP or TIFF"

    is_file = staticmethod(is_image)

    def item(self, cell: object, place: str, more: Mapping[str, object]) -> Picture:
        """Return the image of a cell."""
        return picture_of(cell, place, self.layout.column, self._base)

    def key(self, item: Picture) -> tuple[str, tuple[Path, ...]]:
        """Return the name of an image, and its files."""
        source = item.source
        files = (source,) if isinstance(source, Path) else source
        return item.name, files if isinstance(files, tuple) else ()


def picture_of(cell: object, place: str, column: str, folder: Path) -> Picture:
    """Return the image of a cell: a path, an array, or an image of Pillow.

    Args:
        cell: the cell.
        place: where it was read, for messages.
        column: its column, for messages.
        folder: folder to which a relative path refers.

    Raises:
        DataError: the image cannot be read.
    """
    if isinstance(cell, Picture):
        return cell
    file = file_of_cell(cell, place, column, folder)
    if file is not None:
        return open_picture(file, place)
    if isinstance(cell, Image.Image):
        return open_image(cell, place)
    if not isinstance(cell, np.ndarray | list | tuple) and not hasattr(cell, "__array__"):
        raise DataError(f"{place}: expected a path or pixels, got {type(cell).__name__}")
    return open_pixels(_array(cell, place), place)


def _array(cell: Any, place: str) -> Any:
    try:
        return np.asarray(cell)
    except ValueError:
        raise DataError(f"{place}: expected pixels, got rows of different lengths") from None


def is_images(given: object, column: str) -> bool:
    """Return whether data look like images: a folder, a table or a list of their files."""
    if isinstance(given, list | tuple) and given and isinstance(given[0], Picture | Image.Image):
        return True
    return names_files(given, column, is_image)
