"""Several inputs of one item, given wrongly: damaged and missing files, columns, and values."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

import elman
from elman.cli import main
from elman.encode import image_steps
from elman.errors import ArgumentError, DataError
from elman.inputs.fused_trained import Fused
from elman.inputs.guess import guess_columns
from elman.inputs.kinds import reader_of
from elman.inputs.settings import InputSettings
from elman.read.columns import Table
from elman.read.rows import Rejects

SMALL: dict[str, Any] = {"hidden_size": 4, "epochs": 1, "device": "cpu", "examples": 20}
FLAGS = ["--hidden-size=4", "--epochs=1", "--device=cpu", "--examples=20"]
TWO = ["--input=photo:image", "--input=review:text"]
COUNT = 20


def write_table(folder: Path, name: str = "a.csv", **columns: list[Any]) -> Path:
    path = folder / name
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(columns)
        lines.writerows(zip(*columns.values(), strict=True))
    return path


def columns(**more: list[Any]) -> dict[str, list[Any]]:
    """Return texts with their labels, and further columns."""
    texts = [f"so {'good' if n % 2 else 'bad'} item {n % 3}" for n in range(COUNT)]
    return {"review": texts, **more, "label": ["ab"[n % 2] for n in range(COUNT)]}


def write_photos(folder: Path) -> Path:
    """Write a table of texts and photos."""
    draw = np.random.default_rng(0)
    for n in range(COUNT):
        noise = draw.integers(0, 99, (16, 12, 3), dtype=np.uint8)
        Image.fromarray(noise + np.uint8(150 * (n % 2))).save(folder / f"{n}.png")
    return write_table(folder, **columns(photo=[f"{n}.png" for n in range(COUNT)]))


def skipped(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file of bad rows."""
    return list(csv.DictReader(path.read_text().splitlines()))


def cut(file: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    file.write_bytes(file.read_bytes()[:900])


def animate(file: Path) -> None:
    pages = [Image.new("L", (4, 4), 50 * n) for n in range(3)]
    pages[0].save(file, "GIF", save_all=True, append_images=pages[1:])


def test_rows_whose_photos_cannot_be_decoded_stop_training_or_are_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_photos(tmp_path)
    cut(tmp_path / "7.png")
    animate(tmp_path / "9.png")
    flags = ["train", "classifier", str(table), *TWO, *FLAGS, f"--out={tmp_path / 'run'}"]
    assert main(flags) == 2
    shown = capsys.readouterr().err
    assert "a.csv: line 9: column 'photo': " in shown
    assert shown.count("\n") == 1
    assert main([*flags, f"--skip-bad-rows={tmp_path / 'bad.csv'}"]) == 0
    rows = skipped(tmp_path / "bad.csv")
    assert [row["place"].rpartition("/")[2] for row in rows] == ["a.csv: line 9", "a.csv: line 11"]
    assert "is damaged" in rows[0]["reason"]
    assert "is a series, but the others are images; convert it" in rows[1]["reason"]
    capsys.readouterr()
    assert main(["look", str(table), "--task=classifier", *TWO]) == 0
    assert re.search(r"refused +2 of these rows", capsys.readouterr().out)


def test_rows_whose_clips_cannot_be_read_are_skipped(tmp_path: Path) -> None:
    for n in range(COUNT):
        sound = 0.3 * np.sin(np.arange(1600) * (0.2 + 0.3 * (n % 2)))
        soundfile.write(tmp_path / f"{n}.wav", sound, 8000)
    soundfile.write(tmp_path / "3.wav", np.zeros(9), 8000)
    soundfile.write(tmp_path / "4.wav", np.full(1600, np.nan), 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "5.wav", np.zeros(8000), 8000)
    table = write_table(tmp_path, **columns(clip=[f"{n}.wav" for n in range(COUNT)]))
    inputs = {"clip": "audio", "review": "text"}
    model = elman.Classifier(**SMALL, inputs=inputs, max_seconds=0.9)
    model.fit(table, skip_bad_rows=tmp_path / "bad.csv")
    reasons = [row["reason"] for row in skipped(tmp_path / "bad.csv")]
    for reason, wanted in zip(reasons, ("too short", "not a number", "lasts 1.00 s"), strict=True):
        assert wanted in reason
        assert reason.startswith("column 'clip': ")


def test_photos_are_decoded_once_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, read = write_photos(tmp_path), list[str]()
    original = image_steps.read_pixels

    def count(picture: Any, **how: Any) -> Any:
        read.append(picture.name)
        return original(picture, **how)

    monkeypatch.setattr(image_steps, "read_pixels", count)
    elman.Classifier(**SMALL, inputs={"photo": "image", "review": "text"}).fit(table)
    assert sorted(read) == sorted(f"{n}.png" for n in range(COUNT))


def test_missing_files_are_counted_and_a_wrong_folder_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, run = write_photos(tmp_path), tmp_path / "run"
    (tmp_path / "7.png").unlink()
    train = ["train", "classifier", str(table), *TWO, *FLAGS, "--missing-files", f"--out={run}"]
    predict = ["predict", str(run), f"--out={tmp_path / 'p.csv'}", "--overwrite", "--file"]
    assert main(train) == 0
    shown = re.sub(r"\s+", " ", capsys.readouterr().err)
    assert "column 'photo': 1 of 20 files do not exist, so they are missing inputs" in shown
    assert "photo: 19 images, rows x columns: 16 x 12 (19); read at 16 x 12" in shown
    for command in ([*predict, str(table)], ["evaluate", str(run), str(table)]):
        assert main(command) == 0
        assert "column 'photo': 1 of 20 files do not exist" in capsys.readouterr().err
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    table = table.rename(moved / "a.csv")
    train[2] = str(table)
    train += ["--overwrite"]
    for command in (train, [*predict, str(table)], ["evaluate", str(run), str(table)]):
        assert main(command) == 2
        shown = capsys.readouterr().err
        assert "a.csv: column 'photo': none of its files exists, such as " in shown
        assert shown.count("\n") == 1
    alone = {"photo": ["gone.png"], "review": ["so good"]}
    assert len(elman.load(run).predict(alone)) == 1


def test_a_test_part_without_any_of_its_files_is_an_error(tmp_path: Path) -> None:
    table = write_photos(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "test.csv"
    other.write_text(table.read_text())
    model = elman.Classifier(
        **SMALL, inputs={"photo": "image", "review": "text"}, missing_files=True
    )
    for part in ("validation", "test"):
        with pytest.raises(DataError, match=r"test.csv: column 'photo': none of its files exists"):
            model.fit(table, **{part: other})


def test_a_wrong_folder_of_groups_and_of_recordings_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.zeros((6, 6), np.uint8)
    for n in range(COUNT):
        Image.fromarray(pixels + n).save(tmp_path / f"{n}.png")
    rows = "".join(f"g{n // 2},{n}.png,{n},{'ab'[n // 2 % 2]}\n" for n in range(COUNT))
    groups = tmp_path / "groups.csv"
    groups.write_text(f"talk,photo,size,label\n{rows}")
    steps = "".join(
        f"r{n},{t},{t * n % 5},{n}.png,{'ab'[n % 2]}\n" for n in range(COUNT) for t in range(4)
    )
    recordings = tmp_path / "recordings.csv"
    recordings.write_text(f"unique_id,ds,x,photo,label\n{steps}")
    forms = (
        (groups, ["--group", "talk", "--input", "photo:image", "--input", "size:number"]),
        (recordings, ["--input", "sensor:recordings", "--channels", "x", "--input", "photo:image"]),
    )
    run = tmp_path / "run"
    for table, form in forms:
        train = ["train", "classifier", str(table), *form, *FLAGS, "--missing-files"]
        train += [f"--out={run}", "--overwrite"]
        assert main(train) == 0
        capsys.readouterr()
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        train[2] = str(table.rename(tmp_path / "elsewhere" / table.name))
        for command in (train, ["evaluate", str(run), train[2]]):
            assert main(command) == 2
            shown = capsys.readouterr().err
            assert f"{table.name}: column 'photo': none of its files exists, such as " in shown
            assert shown.count("\n") == 1


def test_progress_and_notes_reach_every_input() -> None:
    images = [np.full((6, 6), n, np.uint8) for n in range(COUNT)]
    settings = InputSettings(inputs=("photo:image", "review:text"))
    reader = reader_of(settings, list(settings.inputs))
    reader.show = True
    model = elman.Classifier(**SMALL, inputs={"photo": "image", "review": "text"})
    target = model._target_kind().column(model)
    source = reader.open(columns(photo=images), target)
    examples = reader.read(source, target, lambda cell, _: cell, Rejects(None))
    assert [part.show for part in reader.parts.values()] == [True, True]  # type: ignore[attr-defined]
    learned = reader.learn(examples, [])
    assert isinstance(learned, Fused)
    notes = learned.notes_on(examples, {}, learned.encode(examples.items))
    assert notes[0] == "photo: 20 images, rows x columns: 6 x 6 (20); read at 6 x 6"
    assert notes[1].startswith("review: repeated texts")


def test_a_table_without_columns_for_inputs_names_what_was_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path, id=[*range(COUNT)], label=columns()["label"])
    flags = ["train", "classifier", str(table), *FLAGS, f"--out={tmp_path / 'run'}"]
    assert main(flags) == 2
    shown = capsys.readouterr().err
    assert "none of the columns 'id' looks like an input" in shown
    assert "set --input COLUMN:KIND" in shown
    assert "--label NAME" in shown
    assert main([*flags, "--label=class"]) == 2
    assert "no column 'class'; its columns: 'id', 'label'" in capsys.readouterr().err
    (tmp_path / "b.csv").write_text("x,label\n1,2,3\n4,5,6\n")
    with pytest.raises(DataError, match="expected 2 fields"):
        guess_columns(Table(tmp_path / "b.csv"), "label")
    unnamed = {"": [*range(0, 40, 2)], **columns()}
    assert guess_columns(Table(unnamed), "label") == {"review": "text"}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["label:category", "review:text"], "column 'label' is named for two different purposes"),
        (["label:category"], "column 'label' is named for two different purposes"),
        (["review", "price:number"], "--input must be KIND or COLUMN:KIND with one of .* 'review'"),
        (["review:image", "price:number"], r"line 2: column 'review': .* expected an image"),
        (["same:text", "price:number"], "column 'same': is the same in all training rows"),
    ],
)
def test_columns_that_cannot_be_inputs_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], inputs: list[str], message: str
) -> None:
    prices = [n % 7 + 0.5 for n in range(COUNT)]
    table = write_table(tmp_path, **columns(price=prices, same=["one word"] * COUNT))
    flags = [f"--input={one}" for one in inputs]
    train = ["train", "classifier", str(table), *flags, *FLAGS, f"--out={tmp_path / 'run'}"]
    assert main(train) == 2
    shown = capsys.readouterr().err
    assert re.search(message, shown)
    assert shown.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def fitted() -> elman.Classifier:
    data = columns(price=[n % 7 + 0.5 for n in range(COUNT)], pic=[*np.eye(COUNT)])
    data["pic"] = [np.full((6, 6), 9 * n, np.uint8) for n in range(COUNT)]
    inputs = {"review": "text", "price": "number", "pic": "image"}
    return elman.Classifier(**SMALL, inputs=inputs, bidirectional=False).fit(data)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "stream needs the other inputs by name, .* pic, price; got none"),
        ({"price": 1}, "pic, price; got price$"),
        ({"price": 1, "pic": None, "size": 3}, "got price, pic, size"),
        ({"price": "x", "pic": None}, "^stream: column 'price': expected a number, got 'x'"),
        ({"price": float("inf"), "pic": None}, "^stream: column 'price': expected a number of"),
        ({"price": 1, "pic": "no.png"}, r"^stream: column 'pic': no\.png does not exist"),
        ({"price": 1, "pic": 3}, "^stream: column 'pic': expected a path or pixels, got int"),
    ],
)
def test_wrong_values_for_a_live_session_are_named(
    fitted: elman.Classifier, given: dict[str, Any], message: str
) -> None:
    with pytest.raises((ArgumentError, DataError), match=message):
        fitted.stream(**given)


def test_none_is_a_missing_input_of_a_live_session(fitted: elman.Classifier) -> None:
    live = fitted.stream(price=None, pic=None)
    given = {"review": ["so good"], "price": [None], "pic": [None]}
    (wanted,) = fitted.predict_proba(given)
    np.testing.assert_allclose(list(live.push("so good").values()), wanted, atol=1e-5)
    with pytest.raises(ArgumentError, match="text must be a string, got NoneType"):
        live.push(None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"review": ["a"], "price": [1]}, "no column 'pic'; its columns: 'review', 'price'"),
        ({"review": ["a"], "price": [1, 2], "pic": [None]}, "must have equal lengths, got 1 in"),
        ({"review": "a", "price": 1, "pic": None}, "expected a list of cells, got one: 'a'"),
        ("no.csv", r"^no\.csv: there is no such file; expected a table or a dict with the columns"),
        ([{"review": "a"}], "several inputs must be a table or a dict with the columns review"),
    ],
)
def test_data_without_the_columns_of_a_model_are_refused(
    fitted: elman.Classifier, given: Any, message: str
) -> None:
    with pytest.raises((ArgumentError, DataError), match=message):
        fitted.predict(given)
