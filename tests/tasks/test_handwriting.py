"""Transcripts of recordings: the text of a pen's movements."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import elman
from elman.cli import main

STROKES = {"a": 1.0, "b": -1.0, " ": 0.0}


def write_strokes(file: Path, texts: list[str], seed: int) -> Path:
    """Write the movements of a pen in two channels: six steps for each character."""
    draw = np.random.default_rng(seed)
    with file.open("w", newline="") as target:
        rows = csv.writer(target)
        rows.writerow(["unique_id", "ds", "x", "y", "text"])
        for n, text in enumerate(texts):
            signs = np.repeat([STROKES[one] for one in text], 6)
            x = signs + 0.1 * draw.standard_normal(len(signs))
            y = np.sin(np.arange(len(signs)))
            for step, (right, up) in enumerate(zip(x, y, strict=True)):
                rows.writerow([n, step, round(right, 3), round(up, 3), text])
    return file


def texts_of(count: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join("".join(draw.choice(["a", "b"], 2)) for _ in range(2)) for _ in range(count)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pen")
    strokes = write_strokes(folder / "pen.csv", texts_of(120, 0), 0)
    flags = "--channels x --channels y --epochs 8 --hidden-size 16 --num-layers 1 --device cpu"
    rate = "--learning-rate 0.02"
    assert main(f"train transcriber {strokes} --out {folder / 'run'} {flags} {rate}".split()) == 0
    return folder / "run"


def test_the_text_of_strokes_is_written_to_a_table(run, tmp_path, capsys):
    texts = texts_of(30, 1)
    strokes = write_strokes(tmp_path / "new.csv", texts, 1)
    model = elman.load(run)
    found = model.predict(strokes)
    assert sum(a == b for a, b in zip(found, texts, strict=True)) > 25
    out = tmp_path / "texts.csv"
    assert main(["predict", str(run), "--file", str(strokes), "--out", str(out)]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == found
    assert [(row["start"], row["end"]) for row in rows[:2]] == [("0", "30")] * 2
    sure = [one[0].confidence for one in model.transcribe(strokes)]
    assert [float(row["confidence"]) for row in rows] == sure
    capsys.readouterr()
    assert main(["predict", str(run), "aa"]) == 2
    assert "reads recordings, so it takes no TEXT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--frame-stride 2",
            "--frame-stride has no effect on recordings, only on audio clips; omit --frame-stride, "
            "or set --input audio",
        ),
        ("--features mfcc", "--features has no effect on recordings, only on audio clips"),
        ("--sample-rate 8000", "--sample-rate has no effect on recordings"),
        ("--masks 0", "--masks has no effect on recordings"),
        ("--scan patches", "--scan has no effect on recordings, only on images; omit --scan"),
        ("--character-size 8", "--character-size has no effect on recordings, only on sentences"),
        (
            "--ctc-weight 0.3",
            "--ctc-weight has no effect without --decoder transducer; set it, or omit --ctc-weight",
        ),
        ("--joint-size 64", "--joint-size has no effect without --decoder transducer"),
        ("--halve-after 2", "--halve-after has no effect without --schedule halve"),
        ("--value x", "--value has no effect without --variable; set it, or omit --value"),
    ],
)
def test_settings_without_an_effect_are_refused_before_a_training(tmp_path, flags, message, capsys):
    strokes = write_strokes(tmp_path / "pen.csv", texts_of(4, 0), 0)
    command = ["train", "transcriber", str(strokes), "--out", str(tmp_path / "run")]
    assert main([*command, "--channels", "x", "--channels", "y", *flags.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_setting_of_an_older_model_does_not_stop_its_use(run, tmp_path):
    model = elman.load(run)
    model.ctc_weight, model.frame_stride = 0.5, 2  # as a folder of an earlier version can have it
    model.save(tmp_path / "run")
    again = elman.load(tmp_path / "run")
    strokes = write_strokes(tmp_path / "new.csv", texts_of(3, 1), 1)
    assert again.predict(strokes) == model.predict(strokes)


def test_a_transcriber_of_texts_is_refused(tmp_path, capsys):
    file = tmp_path / "words.csv"
    file.write_text("word,text\n" + "cat,kat\nbad,bad\n" * 30)
    flags = ["--input", "word:text", "--out", str(tmp_path / "run")]
    assert main(["train", "transcriber", str(file), *flags]) == 2
    error = capsys.readouterr().err
    assert "a transcriber reads audio, images or recordings, got texts; use a translator" in error
    assert not (tmp_path / "run").exists()
