"""Images and series of images: rows, columns, patches, pixels, or whole images of a series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.image_augment import ImageAugment
from elman.encode.image_layer import ImageLayer, halved
from elman.encode.image_steps import (
    TALLEST,
    ImageIndex,
    ImageSteps,
    Pixels,
    picture_in,
    statistics_of,
    values_of,
)
from elman.errors import ArgumentError, DataError
from elman.inputs.input import Input, LiveElements, Probabilities, Reader
from elman.inputs.live import Step, check_no_time
from elman.inputs.settings import InputSettings
from elman.inputs.target_column import TargetColumn, TargetOf, pair
from elman.manifest import SERIES, read_index, write_json
from elman.read.examples import Examples
from elman.read.file_source import FileLayout
from elman.read.image_source import ImageSource, picture_of
from elman.read.images import Picture, full_scale
from elman.read.rows import Rejects
from elman.report.progress import reading_bar
from elman.report.terminal import counted
from elman.report.window_statistics import Windows, by_forest, by_regression
from elman.settings import dialect_of

FOREST, REGRESSION = "random forest on pixels", "logistic regression on pixels"
SMALL = 8  # rows and columns of the images that the simpler models read
DISTORT = 0.1  # default changes in training
CONVOLVED = 16  # rows and columns from which images are read by convolutions, and their channels
MANY = 1000  # images from which a bar is shown


class ImageReader(Reader):
    """The reader of images.

    Attributes:
        index: the sizes, once they are known; an image is then read as soon as it is an item.
    """

    kind, noun, unit, least = "image", "images", "steps", 2000
    row_is, named_by = "an image", ("image",)

    def __init__(self, settings: InputSettings, column: str | None = None) -> None:
        super().__init__(settings, column)
        self.index: ImageIndex | None = None

    @classmethod
    def usual_column(cls, settings: InputSettings) -> str:
        """Return the column with the paths."""
        return settings.image

    def open(
        self, given: Any, target: TargetColumn, *, labelled: bool = True, lenient: bool = False
    ) -> ImageSource:
        """Return a source of images, see `Reader.open`."""
        source, targets = pair(given)
        layout = FileLayout(
            column=self.column,
            target=(target.name or target.noun) if labelled else None,
            encoding=self.settings.encoding,
            dialect=dialect_of(self.settings),
        )
        values = None if targets is None else target.values(targets)
        return ImageSource(source, values, layout, lenient=lenient)

    def read(
        self,
        source: ImageSource,
        target: TargetColumn,
        target_of: TargetOf,
        rejects: Rejects,
        like: Input | Examples | None = None,
    ) -> Examples:
        """Return all images with their pixels, see `Reader.read`."""
        rows: list[tuple[str, Any, Any]] = []
        for place, values in source.read():
            if isinstance(values, DataError):
                rejects.add(place, values)
            else:
                rows.append((place, values[0], values[-1]))
        examples = Examples()
        if rows:
            index = self._index_like(like) or self.index_of([row[1] for row in rows])
            pixels = self._pixels([row[1] for row in rows], index)
            for (place, picture, cell), item in zip(rows, pixels, strict=True):
                try:
                    if isinstance(item, DataError):
                        raise item
                    answer = target_of(self._tags(cell, picture, index, target), place)
                except DataError as error:
                    rejects.add(place, error)
                else:
                    examples.add(item, answer, place)
        return self.checked(examples, source.name, target)

    def contents(
        self,
        items: Sequence[Picture | Pixels],
        places: Sequence[str],
        like: Input | Examples | None,
    ) -> list[Pixels | DataError]:
        """Return images with their pixels, or the error of each, see `Reader.contents`."""
        index = self._index_like(like) or self.index_of(list(map(picture_in, items)))
        return list(self._pixels(items, index))

    def _pixels(
        self, items: Sequence[Picture | Pixels], index: ImageIndex
    ) -> Iterator[Pixels | DataError]:
        """Yield images with their pixels, or the error of each."""
        with reading_bar("reading images", len(items), show=self.show, least=MANY) as advance:
            for one in items:
                try:
                    yield Pixels(picture_in(one), values_of(one, index))
                except DataError as error:
                    yield error
                if advance is not None:
                    advance(1)

    def _tags(self, cell: Any, picture: Picture, index: ImageIndex, target: TargetColumn) -> Any:
        """Return the target in a cell; tags are as many as the steps."""
        if not target.each:
            return cell
        found = cell.split() if isinstance(cell, str) else list(cell or ())
        wanted = index.count(picture)
        if len(found) != wanted:
            raise DataError(
                f"{picture.place}: has {wanted} {'images' if index.series else index.scan} and "
                f"{len(found)} {target.noun}; expected the same number of both"
            )
        return found

    def _index_like(self, like: Input | Examples | None) -> ImageIndex | None:
        """Return the sizes of other data; None if there are none."""
        if isinstance(like, Images):
            return like.index
        if isinstance(like, Examples) and like.items:
            return self.index_of([one.picture for one in like.items])
        return None

    def index_of(self, pictures: Sequence[Picture]) -> ImageIndex:
        """Return the sizes of training images according to the settings, without statistics."""
        s = self.settings
        height = s.image_height or min(TALLEST, round(np.median([p.height for p in pictures])))
        series = 2 * sum(p.series for p in pictures) > len(pictures)  # what most of them are
        free = s.scan == "columns" and not series
        usual = round(float(np.median([p.width / p.height for p in pictures])) * height)
        width = s.image_width or (0 if free else max(1, usual))
        grey = all(p.grey for p in pictures) if s.colour is None else not s.colour
        unit = 255.0 if max(p.largest or 0.0 for p in pictures) <= 1 else 1.0
        return ImageIndex(height, width, 1 if grey else 3, s.scan, s.patch_size, series, unit)

    def item(self, cell: Any, place: str) -> Picture | Pixels:
        """Return the image of a cell; its pixels, too, once the sizes are known."""
        if isinstance(cell, Pixels):
            return cell
        picture = picture_of(cell, place, self.column, self.folder)
        return picture if self.index is None else Pixels(picture, values_of(picture, self.index))

    def given(self, data: Any, like: Input, target: TargetColumn) -> list[Pixels]:
        """Return the images of a folder, a manifest or a list, whose pixels batches will read."""
        if isinstance(data, list) and all(isinstance(one, Pixels) for one in data):
            return data
        found = []
        for _, values in self.open(data, target, labelled=False).read():
            if isinstance(values, DataError):
                raise values
            picture = values[0]
            assert isinstance(picture, Picture)
            found.append(Pixels(picture))
        return found

    def learn(self, train: Examples, notes: list[str], *, classes: int = 0) -> Images:
        """Return the statistics of the training images."""
        index = self.index_of([picture_in(one) for one in train.items])
        mean, deviation = statistics_of(train.items, index)
        return Images(self, replace(index, mean=tuple(mean), deviation=tuple(deviation)))

    def load(self, folder: Path) -> Images:
        """Return the images of a model folder."""
        return Images(self, read_index(folder / SERIES, ImageIndex))


class Images(Input):
    """Images after training.

    Args:
        reader: the reader of the images.
        index: how images become steps, with the statistics of the training data.
    """

    reader: ImageReader

    def __init__(self, reader: ImageReader, index: ImageIndex) -> None:
        self.reader, self.index = reader, index
        many = "folder", "image"
        name, self.element = many if index.series else ("image.png", index.scan.removesuffix("s"))
        self.use = (f'model.predict(["{name}"])',)
        reader.index = index

    def save(self, folder: Path) -> None:
        """Write the sizes and the statistics."""
        write_json(folder / SERIES, asdict(self.index))

    # Encoding.

    def encode(self, items: Sequence[Picture | Pixels]) -> list[Any]:
        """Return the steps (T, F) of each image, which are made when a batch needs them."""
        index = self.index  # one of several inputs has only its header until now
        return [
            ImageSteps(
                index, one if isinstance(one, Pixels) else Pixels(one, values_of(one, index))
            )
            for one in items
        ]

    def convolution(self, settings: InputSettings) -> int:
        """Return the channels of the convolutions; 0 for none."""
        if settings.convolution is not None:
            return settings.convolution
        index = self.index
        whole = index.scan == "patches" and index.patch % 4 == 0
        fits = index.series or whole or index.scan in ("rows", "columns")
        large = min(index.height, index.width or index.height) >= CONVOLVED
        return CONVOLVED if fits and large else 0

    def layer(self, settings: InputSettings) -> tuple[ImageLayer, int]:
        """Return the layer that reads steps, with random weights, and its features."""
        layer = ImageLayer(
            self.index,
            size=settings.embedding_size,
            channels=self.convolution(settings),
            input_dropout=settings.input_dropout or 0.0,
        )
        return layer, layer.size

    def states(self, count: int) -> int:
        """Return the number of vectors that the layer makes of `count` steps."""
        joins = self.index.scan != "patches" and not self.index.series
        joined = joins and self.convolution(self.reader.settings)
        return halved(halved(count)) if joined else count

    def steps(self, item: Picture | Pixels) -> NDArray[np.int64]:
        """Return the step to which each row, column or image belongs."""
        return np.arange(self.index.count(picture_in(item)))

    def change(self) -> ImageAugment | None:
        """Return the augmentation of training images; None without one."""
        s = self.reader.settings
        distort = DISTORT if s.distort is None else s.distort
        return ImageAugment(distort, s.mirror, s.brightness) or None

    def epochs(self, count: int) -> int:
        """Return the default number of epochs for a number of images."""
        return 30

    def live(self, static: Mapping[str, object]) -> LiveImage:
        """Return an image whose rows, columns or pixels arrive, or a series of images."""
        super().live(static)  # raises for static columns
        if self.states(8) != 8 or (self.index.scan == "patches" and not self.index.series):
            raise ArgumentError(
                "a model of single images reads live only rows, columns or pixels without "
                "convolutions; set convolution=0"
            )
        return LiveImage(self)

    # Reports.

    def facts(self) -> dict[str, object]:
        """Return the sizes of the input, for the report."""
        index = self.index
        colours = "grey" if index.channels == 1 else "colours"
        return {
            "images": f"{index.height} x {index.width or 'any width'}, {colours}",
            "step": "an image" if index.series else index.scan,
        }

    def notes_on(
        self, train: Examples, others: Mapping[str, Examples], arrays: Sequence[Any]
    ) -> list[str]:
        """Return a note about the sizes of the images."""
        parts = (train, *others.values())
        pictures = [picture_in(one) for part in parts for one in part.items]
        sizes = Counter((p.height, p.width) for p in pictures)
        shown = ", ".join(f"{h} x {w} ({n:,})" for (h, w), n in sizes.most_common(3))
        more = f" and {len(sizes) - 3:,} other sizes" if len(sizes) > 3 else ""
        index = self.index
        read = f"{index.height} rows" if not index.width else f"{index.height} x {index.width}"
        noun = "series of images" if index.series else "images"
        return [f"{counted(len(pictures), noun)}, rows x columns: {shown}{more}; read at {read}"]

    def show(self, item: Picture | Pixels) -> str:
        """Return the name and the size of an image, for the report."""
        picture = picture_in(item)
        many = f"{picture.count} images of " if picture.series else ""
        return f"{picture.name} ({many}{picture.height} x {picture.width})"

    @property
    def made(self) -> str:
        """A description of the input, for the model card."""
        index = self.index
        return f"images of {index.height} x {index.width or 'any'} pixels, read by " + (
            "image" if index.series else index.scan
        )

    # Simpler models, for comparison.

    def sklearn_baselines(self, *, each: bool) -> str:
        """Return the names of the simpler models that need scikit-learn."""
        return "" if each else f"{FOREST}, {REGRESSION}"

    def label_baselines(
        self, train: Examples, targets: Tensor, others: Mapping[str, Examples], classes: int
    ) -> list[Probabilities]:
        """Return the probabilities of two models of the pixels of small images."""
        known, parts = self._small(train), {n: self._small(one) for n, one in others.items()}
        found = [
            by_forest(known, targets, parts, classes, features=_fixed, title=FOREST),
            by_regression(known, targets, parts, classes, features=_fixed, title=REGRESSION),
        ]
        return [one for one in found if one is not None]

    def _small(self, part: Examples) -> Windows:
        """Return the pixels of each image at a small size; of a series mean and deviation."""
        rows = []
        for one in part.items:
            values = values_of(one, self.index).astype(np.float64)
            height, width = values.shape[1:3]
            down = np.arange(min(SMALL * 2, height)) * height // min(SMALL * 2, height)
            across = np.arange(SMALL * 2) * width // (SMALL * 2)
            sums = np.add.reduceat(np.add.reduceat(values, down, 1), np.unique(across), 2)
            small = sums[:, :, np.searchsorted(np.unique(across), across)]
            row = small.reshape(len(small), -1)
            rows.append(np.concatenate([row.mean(0), row.std(0)]) if self.index.series else row[0])
        return [], np.array(rows), np.arange(len(rows))


class LiveImage(LiveElements):
    """An image whose rows, columns or pixels arrive, or a series whose images arrive."""

    learned: Images

    def push(self, element: Any, at: Any = None) -> tuple[Step | None, Step | None]:
        """Return the step of an element.

        Args:
            element: an image of a series, or the numbers of a row, column or pixel.
            at: None; images have no times.

        Raises:
            ArgumentError: the element has another size, or is not of finite numbers.
        """
        check_no_time(at, "images")
        index = self.learned.index
        if index.series:
            try:
                picture = replace(picture_of(element, "image", "image", Path()), series=True)
                values = values_of(picture, index)
            except DataError as error:
                raise ArgumentError(str(error)) from None
            return Step(index.steps(values)), None
        given = np.asarray(element)
        known = given.dtype.kind in "biuf" and given.size == index.size
        if not known or not np.isfinite(given).all():
            raise ArgumentError(
                f"expected {index.size} finite numbers of the next of the {index.scan}, got "
                f"{np.shape(element)}"
            )
        factor = index.unit if given.dtype.kind == "f" else 1.0
        numbers = full_scale(given).astype(np.float32).reshape(1, -1)
        return Step(numbers * np.float32(factor)), None


def _fixed(windows: Windows) -> Any:
    """Return the fixed numbers of windows, which have no others."""
    return windows[1]
