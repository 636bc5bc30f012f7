"""Transcribers: learning, searches, live sessions with endpoints, words, and bad input."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

import elman
from elman.cli import main
from elman.decode.endpoints import Endpoints
from elman.decode.hypotheses import SpeechSearch
from elman.decode.kneser_ney import write_arpa
from elman.decode.language_model import CharacterModel
from elman.errors import ArgumentError, DataError
from elman.inputs.audio import AudioReader
from elman.read.examples import Examples
from elman.report.transcripts import score_transcripts
from elman.targets.transcripts import Transcripts
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
    for other in (
        {"phrases": ["ba"]},
        {"words": ["ba"]},
        {"search": SpeechSearch(word_bonus=1)},
        {"endpoints": Endpoints(pause=0.3)},
        {"endpoints": None},
        {"sample_rate": 2 * RATE},
    ):
        with pytest.raises(DataError, match="a session with other settings"):
            fitted.stream(**{"endpoints": rules, **other}).restore(blob)
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
        ({"phrases": {"ba": ""}}, r"phrases\['ba'\] must be a boost in 0..1,000 nats"),
        ({"phrases": {1: 2.0}}, r"phrases\[0\] must be a string, got int"),
    ):
        with pytest.raises(ArgumentError, match=message):
            model.predict(sounds[:1], **given)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("tokens", ["character", "word", "bpe"])
@pytest.mark.parametrize("decoder", ["ctc", "transducer"])
def test_all_kinds_of_tokens_take_a_closed_vocabulary(decoder, tokens, single):
    texts = [text.split()[0] for text in TEXTS] if single else TEXTS
    options = {"tokens": tokens, "vocabulary_size": {"bpe": 270}.get(tokens)}
    model = transcriber(**DECODERS[decoder], **options, epochs=2, examples=80).fit(SOUNDS, texts)
    for text in model.predict(SOUNDS[:20], words=["ba", "du"]):
        assert text == "" or set(text.split(" ")) <= {"ba", "du"}
    if tokens == "bpe":  # bytes write everything
        assert set(model.predict(SOUNDS[:1], words=["ba", "qé"])[0].split()) <= {"ba", "qé"}
        return
    with pytest.raises(ArgumentError, match=r"words\[1\]: the tokens .* cannot write 'q'"):
        model.predict(SOUNDS[:1], words=["ba", "q"])


def test_the_parts_of_a_long_clip_are_words_of_the_list():
    texts = [text.split()[0] for text in TEXTS[:60]]
    model = transcriber(epochs=4, examples=120, bidirectional=True).fit(SOUNDS[:60], texts)
    x = np.concatenate([np.tile(long_sound()[0], 12), SOUNDS[0][0]])
    assert len(x) > 61 * RATE
    found = model.predict([(x, RATE)], words=["ba", "du", "ki", "mo"])[0]
    assert set(found.split(" ")) <= {"ba", "du", "ki", "mo"}
    assert len(found.split(" ")) > 1


def test_a_language_model_of_elman_is_used(tmp_path):
    model = transcriber(epochs=2).fit(SOUNDS[:60], TEXTS[:60])
    for tokens in ("character", "word"):
        text = tmp_path / f"{tokens}.txt"
        text.write_text("\n".join(TEXTS * 4) + "\n")
        language = elman.LanguageModel(
            tokens=tokens, hidden_size=16, epochs=2, min_count=1, device="cpu", document="line"
        ).fit(text)
        language.save(tmp_path / tokens)
        scorer = model._scorer(None, language, None, None)[1]
        parts = getattr(scorer, "parts", [])
        by_character = any(isinstance(one, CharacterModel) for one, _ in parts)
        assert by_character == (tokens == "character")
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
    with pytest.raises(DataError, match="row 0: the clip is too short: it has 1 step, but"):
        model.evaluate(short, ["abc"])


def test_a_transcript_without_known_characters_is_refused(fitted):
    with pytest.raises(DataError, match="row 0: the transcript has no character that occurs"):
        fitted.evaluate(SOUNDS[:1], ["XYZ"])


CLIPS = r"expected a list of clips, got one pair \(samples, rate\); write \[\(samples, rate\)\]"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (SOUNDS[0], CLIPS),
        (list(SOUNDS[0]), CLIPS),
        (
            SOUNDS[0][0],
            r"expected a list of clips, got one array \(\d+,\); write \[\(",
        ),
        (
            [SOUNDS[0], (*SOUNDS[0], 3)],
            r"row 1: expected a path, an array or a pair \(samples, rate\), got a tuple of 3",
        ),
        ([(RATE, SOUNDS[0][0])], r"row 0: expected a path, .* got a tuple of 2 values that are no"),
        ([None], r"row 0: expected a path, an array or a pair \(samples, rate\), got NoneType"),
    ],
)
def test_data_that_are_no_list_of_clips_are_refused_in_one_line(fitted, given, message):
    texts = ["ba", "du"][: len(given)]
    for verb in (fitted.predict, fitted.transcribe, partial(fitted.evaluate, transcripts=texts)):
        with pytest.raises((ArgumentError, DataError), match=message):
            verb(given)
    if len(given) == 2 and given is not SOUNDS[0]:
        with pytest.raises((ArgumentError, DataError), match=message):
            transcriber(epochs=1).fit(given, ["ba", "du"])


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


def test_evaluate_scores_the_transcripts_of_the_same_search_as_predict(run, tmp_path, capsys):
    model, manifest = elman.load(run / "run"), run / "data.csv"
    (tmp_path / "words.txt").write_text("ba du\nki\n")
    (tmp_path / "names.txt").write_text("mo mo:20\n")
    write_arpa(TEXTS, tmp_path / "words.arpa", order=2)
    options = {
        "words": tmp_path / "words.txt",
        "phrases": tmp_path / "names.txt",
        "language_model": tmp_path / "words.arpa",
    }
    plain = model.evaluate(manifest)
    for name, file in options.items():
        scores = model.evaluate(manifest, **{name: file})
        found = score_transcripts(model.predict(manifest, **{name: file}), TEXTS[:60])
        assert {key: scores[key] for key in found} == found
        assert scores["loss"] == plain["loss"]
        assert scores != plain
        capsys.readouterr()
        flag = f"--{name.replace('_', '-')}"
        command = ["evaluate", str(run / "run"), str(manifest), flag, str(file), "--json"]
        assert main(command) == 0
        assert json.loads(capsys.readouterr().out) == scores
    beam = SpeechSearch(beam=1)
    found = score_transcripts(model.predict(manifest, search=beam), TEXTS[:60])
    assert main(["evaluate", str(run / "run"), str(manifest), "--beam", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).items() >= found.items()


NONE = " has no effect without "


@pytest.mark.parametrize("command", ["predict", "evaluate", "transcribe", "listen"])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--lm-weight 0.5", f"--lm-weight{NONE}--language-model; add it, or omit --lm-weight"),
        ("--boost 3", f"--boost{NONE}--phrases; add it, or omit --boost"),
        ("--phrases FILE --boost 1e99", "--boost must be in 0..1,000, got 1e+99"),
        ("--phrases FILE --boost -1", "--boost must be in 0..1,000, got -1.0"),
        ("--word-bonus nan", "--word-bonus must be in -1,000..1,000, got nan"),
        ("--beam 0", "--beam must be at least 1, got 0"),
        ("--words FILE", "FILE, line 2: the tokens of the model cannot write 'q' of 'q'"),
        ("--phrases FILE", "FILE, line 2: the tokens of the model cannot write 'q'"),
    ],
)
def test_options_of_speech_are_checked_in_every_command(
    run, command, flags, message, tmp_path, capsys
):
    file = tmp_path / "words.txt"
    file.write_text("ba\nq\n")
    data = {"predict": "data_0000.wav", "evaluate": "data.csv", "transcribe": "data_0000.wav"}
    data = [str(run / data[command])] if command in data else []
    given = flags.replace("FILE", str(file)).split()
    assert main([command, str(run / "run"), *data, *given]) == 2
    error = capsys.readouterr().err
    assert message.replace("FILE", str(file)).replace(" of 'q'", "") in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--out a.srt --k 3", "--k is for printed predictions; --out has the best one"),
        ("--k 5 --beam 2", "--k 5 needs a beam of at least 5, got --beam 2"),
        ("--k 0", "--k must be at least 1, got 0"),
        ("--overwrite", f"--overwrite{NONE}--out"),
        ("--skip-bad-rows bad.csv", f"--skip-bad-rows{NONE}--file"),
        ("--out a.srt --skip-bad-rows bad.csv", f"--skip-bad-rows{NONE}--subtitles"),
    ],
)
def test_options_without_an_effect_on_a_prediction_are_refused(run, flags, message, capsys):
    assert main(["predict", str(run / "run"), str(run / "data_0000.wav"), *flags.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_options_of_a_search_are_refused_for_other_models(tmp_path, capsys):
    texts = ["good"] * 10 + ["bad"] * 10
    model = elman.Classifier(epochs=1, device="cpu", hidden_size=4).fit(texts, texts)
    model.save(tmp_path / "run")
    assert main(["evaluate", str(tmp_path / "run"), "a.csv", "--beam", "2"]) == 2
    assert "--beam is an option of a transcriber of recordings or a transcriber" in (
        capsys.readouterr().err
    )


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
    for bad in ("a", None, True, [1]):
        with pytest.raises(ArgumentError, match="pause must be a number, got "):
            Endpoints(pause=bad)


def test_an_object_of_another_kind_is_named_with_its_article(fitted):
    for name, wanted in (("endpoints", "an Endpoints"), ("search", "a SpeechSearch")):
        with pytest.raises(ArgumentError, match=f"{name} must be {wanted}, got int"):
            fitted.stream(**{name: 3})


def test_one_held_out_clip_is_singular():
    for count, wanted in ((2, "2 audio clips, 2%, are"), (1, "1 audio clip, 1%, is")):
        examples = Examples(SOUNDS[:100], TEXTS[:100], [str(n) for n in range(100)])
        notes = []
        model = elman.Transcriber(validation_fraction=count / 100)
        Transcripts(model).hold_out(examples, AudioReader(model), notes)
        assert notes == [f"{wanted} held out for validation"]


def test_silence_gives_no_utterance(fitted):
    live = fitted.stream(endpoints=Endpoints(silence=0.5, pause=0.3))
    quiet = (0.01 * np.random.default_rng(0).standard_normal(3 * RATE)).astype(np.float32)
    word = spoken("ki", np.random.default_rng(1))
    found = heard(live, np.concatenate([quiet, word, quiet]), [])
    assert len(found) <= 2
