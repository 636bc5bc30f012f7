"""Images with every task: files and arrays, series, live, on the command line, and bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elman
from elman.cli import main
from elman.encode import image_steps
from elman.encode.image_augment import ImageAugment
from elman.encode.image_layer import ImageLayer
from elman.encode.image_steps import ImageIndex, ImageSteps, Pixels
from elman.errors import ArgumentError, DataError
from elman.inputs.image import ImageReader, Images
from elman.padded import Padded
from elman.read.images import open_pixels, read_pixels
from elman.targets import target
from elman.targets.label_settings import LabelSettings

SETTINGS = {"hidden_size": 16, "learning_rate": 0.01, "device": "cpu", "examples": 300, "epochs": 6}


def bars(count: int, seed: int, *, size: int = 12) -> tuple[list[np.ndarray], list[str]]:
    """Return noisy images of a bright bar, and whether it is upright or flat."""
    draw = np.random.default_rng(seed)
    images, labels = [], []
    for _ in range(count):
        image = draw.integers(0, 60, (size, size), dtype=np.uint8)
        place, upright = int(draw.integers(size - 2)), bool(draw.integers(2))
        image[(slice(None), slice(place, place + 2))[:: 1 if upright else -1]] = 200
        images.append(image)
        labels.append("upright" if upright else "flat")
    return images, labels


def write_folder(folder: Path, images: list[np.ndarray], labels: list[str]) -> Path:
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / label / f"{n:03d}.png")
    return folder


@pytest.mark.learns
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scan": "columns"},
        {"scan": "columns", "image_width": 9, "convolution": 8},
        {"scan": "patches", "patch_size": 5},
        {"scan": "patches", "patch_size": 4, "convolution": 4},
        {"scan": "pixels", "image_height": 6},
        {"image_height": 16, "mirror": True},  # with convolutions
    ],
)
def test_a_classifier_learns_from_images(options):
    images, labels = bars(200, 0)
    model = elman.Classifier(inputs="image", **{**SETTINGS, **options}).fit(images, labels)
    images, labels = bars(60, 1)
    assert model.evaluate(images, labels)["accuracy"] > 0.9
    assert "random forest on pixels" in str(model.metrics)


def test_convolutions_read_patches_as_parts_of_the_whole_image():
    index = ImageIndex(18, 13, 3, "patches", patch=8)
    layer = ImageLayer(index, channels=5, size=7)
    image = np.random.default_rng(0).random((2, 18, 13, 3), dtype=np.float32)
    x = Padded.full(torch.from_numpy(np.stack([index.steps(one[None]) for one in image])))
    whole = np.pad(image, ((0, 0), (0, 6), (0, 3), (0, 0))).transpose(0, 3, 1, 2)
    found = torch.from_numpy(whole)
    for convolution in layer.convolve:
        found = convolution(found).relu()
    # The third patch is the first one of the second row; four pixels become one.
    wanted = layer.layer(found[:, :, 2:4, :2].flatten(1))
    assert layer(x).data.shape == (2, 6, 7)
    assert torch.allclose(layer(x).data[:, 2], wanted, atol=1e-6)


def test_convolutions_are_used_by_default_where_they_fit():
    found = {}
    for scan, patch, size in [("rows", 8, 16), ("patches", 8, 16), ("patches", 6, 16)]:
        settings = LabelSettings(scan=scan, patch_size=patch)
        images = Images(ImageReader(settings), ImageIndex(size, size, 1, scan, patch=patch))
        layer, _ = images.layer(settings)
        found[scan, patch] = len(layer.convolve), images.states(16)
    assert found == {("rows", 8): (2, 4), ("patches", 8): (2, 16), ("patches", 6): (0, 16)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_folder(folder / "train", *bars(120, 0))
    write_folder(folder / "test", *bars(30, 1))
    flags = "--hidden-size 16 --learning-rate 0.01 --epochs 6 --examples 300 --device cpu"
    test = f"--test {folder / 'test'} --no-bidirectional"
    words = f"train classifier {folder / 'train'} --out {folder / 'run'} {flags} {test}"
    assert main(words.split()) == 0
    return folder


def test_commands_read_files_folders_and_manifests(run, tmp_path, capsys):
    model = elman.load(run / "run")
    assert model.metrics["model"]["test"]["accuracy"] > 0.9
    files = sorted((run / "test" / "flat").glob("*.png"))
    capsys.readouterr()
    assert main(["predict", str(run / "run"), str(files[0]), "--k", "1"]) == 0
    assert capsys.readouterr().out.split()[1] == model.predict([files[0]])[0]
    out = tmp_path / "labels.csv"
    folder = str(run / "test" / "flat")
    assert main(["predict", str(run / "run"), "--file", folder, "--out", str(out)]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [str(file) for file in files]
    assert [row["label"] for row in rows] == list(model.predict(files))
    arrays, p = [np.asarray(Image.open(file)) for file in files], model.predict_proba(files)
    assert np.array_equal(model.predict_proba(arrays), p)
    assert np.abs(model.predict_proba([one / 255 for one in arrays]) - p).max() < 1e-5
    assert main(["look", str(run / "train")]) == 0
    assert "image" in capsys.readouterr().out


def test_a_run_resumes_to_the_same_weights(run, tmp_path):
    flags = f"train classifier {run / 'train'} --schedule constant --hidden-size 8 --examples 100"
    flags += " --device cpu --epochs"
    short, whole = tmp_path / "short", tmp_path / "whole"
    assert main(f"{flags} 2 --out {short}".split()) == 0
    assert main(f"resume {short} --epochs 3".split()) == 0
    assert main(f"{flags} 3 --out {whole}".split()) == 0
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (short, whole)]
    assert weights[0] == weights[1]


def test_rows_are_read_live_with_the_numbers_of_the_batch(run):
    model = elman.load(run / "run")
    image = bars(1, 5)[0][0]
    whole = dict(zip(model.classes, model.predict_proba([image])[0].tolist(), strict=True))
    live = model.stream()
    found = [live.push(row) for row in image[:5]]
    blob = live.state_bytes()
    live = model.stream()
    live.restore(blob)
    found += [live.push(row) for row in image[5:]]
    assert found[-1] == pytest.approx(whole, abs=1e-5)
    with pytest.raises(ArgumentError, match="expected 12 finite numbers of the next of the rows"):
        live.push(image[:, :5])


def test_a_tagger_reads_the_images_of_a_series_and_continues_live():
    draw = np.random.default_rng(0)
    series, tags = [], []
    for _ in range(80):
        bright = draw.integers(0, 2, int(draw.integers(3, 7)))
        noise = draw.integers(0, 80, (len(bright), 6, 5), dtype=np.uint8)
        series.append(noise + (120 * bright[:, None, None]).astype(np.uint8))
        tags.append(["on" if one else "off" for one in bright])
    settings = {**SETTINGS, "bidirectional": False, "epochs": 4, "distort": 0}
    model = elman.Tagger(inputs="image", **settings).fit(series[:60], tags[:60])
    assert model.evaluate(series[60:], tags[60:])["accuracy"] > 0.95
    live = model.stream()
    assert [live.push(image)[0] for image in series[70]] == list(model.predict([series[70]])[0])
    with pytest.raises(DataError, match="is an image, but the others are series"):
        model.predict([series[0][0]])


def write_lines(count: int, seed: int) -> tuple[list[np.ndarray], list[str]]:
    """Return images of lines of two kinds of letters, which are wide and narrow bars."""
    draw = np.random.default_rng(seed)
    images, texts = [], []
    for _ in range(count):
        text = "".join(draw.choice(["i", "m"], int(draw.integers(2, 6))))
        image = np.zeros((8, 40), dtype=np.uint8)
        at = int(draw.integers(1, 4))
        for one in text:
            width = 2 if one == "i" else 5
            image[1:7, at : at + width] = 220
            at += width + 2
        images.append(image[:, : at + 1])
        texts.append(text)
    return images, texts


@pytest.mark.learns
def test_a_transcriber_reads_lines_of_writing():
    settings = {**SETTINGS, "num_layers": 1, "epochs": 10, "examples": 400}
    model = elman.Transcriber(inputs="image", **settings)  # reads columns
    model.fit(*write_lines(150, 0))
    images, texts = write_lines(40, 1)
    assert model.evaluate(images, texts)["CER"] < 0.1


@pytest.mark.learns
def test_a_translator_describes_images():
    images, labels = bars(150, 0)
    texts = [f"a bar that is {label}" for label in labels]
    settings = {**SETTINGS, "embedding_size": 16, "tokens": "word", "min_count": 1, "epochs": 8}
    model = elman.Translator(inputs="image", **settings).fit(images, texts)
    images, labels = bars(30, 1)
    found = model.predict(images)
    right = [text.split()[-1] == label for text, label in zip(found, labels, strict=True)]
    assert sum(right) >= 27


def test_images_are_one_of_several_inputs(tmp_path):
    images, labels = bars(80, 0)
    write_folder(tmp_path, images, labels)
    with (tmp_path / "m.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["note", "photo", "label"])
        for n, label in enumerate(labels):
            rows.writerow([f"number {n % 3}", f"{label}/{n:03d}.png", label])
    inputs = {"photo": "image", "note": "text"}
    settings = {**SETTINGS, "epochs": 3}
    model = elman.Classifier(inputs=inputs, **settings).fit(tmp_path / "m.csv")
    table = {"photo": [str(tmp_path / "flat" / f"{labels.index('flat'):03d}.png")], "note": ["a"]}
    assert len(model.predict(table)) == 1


def test_a_bad_image_is_skipped_by_name_or_stops(tmp_path, capsys):
    write_folder(tmp_path / "train", *bars(30, 0))
    bad = tmp_path / "train" / "flat" / "bad.png"
    bad.write_bytes(b"not an image")
    flags = f"train classifier {tmp_path / 'train'} --out {tmp_path / 'run'} --epochs 1".split()
    flags += ["--device", "cpu", "--hidden-size", "4", "--examples", "30"]
    assert main(flags) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"elman: {bad} is not an image that can be read")
    assert error.count("\n") == 1
    assert main([*flags, "--skip-bad-rows", str(tmp_path / "bad.csv")]) == 0
    assert "is not an image" in (tmp_path / "bad.csv").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scan": "pixels", "convolution": 4}, "convolution reads rows, columns or patches"),
        ({"scan": "patches", "patch_size": 6, "convolution": 4}, "multiple of 4, got 6"),
        ({"distort": 0.6}, r"distort must be in \[0, 0.5\)"),
        ({"brightness": 1.0}, r"brightness must be in \[0, 1\)"),
        ({"image_height": 0}, "image_height must be at least 1"),
        ({"image_width": 5000}, "must be at most 4,096"),
    ],
)
def test_settings_that_cannot_work_are_named(options, message):
    with pytest.raises(ArgumentError, match=message):
        elman.Classifier(inputs="image", **{**SETTINGS, **options}).fit(*bars(20, 0))


def test_series_and_images_cannot_be_mixed():
    images, labels = bars(20, 0)
    images[7] = np.stack([images[7], images[7]])
    with pytest.raises(DataError, match="row 7 is a series, but the others are images"):
        elman.Classifier(inputs="image", **SETTINGS).fit(images, labels)


def test_changes_are_small_and_the_same_for_a_series():
    image = np.zeros((16, 16, 1), dtype=np.uint8)
    image[4:12, 4:12] = 255
    series = Pixels(open_pixels(np.stack([image, image]), "row 0"))
    steps = ImageSteps(ImageIndex(16, 16, 1, series=True), series)
    change = ImageAugment(distort=0.1)
    found, places = change(steps, np.random.default_rng(0))
    assert np.array_equal(found[0], found[1])
    assert places.tolist() == [0, 1]
    assert 0.05 < np.abs(found[0] - steps.read()[0]).mean() / 255 < 0.2
    assert abs(found[0].mean() - steps.read()[0].mean()) < 25
    assert not ImageAugment()
    assert json.dumps(found.shape) == "[2, 256]"


def test_a_changed_line_of_writing_keeps_its_first_and_last_letter():
    line = np.zeros((16, 200, 1), dtype=np.uint8)
    line[6:10, 2:6] = line[6:10, 194:198] = 255
    steps = ImageSteps(ImageIndex(16, 0, 1, "columns"), Pixels(open_pixels(line, "row 0")))
    widths = set()
    for seed in range(50):
        found, places = ImageAugment(distort=0.2)(steps, np.random.default_rng(seed))
        assert len(places) == len(found)
        widths.add(len(found))
        inked = places[found.max(1) > 100]  # the original columns of those that are not blank
        assert len(inked[inked < 12]) >= 2
        assert len(inked[inked > 187]) >= 2
        assert not ((inked >= 12) & (inked <= 187)).any()
        assert 0.6 < found.sum() / line.sum() < 1.7
    assert min(widths) < 180
    assert max(widths) > 230


def test_the_tags_of_columns_are_mirrored_with_their_image():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    steps = ImageSteps(ImageIndex(3, 4, 1, "columns"), Pixels(open_pixels(image, "row 0")))
    seen = set()
    for seed in range(9):
        found, places = ImageAugment(mirror=True)(steps, np.random.default_rng(seed))
        assert np.array_equal(found, steps.read()[places])
        seen.add(tuple(places.tolist()))
    assert seen == {(0, 1, 2, 3), (3, 2, 1, 0)}


def test_brightness_and_contrast_change_around_the_mean():
    draw = np.random.default_rng(0)
    image = open_pixels(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8), "row 0")
    steps = ImageSteps(ImageIndex(8, 8, 3), Pixels(image))
    whole, change = steps.read(), ImageAugment(brightness=0.3)
    means, spreads = [], []
    for seed in range(200):
        found, _ = change(steps, np.random.default_rng(seed))
        again, _ = change(steps, np.random.default_rng(seed))
        assert found.dtype == np.float32
        assert np.array_equal(found, again)
        assert abs(np.corrcoef(found.ravel(), whole.ravel())[0, 1]) > 0.9999
        means.append(found.mean() / whole.mean())
        spreads.append(found.std() / whole.std())
    for factors in (means, spreads):
        assert 0.7 <= min(factors) < 0.75
        assert 1.25 < max(factors) <= 1.3
    assert abs(np.corrcoef(means, spreads)[0, 1]) < 0.25  # independent of each other
    assert elman.Classifier().brightness == 0


def test_predictions_decode_images_batch_by_batch(run, monkeypatch):
    model = elman.load(run / "run")
    files = sorted((run / "test").rglob("*.png"))
    whole = model.predict_proba(files)
    assert all(item.values is None for item in model.items(run / "test"))
    monkeypatch.setattr(model.labels.settings, "batch_size", 1)
    monkeypatch.setattr(target, "ROWS", 4)
    decoded, read = 0, 0

    def reads(picture, **how):
        nonlocal read
        read += 1
        return read_pixels(picture, **how)

    def runs(inputs):
        nonlocal decoded
        decoded += len(inputs.lengths)
        assert read == decoded  # none is decoded before its batch
        return inputs_run(inputs)

    inputs_run = model.model.run
    monkeypatch.setattr(image_steps, "read_pixels", reads)
    monkeypatch.setattr(model.model, "run", runs)
    assert np.allclose(model.predict_proba(files), whole, atol=1e-6)
    assert decoded == read == len(files)


def test_fractions_of_another_range_than_in_training_are_refused(run):
    model = elman.load(run / "run")
    image = bars(1, 5)[0][0]
    with pytest.raises(DataError, match=r"row 0: has a pixel of 200, .* fractions in 0\.\.1"):
        model.predict([image.astype(float)])
    wide = model.predict_proba([image.astype(np.uint16) * 257])
    assert np.abs(wide - model.predict_proba([image])).max() < 1e-5
    live, rows = model.stream(), model.stream()
    for row in image:
        assert live.push(row.astype(np.uint16) * 257) == pytest.approx(rows.push(row), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, None),
        ({"bidirectional": False}, "live = model.stream(); live.push(row)"),
        ({"bidirectional": False, "scan": "columns"}, "live = model.stream(); live.push(column)"),
        ({"bidirectional": False, "scan": "patches"}, None),
        ({"bidirectional": False, "convolution": 4}, None),
    ],
)
def test_the_model_card_shows_live_use_where_it_works(options, line):
    settings = {**SETTINGS, "epochs": 1, "examples": 20, "hidden_size": 4, **options}
    code = elman.Classifier(inputs="image", **settings).fit(*bars(20, 0)).card("run")
    assert 'model.predict(["image.png"])' in code
    assert ("stream" in code) == (line is not None)
    assert line is None or line in code


@pytest.mark.parametrize(
    ("settings", "cell", "rate"),
    [
        ({}, "lstm", 0.001),
        ({"scan": "pixels"}, "gru", 0.006),
        ({"inputs": ("photo:image,scan=pixels",)}, "gru", 0.006),
        ({"inputs": ("photo:image", "note:text"), "scan": "pixels"}, "lstm", 0.001),
        ({"scan": "pixels", "cell": "lstm", "learning_rate": 0.002}, "lstm", 0.002),
    ],
)
def test_the_cell_and_the_rate_of_images_that_are_read_pixel_by_pixel(settings, cell, rate):
    found = elman.Classifier(**settings).settled()
    assert (found.cell, found.learning_rate) == (cell, rate)
    if cell == "gru":
        with pytest.raises(ArgumentError, match="peephole"):
            elman.Classifier(**settings, peephole=True).check()
