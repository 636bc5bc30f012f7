"""Transcribers: learning, searches, live sessions with endpoints, words, and bad input."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import elman
from elman.cli import main
from elman.decode.endpoints import Endpoints
from elman.decode.hypotheses import SpeechSearch
from elman.decode.kneser_ney import write_arpa
from elman.errors import ArgumentError, DataError
from elman.report.transcripts import score_transcripts
from tests.sounds import RATE, sentences, spoken, write_manifest

SOUNDS, TEXTS = sentences(160, seed=1)
SMALL = {"decoder": "transducer", "predictor_size": 16, "joint_size": 32}
HALVED = {"num_layers": 2, "pyramid": 1, "frame_stride": 2}
DECODERS = {
    "ctc": {}, "transducer": SMALL, "stateless": {**SMALL, "context": 2}, "pyramid": HALVED
}  # fmt: skip


def transcriber(**options) -> elman.Transcriber:
    settings = {
        "hidden_size": 48, "num_layers": 1, "epochs": 20, "learning_rate": 0.02, "examples": 480,
        "bidirectional": False, "device": "cpu", "dropout": 0.1, "schedule": "cosine",
        "masks": 0, "speed": 0, "gain": 0, "shift": 0,
    }  # fmt: skip
    return elman.Transcriber(**{**settings, **options})


@pytest.fixture(scope="module", params=DECODERS)
def fitted(request) -> elman.Transcriber:
    return transcriber(**DECODERS[request.param]).fit(SOUNDS, TEXTS)


def test_sentences_are_written_down(fitted):
    sounds, texts = sentences(60, seed=2)
    scores = fitted.evaluate(sounds, texts)
    assert scores["WER"] < 0.25  # the most frequent transcript has 0.85
    assert scores["transcripts"] == 60
    found = fitted.predict(sounds)
    assert sum(a == b for a, b in zip(found, texts, strict=True)) == round(60 * (1 - scores["SER"]))


def long_sound(seed: int = 3, pause: float = 1.0) -> tuple[np.ndarray, list[str]]:
    """Return sentences with pauses between them as one sound, and their texts."""
    draw = np.random.default_rng(seed)
    sounds, texts = sentences(6, seed)
    quiet = [0.01 * draw.standard_normal(int(RATE * pause)) for _ in sounds]
    parts = [part for (x, _), rest in zip(sounds, quiet, strict=True) for part in (x, rest)]
    return np.concatenate(parts).astype(np.float32), texts


def heard(live, x: np.ndarray, sizes) -> list[tuple]:
    """Return the utterances of a session, with the times and confidences of their words."""
    found, at = [], 0
    for size in sizes:
        result = live.push(x[at : at + size])
        found += [] if result is None else result.final
        at += size
    result = live.push(x[at:])
    found += [] if result is None else result.final
    found += live.finish().final
    return [(one.text, [(w.text, w.start, w.end) for w in one.words]) for one in found]


def test_utterances_do_not_depend_on_the_chunks(fitted):
    x, _ = long_sound()
    rules = Endpoints(pause=0.5)
    whole = heard(fitted.stream(endpoints=rules), x, [])
    assert len(whole) >= 5
    for largest in (50, 999, 20_000):
        sizes = np.random.default_rng(largest).integers(0, largest, len(x) // largest)
        assert heard(fitted.stream(endpoints=rules), x, sizes) == whole


def test_an_utterance_without_an_end_has_the_text_of_the_file(fitted):
    for (x, rate), wanted in zip(
        SOUNDS[:8], fitted.predict(SOUNDS[:8], search=SpeechSearch()), strict=True
    ):
        live = fitted.stream(sample_rate=rate)
        for chunk in np.array_split(x, 7):
            live.push(chunk)
        assert " ".join(one.text for one in live.finish().final) == wanted


def test_a_session_continues_from_stored_bytes_in_the_middle_of_a_word(fitted):
    x, _ = long_sound()
    rules = Endpoints(pause=0.5)
    whole = heard(fitted.stream(endpoints=rules), x, [])
    live, found = fitted.stream(endpoints=rules), []
    for chunk in np.array_split(x, 23):
        result = live.push(chunk)
        found += [] if result is None else result.final
        blob = live.state_bytes()
        live = fitted.stream(endpoints=rules)
        live.restore(blob)
    found += live.finish().final
    assert [one.text for one in found] == [text for text, _ in whole]
    with pytest.raises(DataError):
        live.restore(blob[:-3])
    for other in ({"phrases": ["ba"]}, {"words": ["ba"]}, {"search": SpeechSearch(word_bonus=1)}):
        with pytest.raises(DataError, match="another search, language model, phrases or words"):
            fitted.stream(endpoints=rules, **other).restore(blob)
    named = fitted.stream(endpoints=rules, phrases=["ba"], words=["ba", "du", "ba"])
    same = fitted.stream(endpoints=rules, phrases={"ba": SpeechSearch().boost}, words=["du", "ba"])
    same.restore(named.state_bytes())


def test_words_have_times_and_calibrated_confidences(fitted):
    x = np.concatenate([0.01 * np.random.default_rng(0).standard_normal(RATE), SOUNDS[0][0]])
    plain = fitted.transcribe([SOUNDS[0]])[0][0]
    moved = fitted.transcribe([(x.astype(np.float32), RATE)])[0][0]
    assert [word.text for word in plain.words] == plain.text.split()
    for word in plain.words:
        assert 0 <= word.start < word.end <= len(SOUNDS[0][0]) / RATE
        assert 0 < word.confidence <= 1  # rounded
    if plain.text == moved.text:  # one second of noise was put before it
        shift = moved.words[0].start - plain.words[0].start
        assert abs(shift - 1) < 0.1
    assert fitted.transcripts.calibration != type(fitted.transcripts.calibration)()


def test_a_language_model_phrases_and_a_closed_vocabulary_change_the_result(tmp_path):
    model = transcriber(epochs=3, seed=5).fit(SOUNDS[:80], TEXTS[:80])
    sounds, texts = sentences(40, seed=6)
    write_arpa(TEXTS, tmp_path / "words.arpa", order=2)

    def errors(**given) -> float:
        return score_transcripts(model.predict(sounds, **given), texts)["WER"]

    plain = errors()
    assert plain > 0.02, "the model must have something to improve"
    closed = model.predict(sounds, words=["ba", "du", "ki", "mo"])
    assert {word for text in closed for word in text.split()} <= {"ba", "du", "ki", "mo"}
    assert errors(words=["ba", "du", "ki", "mo"]) <= plain
    assert errors(language_model=tmp_path / "words.arpa") < plain
    strong = model.predict(sounds, phrases={"mo mo mo mo": 60.0})
    assert sum("mo mo mo mo" in text for text in strong) > 20
    with pytest.raises(ArgumentError, match="xyz"):
        model.predict(sounds, phrases=["xyz"])
    for given, message in (
        ({"words": "ba"}, r"expected a list of strings, got one: 'ba'; write \[words\]"),
        ({"words": [1]}, r"words\[0\] must be a string, got int"),
        ({"phrases": ["ba", None]}, r"phrases\[1\] must be a string, got NoneType"),
        ({"phrases": {"ba": ""}}, "the boost of 'ba' must be a number, got ''"),
        ({"phrases": {1: 2.0}}, r"phrases\[0\] must be a string, got int"),
    ):
        with pytest.raises(ArgumentError, match=message):
            model.predict(sounds[:1], **given)


def test_a_language_model_of_elman_is_used(tmp_path):
    model = transcriber(epochs=2).fit(SOUNDS[:60], TEXTS[:60])
    for tokens in ("character", "word"):
        text = tmp_path / f"{tokens}.txt"
        text.write_text("\n".join(TEXTS * 4) + "\n")
        language = elman.LanguageModel(
            tokens=tokens, hidden_size=16, epochs=2, min_count=1, device="cpu", document="line"
        ).fit(text)
        language.save(tmp_path / tokens)
        first = model.predict(SOUNDS[:5], language_model=language)
        assert first == model.predict(SOUNDS[:5], language_model=tmp_path / tokens)


def test_n_best_transcripts_are_in_order(fitted):
    best = fitted.transcribe(SOUNDS[:3], search=SpeechSearch(n_best=4))
    for some in best:
        assert len(some) == 4
        assert [one.score for one in some] == sorted((one.score for one in some), reverse=True)


def test_save_load_and_resume_give_the_same_model(tmp_path):
    manifest = write_manifest(tmp_path / "data", SOUNDS[:60], TEXTS[:60])
    options = {"examples": 60, "schedule": "constant"}
    whole = transcriber(epochs=3, **options).fit(manifest, out=tmp_path / "whole")
    part = transcriber(epochs=2, **options).fit(manifest, out=tmp_path / "part")
    assert part.predict(SOUNDS[:4]) == elman.load(tmp_path / "part").predict(SOUNDS[:4])
    again = elman.Transcriber.resume(tmp_path / "part", epochs=3)
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert a.equal(b)
    soundfile.write(tmp_path / "data" / "data_0000.wav", np.zeros(4000), RATE)
    with pytest.raises(DataError, match="has changed since the run began"):
        elman.Transcriber.resume(tmp_path / "part", epochs=4)


def test_transcripts_that_are_too_long_are_named_and_not_used(tmp_path):
    manifest = write_manifest(tmp_path, SOUNDS[:40], [*TEXTS[:39], "ba du " * 40])
    transcriber(epochs=1, examples=40, validation_fraction=0.3, seed=1).fit(
        manifest, out=tmp_path / "run"
    )
    records = [json.loads(line) for line in (tmp_path / "run/run.jsonl").read_text().splitlines()]
    notes = [one["text"] for one in records if one["event"] == "note"]
    found = [note for note in notes if "longer than the steps of their clips" in note]
    held = "data.csv: line 41" not in "".join(notes)
    assert found or held
    with pytest.raises(DataError, match="all transcripts are longer than the steps"):
        transcriber(epochs=1).fit(SOUNDS[:20], ["ba du " * 40] * 20)


def test_steps_are_counted_after_a_pyramid():
    sounds = [(x[:4000], rate) for x, rate in SOUNDS if len(x) >= 4000][:20]  # 0.5 s, 46 steps
    texts = ["abcdefghi " * 2 + "abcd"] * 20  # 24 tokens
    options = {"frame_stride": 1, "epochs": 1, "examples": 20}
    transcriber(**options).fit(sounds, texts)
    with pytest.raises(DataError, match="set a smaller frame_stride or pyramid"):
        transcriber(**options, num_layers=2, pyramid=1).fit(sounds, texts)  # 23 steps
    model = transcriber(**options, num_layers=2, pyramid=1).fit(sounds, ["abcdefg"] * 20)
    assert model.transcripts.step_seconds == pytest.approx(0.02)
    short = [(SOUNDS[0][0][:400], RATE)]  # 50 ms: one step of three frames
    assert model.predict(short) == [""]
    with pytest.raises(DataError, match="row 0: the clip is too short: it has 1 steps, but at"):
        model.evaluate(short, ["abc"])


def test_a_transcript_without_known_characters_is_refused(fitted):
    with pytest.raises(DataError, match="row 0: the transcript has no character that occurs"):
        fitted.evaluate(SOUNDS[:1], ["XYZ"])


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ArgumentError, match="set decoder=transducer"):
        transcriber(context=2).fit(SOUNDS[:20], TEXTS[:20])


def test_models_that_read_forward_only_have_layer_norm():
    assert elman.Transcriber(bidirectional=False).settled().layer_norm
    assert not elman.Transcriber().settled().layer_norm
    assert not elman.Transcriber(bidirectional=False, layer_norm=False).settled().layer_norm
    assert elman.Transcriber(layer_norm=True).settled().layer_norm
    model = transcriber(epochs=1, examples=20).fit(SOUNDS[:20], TEXTS[:20])
    assert model.layer_norm is None
    assert any("gain" in name for name, _ in model.model.core.named_parameters())


def test_a_model_of_both_directions_cannot_read_live():
    model = transcriber(bidirectional=True, epochs=1).fit(SOUNDS[:20], TEXTS[:20])
    with pytest.raises(ArgumentError, match="cannot read audio clips live"):
        model.stream()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    manifest = write_manifest(folder, SOUNDS[:60], TEXTS[:60])
    arguments = ["train", "transcriber", str(manifest), "--out", str(folder / "run")]
    arguments += ["--no-bidirectional", "--hidden-size", "32", "--num-layers", "1", "--epochs", "8"]
    arguments += ["--learning-rate", "0.02", "--examples", "400", "--device", "cpu"]
    assert main(arguments) == 0
    return folder


def test_commands_predict_files_manifests_and_subtitles(run, tmp_path, monkeypatch, capsys):
    files = [str(run / f"data_000{n}.wav") for n in range(2)]
    capsys.readouterr()
    assert main(["predict", str(run / "run"), *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == files
    assert main(["predict", str(run / "run"), files[0], "--times"]) == 0
    words = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert all(float(start) < float(end) for start, end, *_ in words)
    assert main(["predict", str(run / "run"), files[0], "--out", str(tmp_path / "a.srt")]) == 0
    assert (tmp_path / "a.srt").read_text().startswith("1\n00:00:00,")
    out = tmp_path / "all.jsonl"
    assert (
        main(["predict", str(run / "run"), "--file", str(run / "data.csv"), "--out", str(out)]) == 0
    )
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 60
    assert lines[0].partition(": ")[2] == rows[0]["text"]
    assert main(["predict", str(run / "run"), str(run / "data.csv")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[2] for line in printed[-60:]] == [row["text"] for row in rows]
    assert main(["predict", str(run / "run"), str(run / "data.csv"), "--out", "a.srt"]) == 2
    assert "a.srt is for one audio file, got 60" in capsys.readouterr().err
    assert main(["predict", str(run / "run"), "no.wav"]) == 2
    assert "no.wav" in capsys.readouterr().err
    monkeypatch.chdir(run)  # a folder with audio
    assert main(["predict", str(run / "run"), ""]) == 2
    assert capsys.readouterr().err == "elman: TEXT must be a path, got an empty text\n"


def test_raw_samples_are_written_down_from_standard_input(run, monkeypatch, capsys):
    x, _ = long_sound(pause=1.5)
    raw = (x * 32767).astype("<i2").tobytes() + b"\0"  # half a sample at the end
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(raw)))
    monkeypatch.setattr(sys, "stdin", stdin)
    capsys.readouterr()
    assert main(["transcribe", str(run / "run"), "-", "--pause", "0.6", "--times"]) == 0
    out = capsys.readouterr()
    assert len(out.out.splitlines()) >= 5  # a weak model can hear a word in the noise, too
    assert "in the middle of a sample" in out.err
    soundfile.write(run / "long.wav", x, RATE)
    assert main(["transcribe", str(run / "run"), str(run / "long.wav"), "--pause", "0.6"]) == 0
    texts = capsys.readouterr().out.splitlines()
    assert [line.split(None, 2)[2] for line in out.out.splitlines()] == texts


def test_a_microphone_that_is_missing_is_named(run, capsys):
    assert main(["listen", str(run / "run")]) == 2
    error = capsys.readouterr().err
    assert "sounddevice" in error or "no microphone" in error or "PortAudio" in error
    assert "Traceback" not in error


def test_an_hour_of_speech_needs_no_more_memory_than_a_minute():
    program = """
import resource, numpy as np, elman
from elman.decode.endpoints import Endpoints
from tests.sounds import sentences
from tests.tasks.test_transcriber import long_sound, transcriber
model = transcriber(epochs=1, examples=40).fit(*sentences(40, 1))
live = model.stream(endpoints=Endpoints(pause=0.5))
x, _ = long_sound()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for n in range(20):
    live.push(x)
    if n == 4:
        first = peak()
print(peak() - first, len(x) / 8000)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown, seconds = map(float, done.stdout.split())
    assert seconds > 8
    assert grown < 4  # MB


def test_endpoints_follow_their_rules():
    rules = Endpoints(silence=2, pause=1, longest=10)
    assert not rules.reached(1.9, None)
    assert rules.reached(2.0, None)
    assert not rules.reached(9.9, 0.9)
    assert rules.reached(10.0, 0.1)
    for bad in ({"silence": 0}, {"pause": -1}, {"longest": float("nan")}):
        with pytest.raises(ArgumentError, match="must be a positive time"):
            Endpoints(**bad)


def test_silence_gives_no_utterance(fitted):
    live = fitted.stream(endpoints=Endpoints(silence=0.5, pause=0.3))
    quiet = (0.01 * np.random.default_rng(0).standard_normal(3 * RATE)).astype(np.float32)
    word = spoken("ki", np.random.default_rng(1))
    found = heard(live, np.concatenate([quiet, word, quiet]), [])
    assert len(found) <= 2
