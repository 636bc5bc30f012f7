"""The state of a live forecast is restored in another process and refused if it is damaged."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import elman
from elman.errors import DataError
from elman.forecast.live import LiveForecast, LiveForecaster
from tests.states import resealed

SMALL: dict[str, Any] = {
    "horizon": 4,
    "season": 4,
    "hidden_size": 6,
    "epochs": 1,
    "windows": 32,
    "device": "cpu",
    "samples": 10,
}
DAYS = (np.datetime64("2024-01-01") + np.arange(400)).astype(str).tolist()
DRAW = np.random.default_rng(0).normal(size=(400, 3)).round(3).tolist()


@dataclass(frozen=True)
class Case:
    """Settings of a forecaster, its training data, a series, and what is pushed after it."""

    settings: dict[str, Any]
    data: dict[str, list[Any]]
    unique_id: str | None
    pushes: list[tuple[list[Any], dict[str, Any]]]

    def fit(self) -> elman.Forecaster:
        return elman.Forecaster(**{**SMALL, **self.settings}).fit(self.data)


def with_times() -> Case:
    """Return a daily series with missing numbers, followed by pushes with gaps."""
    data = {"ds": DAYS[:90], "y": [x for x, _, _ in DRAW[:90]]}
    at = [n for n in range(90, 130) if n % 7]
    pushes = [([None if n % 5 == 0 else DRAW[n][0]], {"at": DAYS[n]}) for n in at]
    return Case({}, data, None, pushes)


def with_covariates() -> Case:
    """Return two series with numeric and categorical covariates of every kind."""
    rows = range(60)
    data = {
        "unique_id": [name for name in "ab" for _ in rows],
        "y": [DRAW[n][0] for n in range(120)],
        "load": [DRAW[n][1] for n in range(120)],
        "kind": ["wet" if n % 3 else "dry" for n in range(120)],
        "price": [DRAW[n][2] for n in range(120)],
        "size": [float(n // 60) for n in range(120)],
        "place": ["hill" if n < 60 else "sea" for n in range(120)],
    }
    settings = {
        "past": ("load", "kind"),
        "future": ("price",),
        "static": ("size", "place"),
        "embedding_size": 8,
        "scaling": "robust",
        "output": "student_t",
    }
    for n in (56, 57, 58, 59, 116, 117, 118, 119):
        data["y"][n] = None  # type: ignore[call-overload]
    pushes = [
        ([DRAW[n][0]], {"load": DRAW[n][1], "kind": ("wet", "new")[n % 2], "price": DRAW[n][2]})
        for n in range(200, 230)
    ]
    return Case(settings, data, "b", pushes)


def with_neighbours() -> Case:
    """Return the places of six walkers, of whom five are absent at some steps."""
    steps = range(20)
    data: dict[str, list[Any]] = {
        "unique_id": [f"p{n}" for n in range(6) for _ in steps],
        "ds": [t for _ in range(6) for t in steps],
        "x": [n + 0.2 * t for n in range(6) for t in steps],
        "y": [0.1 * n * t + DRAW[t][0] / 9 for n in range(6) for t in steps],
    }
    settings = {
        "targets": ("x", "y"),
        "plane": True,
        "scaling": "velocity",
        "neighbours": 2,
        "context": 8,
        "segment": 1,
        "season": 1,
    }
    pushes = []
    for t in range(20, 40):
        others = {f"p{n}": (n + 0.2 * t, 0.1 * n * t) for n in range(1, 6) if (n + t) % 4}
        pushes.append(([(0.2 * t, DRAW[t][1] / 9), others], {"at": t} if t % 3 else {"at": None}))
    return Case(settings, data, "p0", pushes)


def from_samples() -> Case:
    """Return a list of numbers for an autoregressive forecaster."""
    data = {"y": [DRAW[n][0] for n in range(80)]}
    return Case({"decoder": "autoregressive"}, data, None, [([x], {}) for x, _, _ in DRAW[80:110]])


CASES = {
    "times": with_times,
    "covariates": with_covariates,
    "neighbours": with_neighbours,
    "samples": from_samples,
}


def push(live: LiveForecaster, one: tuple[list[Any], dict[str, Any]]) -> LiveForecast:
    return live.push(*one[0], **one[1])


def bits_of(found: LiveForecast) -> str:
    """Return the bits of the numbers of a forecast."""
    return found.mean.tobytes().hex() + found.quantiles.tobytes().hex()


@pytest.fixture(scope="module")
def models() -> dict[str, elman.Forecaster]:
    return {name: make().fit() for name, make in CASES.items()}


CHILD = """
import json, sys
from pathlib import Path
import torch
import elman
from tests.forecast.test_live import CASES, push, bits_of

torch.set_num_threads(1)
folder = Path(sys.argv[1])
for name, make in CASES.items():
    case = make()
    live = elman.load(folder / name).stream(case.unique_id)
    live.restore((folder / f"{name}.state").read_bytes())
    half = len(case.pushes) // 2
    found = [bits_of(push(live, one)) for one in case.pushes[half:]]
    print(json.dumps([*found, list(map(str, live.stamps))]))
"""


def test_a_session_restored_in_another_process_forecasts_bit_for_bit(
    models: dict[str, elman.Forecaster], tmp_path: Path
) -> None:
    expected = []
    for name, model in models.items():
        case = CASES[name]()
        model.save(tmp_path / name)
        live = elman.Forecaster.load(tmp_path / name).stream(case.unique_id)
        half = len(case.pushes) // 2
        for one in case.pushes[:half]:
            push(live, one)
        (tmp_path / f"{name}.state").write_bytes(live.state_bytes())
        found = [bits_of(push(live, one)) for one in case.pushes[half:]]
        expected.append([*found, list(map(str, live.stamps))])
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected


@pytest.mark.parametrize("name", CASES)
def test_restart_returns_a_session_to_its_beginning(
    name: str, models: dict[str, elman.Forecaster]
) -> None:
    case = CASES[name]()
    live = models[name].stream(case.unique_id)
    begin, stamps = bits_of(live.forecast()), live.stamps
    first = [bits_of(push(live, one)) for one in case.pushes]
    assert bits_of(live.finish()) == first[-1]
    live.restart()
    assert (bits_of(live.forecast()), live.stamps) == (begin, stamps)
    assert [bits_of(push(live, one)) for one in case.pushes] == first


def test_a_state_of_a_longer_series_continues_a_session_of_the_training_data(
    models: dict[str, elman.Forecaster],
) -> None:
    model, case = models["times"], with_times()
    later = {"ds": DAYS[200:300], "y": [x for x, _, _ in DRAW[200:300]]}
    live, other = model.stream(series=later), model.stream()
    push(other, case.pushes[0])
    other.restore(live.state_bytes())
    assert other.stamps == live.stamps
    for n in (300, 305, 306):
        assert bits_of(other.push(0.5, at=DAYS[n])) == bits_of(live.push(0.5, at=DAYS[n]))
    other.restart()
    assert other.stamps[0] == DAYS[90]


def test_steps_are_counted_from_the_beginning_even_if_only_the_end_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("elman.forecast.history.KEPT", 0)
    model = from_samples().fit()
    assert len(model.history.table.series[0].values) < 80
    live = model.stream()
    assert live.stamps == model.predict().ds[0].tolist() == [80, 81, 82, 83]
    whole = model.stream(series=from_samples().data)
    live.push(0.25)
    whole.restore(live.state_bytes())
    assert bits_of(whole.forecast()) == bits_of(live.forecast())


def test_a_state_of_another_series_is_refused(models: dict[str, elman.Forecaster]) -> None:
    blob = models["covariates"].stream("a").state_bytes()
    with pytest.raises(DataError, match="a state of another series: restore one of a session"):
        models["covariates"].stream("b").restore(blob)


@pytest.mark.parametrize("name", CASES)
def test_a_state_of_another_model_is_refused(
    name: str, models: dict[str, elman.Forecaster]
) -> None:
    live = models[name].stream(CASES[name]().unique_id)
    for other in CASES.keys() - {name}:
        blob = models[other].stream(CASES[other]().unique_id).state_bytes()
        with pytest.raises(DataError, match="the state is from another model"):
            live.restore(blob)


def changed(blob: bytes, leaf: int, change: Any) -> bytes:
    """Return a state in which one leaf is changed."""
    leaves = safetensors.torch.load(blob)
    leaves[f"state.{leaf}"] = change(leaves[f"state.{leaf}"])
    return resealed(blob, leaves)


def to(value: float, place: int = 0) -> Any:
    """Return a function that sets one number of a tensor."""

    def change(leaf: torch.Tensor) -> torch.Tensor:
        leaf.view(-1)[place] = value
        return leaf

    return change


def text(content: str) -> Any:
    return lambda _: torch.tensor(bytearray(content.encode()), dtype=torch.uint8)


OTHER, TIMES, NUMBERS = "the state has state", "with invalid times", "with invalid numbers"
HOSTILE: dict[str, tuple[str, int, Any, str]] = {
    "another dtype": ("times", 0, lambda y: y.float(), OTHER),
    "another shape": ("times", 0, lambda y: y[1:], OTHER),
    "a number in place of a row": ("times", 6, lambda counters: counters[0], OTHER),
    "text in place of bytes": ("times", 7, lambda others: others.long(), OTHER),
    "infinite numbers": ("times", 0, to(math.inf), NUMBERS),
    "an infinite covariate": ("covariates", 1, to(-math.inf), NUMBERS),
    "an unknown calendar": ("times", 2, to(math.nan), NUMBERS),
    "an unknown neighbour": ("neighbours", 3, to(math.nan), NUMBERS),
    "an unknown sum of scales": ("times", 4, to(math.nan), NUMBERS),
    "an unknown count of scales": ("times", 4, to(math.nan, 1), NUMBERS),
    "a negative count of scales": ("times", 4, to(-1.0, 1), NUMBERS),
    "another series": ("covariates", 5, to(0.5), "of another series"),
    "unknown constants": ("covariates", 5, to(math.nan), "of another series"),
    "no time": ("times", 6, to(-(2**63)), TIMES),
    "a time between steps": ("times", 6, to(1), TIMES),
    "a time after the year 9999": ("times", 6, to(2**62), TIMES),
    "a time that does not exist": ("samples", 6, to(2**60), TIMES),
    "a negative number of steps": ("times", 6, to(-1, 1), TIMES),
    "too many steps": ("times", 6, to(2**62, 1), TIMES),
    "a gap that is neither true nor false": ("times", 6, to(2, 2), TIMES),
    "others that are not JSON": ("neighbours", 7, text("{"), NUMBERS),
    "others with deeply nested brackets": ("neighbours", 7, text("[" * 100_000), NUMBERS),
    "others in invalid UTF-8": ("neighbours", 7, lambda _: torch.tensor([255] * 3).byte(), NUMBERS),
    "others in a list": ("neighbours", 7, text("[1]"), NUMBERS),
    "a place of three numbers": ("neighbours", 7, text('{"a": [1, 2, 3]}'), NUMBERS),
    "a place that is unknown": ("neighbours", 7, text('{"a": [NaN, 1]}'), NUMBERS),
    "a place that is too large": ("neighbours", 7, text(f'{{"a": [1{"0" * 400}, 1]}}'), NUMBERS),
    "a place of the series itself": ("neighbours", 7, text('{"p0": [1, 2]}'), NUMBERS),
    "others without neighbours": ("times", 7, text('{"a": [1]}'), NUMBERS),
}


@pytest.mark.parametrize(("name", "leaf", "change", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_damaged_state_is_refused_and_changes_nothing(
    name: str, leaf: int, change: Any, message: str, models: dict[str, elman.Forecaster]
) -> None:
    case = CASES[name]()
    live = models[name].stream(case.unique_id)
    push(live, case.pushes[0])
    before, stamps = live.state_bytes(), live.stamps
    with pytest.raises(DataError, match=message) as error:
        live.restore(changed(before, leaf, change))
    assert "\n" not in str(error.value)
    assert (live.state_bytes(), live.stamps) == (before, stamps)


def test_bytes_that_are_not_a_state_are_refused(models: dict[str, elman.Forecaster]) -> None:
    live = models["times"].stream()
    blob = live.state_bytes()
    draw = np.random.default_rng(0)
    deep = safetensors.torch.save({"state" + ".0" * 5000: torch.zeros(1)})
    single = safetensors.torch.save({"state": torch.zeros(1)})
    wrong = [b"", blob[:-1], blob[:100], blob + b"0", draw.bytes(500), deep, single]
    header = b'{"state":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}}'
    unknown = len(header).to_bytes(8, "little") + header + b"0"  # a dtype that torch does not have
    for bad in (*wrong, unknown):
        with pytest.raises(DataError) as error:
            live.restore(bad)
        assert "\n" not in str(error.value)
    for _ in range(300):
        bad = bytearray(blob)
        bad[draw.integers(len(blob))] ^= 1 << draw.integers(8)
        with pytest.raises(DataError):
            live.restore(bytes(bad))
    assert live.state_bytes() == blob
