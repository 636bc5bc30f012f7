"""The index of series: words that are not in the training data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from elman.encode.index import SeriesIndex
from elman.read.rows import Rejects
from elman.read.series import SeriesSource

pandas = pytest.importorskip("pandas")

ROWS = {
    "unique_id": ["a", "a", "b", "b"],
    "ds": [0, 1, 0, 1],
    "y": [1.0, 2.0, 3.0, 4.0],
    "zip": ["01234", "01234", "98101", "98101"],
    "sky": ["blue", "grey", "grey", "blue"],
    "heat": [1, 2, 3, 4],
}


@pytest.mark.parametrize(
    ("given", "notes"),
    [
        ({}, []),
        ({"heat": [8, 9, 8, 9], "sky": [None, "grey", "grey", None]}, []),
        (
            {"zip": [1234, 1234, 98101, 98101]},
            ["zip: words that are not in the training data are read as missing: '1234'"],
        ),
        (
            {"zip": ["zz"] * 4, "sky": ["a", "b", "c", "d"]},
            [
                "sky: words that are not in the training data are read as missing: "
                "'a', 'b', 'c' and 1 more",
                "zip: words that are not in the training data are read as missing: 'zz'",
            ],
        ),
    ],
)
def test_words_that_are_not_in_the_training_data_are_noted(
    given: dict[str, Any], notes: list[str]
) -> None:
    names = ["zip", "sky", "heat"]
    train = SeriesSource(pandas.DataFrame(ROWS), covariates=names).read(Rejects(None))
    index = SeriesIndex.build(train, ["y"], past=["heat"], future=["sky"], static=["zip"])
    frame = pandas.DataFrame({**ROWS, **given})
    table = SeriesSource(frame, covariates=names).read(Rejects(None), train)
    assert index.unseen_words(table) == notes
    blank = {note.split(":")[0] for note in notes}
    record = index.encode(table, table.series[0])
    assert (record.codes[0] == -1) == ("zip" in blank)
    assert np.array_equal(record.known.sum(1), [0, 0]) == ("sky" in blank)
