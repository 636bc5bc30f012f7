"""Texts and images beside the numbers of series: what training learns of them, and their arrays.

    cell -> item -> array (S, ...) -> vector of its step, see `elman.encode.beside`

A table has each different item once (`SeriesTable.items`), and the numbers of the items in its
columns.  An encoded table has arrays in place of the items, as `Input.encode` returns them.

Shape legend: S steps of an item, N items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.beside import ReadItems
from elman.encode.image_steps import picture_in
from elman.encode.index import column_of
from elman.encode.nest import Nest
from elman.errors import ArgumentError, DataError
from elman.forecast.settings import ForecasterSettings
from elman.inputs.image import ImageReader
from elman.inputs.input import Input, Reader
from elman.inputs.text import TextReader
from elman.manifest import INPUTS, check_parts, start_manifest
from elman.padded import Delayed, Padded, pad_arrays
from elman.read.dialect import is_none, is_nothing
from elman.read.examples import Examples
from elman.read.files import is_path
from elman.read.items import ReadItem
from elman.read.series import SeriesTable

Inputs = Mapping[str, Input]  # the inputs after training, by column
READERS: dict[str, type[Reader]] = {one.kind: one for one in (TextReader, ImageReader)}


def readers_of(settings: ForecasterSettings) -> dict[str, Reader]:
    """Return the reader of each column of items, in the order of the setting `inputs`."""
    own = settings.input_settings()
    kinds = {str(one.column): one.kind for one in settings.declared}
    return {name: READERS[kind](own[name], name) for name, kind in kinds.items()}


def cells_of(settings: ForecasterSettings, source: Any) -> dict[str, ReadItem | None]:
    """Return the function that reads a cell of each column of items, for `SeriesSource`.

    Args:
        settings: settings of the forecaster.
        source: the table; relative paths refer to the folder of its file, or the current folder.
    """
    folder = (Path(source).parent if is_path(source) else Path()).resolve()
    found: dict[str, ReadItem | None] = {}
    for name, reader in readers_of(settings).items():
        reader.folder = folder
        found[name] = partial(_open, reader) if isinstance(reader, ImageReader) else None
    return found


def _open(reader: ImageReader, cell: str, place: str) -> tuple[str, Any]:
    """Return the absolute path of an image, and the image, of which only the header is read."""
    item = reader.item(cell, f"{place}: column {reader.column!r}")
    return picture_in(item).label, item


def learn_inputs(
    settings: ForecasterSettings,
    table: SeriesTable,
    known: NDArray[np.int64],
    notes: list[str],
    *,
    show: bool = False,
) -> dict[str, Input]:
    """Learn the inputs from the items in the first `known` steps of each series of a table.

    The content of these files is then in the table.

    Args:
        settings: settings of the forecaster.
        table: the training data.
        known: (N,) numbers of steps, which exclude the validation data.
        notes: messages for the user; this function adds more.
        show: whether to show progress on the terminal.

    Raises:
        DataError: a column is empty, or an item cannot be read.
    """
    inputs: dict[str, Input] = {}
    pairs = list(zip(table.series, known.tolist(), strict=True))
    for name, reader in readers_of(settings).items():
        numbers = np.concatenate([column_of(table, one, name)[:steps] for one, steps in pairs])
        there, counts = np.unique(numbers[~np.isnan(numbers)].astype(int), return_counts=True)
        if not len(there):
            raise DataError(
                f"column {name!r}: is empty at all training steps; set inputs without it"
            )
        reader.show = show
        items = _contents(reader, [table.items[name][n] for n in there.tolist()], None)
        for number, item in zip(there.tolist(), items, strict=True):
            table.items[name][number] = item
        # A word that occurs often enough to be known is counted often enough.
        least = reader.settings.min_count if isinstance(reader, TextReader) else 1
        times = counts.clip(max=least).tolist()
        train = Examples([one for one, many in zip(items, times, strict=True) for _ in range(many)])
        own = [
            f"{len(there):,} different {reader.noun}, at {counts.sum():,} of {len(numbers):,} "
            "training steps"
        ]
        inputs[name] = reader.learn(train, own)
        decided = inputs[name].prepare(own).get("embedding_size")
        if decided != reader.settings.embedding_size and decided is not None:
            raise ArgumentError(
                f"{name}: the word vectors have {decided} numbers; set embedding_size={decided} of "
                "this input, too"
            )
        notes += [f"{name}: {note}" for note in own]
    return inputs


def _contents(reader: Reader, items: Sequence[Any], like: Input | None) -> list[Any]:
    """Return items with the content of their files."""
    found = reader.contents(items, [reader.column] * len(items), like)
    for one in found:
        if isinstance(one, DataError):
            raise one
    return found


def encode_items(
    inputs: Inputs, table: SeriesTable, before: SeriesTable | None = None
) -> SeriesTable:
    """Return a table with encoded items.

    Args:
        inputs: the inputs after training.
        table: the table.
        before: the encoded table in whose form the table was read; its items come first.
    """
    found = {}
    for name, learned in inputs.items():
        done = [] if before is None else before.items.get(name, [])
        new = _contents(learned.reader, table.items[name][len(done) :], learned)
        found[name] = [*done, *(learned.encode(new) if new else ())]
    return replace(table, items=found)


def layer_of(inputs: Inputs, settings: ForecasterSettings, segment: int) -> ReadItems | None:
    """Return the layer that reads the items, with random weights; None without inputs."""
    nests = []
    for learned in inputs.values():
        layer, features = learned.layer(learned.reader.settings)
        nests.append(Nest(layer, features, settings.item_units))
        learned.start(nests[-1].inner)
    return ReadItems(nests, segment, dropped=settings.dropout) if nests else None


def describe_inputs(inputs: Inputs) -> str:
    """Return the inputs as the end of a sentence; "" without inputs."""
    each = (f"{one.reader.noun} of {name!r} ({one.made})" for name, one in inputs.items())
    return f", with {' and '.join(each)}" if inputs else ""


def save_inputs(inputs: Inputs, folder: Path) -> None:
    """Write each input to a numbered folder."""
    for n, learned in enumerate(inputs.values()):
        inside = folder / INPUTS / str(n)
        inside.mkdir(parents=True, exist_ok=True)
        start_manifest(inside)
        learned.save(inside)


def load_inputs(settings: ForecasterSettings, folder: Path) -> dict[str, Input]:
    """Read the inputs that `save_inputs` wrote; raise a FolderError if they are damaged."""
    found = {}
    for n, (name, reader) in enumerate(readers_of(settings).items()):
        check_parts(folder / INPUTS / str(n))
        found[name] = reader.load(folder / INPUTS / str(n))
    return found


def pack_items(items: Mapping[str, Sequence[Any]]) -> dict[str, Tensor]:
    """Return the arrays of items as tensors for a file.

    Example:
        >>> import numpy as np
        >>> from elman.forecast.inputs import pack_items, unpack_items
        >>> packed = pack_items({"sky": [np.float32([[0, 255]]), np.float32([[7, 8], [9, 9]])]})
        >>> packed["items.0"].dtype, packed["items.0.lengths"].tolist()
        (torch.uint8, [1, 2])
        >>> unpack_items(packed, ["sky"])["sky"][1].tolist()
        [[7.0, 8.0], [9.0, 9.0]]
    """
    tensors = {}
    for k, some in enumerate(items.values()):
        arrays = [one.read() if isinstance(one, Delayed) else one for one in some]
        whole = np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.int32)
        small = whole.clip(0, 255).astype(np.uint8)
        if whole.dtype.kind == "f" and (small == whole).all():  # pixels
            whole = small
        tensors[f"items.{k}"] = torch.from_numpy(whole)
        tensors[f"items.{k}.lengths"] = torch.tensor(list(map(len, arrays)), dtype=torch.int64)
    return tensors


def unpack_items(tensors: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the arrays of the items of each column, from the tensors of `pack_items`."""
    found = {}
    for k, name in enumerate(names):
        whole, lengths = tensors[f"items.{k}"].numpy(), tensors[f"items.{k}.lengths"]
        whole = whole.astype(np.float32) if whole.dtype == np.uint8 else whole
        if len(whole) != lengths.sum() or (lengths < 0).any():
            raise ValueError(f"the items of {name!r} must have {len(whole)} steps in all")
        found[name] = np.split(whole, lengths.cumsum(0)[:-1].tolist()) if len(lengths) else []
    return found


class LiveItems:
    """The items in the context of a live session, as vectors, which are read once.

    Args:
        inputs: the inputs after training.
        layer: the layer that reads items; None without inputs.
        numbers: (T, I) numbers of the items at the steps of the context, NaN for none.
        items: the arrays of the items of each column.

    Attributes:
        arrays: for each column the vectors (T, U), 0 for none, and a mask (T, I); [] without
            inputs.
    """

    def __init__(
        self,
        inputs: Inputs,
        layer: ReadItems | None,
        numbers: NDArray[np.float64],
        items: Mapping[str, Sequence[Any]],
    ) -> None:
        self._inputs, self._layer = inputs, layer
        self._there = (~np.isnan(numbers)).astype(np.float32)
        self._vectors: list[NDArray[np.float32]] = []
        for k, name in enumerate(inputs):
            assert layer is not None
            rows = np.zeros((len(numbers), layer.sizes[k]), dtype=np.float32)
            there = self._there[:, k] > 0
            used, places = np.unique(numbers[there, k].astype(int), return_inverse=True)
            if len(used):
                batch = pad_arrays([items[name][n] for n in used.tolist()])
                rows[there] = self._vectors_of(k, batch)[places.ravel()]
            self._vectors.append(rows)
        self.arrays = [*self._vectors, self._there] if inputs else []

    @torch.inference_mode()
    def _vectors_of(self, column: int, items: Padded) -> NDArray[np.float32]:
        assert self._layer is not None
        return np.asarray(self._layer.vectors(column, items).numpy())

    def read(self, cells: Mapping[str, Any]) -> list[NDArray[np.float32] | None]:
        """Return the vector of the cell of each column; None for an empty cell.

        Raises:
            ArgumentError: a cell is not a text or an image.
        """
        found: list[NDArray[np.float32] | None] = []
        for k, (name, learned) in enumerate(self._inputs.items()):
            cell = cells[name]
            if is_none(cell) or (isinstance(cell, str) and is_nothing(cell)):
                found.append(None)
                continue
            try:
                item = learned.reader.item_given(cell, name)
                (array,) = learned.encode(_contents(learned.reader, [item], learned))
            except DataError as error:
                raise ArgumentError(str(error)) from None
            found.append(self._vectors_of(k, pad_arrays([array]))[0])
        return found

    def advance(self) -> None:
        """Advance by one step, which has no items."""
        for rows in self.arrays:
            rows[:-1] = rows[1:]
            rows[-1] = 0

    def take(self, vectors: Sequence[NDArray[np.float32] | None]) -> None:
        """Give the last step the items whose vectors `read` returned."""
        for k, vector in enumerate(vectors):
            if vector is not None:
                self._vectors[k][-1], self._there[-1, k] = vector, 1

    def window(self) -> tuple[NDArray[np.int64], tuple[Padded, ...]]:
        """Return the numbers (T, I) of the items among the vectors, and the vectors."""
        numbers = np.where(self._there > 0, np.arange(len(self._there))[:, None], -1)
        return numbers, tuple(Padded.full(torch.from_numpy(rows)) for rows in self._vectors)
