"""Key words in running sound: live in chunks of any size, chosen thresholds, and the commands."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import elman
from elman.cli import main
from elman.decode.spotting import Detector, Spotted, Spotting
from elman.errors import ArgumentError, DataError, FolderError
from elman.read.examples import Examples
from elman.tasks import spotting
from tests.sounds import RATE, WORDS, clips, spoken, write_folder
from tests.states import resealed

MODELS = {
    "both directions": {},
    "forward": {"bidirectional": False, "pooling": "last"},
    "convolutions": {"convolution": 4, "skip": True},
    "two words, resampled": {"sample_rate": 11025, "keywords": ("ba", "ki")},
}


def classifier(**options) -> elman.Classifier:
    usual = {"hidden_size": 8, "epochs": 1, "examples": 40, "device": "cpu", "keywords": ("ba",)}
    return elman.Classifier(**{**usual, **options})


def running_sound(count: int, seed: int = 0) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """Return words with pauses, and each word with the seconds at which it ends."""
    draw = np.random.default_rng(seed)
    parts, words, at = [], [], 0
    for n in range(count):
        word = list(WORDS)[n % len(WORDS)]
        parts += [0.01 * draw.standard_normal(int(draw.integers(1600, 4000))), spoken(word, draw)]
        at += len(parts[-1]) + len(parts[-2])
        words.append((word, at / RATE))
    return np.concatenate(parts).astype(np.float32), words


@pytest.fixture(autouse=True)
def _short_recordings(monkeypatch):
    monkeypatch.setattr(spotting, "SECONDS", 60)


@pytest.fixture(scope="module", params=MODELS)
def fitted(request) -> elman.Classifier:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spotting, "SECONDS", 20)
        return classifier(**MODELS[request.param]).fit(*clips(16))


def clear_rules(model: elman.Classifier, x: np.ndarray) -> Spotting:
    """Return rules whose threshold is far from all smoothed probabilities, for any rounding."""
    live = model.spot(sample_rate=RATE)
    p = live.probabilities(x)
    values = np.sort(Detector(p.shape[1], live.spotting).push(p)[1], axis=None)
    middle = values[len(values) // 3 :]
    n = int(np.diff(middle).argmax())
    return Spotting(threshold=float(middle[n : n + 2].mean()), refractory=0.4)


def close(found: list[Spotted], wanted: list[Spotted]) -> bool:
    assert [one[:3] for one in found] == [one[:3] for one in wanted]
    p = [[one.probability for one in some] for some in (found, wanted)]
    return np.allclose(*p, atol=1e-5)  # the network rounds differently for other batches


def test_each_window_is_classified_like_a_clip(fitted):
    x, _ = running_sound(4)
    live = fitted.spot(sample_rate=RATE)
    p = live.probabilities(x)
    whole = 1 + int((len(x) / RATE - live.span(0)[1]) / live.spotting.hop)
    if fitted.input_.index.rate != RATE:  # the resampler waits for samples; parts have other ends
        assert whole - 1 <= len(p) <= whole
        return
    assert len(p) == whole
    known = [fitted.classes.index(word) for word in fitted.keywords]
    spans = [live.span(n) for n in range(len(p))]
    parts = [(x[round(a * RATE) : round(b * RATE)], RATE) for a, b in spans]
    assert np.allclose(p, fitted.predict_proba(parts)[:, known], atol=1e-5)


@pytest.mark.parametrize("largest", [40, 900, 20000])
def test_detections_do_not_depend_on_the_chunks(fitted, largest):
    x, _ = running_sound(8)
    rules, draw = clear_rules(fitted, x), np.random.default_rng(1)
    whole = fitted.spot(spotting=rules, sample_rate=RATE)
    wanted = whole.push(x) + whole.finish()
    assert wanted
    live, found, at = fitted.spot(spotting=rules, sample_rate=RATE), [], 0
    while at < len(x):
        size = int(draw.integers(0, largest + 1))
        found += live.push(x[at : at + size])
        at += size
    assert close(found + live.finish(), wanted)


def test_a_session_continues_from_stored_bytes_and_begins_again(fitted):
    x, _ = running_sound(8)
    rules = clear_rules(fitted, x)
    live = fitted.spot(spotting=rules, sample_rate=RATE)
    for cut in (0, 1000, 9999):
        live.restart()
        first = live.push(x[:cut])
        blob = live.state_bytes()
        rest = live.push(x[cut:]) + live.finish()
        other = fitted.spot(spotting=rules, sample_rate=RATE)
        other.push(x[:700])
        other.restore(blob)
        assert close(other.push(x[cut:]) + other.finish(), rest)
        live.restart()
        assert close(live.push(x) + live.finish(), first + rest)


def test_a_long_stream_keeps_less_than_a_window(fitted):
    x, _ = running_sound(8)
    live = fitted.spot(sample_rate=RATE)
    sizes = set()
    for n in range(12):
        live.push(x)
        if n > 2:  # a resampler needs some sound until it is full
            sizes.add(len(live.state_bytes()) // 20000)
    assert len(live._last) < fitted.described["steps"]
    assert max(sizes) <= min(sizes) + 1


def test_windows_without_overlap_are_read(fitted):
    x, _ = running_sound(4)
    live, dense = (
        fitted.spot(spotting=Spotting(hop=hop), sample_rate=RATE) for hop in (100.0, 0.001)
    )
    step = fitted.input_.step_seconds
    assert live.spotting.hop == pytest.approx(fitted.described["steps"] * step)
    assert dense.spotting.hop == pytest.approx(step)
    every = dense.probabilities(x)[:: fitted.described["steps"]]
    assert np.allclose(live.probabilities(x), every, atol=1e-5)


def test_hostile_states_are_refused_and_change_nothing(fitted):
    x, _ = running_sound(4)
    live = fitted.spot(sample_rate=RATE)
    live.push(x[:12345])
    blob = live.state_bytes()
    audio, network, (window, last, wait), steps = live._whole_state()

    def stored(target=(window, last, wait), buffer=steps):
        return resealed(blob, (audio, network, target, buffer))

    wrong = [
        stored((window - 1000, last, wait)),
        stored((window + (1 << 62), last, wait)),
        stored((window, last + 2, wait)),
        stored((window, last * torch.nan, wait)),
        stored((window, last[:0], wait)),
        stored((window, last, wait + 10**6)),
        stored((window, last, wait - 10**6)),
        stored(buffer=steps.repeat(50, 1)),
        stored(buffer=steps * torch.inf),
        blob[:-1],
        blob[:100],
        b"",
    ]
    if live._every < live._size:  # the windows overlap
        wrong.append(stored(buffer=steps[:0]))
    for bad in wrong:
        with pytest.raises(DataError):
            live.restore(bad)
    assert live.state_bytes() == blob
    live.restore(blob)


def test_a_session_reads_only_samples(fitted):
    live = fitted.spot(sample_rate=RATE)
    with pytest.raises(ArgumentError, match="not a number in"):
        live.push(np.array([np.nan]))
    with pytest.raises(ArgumentError, match="at must be None"):
        live.push(np.zeros(10), 3)
    with pytest.raises(ArgumentError, match="keyword 'bu' is not a label; the labels are ba, du"):
        fitted.spot(keywords=["bu"])


@pytest.mark.learns
def test_words_are_spotted_where_they_are_spoken():
    model = classifier(hidden_size=24, epochs=10, learning_rate=0.02, examples=240)
    model.fit(*clips(160))
    x, words = running_sound(60, seed=5)
    live = model.spot(spotting=replace(model.spotting, smoothing=0.1, refractory=0.3))
    found = [one.end for one in live.push(x) + live.finish()]
    ends = [end for word, end in words if word == "ba"]
    hits = sum(any(-0.4 < one - end < 0.5 for one in found) for end in ends)
    assert hits >= 0.7 * len(ends)
    for word in ("ba", "du"):  # a clip of one word, which is shorter than a window
        sounds = [spoken(word, np.random.default_rng(n)) for n in range(20)]
        rules = replace(model.spotting, smoothing=0.1, threshold=0.5)
        single = [model.spot(spotting=rules) for _ in sounds]
        found = [live.push(x) + live.finish() for live, x in zip(single, sounds, strict=True)]
        hits = sum(map(bool, found))
        assert hits >= 15 if word == "ba" else hits <= 6
        for x, some in zip(sounds, found, strict=True):
            assert all(one.start < one.end <= len(x) / RATE for one in some)
    assert model.spot(spotting=Spotting(threshold=0)).finish() == []


def held_out(model: elman.Classifier, count: int, seed: int = 9) -> Examples:
    sounds, words = clips(count, seed)
    items = model.items(sounds)
    return Examples(items, [(word,) for word in words], [str(n) for n in range(count)])


def test_the_threshold_is_the_lowest_with_few_false_alarms():
    """The number of false alarms is that of a session which reads the same recording."""
    wanted = 200.0
    model = classifier(epochs=3, examples=120, false_alarms_per_hour=wanted, seed=3)
    model.fit(*clips(40), validation=clips(12, 7))
    played, blocks, truth, at = spotting.play(held_out(model, 12, 7), RATE, seed=3), [], [], 0
    while at < 60 * RATE:
        blocks.append([])
        for samples, gap, labels in islice(played, spotting.BLOCK):
            if labels == ("ba",):
                truth.append(((at + gap) / RATE, (at + len(samples)) / RATE))
            blocks[-1].append(samples)
            at += len(samples)

    def per_hour(threshold: float) -> float:
        live = model.spot(spotting=Spotting(threshold=threshold))
        unused = [one.end for block in blocks for one in live.push(np.concatenate(block))]
        unused += [one.end for one in live.push(np.zeros(RATE, np.float32))]
        for start, end in truth:
            hit = next((one for one in unused if start <= one <= end + 0.5), None)
            unused = [one for one in unused if one != hit]
        return len(unused) * 3600 / (at / RATE + 1)

    n = spotting.THRESHOLDS.tolist().index(model.spotting.threshold)
    found = model.metrics["model"]["validation"]["false_alarms_per_hour"]
    assert found == pytest.approx(per_hour(float(spotting.THRESHOLDS[n])))
    assert found <= wanted
    assert n > 0
    assert per_hour(float(spotting.THRESHOLDS[n - 1])) > wanted


def test_an_equal_seed_gives_an_equal_threshold_and_fewer_alarms_a_higher_one():
    models = [
        classifier(epochs=2, examples=80, false_alarms_per_hour=wanted, seed=3).fit(*clips(40))
        for wanted in (600.0, 600.0, 60.0)
    ]
    thresholds = [model.spotting.threshold for model in models]
    assert thresholds[0] == thresholds[1] <= thresholds[2]
    assert models[0].metrics == models[1].metrics
    for model, wanted in zip(models, (600, 600, 60), strict=True):
        scores, notes = model.metrics["model"]["validation"], model.metrics["notes"]
        refused = any("every threshold has more" in note for note in notes)
        assert (scores["false_alarms_per_hour"] <= wanted) != refused
        assert 0 <= scores["miss_rate"] <= 1
        assert any("4 clips of the validation data (1 with a key word)" in note for note in notes)


def test_misses_are_unknown_if_no_validation_clip_has_a_key_word(tmp_path):
    sounds, words = clips(24)
    others = [n for n, word in enumerate(words) if word != "ba"]
    held = ([sounds[n] for n in others], [words[n] for n in others])
    model = classifier().fit(sounds, words, validation=held, out=tmp_path / "run")
    scores = model.metrics["model"]["validation"]
    assert scores["false_alarms_per_hour"] >= 0
    assert "miss_rate" not in scores
    assert "misses are unknown" in model.metrics["notes"][1]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "unknown" in page
    assert "nan" not in page.partition("<h2>Key words</h2>")[2].partition("<h2>")[0]


def test_a_recording_has_every_clip_at_its_position(fitted):
    examples = held_out(fitted, 8)
    played = list(islice(spotting.play(examples, RATE, seed=1), 24))
    again = list(islice(spotting.play(examples, RATE, seed=1), 24))
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(played, again, strict=True))
    sounds = [one.clip.source for one in examples.items]
    for begin in range(0, 24, 8):  # each clip once in each round
        found = [one.samples[one.gap :] for one in played[begin : begin + 8]]
        of = [next(n for n in range(8) if np.array_equal(sounds[n], one)) for one in found]
        assert sorted(of) == list(range(8))
        labels = [one.labels for one in played[begin : begin + 8]]
        assert labels == [examples.targets[n] for n in of]
    assert max(np.abs(one.samples[: one.gap]).max() for one in played) < 0.01
    other = next(spotting.play(examples, 2 * RATE, seed=1))  # resampled
    assert abs(len(other.samples) - 2 * len(played[0].samples)) <= 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keywords": ("bu",)}, "keyword 'bu' is not a label"),
        ({"keywords": tuple(WORDS)}, "all labels are keywords"),
        ({"keywords": ("ba", "ba")}, "keywords must be different"),
        (
            {"false_alarms_per_hour": 1.0, "keywords": ()},
            "false_alarms_per_hour has no effect without keywords; set it, or omit false_alarms",
        ),
        ({"separator": ";"}, "separator has no effect without several=True"),
        ({"false_alarms_per_hour": -1.0}, "false_alarms_per_hour must be at least 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        classifier(**options).fit(*clips(12))


def test_key_words_need_samples():
    texts = ["so good", "so bad"] * 20
    with pytest.raises(ArgumentError, match="key words need audio, this model reads texts"):
        classifier(keywords=("1",)).fit(texts, [1, 0] * 20)
    frames = [np.random.default_rng(n).standard_normal((20, 5)) for n in range(12)]
    with pytest.raises(ArgumentError, match="features, not samples"):
        classifier(keywords=("a",), inputs="audio").fit(frames, ["a", "b"] * 6)
    plain = classifier(keywords=()).fit(*clips(12))
    with pytest.raises(ArgumentError, match="keywords must be a list of labels"):
        plain.spot()
    assert plain.spot(keywords=["du"]).spotting.threshold == 0.5


# Commands.


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("spot")
    write_folder(folder / "train", 60)
    write_folder(folder / "test", 8, seed=2)
    arguments = ["train", "classifier", str(folder / "train"), "--test", str(folder / "test")]
    arguments += ["--keywords", "ba", "--hidden-size", "16", "--epochs", "4", "--examples", "160"]
    arguments += ["--learning-rate", "0.02", "--device", "cpu", "--out", str(folder / "run")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spotting, "SECONDS", 60)
        assert main([*arguments, "--false-alarms-per-hour", "100"]) == 0
    x, _ = running_sound(12, seed=4)
    soundfile.write(folder / "long.wav", x, RATE, subtype="PCM_16")
    return folder


def test_the_report_has_the_curve_and_the_scores(run):
    metrics = json.loads((run / "run" / "metrics.json").read_text())
    for part in ("validation", "test"):
        assert metrics["model"][part]["false_alarms_per_hour"] >= 0
        assert 0 <= metrics["model"][part]["miss_rate"] <= 1
    page = (run / "run" / "report.html").read_text()
    for text in ("<h2>Key words</h2>", "Misses against false alarms", "(chosen)", "miss rate"):
        assert text in page
    assert "the threshold of ba is" in page


def test_a_loaded_model_keeps_its_threshold_and_a_damaged_one_is_refused(run, tmp_path):
    model = elman.load(run / "run")
    assert model.spotting.threshold == model.described["threshold"]
    model.save(tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    for name, value in (("threshold", 2.0), ("threshold", "x"), ("steps", 0), ("steps", 2.5)):
        wrong = {**config, "data": {**config["data"], name: value}}
        (tmp_path / "copy" / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(FolderError):
            elman.load(tmp_path / "copy")


def test_key_words_of_a_file_and_of_standard_input_are_printed(run, monkeypatch, capsys):
    common = ["--threshold", "0.3", "--refractory", "0.5"]
    capsys.readouterr()
    assert main(["spot", str(run / "run"), str(run / "long.wav"), *common]) == 0
    lines = capsys.readouterr().out
    assert lines
    rows = [line.split() for line in lines.splitlines()]
    times = [float(time) for time, _, _ in rows]
    assert {word for _, _, word in rows} == {"ba"}
    assert min(np.diff(times), default=1) >= 0.49
    assert all(float(p.rstrip("%")) >= 30 for _, p, _ in rows)
    raw = soundfile.read(run / "long.wav", dtype="int16")[0].tobytes()
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(raw)))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["spot", str(run / "run"), "-", "--sample-rate", str(RATE), *common]) == 0
    assert capsys.readouterr().out == lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["spot", "RUN", "LONG", "--threshold", "1.5"], "threshold must be in 0..1, got 1.5"),
        (["spot", "RUN", "LONG", "--sample-rate", "8000"], "--sample-rate is for -"),
        (["spot", "RUN", "-", "--sample-rate", "0"], "at least 1,000 Hz, got 0"),
        (["spot", "RUN", "no.wav"], "no.wav does not exist"),
        (["spot", "PLAIN", "LONG"], "this model has no key words; train it with --keywords"),
        (["spot", "TEXTS", "LONG"], "holds a classifier, not a classifier of audio"),
        (["listen", "TEXTS"], "holds a classifier, not a transcriber or a classifier of audio"),
        (["listen", "RUN", "--pause", "2"], "--pause is an option of a transcriber"),
    ],
)
def test_bad_commands_end_with_one_line(run, tmp_path_factory, capsys, arguments, message):
    folders = {"RUN": run / "run", "LONG": run / "long.wav"}
    if "PLAIN" in arguments:
        folders["PLAIN"] = run / "plain"
        classifier(keywords=()).fit(*clips(12), out=folders["PLAIN"], overwrite=True)
    if "TEXTS" in arguments:
        folders["TEXTS"] = run / "texts"
        model = classifier(keywords=())
        model.fit(["so good", "so bad"] * 20, ["+", "-"] * 20, out=run / "texts", overwrite=True)
    capsys.readouterr()
    assert main([str(folders.get(one, one)) for one in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_microphone_that_is_missing_is_named(run, capsys):
    capsys.readouterr()
    assert main(["listen", str(run / "run")]) == 2
    error = capsys.readouterr().err
    assert "sounddevice" in error or "no microphone" in error or "PortAudio" in error
