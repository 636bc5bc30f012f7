"""Time of a training update beside neuralforecast and GluonTS, alternating, on M4 Hourly.

    python benchmarks/forecasters.py FOLDER_OF_M4 [ROUNDS]

DeepAR       an LSTM of 2 x 40, Student's t, 168 hours read and 48 predicted in 215 steps, lags of
             1, 24 and 168 hours, 32 windows per update, dropout 0.1: GluonTS's DeepAR beside
             `Forecaster(decoder="autoregressive")`
LSTM         an LSTM of 2 x 128, 168 hours read, 48 predicted at once, 64 windows per update,
             absolute error: neuralforecast's LSTM (168 steps and a perceptron) beside `Forecaster`
             with steps of an hour, too (215), and with its default steps of a day (8)

Each program trains in its own process on one thread, once for FEW and once for MANY updates; the
difference is the time of the updates alone.  In addition to the installation this needs
`pip install neuralforecast "gluonts[torch]"`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

FEW, MANY = 30, 180  # updates
DAY, READ, AHEAD = 24, 168, 48

Numbers = list[list[float]]


def gluonts_deepar(series: Numbers, updates: int) -> None:
    import numpy as np
    import pandas as pd
    from gluonts.dataset.common import ListDataset
    from gluonts.torch import DeepAREstimator

    begin = pd.Period("2024-01-01 00:00", freq="h")
    data = ListDataset([{"start": begin, "target": np.array(one)} for one in series], freq="h")
    DeepAREstimator(
        freq="h",
        prediction_length=AHEAD,
        context_length=READ,
        num_layers=2,
        hidden_size=40,
        lags_seq=[1, DAY, READ],
        time_features=[],
        batch_size=32,
        num_batches_per_epoch=updates,
        trainer_kwargs={
            "max_epochs": 1,
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
    ).train(data)


def elman_deepar(series: Numbers, updates: int) -> None:
    _elman(
        series,
        updates,
        32,
        decoder="autoregressive",
        output="student_t",
        scaling="mean",
        lags=(DAY, READ),
        hidden_size=40,
    )


def neuralforecast_lstm(series: Numbers, updates: int) -> None:
    import numpy as np
    import pandas as pd
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MAE
    from neuralforecast.models import LSTM

    frame = pd.DataFrame(
        {
            "unique_id": np.repeat(np.arange(len(series)), [len(one) for one in series]),
            "ds": np.concatenate([np.arange(len(one)) for one in series]),
            "y": np.concatenate(series),
        }
    )
    model = LSTM(
        h=AHEAD,
        input_size=READ,
        encoder_n_layers=2,
        encoder_hidden_size=128,
        decoder_hidden_size=128,
        encoder_dropout=0.1,
        loss=MAE(),
        max_steps=updates,
        batch_size=32,
        windows_batch_size=64,
        scaler_type="standard",
        val_check_steps=10 * MANY,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    NeuralForecast([model], freq=1).fit(frame)


def elman_lstm(series: Numbers, updates: int) -> None:
    _elman(
        series, updates, 64, segment=1, lags=0, output="quantile", quantiles=(0.5,), hidden_size=128
    )


def elman_lstm_by_days(series: Numbers, updates: int) -> None:
    _elman(series, updates, 64, output="quantile", quantiles=(0.5,), hidden_size=128)


def _elman(series: Numbers, updates: int, batch_size: int, **settings: Any) -> None:
    import elman

    elman.Forecaster(
        context=READ,
        horizon=AHEAD,
        season=DAY,
        num_layers=2,
        batch_size=batch_size,
        epochs=1,
        windows=batch_size * updates,
        validation_fraction=0.0,
        monitor="last",
        device="cpu",
        **settings,
    ).fit(series)


PROGRAMS: dict[str, Callable[[Numbers, int], None]] = {
    program.__name__: program
    for program in (
        elman_deepar,
        gluonts_deepar,
        elman_lstm,
        elman_lstm_by_days,
        neuralforecast_lstm,
    )
}
PAIRS = (
    ("elman_deepar", "gluonts_deepar"),
    ("elman_lstm", "neuralforecast_lstm"),
    ("elman_lstm_by_days", "neuralforecast_lstm"),
)


def child(name: str, data: Path) -> None:
    """Print the seconds per update."""
    import torch

    torch.set_num_threads(1)
    series = json.loads(data.read_text())
    PROGRAMS[name](series, 2)  # imports and other work that is done once
    seconds = []
    for updates in (FEW, MANY):
        began = time.perf_counter()
        PROGRAMS[name](series, updates)
        seconds.append(time.perf_counter() - began)
    print(f"\nseconds {(seconds[1] - seconds[0]) / (MANY - FEW)}")


def main() -> None:
    if sys.argv[1] == "--child":
        child(sys.argv[2], Path(sys.argv[3]))
        return
    from result import write_result

    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    lines = Path(sys.argv[1], "Hourly-train.csv").read_text().splitlines()[1:]
    series = [[float(x.strip('"')) for x in line.split(",")[1:] if x.strip('"')] for line in lines]
    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "series.json")
        data.write_text(json.dumps(series))
        for turn in range(rounds):
            names = list(PROGRAMS)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                done = subprocess.run(
                    [sys.executable, __file__, "--child", name, str(data)],
                    capture_output=True,
                    text=True,
                    check=False,
                    cwd=folder,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                )
                if "\nseconds " not in done.stdout:
                    raise SystemExit(f"{name}: {done.stderr[-2000:]}")
                found[name].append(float(done.stdout.rpartition("\nseconds ")[2]))
                print(turn, name, f"{1000 * found[name][-1]:.1f} ms", flush=True)
    ratios = {}
    for ours, theirs in PAIRS:
        times = sorted(b / a for a, b in zip(found[ours], found[theirs], strict=True))
        quarter = len(times) // 4
        ratios[f"{theirs} / {ours}"] = {
            "median": statistics.median(times),
            "quartiles": [times[quarter], times[-1 - quarter]],
        }
    write_result(
        "forecasters",
        {
            "peers": {name: version(name) for name in ("gluonts", "neuralforecast", "torch")},
            "rounds": rounds,
            "ms an update": {
                name: 1000 * statistics.median(times) for name, times in found.items()
            },
            "ratio": ratios,
        },
    )


if __name__ == "__main__":
    main()
