"""Audio in every task: files, manifests and arrays, live in chunks of any size, and bad input."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import elman
from elman.cli import main
from elman.encode.sound import Steps
from elman.encode.sound_frames import compute_all
from elman.errors import ArgumentError, DataError
from elman.report.window_statistics import all_statistics, by_regression, last_and_means
from elman.tasks import spotting
from tests.sounds import RATE, WORDS, clips, spoken, write_folder

FRONT_ENDS = {
    "stacked": {},
    "single frames": {"frame_stack": 1, "frame_stride": 1},
    "skipped frames": {"frame_stack": 2, "frame_stride": 5},
    "overlapping": {"frame_stack": 5, "frame_stride": 2},
    "convolutions": {"convolution": 4},
    "running mean": {"running_norm": "mean", "features": "mfcc"},
    "running variance": {"running_norm": "variance"},
    "resampled": {"sample_rate": 11025, "embedding_size": 8},
}


def classifier(**options) -> elman.Classifier:
    settings = {
        "hidden_size": 8,
        "epochs": 1,
        "device": "cpu",
        "bidirectional": False,
        "examples": 8,
    }
    return elman.Classifier(**{**settings, **options})


@pytest.mark.learns
def test_words_are_learned_from_a_folder_of_files(tmp_path):
    train = write_folder(tmp_path / "train", 80)
    test = write_folder(tmp_path / "test", 40, seed=1)
    model = classifier(hidden_size=24, epochs=12, learning_rate=0.02, examples=240)
    model.fit(train, out=tmp_path / "run")
    assert model.evaluate(test)["accuracy"] >= 0.9
    files = sorted(test.glob("*/*.wav"))
    again = elman.load(tmp_path / "run")
    assert np.array_equal(again.predict_proba(files), model.predict_proba(files))
    assert (again.predict(files) == [file.parent.name for file in files]).mean() >= 0.9


@pytest.fixture(scope="module", params=FRONT_ENDS)
def fitted(request) -> elman.Classifier:
    return classifier(**FRONT_ENDS[request.param]).fit(*clips(12))


def test_a_live_clip_in_chunks_equals_the_batch(fitted):
    """Chunks of random sizes, also single samples, and a part of the clip at every step."""
    draw = np.random.default_rng(3)
    x = np.concatenate([spoken(word, draw) for word in WORDS])
    wanted = fitted.predict_proba([(x, RATE)])[0]
    for largest in (1, 37, 400, 5000):
        live, at, found = fitted.stream(sample_rate=RATE), 0, None
        while at < len(x):
            size = int(draw.integers(0, largest + 1)) if largest > 1 else 1
            found = live.push(x[at : at + size]) or found
            at += size
            if largest == 1 and at > 900:
                break
        found = live.finish() or found
        if largest > 1:
            # The network rounds differently for one step and for many.
            assert found is not None
            assert np.allclose(list(found.values()), wanted, atol=1e-5)


def test_a_live_clip_continues_from_stored_bytes(fitted):
    x = np.concatenate([spoken(word, np.random.default_rng(4)) for word in WORDS])
    live = fitted.stream(sample_rate=RATE)
    live.push(x[:1234])
    blob = live.state_bytes()
    wanted = live.push(x[1234:]), live.finish()
    other = fitted.stream(sample_rate=RATE)
    other.restore(blob)
    found = other.push(x[1234:]), other.finish()
    for a, b in zip(wanted, found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert np.allclose(list(a.values()), list(b.values()), atol=1e-4)
    with pytest.raises(DataError):
        other.restore(blob[:-1])


@pytest.mark.parametrize("rate", [11025, 2 * RATE])
def test_a_state_of_another_sample_rate_is_refused(fitted, rate):
    live = fitted.stream(sample_rate=rate)
    live.push(spoken("ba", np.random.default_rng(0)))
    with pytest.raises(DataError, match="a session with other settings"):
        fitted.stream(sample_rate=RATE).restore(live.state_bytes())


@pytest.mark.parametrize("rate", [RATE, 11025])
def test_no_samples_can_follow_the_end_of_a_sound(fitted, rate):
    x = spoken("ba", np.random.default_rng(0))
    live = fitted.stream(sample_rate=rate)
    live.push(x)
    live.finish()
    assert live.finish() is None
    other = fitted.stream(sample_rate=rate)
    other.restore(live.state_bytes())  # the end is part of the state
    for one in (live, other):
        with pytest.raises(ArgumentError, match=r"call restart\(\) before"):
            one.push(x)
        one.restart()
        one.push(x)


def test_features_that_were_computed_elsewhere_are_read(tmp_path):
    draw = np.random.default_rng(0)
    rows = []
    for n in range(16):
        x = draw.standard_normal((20, 5)) + 3 * (n % 2)
        np.save(tmp_path / f"{n}.npy", x.astype(np.float32))
        rows.append(f"{n}.npy,{'ab'[n % 2]}")
    (tmp_path / "m.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    model = classifier(epochs=3, examples=64, learning_rate=0.02).fit(tmp_path / "m.csv")
    frames = draw.standard_normal((20, 5)) + 3
    wanted = model.predict_proba([frames])[0]
    live, found = model.stream(), {}
    for frame in frames:
        found = live.push(frame) or found  # every third frame completes a step
    assert model.predict([frames]).tolist() == ["b"]
    assert np.allclose(list(found.values()), wanted, atol=1e-5)
    with pytest.raises(DataError, match="has audio, but the others have features"):
        model.predict([(np.zeros(999), 8000)])
    with pytest.raises(ArgumentError, match=r"expected frames \(n, 5\)"):
        live.push(np.zeros((2, 4)))
    change, steps = model.input_.change(), model.input_.encode(model.items([frames]))[0]
    found = [change(steps, draw) for _ in range(30)]
    assert {len(one) for one, _ in found} == {6, 7}, "20 frames at speeds of 0.9 to 1.1"
    assert all(places.max() < len(steps) for _, places in found)
    for options, message in (
        ({"gain": 3}, "gain, shift and noise change samples"),
        ({"features": "mfcc"}, "features needs audio"),
        ({"tract": 0.1}, "tract needs audio"),
    ):
        with pytest.raises(ArgumentError, match=message):
            classifier(**options).fit(tmp_path / "m.csv")


def test_features_are_interpolated_at_another_speed():
    from elman.encode.sound import SoundIndex
    from elman.encode.sound_augment import SoundAugment

    ramp = np.arange(30, dtype=np.float32)[:, None] * [1.0, -2.0]
    steps = Steps(SoundIndex("given", 2, 0), ramp.astype(np.float32))
    found, places = SoundAugment(speed=0.3)(steps, np.random.default_rng(1))
    pace = found[1, 0]
    assert 0.7 < pace < 1.3
    assert pace != 1
    assert np.allclose(found[:, 0], pace * np.arange(len(found)), atol=1e-4)
    assert np.allclose(found[:, 1], -2 * found[:, 0], atol=1e-4)
    assert np.abs(places - found[:, 0]).max() <= 0.51


def test_another_vocal_tract_moves_tones_as_another_frequency_does():
    from elman.encode.sound_augment import warped

    index = classifier().fit(*clips(12)).input_.index

    def tone(frequency):
        x = 0.3 * np.sin(2 * np.pi * frequency / RATE * np.arange(4000)).astype(np.float32)
        return index.frames([x], RATE).mean(0, keepdims=True)

    for frequency, factor in ((700, 1.2), (1500, 0.85), (900, 1.0)):
        moved = warped(tone(frequency), RATE, factor)
        assert abs(moved.argmax() - tone(frequency * factor).argmax()) <= 1
        nothing = abs(tone(frequency).argmax() - tone(frequency * factor).argmax())
        assert (factor == 1) == (nothing == 0), "the frequencies are in different bands"


def test_the_vocal_tract_of_cepstra_is_that_of_their_energies():
    from elman.encode.sound import SoundIndex
    from elman.encode.sound_augment import warped, warped_cepstra

    x = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    cepstra, energies = (SoundIndex(kind, 23, RATE, 1, 1) for kind in ("mfcc", "log-mel"))
    found = [one.frames([x], RATE) for one in (cepstra, energies)]
    whole = warped_cepstra(found[0], RATE, 1.15)
    assert np.abs(whole - found[0]).max() > 1
    # With all 23 coefficients nothing is lost: the inverse gives the energies.
    back = warped_cepstra(whole, RATE, 1.0)
    order = np.arange(23)[:, None]
    cosine = np.sqrt(2 / 23) * np.cos(np.pi / 23 * (np.arange(23) + 0.5) * order)
    cosine[0] /= np.sqrt(2)
    lift = 1 + 11 * np.sin(np.pi * order / 22)
    assert np.allclose(back @ (cosine / lift), warped(found[1], RATE, 1.15), atol=1e-3)


def test_an_epoch_with_cepstra_of_other_vocal_tracts():
    model = classifier(features="mfcc", tract=0.1, epochs=2).fit(*clips(12))
    assert model.input_.change().tract == 0.1


def test_clips_are_pairs_of_any_kind_and_come_from_iterators():
    given, labels = clips(12)
    pairs = ([list(samples), rate] for samples, rate in given)
    model = classifier(seed=2).fit(pairs, iter(labels))
    same = classifier(seed=2).fit(given, labels)
    assert np.allclose(model.predict_proba(given), same.predict_proba(given), atol=1e-4)
    columns = {"path": iter([samples for samples, _ in given]), "label": iter(labels)}
    assert classifier(sample_rate=RATE, inputs="audio").fit(columns).classes == model.classes
    with pytest.raises(ArgumentError, match="path must be a list of cells, got int"):
        model.predict({"path": 1})


def test_parts_of_a_file_are_told_apart(tmp_path, capsys):
    write_folder(tmp_path / "data", 12)
    classifier().fit(tmp_path / "data", out=tmp_path / "run")
    file = sorted((tmp_path / "data").glob("*/*.wav"))[0]
    half = soundfile.info(file).duration / 2
    (tmp_path / "m.csv").write_text(f"path,start,end\n{file},0,{half}\n{file},{half},\n{file},,\n")
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "m.csv"), "--k", "1"]) == 0
    names = [line.rpartition(": ")[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [
        f"{file} [0.00-{half:.2f} s]", f"{file} [{half:.2f}-{2 * half:.2f} s]", str(file)
    ]  # fmt: skip


def test_a_bad_clip_of_a_manifest_is_named_by_its_line(tmp_path, capsys):
    write_folder(tmp_path / "data", 12)
    classifier().fit(tmp_path / "data", out=tmp_path / "run")
    good = sorted((tmp_path / "data").glob("*/*.wav"))[0]
    soundfile.write(tmp_path / "bad.wav", np.full(4000, np.nan), RATE, subtype="FLOAT")
    (tmp_path / "m.csv").write_text(f"path\n{good}\nbad.wav\n")
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "m.csv"), "--k", "1"]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith(str(good))
    assert "m.csv: line 3: bad.wav has a sample that is not a number" in printed.err


def test_the_regression_of_audio_reads_all_statistics():
    pytest.importorskip("sklearn")
    draw, labels = np.random.default_rng(0), torch.arange(60) % 2
    arrays = [draw.standard_normal((30, 2)) * (1 + 3 * (n % 2)) for n in range(60)]
    for one in arrays:
        one[-1] = one.mean(0)  # no information in the last value
    windows = arrays, np.zeros((60, 0)), np.arange(60)
    for features, right in ((all_statistics, True), (last_and_means, False)):
        _, found = by_regression(windows, labels, {"test": windows}, 2, features=features)
        assert ((found["test"].argmax(1) == labels).float().mean() > 0.95) == right


def test_a_second_run_reads_the_features_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path / "cache"))
    folder = write_folder(tmp_path / "data", 12)
    first = classifier(seed=3).fit(folder)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("frames")}
    assert len(times) == 1
    monkeypatch.setattr("elman.encode.sound_frames.compute", None)  # must not be called
    second = classifier(seed=3).fit(folder)
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert a.equal(b)


def test_other_processes_receive_the_place_of_frames_in_the_cache(tmp_path):
    folder = write_folder(tmp_path, 12)
    model = classifier().fit(folder)
    items = model.input_.reader.open(folder, model.target_.column(model)).read()
    clips_ = [row.values[0] for row in items]
    sounds = compute_all(clips_, [""] * 12, model.input_.index, lambda _: None)
    assert sum(sound.frames.nbytes for sound in sounds) > 20_000
    sent = [pickle.dumps(sound.frames[3:]) for sound in sounds]
    assert max(map(len, sent)) < 500
    for sound, one in zip(sounds, map(pickle.loads, sent), strict=True):
        assert np.array_equal(one, sound.frames[3:])
    for made in (sounds[0].frames[:, ::2], sounds[0].frames * 2, sounds[0].frames[3:3]):
        again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(made))))
        assert np.array_equal(again, made)
    (tmp_path / "sent").write_bytes(sent[0])
    program = f"import pickle; print(pickle.load(open({str(tmp_path / 'sent')!r}, 'rb')).sum())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert float(done.stdout) == pytest.approx(float(sounds[0].frames[3:].sum()), rel=1e-4)


def test_damaged_frames_in_the_cache_are_computed_again(tmp_path, monkeypatch):
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path / "cache"))
    folder = write_folder(tmp_path / "data", 12)
    model = classifier().fit(folder)
    items = model.input_.reader.open(folder, model.target_.column(model)).read()
    given = [row.values[0] for row in items], [""] * 12, model.input_.index, lambda _: None
    wanted = [sound.frames.copy() for sound in compute_all(*given)]
    for file in (tmp_path / "cache").rglob("frames"):
        file.write_bytes(file.read_bytes()[:-400])
    for found, frames in zip(compute_all(*given), wanted, strict=True):
        assert np.array_equal(found.frames, frames)


def test_augmentation_is_seeded_and_changes_only_training(tmp_path):
    noise = tmp_path / "noise"
    noise.mkdir()
    soundfile.write(noise / "n.wav", np.random.default_rng(0).standard_normal(4000) * 0.1, 16000)
    options = {
        "masks": 1, "speed": 0.2, "gain": 6, "shift": 0.05, "noise": str(noise), "noise_snr": 5,
        "tract": 0.1,
    }  # fmt: skip
    models = [classifier(seed=1, **options).fit(*clips(12)) for _ in range(2)]
    plain = classifier(seed=1).fit(*clips(12))
    first, second, other = (next(m.model.core.parameters()) for m in (*models, plain))
    assert first.equal(second)
    assert not first.equal(other)
    change = models[0].input_.change()
    steps: Steps = models[0].input_.encode(models[0].items(clips(1)[0]))[0]
    draw = np.random.default_rng(0)
    lengths = set()
    for _ in range(20):
        found, places = change(steps, draw)
        lengths.add(len(found))
        assert len(found) == len(places)
        assert places.min() >= 0
        assert places.max() < len(steps)
        assert np.isfinite(found).all()
    assert len(lengths) > 1


def test_noise_has_the_signal_to_noise_ratio_that_is_set():
    from elman.encode.sound_augment import SoundAugment
    from elman.read.audio import open_array

    draw = np.random.default_rng(0)
    noise = open_array(draw.standard_normal(9000).astype(np.float32), 16000, "noise")
    x = np.sin(np.arange(4000) / 9).astype(np.float32)
    augment = SoundAugment(noise=[noise], snr=10.0)
    ratios = []
    for _ in range(50):
        added = augment._noise(x, 8000, draw)
        ratios.append(10 * np.log10(np.mean(x**2) / np.mean(added**2)))
    assert min(ratios) >= 10 - 1e-3
    assert max(ratios) <= 30 + 1e-3
    assert max(ratios) - min(ratios) > 10


def test_frames_are_tagged_by_a_table_of_spans(tmp_path, capsys):
    draw = np.random.default_rng(0)
    spans = ["path,start,end,label"]
    (tmp_path / "wavs").mkdir()
    for n in range(20):
        x = 0.01 * draw.standard_normal(RATE)
        begin = int(draw.integers(1000, 4000))
        x[begin : begin + 2000] += np.sin(np.arange(2000))
        soundfile.write(tmp_path / "wavs" / f"{n}.wav", x, RATE)
        spans.append(f"wavs/{n}.wav,{begin / RATE:.3f},{(begin + 2000) / RATE:.3f},beep")
    (tmp_path / "clips.csv").write_text("path\n" + "".join(f"wavs/{n}.wav\n" for n in range(20)))
    (tmp_path / "spans.csv").write_text("\n".join(spans) + "\n")
    model = elman.Tagger(
        inputs="audio", tags="label", hidden_size=8, epochs=6, learning_rate=0.03, examples=60,
        device="cpu", window=None,
    )  # fmt: skip
    model.fit(tmp_path / "clips.csv", tmp_path / "spans.csv")
    scores = model.evaluate(tmp_path / "clips.csv", tmp_path / "spans.csv")
    assert scores["accuracy"] > 0.9
    tags = model.predict([str(tmp_path / "wavs/0.wav")])[0]
    assert len(tags) == 98
    assert {"beep", "none"} == set(tags)
    model.save(tmp_path / "run")
    file = str(tmp_path / "wavs/0.wav")
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), file]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    out = tmp_path / "tags.jsonl"
    assert main(["predict", str(tmp_path / "run"), "--file", file, "--out", str(out)]) == 0
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert [[float(a), float(b), tag] for a, b, tag in shown] == [
        [round(a, 2), round(b, 2), tag] for a, b, tag in row["spans"]
    ]
    assert row["path"] == file


def test_bad_files_are_named_or_skipped(tmp_path, capsys):
    folder = write_folder(tmp_path / "data", 12)
    (folder / "ba" / "bad.wav").write_bytes(b"this is a text\n")
    out = tmp_path / "run"
    common = ["train", "classifier", str(folder), "--out", str(out), "--epochs", "1"]
    common += ["--hidden-size", "4", "--examples", "8", "--device", "cpu"]
    assert main(common) == 2
    error = capsys.readouterr().err
    assert "bad.wav is not an audio file that can be read" in error
    assert "Traceback" not in error
    assert not out.exists()
    assert main([*common, "--skip-bad-rows", str(tmp_path / "bad.csv")]) == 0
    assert "bad.wav" in (tmp_path / "bad.csv").read_text()
    assert "bad audio clips skipped: 1" in (out / "run.jsonl").read_text()


def test_long_short_silent_and_clipped_clips_are_named(tmp_path):
    folder = write_folder(tmp_path / "data", 12)
    soundfile.write(folder / "ba" / "silent.wav", np.zeros(4000), RATE)
    soundfile.write(folder / "ba" / "clipped.wav", np.sign(np.sin(np.arange(4000) / 9)), RATE)
    model = classifier()
    model.fit(folder, out=tmp_path / "run")
    report = (tmp_path / "run" / "run.jsonl").read_text()
    assert "silent clips: silent.wav" in report
    assert "clipped clips: clipped.wav" in report
    assert "14 clips" in report
    soundfile.write(folder / "ba" / "long.wav", np.zeros(5 * RATE), RATE)
    with pytest.raises(DataError, match=r"long.wav lasts 5\.00 s, more than max_seconds=4"):
        classifier(max_seconds=4).fit(folder)
    soundfile.write(folder / "ba" / "long.wav", np.zeros(200), RATE)
    with pytest.raises(DataError, match=r"too short: 0.025 s, at least 0.045 s are needed"):
        classifier().fit(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 10}, "sample_rate must be in"),
        ({"features": "mel"}, "features must be one of log-mel, mfcc"),
        ({"speed": 0.5}, "speed must be in"),
        ({"masks": -1}, "masks must be at least 0"),
        ({"convolution": 4, "frame_stack": 3}, "convolution reads 7 frames"),
        ({"noise": "no/such/folder"}, "no/such/folder"),
        ({"noise_snr": 5.0}, "noise_snr needs noise"),
    ],
)
def test_settings_that_cannot_work_are_refused(options, message):
    with pytest.raises((ArgumentError, DataError), match=message):
        classifier(**options).fit(*clips(12))


def test_memory_does_not_grow_with_the_length_of_a_live_clip():
    """Ten minutes of audio need no more memory than the first ones."""
    program = """
import resource, numpy as np, elman
from tests.sounds import clips
model = elman.Classifier(hidden_size=8, epochs=1, device="cpu", bidirectional=False, examples=8)
live = model.fit(*clips(16)).stream(sample_rate=16000)
x = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
def run(seconds):
    for _ in range(seconds):
        live.push(x)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
first = run(30)
print(run(300) - first)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 3  # MB; the features of 300 s alone have 5 MB


def test_a_translator_writes_texts_of_audio(tmp_path):
    sounds, names = clips(24)
    model = elman.Translator(
        inputs="audio", tokens="word", min_count=1, hidden_size=12, epochs=1, device="cpu",
        examples=24, bidirectional=False,
    ).fit(sounds, names)  # fmt: skip
    found = model.predict(sounds[:3])
    assert len(found) == 3
    live = model.stream(sample_rate=RATE)
    for chunk in np.array_split(sounds[0][0], 5):
        live.push(chunk)
    assert live.finish() == found[0]


def test_audio_is_one_of_several_inputs(tmp_path):
    folder = write_folder(tmp_path / "data", 24)
    rows = [
        (str(path.relative_to(folder)), f"a {path.parent.name} word", path.parent.name)
        for path in sorted(folder.glob("*/*.wav"))
    ]
    table = folder / "table.csv"
    table.write_text("sound,note,label\n" + "".join(",".join(row) + "\n" for row in rows))
    model = classifier(inputs={"sound": "audio", "note": "text"}, epochs=2, min_count=1)
    model.fit(table, out=tmp_path / "run")
    given = {"sound": [str(folder / rows[0][0])], "note": [rows[0][1]]}
    p = elman.load(tmp_path / "run").predict_proba(given)
    assert p.shape == (1, 4)
    live = model.stream(note=rows[0][1])
    x, rate = soundfile.read(folder / rows[0][0], dtype="float32")
    assert rate == RATE
    found = live.push(x)
    assert np.allclose(list((live.finish() or found).values()), p[0], atol=1e-5)


@pytest.mark.parametrize(
    ("task", "options", "shown"),
    [
        (elman.Classifier, {"bidirectional": True}, []),
        (elman.Classifier, {}, ["stream"]),
        (elman.Classifier, {"bidirectional": True, "keywords": ("ba",)}, ["spot"]),
        (elman.Classifier, {"keywords": ("ba",)}, ["stream", "spot"]),
        (elman.Transcriber, {"bidirectional": True}, []),
        (elman.Transcriber, {}, ["stream"]),
        (elman.Translator, {}, []),
    ],
)
def test_the_lines_of_the_model_card_work(tmp_path, monkeypatch, task, options, shown):
    monkeypatch.setattr(spotting, "SECONDS", 10)
    monkeypatch.chdir(tmp_path)
    settings = {"hidden_size": 4, "epochs": 1, "device": "cpu", "bidirectional": False}
    inputs = {} if task is elman.Transcriber else {"inputs": "audio"}
    model = task(**{**settings, "examples": 8, **inputs, **options})
    model.fit(*clips(24), out=tmp_path / "run")
    samples = spoken("ba", np.random.default_rng(0))
    soundfile.write("clip.wav", samples, RATE)
    lines = (tmp_path / "run" / "README.md").read_text().partition("```python\n")[2]
    code = lines.partition("```")[0]
    assert [name for name in ("stream", "spot") if f"model.{name}(" in code] == shown
    assert "model.predict(" in code
    exec(code, {"samples": samples})  # each line runs without an error


def test_the_model_card_of_features_shows_their_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    arrays = [draw.standard_normal((40, 13)).astype(np.float32) for _ in range(24)]
    model = classifier(inputs="audio").fit(arrays, ["a", "b"] * 12, out=tmp_path / "run")
    np.save("clip.npy", arrays[0])
    code = model.card("run").partition("```python\n")[2].partition("```")[0]
    assert "live.push(frames)" in code
    exec(code, {"frames": arrays[0]})


@pytest.mark.parametrize("rate", [RATE, 16000])
def test_finish_returns_the_rest_of_the_sound(rate):
    model = classifier().fit(*clips(12))
    x = np.tile(spoken("mo", np.random.default_rng(0)), 3)
    live = model.stream(sample_rate=rate)
    assert live.push(x[:50]) is None  # completes no step
    live.push(x)
    assert (live.finish() is None) == (rate == RATE)  # the resampler has kept some sound
    live.restart()
    assert live.push(x) is not None


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"examples": None}, "times, so that it has at least 2,000; set examples=N for another"),
        ({"examples": 100}, "times; set examples=N for another number"),
    ],
)
def test_a_note_says_why_an_epoch_reads_clips_several_times(tmp_path, options, note):
    classifier(**options).fit(*clips(24), out=tmp_path / "run")
    assert note in (tmp_path / "run" / "run.jsonl").read_text()
