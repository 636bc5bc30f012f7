"""Read an array from a .npy file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import DataError
from elman.read.files import reading


def map_array(path: Path, wrong: str) -> NDArray[Any]:
    """Return the array of a .npy file, mapped into memory.

    Args:
        path: the file.
        wrong: beginning of the message if it is not such a file.

    Raises:
        DataError: the file cannot be read, or is not an array of numbers.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import numpy as np
        >>> from elman.read.arrays import map_array
        >>> with TemporaryDirectory() as folder:
        ...     np.save(Path(folder, "a.npy"), np.ones((5, 2)))
        ...     map_array(Path(folder, "a.npy"), "a.npy is not an array").shape
        (5, 2)
    """
    with reading(path):
        try:
            found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise DataError(f"{wrong} ({error})") from None
    return found
