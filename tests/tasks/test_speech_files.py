"""Tables and subtitles of many recordings: times of words, spans of files, and continuation."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import elman
from elman.cli import main
from elman.report.subtitles import as_srt, as_vtt, make_cues
from elman.tasks import subtitle_files
from elman.tasks.file_predictions import AudioTags
from tests.sounds import RATE, sentences, write_manifest
from tests.tasks.test_transcriber import transcriber

SOUNDS, TEXTS = sentences(60, seed=1)
START = 1.25  # seconds of the second sentence in the joined file


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model and recordings; spans.csv has spans of the longer ones."""
    folder = tmp_path_factory.mktemp("speech")
    manifest = write_manifest(folder, SOUNDS, TEXTS)
    transcriber(epochs=8, examples=400).fit(manifest).save(folder / "run")
    quiet = np.zeros(int(START * RATE), dtype=np.float32)
    for name, n in (("talks/a/one.wav", 0), ("talks/b/one.wav", 1), ("talks/two.wav", 2)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        quiet[: len(SOUNDS[n][0])] = SOUNDS[n][0][: len(quiet)]
        soundfile.write(folder / name, np.concatenate([quiet, SOUNDS[n + 1][0]]), RATE, "FLOAT")
    second = len(SOUNDS[3][0]) / RATE
    rows = f"talks/two.wav,0,{START}\ntalks/two.wav,{START},\ntalks/a/one.wav,0,1\n"
    (folder / "spans.csv").write_text(f"path,start,end\n{rows}")
    assert second > 0.2
    return folder


@pytest.fixture
def predict(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["predict", str(speech / "run"), *map(str, arguments)])
        done = capsys.readouterr()
        assert done.err.count("\n") <= 1, done.err
        return code, done.err if code else done.out

    return run


def table_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_table_of_spans_has_their_start_and_end(predict, speech, tmp_path):
    assert predict("--file", speech / "spans.csv", "--out", tmp_path / "a.csv")[0] == 0
    rows = table_of(tmp_path / "a.csv")
    assert list(rows[0]) == ["line", "path", "start", "end", "text", "confidence"]
    whole = round(START + len(SOUNDS[3][0]) / RATE, 3)
    assert [(float(row["start"]), float(row["end"])) for row in rows] == [
        (0, START), (START, whole), (0, 1)
    ]  # fmt: skip
    assert [Path(row["path"]).name for row in rows] == ["two.wav", "two.wav", "one.wav"]
    assert predict("--file", speech / "data.csv", "--out", tmp_path / "b.csv")[0] == 0
    assert list(table_of(tmp_path / "b.csv")[0]) == ["line", "path", "text", "confidence"]


def test_labels_of_spans_have_their_start_and_end(speech, tmp_path):
    model = elman.Classifier(
        hidden_size=8, num_layers=1, epochs=1, device="cpu", masks=0, speed=0, gain=0, shift=0
    ).fit([SOUNDS[n] for n in range(20)], ["x", "y"] * 10)
    model.save(tmp_path / "run")
    command = ["predict", str(tmp_path / "run"), "--file", str(speech / "spans.csv"), "--out"]
    assert main([*command, str(tmp_path / "a.jsonl")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert list(rows[0]) == ["line", "path", "start", "end", "label", "probability"]
    assert [row["start"] for row in rows] == [0, START, 0]


def test_times_of_words_are_written_to_a_table(predict, speech, tmp_path, monkeypatch):
    monkeypatch.setattr("elman.tasks.predict_file.WINDOW", 2)
    command = ("--file", speech / "spans.csv", "--times", "--out")
    assert predict(*command, tmp_path / "a.csv")[0] == 0
    rows = table_of(tmp_path / "a.csv")
    assert list(rows[0]) == ["line", "path", "start", "end", "word", "confidence"]
    assert predict(*command, tmp_path / "a.jsonl")[0] == 0
    items = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [" ".join(one["word"] for one in item["words"]) for item in items] == [
        item["text"] for item in items
    ]
    nested = [
        (str(item["line"]), *(str(one[name]) for name in ("start", "end", "word", "confidence")))
        for item in items
        for one in item["words"]
    ]
    flat = [tuple(row[name] for name in ("line", "start", "end", "word", "confidence"))
            for row in rows]  # fmt: skip
    assert flat == nested
    second = items[1]
    assert second["words"], "the second sentence must have words"
    for word in second["words"]:  # times are those of the file
        assert START <= word["start"] < word["end"] <= second["end"] + 0.1
    (alone,) = elman.load(speech / "run").transcribe([SOUNDS[3]])
    assert [word["start"] for word in second["words"]] == [
        pytest.approx(START + word.start, abs=0.002) for word in alone[0].words
    ]
    assert predict(speech / "spans.csv", "--times", "--out", tmp_path / "b.csv")[0] == 0
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()
    printed = predict(speech / "spans.csv", "--times")[1].splitlines()
    assert len(printed) == len(rows)
    assert {float(line.rpartition("]: ")[2].split()[0]) for line in printed[-3:]} <= {
        round(float(row["start"]), 2) for row in rows
    } or len(printed) < 3


def test_a_table_of_words_continues_after_a_stop(predict, speech, tmp_path, monkeypatch):
    monkeypatch.setattr("elman.tasks.predict_file.WINDOW", 7)
    command = ("--file", speech / "data.csv", "--times", "--out", tmp_path / "a.csv")
    assert predict(*command)[0] == 0
    whole = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "a.csv").unlink()
    original, calls = elman.Transcriber.transcribe, list[int]()

    def stopped(self, *given, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(elman.Transcriber, "transcribe", stopped)
        assert predict(*command)[0] == 130
    part = tmp_path / "a.csv.part"
    assert len({row["line"] for row in table_of(part)}) > 10
    part.write_bytes(part.read_bytes() + b"23,data_0")
    code, error = predict(*command, "--beam", "2")
    assert (code, "was begun with other settings (beam)" in error) == (2, True)
    assert predict(*command)[0] == 0
    assert (tmp_path / "a.csv").read_bytes() == whole


def test_the_content_of_files_in_options_is_a_setting(predict, speech, tmp_path, monkeypatch):
    words = tmp_path / "words.txt"
    words.write_text("ba\ndu\n")
    monkeypatch.setattr("elman.tasks.predict_file.WINDOW", 7)
    command = ("--file", speech / "data.csv", "--words", words, "--out", tmp_path / "a.csv")

    def stopped(self, *given, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        original, calls = elman.Transcriber.transcribe, list[int]()

        def second(self, *given, **options):
            calls.append(1)
            return (original if len(calls) < 2 else stopped)(self, *given, **options)

        patch.setattr(elman.Transcriber, "transcribe", second)
        assert predict(*command)[0] == 130
    words.write_text("ba\nki\n")
    code, error = predict(*command)
    assert (code, "was begun with other settings (words)" in error) == (2, True)
    words.write_text("ba\ndu\n")
    assert predict(*command)[0] == 0


def test_many_recordings_get_a_file_of_subtitles_each(predict, speech, tmp_path):
    out = tmp_path / "subtitles"
    code, printed = predict("--file", speech / "talks", "--subtitles", "vtt", "--out", out)
    assert (code, printed) == (0, f"3 files: {out}\n")
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert written == ["a/one.vtt", "b/one.vtt", "two.vtt"]
    (best,) = elman.load(speech / "run").transcribe([speech / "talks/two.wav"])
    words = [(word.text, word.start, word.end) for word in best[0].words]
    assert (out / "two.vtt").read_text() == as_vtt(make_cues(words))
    before = (out / "two.vtt").read_bytes()
    (out / "a/one.vtt").unlink()
    (out / "b/one.vtt").write_text("mine")
    command = ("--file", speech / "talks", "--subtitles", "vtt", "--out", out)
    code, error = predict(*command)
    assert (code, "b/one.vtt: exists already; name another folder" in error) == (2, True)
    assert (out / "b/one.vtt").read_text() == "mine"
    assert sorted(path.name for path in out.iterdir()) == ["a", "b", "two.vtt"]
    assert not (out / "a/one.vtt").exists()
    assert predict(*command, "--overwrite")[0] == 0
    assert (out / "two.vtt").read_bytes() == before
    assert (out / "b/one.vtt").read_text() != "mine"
    files = [speech / "talks/two.wav", speech / "data_0003.wav"]
    assert predict(*files, "--subtitles", "srt", "--out", tmp_path / "some")[0] == 0
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == [
        "data_0003.srt", "two.srt"
    ]  # fmt: skip


def test_spans_of_a_recording_become_one_file_with_its_times(predict, speech, tmp_path):
    out = tmp_path / "subtitles"
    assert predict("--file", speech / "spans.csv", "--subtitles", "srt", "--out", out)[0] == 0
    assert sorted(path.name for path in out.rglob("*.srt")) == ["one.srt", "two.srt"]
    command = ("--file", speech / "spans.csv", "--times", "--out", tmp_path / "words.csv")
    assert predict(*command)[0] == 0
    words = [
        (row["word"], float(row["start"]), float(row["end"]))
        for row in table_of(tmp_path / "words.csv")
        if row["path"].endswith("two.wav")
    ]
    assert (out / "talks/two.srt").read_text() == as_srt(make_cues(words))


def test_subtitles_continue_after_a_stop(predict, speech, tmp_path, monkeypatch):
    out = tmp_path / "subtitles"
    command = ("--file", speech / "talks", "--subtitles", "srt", "--out", out)
    original, heard = subtitle_files._words, list[str]()

    def words(model, options, recording):
        if len(heard) == 2:
            heard.append("stopped")
            raise KeyboardInterrupt
        heard.append(recording[0][0].label)
        return original(model, options, recording)

    monkeypatch.setattr(subtitle_files, "_words", words)
    code, error = predict(*command)
    assert code == 130
    assert f"the subtitles so far are in {out}, and the same command continues" in error
    code, error = predict(*command, "--beam", "2")
    assert (code, "subtitles.part.json: was begun with other settings (beam)" in error) == (2, True)
    assert predict(*command)[0] == 0
    assert len(heard) == 4
    assert len({*heard}) == 4  # each recording once
    assert len(list(out.rglob("*.srt"))) == 3
    assert not (out / "subtitles.part.json").exists()


def test_recordings_that_cannot_be_read_are_skipped_on_request(predict, speech, tmp_path):
    for name in ("good", "bad"):
        (tmp_path / f"{name}.wav").write_bytes((speech / "data_0000.wav").read_bytes())
    (tmp_path / "bad.wav").write_text("no audio")
    files = [tmp_path / "bad.wav", tmp_path / "good.wav"]
    command = (*files, "--subtitles", "srt", "--out", tmp_path / "out")
    code, error = predict(*command)
    assert (code, "bad.wav is not an audio file" in error) == (2, True)
    code, printed = predict(*command, "--skip-bad-rows", tmp_path / "rejects.csv")
    assert (code, printed.splitlines()[0]) == (0, f"1 file: {tmp_path / 'out'}")
    assert "bad.wav" in (tmp_path / "rejects.csv").read_text()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.srt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--file talks --out a.srt", "talks: a.srt is for one audio file, got 3; give a folder"),
        ("--file talks --out a.srt --subtitles srt", "a.srt: expected a folder"),
        ("--file talks --subtitles srt", "subtitles need audio files, and a file or a folder"),
        ("--subtitles srt --out out", "subtitles need audio files, and a file or a folder"),
        ("--file talks --out out --subtitles txt", "--subtitles"),
        ("talks/two.wav talks/a/one.wav --out a.vtt", "give a folder with --out and --subtitles"),
        ("talks/b/one.wav talks/a/one.wav --out out --subtitles srt", "have the subtitles one.srt"),
        ("talks/two.wav --out a.srt --k 2", "--k is for printed predictions"),
        ("--file run/config.json --out out --subtitles srt", "config.json"),
        ("--file talks --out data.csv --subtitles srt", "data.csv: expected a folder"),
    ],
)
def test_subtitles_that_cannot_be_written_are_refused(
    arguments, message, predict, speech, monkeypatch
):
    monkeypatch.chdir(speech)
    before = sorted(speech.rglob("*"))
    code, error = predict(*arguments.split())
    assert code == 2
    assert message in error
    assert sorted(speech.rglob("*")) == before


def test_tags_of_a_span_have_the_times_of_its_file():
    class Item:
        span = (10.0, 12.0)

    class Model:
        background = "-"
        input_ = type("Input", (), {"seconds": staticmethod(lambda _: 2.0)})

        def predict(self, _):
            return [["-", "x", "x", "-"]]

    assert AudioTags()._spans(Model(), Item()) == [(10.5, 11.5, "x")]
