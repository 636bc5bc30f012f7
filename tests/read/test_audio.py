"""Audio files and feature files: what is read, and one clear line for each kind of damage."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from elman.errors import ArgumentError, DataError
from elman.read.audio import cut_clip, open_array, open_file, read_blocks, read_features
from elman.read.audio_source import AudioLayout, AudioSource, is_clips


def tone(seconds: float = 0.5, rate: int = 16000) -> np.ndarray:
    return (0.3 * np.sin(np.arange(int(rate * seconds)) * 0.05)).astype(np.float32)


def samples(clip, place: str = "here") -> np.ndarray:
    return np.concatenate(list(read_blocks(clip, place)))


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        (".wav", "PCM_16", 1e-4),
        (".wav", "FLOAT", 0),
        (".wav", "PCM_U8", 0.01),
        (".flac", None, 1e-4),
        (".ogg", None, 0.05),
        (".mp3", None, 0.05),
        (".aiff", None, 1e-4),
    ],
)
def test_formats_give_the_samples_that_were_written(tmp_path, suffix, subtype, tolerance):
    x = tone()
    soundfile.write(tmp_path / f"a{suffix}", x, 16000, subtype=subtype)
    clip = open_file(tmp_path / f"a{suffix}", "here")
    assert (clip.rate, clip.seconds) == (16000, 0.5)
    found = samples(clip)
    assert found.dtype == np.float32
    assert np.abs(found - x).max() <= tolerance


def test_channels_are_averaged_or_chosen(tmp_path):
    x = np.stack([tone(), 0 * tone()], 1)
    soundfile.write(tmp_path / "a.wav", x, 16000, subtype="FLOAT")
    assert np.allclose(samples(open_file(tmp_path / "a.wav", "here")), x.mean(1))
    assert np.array_equal(samples(open_file(tmp_path / "a.wav", "here", channel=0)), x[:, 0])
    assert not samples(open_file(tmp_path / "a.wav", "here", channel=1)).any()
    with pytest.raises(
        DataError,
        match=r"here: .*a\.wav has no channel 2: its number of channels is 2, .*channel=1",
    ):
        open_file(tmp_path / "a.wav", "here", channel=2)
    for given, last in ((x, 1), (tone(), 0)):
        with pytest.raises(DataError, match=rf"row 3 has no channel 5: .* set channel={last} for"):
            open_array(given, 16000, "row 3", channel=5)


def test_parts_begin_and_end_at_their_seconds(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 16000, subtype="FLOAT")
    clip = cut_clip(open_file(tmp_path / "a.wav", "here"), "0.1", 0.25, "here")
    assert np.array_equal(samples(clip), tone()[1600:4000])
    for start, end in ((0.3, 0.2), (-1, 0.2), (0.1, 9), ("x", 1), (float("inf"), None)):
        with pytest.raises(DataError, match="here: "):
            cut_clip(open_file(tmp_path / "a.wav", "here"), start, end, "here")


def test_an_end_before_its_start_is_named_with_both(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 16000)
    clip = open_file(tmp_path / "a.wav", "m.csv: line 2")
    for end, how in ((0.2, "before"), (0.4, "at")):
        with pytest.raises(DataError) as caught:
            cut_clip(clip, 0.4, end, "m.csv: line 2")
        message = f"m.csv: line 2: the end ({end:g} s) is {how} the start (0.4 s); exchange"
        assert str(caught.value).startswith(message)
    with pytest.raises(DataError, match=r"must be in 0\.\.0\.500 s, .* got 0\.6 and 0\.5"):
        cut_clip(clip, 0.6, None, "m.csv: line 2")  # no end was given
    (tmp_path / "clips.csv").write_text("path\na.wav\n")
    for times, message in (
        ("0.3,0.1", "the end (0.1 s) is before the start (0.3 s)"),
        ("x,0.1", "start must be a number of seconds, got 'x'"),
        (",0.1", "start and end must be seconds from 0 on, got '' and '0.1'"),
    ):
        (tmp_path / "spans.csv").write_text(f"path,start,end,label\na.wav,{times},beep\n")
        spans = tmp_path / "spans.csv"
        source = AudioSource(tmp_path / "clips.csv", spans, LABELLED, spans=True)
        with pytest.raises(DataError) as caught:
            list(source.read())
        assert str(caught.value).startswith(f"{spans}: line 2: {message}")


REMEDIES = {
    "empty": "copy it again, or remove it from the data",
    "only a header": "copy it again",
    "cut": "copy it again",
    "cut flac": "copy it again",
    "missing": "relative paths in a table begin at its folder",
    "text": "convert it to WAV or FLAC",
    "nan": "replace it by 0, or remove the clip",
    "loud": "divide the samples by their full scale, such as 32768, or write integers",
}


@pytest.mark.parametrize("how", REMEDIES)
def test_messages_about_files_end_with_a_remedy(tmp_path, how):
    file = damaged(tmp_path, how)
    with pytest.raises(DataError) as caught:
        samples(open_file(file, "m.csv: line 2"), "m.csv: line 2")
    assert REMEDIES[how] in str(caught.value).rpartition("; ")[2]


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int32, np.float64])
def test_arrays_of_integers_use_their_full_range(dtype):
    x = tone()
    limit = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1
    given = x * 127 + 128 if dtype is np.uint8 else x * limit
    found = samples(open_array(given.astype(dtype), 16000, "here"))
    assert np.abs(found - x).max() < 0.012  # a step of 8 bits is 0.008


LABELLED = AudioLayout(target="label")
DAMAGE = {
    "text": "is not an audio file",
    "empty": "is an empty file",
    "lies": "its header states 320,000 bytes of audio, but it has 16,000",
    "cut": "its header states",
    "no hertz": "is not an audio file that can be read|sample rate",
    "only a header": "has no audio, only a header|its header states",
    "missing": "does not exist",
    "nan": r"a sample that is not a number in \[-1, 1\] \(nan at 0.000 s\)",
    "infinite": "a sample that is not a number",
    "cut flac": "is damaged",
}


def damaged(folder: Path, how: str) -> Path:
    file = folder / ("a.flac" if "flac" in how else "a.wav")
    x = tone()
    x[3] = {"nan": np.nan, "infinite": np.inf, "loud": 5000}.get(how, 0)
    subtype = "FLOAT" if how in ("nan", "infinite", "loud") else "PCM_16"
    soundfile.write(file, x, 16000, subtype=subtype)
    content = bytearray(file.read_bytes())
    if how == "text":
        content = bytearray(b"this is not audio\n" * 50)
    elif how == "empty":
        content = bytearray()
    elif how == "lies":
        content[40:44] = struct.pack("<I", 320_000)
    elif how in ("cut", "cut flac"):
        content = content[: len(content) // 2]
    elif how == "no hertz":
        content[24:28] = struct.pack("<I", 0)
    elif how == "only a header":
        content = content[:44]
    file.write_bytes(content)
    if how == "missing":
        file.unlink()
    return file


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_files_are_refused_in_one_line(tmp_path, how):
    file = damaged(tmp_path, how)
    with pytest.raises(DataError, match=DAMAGE[how]) as caught:
        samples(open_file(file, "m.csv: line 2"), "m.csv: line 2")
    assert str(caught.value).startswith("m.csv: line 2: ")
    assert "\n" not in str(caught.value)


def test_the_length_of_an_endless_stream_is_that_of_its_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 16000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFFF)  # as written to a pipe
    (tmp_path / "a.wav").write_bytes(content)
    assert open_file(tmp_path / "a.wav", "here").seconds == 0.5


@pytest.mark.parametrize("order", [">", "<"])
def test_feature_files_of_both_byte_orders_are_read(tmp_path, order):
    x = np.random.default_rng(0).standard_normal((7, 13)).astype(np.float32)
    count = struct.pack(f"{order}i", x.size)
    (tmp_path / "a.mfc").write_bytes(count + x.astype(f"{order}f4").tobytes())
    np.save(tmp_path / "b.npy", x)
    for name in ("a.mfc", "b.npy"):
        clip = open_file(tmp_path / name, "here")
        assert (len(clip), clip.width) == (7, 13)
        assert np.array_equal(read_features(clip, "here"), x)
    with pytest.raises(DataError, match="feature_size sets the numbers of a frame"):
        open_file(tmp_path / "a.mfc", "here", size=12)
    np.save(tmp_path / "c.npy", x[0])
    with pytest.raises(DataError, match=r"expected numbers \(T, F\), got \(13,\)"):
        open_file(tmp_path / "c.npy", "here")


def test_a_manifest_has_paths_relative_to_itself(tmp_path):
    (tmp_path / "wavs").mkdir()
    soundfile.write(tmp_path / "wavs/a.wav", tone(), 16000)
    (tmp_path / "m.csv").write_text(
        "path,start,end,label\nwavs/a.wav,0.1,0.2,x\nwavs/a.wav,,,y\nwavs/b.wav,,,z\n"
    )
    rows = list(AudioSource(tmp_path / "m.csv", None, LABELLED).read())
    assert [(row.values[0].seconds, row.values[1]) for row in rows[:2]] == [(0.1, "x"), (0.5, "y")]
    assert isinstance(rows[2].values, DataError)
    assert str(rows[2].values).startswith(f"{tmp_path}/m.csv: line 4: ")


def test_a_folder_of_folders_has_labels_and_other_files_are_skipped(tmp_path):
    for name in ("yes", "no"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.flac", tone(), 16000)
    (tmp_path / "README.txt").write_text("about")
    source = AudioSource(tmp_path, None, LABELLED)
    assert [row.values[1] for row in source.read()] == ["no", "yes"]
    assert source.notes == [f"{tmp_path}: 1 files that are not audio are skipped"]
    soundfile.write(tmp_path / "c.wav", tone(), 16000)
    with pytest.raises(DataError, match=r"expected files in .*/NAME/, one folder for each label"):
        AudioSource(tmp_path, None, LABELLED)


def test_the_fingerprint_changes_with_the_audio(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 16000)
    (tmp_path / "m.csv").write_text("path,label\na.wav,x\n")
    before = AudioSource(tmp_path / "m.csv", None, LABELLED).fingerprint()
    assert AudioSource(tmp_path / "m.csv", None, LABELLED).fingerprint() == before
    soundfile.write(tmp_path / "a.wav", tone() / 2, 16000)
    assert AudioSource(tmp_path / "m.csv", None, LABELLED).fingerprint() != before


def test_lists_need_a_rate_or_files(tmp_path):
    layout = LABELLED
    (row,) = AudioSource([(tone(), 16000)], ["x"], layout).read()
    assert (row.values[0].seconds, row.values[1]) == (0.5, "x")
    (row,) = AudioSource([tone()], ["x"], layout).read()
    assert "the sample rate is missing" in str(row.values)
    (row,) = AudioSource([3], ["x"], layout).read()
    assert "expected a path, an array or a pair (samples, rate), got int" in str(row.values)
    with pytest.raises(ArgumentError, match=r"need their targets: fit\(clips, targets\)"):
        AudioSource([tone()], None, layout)


def test_data_that_look_like_audio_are_found(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 16000)
    (tmp_path / "m.csv").write_text("path,label\na.wav,x\n")
    (tmp_path / "t.csv").write_text("text,label\na.wav is a file,x\n")
    (tmp_path / "p.csv").write_text("path,label\nleft and right,x\n")
    for given in (tmp_path, tmp_path / "a.wav", tmp_path / "m.csv", ["x.wav"], [(tone(), 8000)]):
        assert is_clips(given, "path")
    for given in (tmp_path / "t.csv", tmp_path / "p.csv", ["a text"], [tone()], [], None, 3):
        assert not is_clips(given, "path")
