"""The examples run and show what they say."""

from __future__ import annotations

import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_temporal_xor_is_learnt_where_it_can_be() -> None:
    run = runpy.run_path(str(EXAMPLES / "temporal_xor.py"))["run"]
    second, xor, first = run()
    assert xor < 0.02
    # A coin cannot be predicted: 0.25, and the sample of 320 coins lies within 0.03 of it.
    assert 0.2 < first < 0.3
    assert 0.2 < second < 0.3
