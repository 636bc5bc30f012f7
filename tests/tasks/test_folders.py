"""Later versions read and continue the folders of Elman 0.1.0, which `every_kind` wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elman
from elman.manifest import CHECKPOINT
from elman.tasks import task_of
from tests.tasks.every_kind import CASES, outputs_of

FOLDERS = Path(__file__).parents[1] / "folders"
OUTPUTS = json.loads((FOLDERS / "outputs.json").read_text())


def same(found: Any, expected: Any) -> None:
    """Assert that outputs are equal up to rounding."""
    if isinstance(expected[0], list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected[0], str):
        assert found == expected
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def last_step(run: Path) -> int:
    """Return the number of training steps of a finished run."""
    records = map(json.loads, (run / "run.jsonl").read_text().splitlines())
    (end,) = (one for one in records if one["event"] == "end")
    assert end["reason"] == "finished"
    return int(end["step"])


@pytest.mark.parametrize("name", CASES)
def test_a_folder_of_0_1_0_gives_the_same_outputs(name: str) -> None:
    same(outputs_of(name, elman.load(FOLDERS / name), FOLDERS / "data"), OUTPUTS[name])


@pytest.mark.parametrize("name", [name for name in CASES if (FOLDERS / name / CHECKPOINT).exists()])
def test_a_run_of_0_1_0_can_be_continued(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("elman.tasks.run.write_report", lambda _: None)
    shutil.copytree(FOLDERS / "data", tmp_path / "data")
    shutil.copytree(FOLDERS / name, tmp_path / name)
    before = last_step(tmp_path / name)
    task_of(tmp_path / name).resume(tmp_path / name, epochs=3)
    assert last_step(tmp_path / name) > before
    assert elman.load(tmp_path / name).metrics["model"]
