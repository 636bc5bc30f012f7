"""Images: formats, series, arrays, sources, and damaged files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from elman.encode import image_steps
from elman.encode.image_steps import ImageIndex, values_of
from elman.errors import ArgumentError, DataError
from elman.read import images
from elman.read.audio_source import AudioLayout, clip_of
from elman.read.file_source import FileLayout
from elman.read.image_source import ImageSource, is_images, picture_of
from elman.read.images import Picture, open_image, open_picture, open_pixels, read_pixels

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
LABELLED = FileLayout(target="label")


def pixels(picture: Picture, *, grey: bool = True, size: tuple[int, int] | None = None):
    wanted = size or (picture.height, picture.width)
    return np.stack([*read_pixels(picture, grey=grey, size=wanted)])


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp", "a.gif", "a.pgm"])
def test_formats_without_loss_are_read_exactly(tmp_path, name):
    options = {"lossless": True} if name == "a.webp" else {}
    Image.fromarray(RAMP).save(tmp_path / name, **options)
    picture = open_picture(tmp_path / name, "here")
    assert (picture.height, picture.width, len(picture)) == (6, 8, 1)
    assert np.abs(pixels(picture)[0, :, :, 0].astype(int) - RAMP).max() <= 1


def test_colours_and_grey(tmp_path):
    colours = np.zeros((4, 4, 3), dtype=np.uint8)
    colours[..., 0] = 200
    Image.fromarray(colours).save(tmp_path / "red.png")
    red = open_picture(tmp_path / "red.png", "here")
    assert not red.grey
    assert np.array_equal(pixels(red, grey=False)[0], colours)
    assert (pixels(red) == 60).all()  # 0.299 * 200
    assert np.array_equal(pixels(open_pixels(colours, "here")), pixels(red))
    assert pixels(open_pixels(RAMP, "here"), grey=False).shape == (1, 6, 8, 3)


def test_transparent_pixels_are_white(tmp_path):
    clear = np.zeros((4, 4, 4), dtype=np.uint8)
    clear[:2, :, 3] = 255
    Image.fromarray(clear).save(tmp_path / "a.png")
    for picture in (open_picture(tmp_path / "a.png", "here"), open_pixels(clear, "here")):
        assert pixels(picture)[0, :, :, 0].tolist() == [[0] * 4] * 2 + [[255] * 4] * 2


@pytest.mark.parametrize("largest", [255, 40_000])
def test_the_type_of_16_bits_decides_the_scale_for_any_values(tmp_path, largest):
    wide = (RAMP.astype(np.uint16) * (largest // 255)).astype(np.uint16)
    Image.fromarray(wide).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", wide)
    for picture in (
        open_picture(tmp_path / "a.png", "here"),
        open_picture(tmp_path / "a.npy", "here"),
        open_pixels(wide, "here"),
        open_image(Image.open(tmp_path / "a.png"), "here"),
        open_image(Image.fromarray(wide.astype(np.int32)), "here"),
    ):
        found = pixels(picture)[0, :, :, 0]
        assert found.dtype == np.float32
        assert np.array_equal(found, wide.astype(np.float32) / 257)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.uint64])
def test_integers_of_other_types_are_in_0_to_255(dtype):
    assert np.array_equal(pixels(open_pixels(RAMP.astype(dtype), "here"))[0, :, :, 0], RAMP)
    if dtype != np.uint8:
        with pytest.raises(
            DataError, match=r"must be in 0\.\.255, got 0\.\.256; convert .* uint16"
        ):
            open_pixels(np.array([[0, 256]], dtype=dtype), "here")


def test_files_of_arrays_and_of_fractions_are_not_kept_in_memory(tmp_path):
    shares = (RAMP / 255).astype(np.float32)
    np.save(tmp_path / "a.npy", shares)
    Image.fromarray(shares).save(tmp_path / "a.tif")
    for name in ("a.npy", "a.tif"):
        picture = open_picture(tmp_path / name, "here")
        assert picture.source == tmp_path / name
        assert picture.largest == shares.max()
        assert np.array_equal(pixels(picture)[0, :, :, 0], shares)


def test_opacity_has_the_scale_of_the_type():
    clear = np.zeros((2, 2, 4), dtype=np.uint8)
    clear[0, 0, 3] = 255
    for given in (clear, clear.astype(np.uint16) * 257, clear / 255):
        found = pixels(open_pixels(given, "here"))[0, :, :, 0]
        white = 1 if given.dtype.kind == "f" else 255
        assert found.tolist() == [[0, white], [white, white]]
    with pytest.raises(DataError, match=r"the opacity, must be in 0\.\.1, got 0\.\.255"):
        open_pixels(clear.astype(float), "here")


def test_an_image_is_rotated_as_its_exif_tag_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to the right
    Image.fromarray(RAMP).save(tmp_path / "a.png", exif=exif)
    picture = open_picture(tmp_path / "a.png", "here")
    assert (picture.height, picture.width) == (8, 6)
    assert np.array_equal(pixels(picture)[0, :, :, 0], np.rot90(RAMP, -1))


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.webp", "a.png"])
def test_animated_files_and_files_of_several_pages_are_series(tmp_path, name):
    frames = [np.full((4, 5), 60 * n + 20, dtype=np.uint8) for n in range(3)]
    first, *rest = [Image.fromarray(one) for one in frames]
    options = {"lossless": True} if name == "a.webp" else {}
    first.save(tmp_path / name, save_all=True, append_images=rest, **options)
    picture = open_picture(tmp_path / name, "here")
    assert (picture.series, len(picture)) == (True, 3)
    found = pixels(picture)
    assert found.shape == (3, 4, 5, 1)
    assert np.abs(found[:, 0, 0, 0].astype(int) - [20, 80, 140]).max() <= 2


def test_a_folder_of_images_is_a_series_in_the_order_of_names(tmp_path):
    for n in (2, 0, 1):
        Image.fromarray(np.full((4, 5), n, dtype=np.uint8)).save(tmp_path / f"f{n}.png")
    (tmp_path / "about.txt").write_text("frames")
    picture = open_picture(tmp_path, "here")
    assert (picture.series, len(picture)) == (True, 3)
    assert pixels(picture)[:, 0, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("shape", "series", "count"),
    [
        ((6, 8), False, 1),
        ((6, 8, 3), False, 1),
        ((6, 8, 1), False, 1),
        ((5, 6, 8), True, 5),
        ((5, 6, 8, 3), True, 5),
    ],
)
def test_the_shape_of_an_array_decides(shape, series, count):
    picture = open_pixels(np.zeros(shape, dtype=np.uint8), "here")
    assert (picture.series, len(picture), picture.height, picture.width) == (series, count, 6, 8)


def test_fractions_stay_fractions_and_are_scaled_to_a_size():
    picture = open_pixels(np.linspace(0, 1, 64).reshape(8, 8), "here")
    assert picture.largest == 1
    half = pixels(picture, size=(4, 4))
    assert half.dtype == np.float32
    assert half.shape == (1, 4, 4, 1)
    assert abs(half.mean() - 0.5) < 0.02


DAMAGE = {
    "missing": "does not exist",
    "empty": "is an empty file",
    "text": "is not an image that can be read",
    "cut": "is damaged",
    "bomb": "has more than 100,000,000 pixels; make it smaller",
}


def damaged(folder: Path, how: str) -> Path:
    file = folder / "a.jpg"
    if how == "bomb":
        Image.new("1", (30_000, 30_000)).save(folder / "a.png")
        return folder / "a.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    content = file.read_bytes()
    if how == "missing":
        file.unlink()
    else:
        cut = {"empty": b"", "text": b"this is not an image\n" * 9, "cut": content[:2000]}
        file.write_bytes(cut[how])
    return file


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_files_are_refused_in_one_line(tmp_path, how):
    file = damaged(tmp_path, how)

    def read() -> None:
        list(read_pixels(open_picture(file, place), grey=True, size=(8, 8)))

    place = "m.csv: line 2"
    with pytest.raises(DataError, match=DAMAGE[how]) as caught:
        read()
    assert str(caught.value).startswith(f"m.csv: line 2: {file}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(5), "expected pixels"),
        (np.zeros((2, 3, 4, 5)), "expected pixels"),
        (np.zeros((0, 4)), "has no pixels"),
        (np.full((4, 4), np.nan), "not a finite number"),
        (np.full((4, 4), -1), "pixels of type int64 must be in 0..255"),
        (np.array([["a"]]), "expected pixels"),
        ([[1, 2], [3]], "rows of different lengths"),
        (3, "expected a path or pixels, got int"),
        ("", "column 'path' is empty"),
    ],
)
def test_cells_that_are_no_images_are_named(given, message):
    with pytest.raises(DataError, match=f"row 3: .*{message}"):
        picture_of(given, "row 3", "path", Path())


def test_sources_of_images(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "all" / name).mkdir(parents=True)
        Image.fromarray(RAMP).save(tmp_path / "all" / name / "a.png")
    found = [row.values for row in ImageSource(tmp_path / "all", None, LABELLED).read()]
    assert [(one[0].name, one[1]) for one in found] == [("a.png", "cat"), ("a.png", "dog")]
    (tmp_path / "m.csv").write_text("path,label\nall/cat/a.png,x\nall/b.png,y\n")
    source = ImageSource(tmp_path / "m.csv", None, LABELLED)
    first, second = source.read()
    assert first.values[1] == "x"
    assert "line 3: " in str(second.values)
    before = source.fingerprint()
    Image.fromarray(RAMP // 2).save(tmp_path / "all" / "cat" / "a.png")
    assert source.fingerprint() != before
    (row,) = ImageSource([Image.fromarray(RAMP)], ["x"], LABELLED).read()
    assert (row.values[0].height, row.values[1]) == (6, "x")
    with pytest.raises(ArgumentError, match=r"need their targets: fit\(images, targets\)"):
        ImageSource([RAMP], None, LABELLED)
    for given in (tmp_path / "all", tmp_path / "m.csv", ["a.png"], [Image.fromarray(RAMP)]):
        assert is_images(given, "path")
    for given in (["a.wav"], [RAMP], ["a text"], tmp_path / "none.csv", None):
        assert not is_images(given, "path")


PEAK = """
import resource, sys
from pathlib import Path
from PIL import Image
from elman.read.images import open_picture, read_pixels
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    for pixels in read_pixels(open_picture(Path(name), name), grey=False, size=(8, 8)):
        assert pixels.shape == (8, 8, 3)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_a_large_image_needs_little_more_memory_than_its_pixels(tmp_path):
    size = (4000, 4000)
    Image.new("RGBA", size).save(tmp_path / "a.png", compress_level=1)
    Image.new("I;16", size).save(tmp_path / "b.tif", compression="tiff_deflate")
    Image.new("F", size).save(tmp_path / "c.tif", compression="tiff_deflate")
    files = [str(tmp_path / name) for name in ("a.png", "b.tif", "c.tif")]
    run = [sys.executable, "-c", PEAK, *files]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 250  # MB; 64 MB of pixels, twice, and parts of them


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "P", "I;16", "F"])
@pytest.mark.parametrize("grey", [True, False])
def test_images_read_in_parts_are_those_read_at_once(tmp_path, monkeypatch, mode, grey):
    noise = np.random.default_rng(0).integers(0, 255, (37, 53, 4), dtype=np.uint8)
    kinds = {"I;16": noise[..., 0].astype(np.uint16) * 250, "F": noise[..., 0] / np.float32(255)}
    image = Image.fromarray(kinds[mode]) if mode in kinds else Image.fromarray(noise).convert(mode)
    image.save(tmp_path / "a.tif")
    picture = open_picture(tmp_path / "a.tif", "here")
    whole = pixels(picture, grey=grey, size=(20, 30))
    monkeypatch.setattr(images, "BAND", 200)
    again = open_picture(tmp_path / "a.tif", "here")
    assert again == picture
    assert np.array_equal(pixels(again, grey=grey, size=(20, 30)), whole)


def test_every_page_of_a_file_is_checked(tmp_path, monkeypatch):
    pages = [Image.new("L", (4, 4)), Image.new("L", (40, 40))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    monkeypatch.setattr(images, "MOST_PIXELS", 1000)
    with pytest.raises(DataError, match=r"a\.tif has more than .* pixels"):
        pixels(open_picture(tmp_path / "a.tif", "here"))
    with pytest.raises(DataError, match="row 3 has more than"):
        open_pixels(np.zeros((40, 40)), "row 3")
    many = open_pixels(np.zeros((90, 4, 5)), "row 3")
    monkeypatch.setattr(image_steps, "MOST_PIXELS", 1000)
    with pytest.raises(DataError, match=r"row 3: has 90 images, .* cut the series, or set"):
        values_of(many, ImageIndex(4, 5, 1, series=True))


def test_a_photo_of_two_lenses_is_one_image(tmp_path):
    photos = [Image.new("RGB", (8, 6), "red"), Image.new("RGB", (8, 6), "blue")]
    photos[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=photos[1:])
    picture = open_picture(tmp_path / "a.jpg", "here")
    assert not picture.series
    assert pixels(picture, grey=False)[0, 0, 0, 0] > 200


def test_no_other_program_is_started_to_draw_an_image(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png", "EPS")
    with pytest.raises(DataError, match="is not an image that can be read"):
        open_picture(tmp_path / "a.png", "here")


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "PNG", "GIF", "JPEG"])
def test_random_bytes_in_a_file_are_an_error_of_one_line(tmp_path, capfd, kind):
    draw, file = np.random.default_rng(0), tmp_path / "a.png"
    Image.fromarray(RAMP).convert("RGB").save(file, kind)
    content, refused = file.read_bytes(), list[str]()
    for _ in range(150):
        changed = bytearray(content)
        changed[int(draw.integers(min(len(content), 200)))] = int(draw.integers(256))
        at = int(draw.integers(min(len(content), 200)))
        del changed[at : at + int(draw.integers(0, 5))]
        file.write_bytes(bytes(changed))
        try:
            pixels(open_picture(file, "m.csv: line 2"), size=(8, 8))
        except DataError as error:
            refused.append(str(error))
    assert refused
    assert all(one.startswith("m.csv: line 2: ") and "\n" not in one for one in refused)
    assert capfd.readouterr().err == ""


def hidden(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0)


HOW = {
    "a folder without files": Path.mkdir,
    "is a pipe or a device": os.mkfifo,
    "cannot be read .*symbolic links": lambda path: path.symlink_to(path.name),
    "cannot be read .*denied": hidden,
}


@pytest.mark.parametrize("message", HOW)
@pytest.mark.parametrize("name", ["a.png", "a.wav"])
def test_paths_that_are_no_files_are_named_with_their_row(tmp_path, monkeypatch, message, name):
    HOW[message](tmp_path / name)
    if "denied" in message and os.geteuid() == 0:  # a superuser can read everything

        def refuse(path: Path, mode: str) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", refuse)
    if name == "a.wav":
        message = message.replace("a folder without files", "is a folder")
        with pytest.raises(DataError, match=rf"^m\.csv: line 2: .*{message}.*; "):
            clip_of(name, "m.csv: line 2", AudioLayout(), tmp_path)
    else:
        with pytest.raises(DataError, match=rf"^m\.csv: line 2: .*{message}.*; "):
            picture_of(name, "m.csv: line 2", "photo", tmp_path)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("https://example.org/a.png", "has the address https://example.org/a.png, expected"),
        (" ", "is empty, expected a path"),
        ("x" * 5000, r"x\.\.\. cannot be read \(File name too long\); correct the name"),
        ("a\0b.png", "cannot be read .*null"),
    ],
)
def test_texts_that_are_no_names_of_files_are_refused(cell, message):
    with pytest.raises(DataError, match=f"^row 3: .*{message}") as caught:
        picture_of(cell, "row 3", "photo", Path())
    assert len(str(caught.value)) < 400
