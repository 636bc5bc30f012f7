"""The examples run and print the results that their documentation promises."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path

import pytest
import torch

import elman
from elman.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.learns
def test_temporal_xor_is_learned_and_random_bits_are_not() -> None:
    run = runpy.run_path(str(EXAMPLES / "temporal_xor.py"))["run"]
    second, xor, first = run()
    assert xor < 0.02
    # A coin toss cannot be predicted. Its error is 0.25, and a sample of 320 is within 0.03 of it.
    assert 0.2 < first < 0.3
    assert 0.2 < second < 0.3


@pytest.mark.learns
def test_parity_is_learned_by_an_lstm_and_not_by_a_minimal_gru() -> None:
    run = runpy.run_path(str(EXAMPLES / "long_memory.py"))["run"]
    found = {}
    for kind in (elman.MinGRU, elman.LSTM):
        torch.manual_seed(0)
        found[kind] = run(kind(32, 32, batch_first=True))
    # The lengths of the training, and two longer ranges. 0.5 is right by chance.
    assert min(found[elman.LSTM]) > 0.95
    assert found[elman.MinGRU][0] < 0.6
    assert max(found[elman.MinGRU][1:]) < 0.53


@pytest.mark.learns
def test_the_demo_trains_scores_predicts_and_generates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runpy.run_path(str(EXAMPLES / "demo.py"))["run"]
    run.__globals__["new_testament"] = lambda whole=run.__globals__["new_testament"]: whole()[
        :40_000
    ]
    assert run(tmp_path, "--hidden-size", "16", "--epochs", "1") == 0
    shown = capsys.readouterr().out
    for part in ("Kneser-Ney", "In the beginning was the", "And he said", "report.html"):
        assert part in shown
    assert (tmp_path / "model" / "report.html").stat().st_size > 20_000
    animals = elman.load(tmp_path / "animals")
    assert isinstance(animals, elman.LanguageModel)
    # README promises these predictions. A 5-gram cannot make them.
    assert animals.predict("The cat sat on the")[0][0] == "mat"
    assert animals.predict("The dog, tired after a long day, slept on the")[0][0] == "rug"


@pytest.mark.parametrize(
    ("task", "scores"),
    [("classify", "test accuracy"), ("tag", "F1 of spans"), ("translate", "test BLEU")],
)
def test_verses_are_classified_tagged_and_translated(
    task: str, scores: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runpy.run_path(str(EXAMPLES / "verses.py"))["run"]
    whole = run.__globals__["verses"]
    run.__globals__["verses"] = lambda: itertools.islice(whole(), 0, None, 100)
    assert run(task, tmp_path, hidden_size=16, epochs=1, device="cpu") == 0
    shown = capsys.readouterr().out
    assert scores in shown
    assert "report.html" in shown


def test_words_in_brackets_become_tags() -> None:
    tagged = runpy.run_path(str(EXAMPLES / "verses.py"))["tagged"]
    words, tags = tagged("of her [that had been] of Urias;")
    assert words == "of her that had been of Urias ;"
    assert tags == "O O B-ADDED I-ADDED I-ADDED O O O"


def test_the_awd_lstm_settings_train(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat\n" * 200)
    out = tmp_path / "run"
    command = [
        "train",
        "language-model",
        str(text),
        "--out",
        str(out),
        "--config",
        str(EXAMPLES / "awd_lstm.yaml"),
    ]
    small = [
        "--hidden-size",
        "12",
        "8",
        "--embedding-size",
        "8",
        "--epochs",
        "2",
        "--device",
        "cpu",
    ]
    assert main([*command, *small]) == 0
    model = elman.load(out)
    core = model.model.core
    assert (core.weight_dropout, core.dropout, core.variational) == (0.5, 0.25, True)
    assert (model.model.dropout, model.model.activation_penalty) == (0.4, 2.0)
    assert model.model.head.weight is model.model.encode.weight
    assert model.weight_decay == 1.2e-6


def test_the_weather_is_forecast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runpy.run_path(str(EXAMPLES / "weather.py"))["run"]
    assert run(tmp_path, hidden_size=16, epochs=2, windows=1000, device="cpu") == 0
    shown = capsys.readouterr().out
    for part in ("test MASE", "temp_max-lo-80", "seasonal naive", "2015-08-14", "day by day"):
        assert part in shown
    page = (tmp_path / "model" / "report.html").read_text()
    assert "Error by steps ahead" in page
    assert "Coverage" in page
    assert len((tmp_path / "found.csv").read_text().splitlines()) == 1 + 20 * 7


def test_exercises_are_classified_and_detected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runpy.run_path(str(EXAMPLES / "watch.py"))["run"]
    whole = run.__globals__["recordings"]()
    run.__globals__["recordings"] = lambda: [
        (person, name, array[:300]) for person, name, array in whole[::5]
    ]
    assert run(tmp_path, hidden_size=16, epochs=1, examples=100, device="cpu") == 0
    shown = capsys.readouterr().out
    for part in ("test accuracy", "random forest", "unique_id         label", "live, sample by"):
        assert part in shown
    assert (tmp_path / "found.csv").read_text().startswith("unique_id,start,end,label,p(ABD),")
    page = (tmp_path / "kinds" / "report.html").read_text()
    assert "Calibration, test data" in page


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("glucose", ("naive (", "glucose-lo-80", "in half an hour", "naive")),
        ("prices", ("seasonal naive (", "price-lo-80", "502 forecasts")),
    ],
)
def test_glucose_and_prices_are_forecast(
    name: str, parts: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runpy.run_path(str(EXAMPLES / f"{name}.py"))["run"]
    assert run(tmp_path, last=9000, hidden_size=8, epochs=1, windows=300, device="cpu") == 0
    shown = capsys.readouterr().out
    for part in parts:
        assert part in shown
    assert "Error by steps ahead" in (tmp_path / "model" / "report.html").read_text()


def test_tones_are_recognised_in_files_and_live(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runpy.run_path(str(EXAMPLES / "tones.py"))["run"]
    assert run(tmp_path, clips=240) == 0
    shown = capsys.readouterr().out
    assert "test accuracy" in shown
    assert "test WER" in shown
    live = [line for line in shown.splitlines() if "heard: " in line]
    right = [line.partition("spoken: ")[2].split("heard: ") for line in live]
    assert len(live) >= 2
    assert any(spoken.strip() == heard.strip() for spoken, heard in right)
