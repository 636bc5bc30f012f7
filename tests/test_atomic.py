"""A file is written completely or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from elman.atomic import write_atomic
from elman.errors import FolderError


def test_a_missing_folder_is_named_as_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.csv"
    with pytest.raises(FolderError) as caught:
        write_atomic(path, "new")
    assert str(caught.value) == (
        f"{path}: cannot be written (No such file or directory); there is no folder "
        f"{path.parent}; create it, or name another file"
    )


@pytest.mark.parametrize(
    ("number", "before", "remedy"),
    [
        (errno.ENOSPC, "old", "the previous content is kept; free some space, or name another fol"),
        (errno.ENOSPC, None, "free some space, or name another folder"),
        (errno.EIO, "old", "the previous content is kept; name another folder"),
    ],
)
def test_the_message_suggests_a_remedy_that_fits_the_error(
    number: int, before: str | None, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    if before is not None:
        path.write_text(before)

    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("elman.atomic.os.fsync", fail)
    with pytest.raises(FolderError) as caught:
        write_atomic(path, "new")
    shown = f"{path}: cannot be written ({os.strerror(number)}); {remedy}"
    assert str(caught.value).startswith(shown)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == (
        [] if before is None else [("a.csv", before)]
    )
