"""Predictions for files: an interrupted command continues, and no predictions are lost."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import elman
from elman.cli import main
from elman.errors import ArgumentError, DataError, FolderError
from elman.read.rows import Rejects
from elman.tasks import predict_file
from elman.tasks.predictions import Labels, Translations
from elman.tasks.record import Record
from tests.tasks.stops import stopped_at_call

WORDS = ["good", "bad", "film", "plot", "the", "a"]
TEXTS = [" ".join(WORDS[(n * k + k) % 6] for k in range(1, 4 + n % 3)) for n in range(200)]
SMALL: dict[str, Any] = {"hidden_size": 8, "epochs": 1, "device": "cpu", "tokens": "word"}


@pytest.fixture(scope="module")
def classifier() -> elman.Classifier:
    return elman.Classifier(**SMALL).fit(TEXTS, ["pos", "neg"] * 100)


@pytest.fixture(scope="module")
def translator() -> elman.Translator:
    return elman.Translator(**SMALL).fit(TEXTS[:50], TEXTS[:50])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "new.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    return path


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_file, "WINDOW", 16)


def predicts(model: Any, source: Path, out: Path, **given: Any) -> tuple[int, int]:
    options = {"overwrite": False, "rejects": None, "show": False, **given}
    return predict_file.predict_file(model, source, out, **options)


def test_a_part_that_was_begun_with_other_settings_is_refused_and_kept(
    translator: elman.Translator, source: Path, tmp_path: Path
) -> None:
    out, part = tmp_path / "out.txt", tmp_path / "out.txt.part"
    beam = Translations(beam=2)
    with stopped_at_call(4, Translations, "answers"):
        predicts(translator, source, out, options=beam)
    begun = part.read_bytes()
    assert begun.count(b"\n") == 48

    def refused(changed: str, model: Any = translator, options: Any = beam) -> None:
        for overwrite in (False, True):
            with pytest.raises(FolderError) as caught:
                predicts(model, source, out, options=options, overwrite=overwrite)
            message = str(caught.value)
            assert message.startswith(f"{part}: was begun with other settings ({changed})")
            assert "delete it to begin again, or name another one" in message
        assert part.read_bytes() == begun

    refused("beam", options=Translations(beam=3))
    refused("beam, length_penalty", options=Translations(length_penalty=0.5))
    refused("model", elman.Translator(**{**SMALL, "seed": 1}).fit(TEXTS[:50], TEXTS[:50]))
    text = source.read_text()
    source.write_text(text.replace("good", "fine"))
    refused("data")
    source.write_text(text)
    assert predicts(translator, source, out, options=beam) == (200, 0)
    whole = out.read_bytes()
    out.unlink()
    assert predicts(translator, source, out, options=beam) == (200, 0)
    assert out.read_bytes() == whole
    assert not part.exists()


def test_a_part_without_rows_is_begun_again(
    classifier: elman.Classifier, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"\xff\n")
    with pytest.raises(DataError):
        predicts(classifier, bad, out)
    assert (tmp_path / "out.csv.part").exists()
    assert predicts(classifier, source, out) == (200, 0)


def test_a_damaged_record_loses_no_rows(
    classifier: elman.Classifier, source: Path, tmp_path: Path
) -> None:
    out, info = tmp_path / "out.csv", tmp_path / "out.csv.part.json"
    assert predicts(classifier, source, out) == (200, 0)
    whole = out.read_bytes()
    out.unlink()
    with stopped_at_call(5, Labels, "answers"):
        predicts(classifier, source, out)
    record = info.read_text()
    info.write_text(record + "\n[80, 99999999]\n[80, 1")  # not written yet, and cut by a crash
    with stopped_at_call(3, Labels, "answers"):
        predicts(classifier, source, out)
    assert (tmp_path / "out.csv.part").read_bytes().count(b"\n") == 1 + 64 + 32
    continued = info.read_text()
    info.write_text("not a record")
    with pytest.raises(FolderError, match=r"other settings \(model, data, k\)"):
        predicts(classifier, source, out)
    info.write_text(continued)
    assert predicts(classifier, source, out) == (200, 0)
    assert out.read_bytes() == whole


def test_a_window_is_longer_for_a_faster_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_file, "WINDOW", 1024)
    clock = 0.0
    monkeypatch.setattr(predict_file.time, "perf_counter", lambda: clock)

    def sizes(cost: Callable[[int], float], length: int) -> Iterator[tuple[int, float]]:
        nonlocal clock
        items = (("", "x" * (length - 1)) for _ in range(60_000))
        for window in predict_file._windows(items):
            clock += cost(len(window))
            yield len(window), cost(len(window))

    fast = [rows for rows, _ in sizes(lambda n: n * 1e-4, 40)]
    assert fast[0] < 30
    assert all(1.9 < b / a < 2.1 for a, b in pairwise(fast[:6]))
    assert set(fast[6:-1]) == {1024}
    slow = list(sizes(lambda n: n * 0.1, 40))
    assert all(seconds < 3 for _, seconds in slow)
    assert all(rows in (20, 21) for rows, _ in slow[2:-1])
    long = [rows for rows, _ in sizes(lambda n: n * 1e-9, 200_000)]
    assert max(long) * 200_000 < predict_file.LONG + 200_000


def test_rows_are_in_the_part_before_the_next_window_is_predicted(
    classifier: elman.Classifier, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, seen = Labels.answers, list[int]()
    part = tmp_path / "out.csv.part"

    def watched(self: Labels, *given: Any) -> Any:
        seen.append(part.read_bytes().count(b"\n") - 1)
        return answers(self, *given)

    monkeypatch.setattr(Labels, "answers", watched)
    predicts(classifier, source, tmp_path / "out.csv")
    assert seen == [max(0, n) for n in [-1, *range(16, 200, 16)]]


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of file sizes")
def test_a_full_disk_loses_no_row(
    classifier: elman.Classifier, source: Path, tmp_path: Path
) -> None:
    import resource

    out = tmp_path / "out.csv"
    assert predicts(classifier, source, out) == (200, 0)
    whole = out.read_bytes()
    out.unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))  # in the middle of a window
    try:
        with pytest.raises(FolderError) as caught:
            predicts(classifier, source, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"{out}: cannot be written (File too large); the rows so far are in" in str(caught.value)
    with stopped_at_call(1, Labels, "answers"):
        predicts(classifier, source, out)
    assert (tmp_path / "out.csv.part").read_bytes().count(b"\n") > 1
    assert predicts(classifier, source, out) == (200, 0)
    assert out.read_bytes() == whole


def test_the_message_for_a_full_disk_has_a_remedy(
    classifier: elman.Classifier, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        patch.setattr(Record, "add", full)
        with pytest.raises(FolderError) as caught:
            predicts(classifier, source, out)
    assert str(caught.value) == (
        f"{out}: cannot be written (No space left on device); the rows so far are in {out}.part, "
        "and the same command continues; free some space, or name another folder"
    )
    with Rejects(tmp_path / "rejects.csv") as bad:
        monkeypatch.setattr("elman.read.rows.csv.writer", full)
        with pytest.raises(ArgumentError, match=r"rejects\.csv: cannot be written"):
            bad.add("a.txt: line 3", DataError("a.txt: line 3: odd"))


@pytest.mark.parametrize("out", ["/dev/full", ".", "nowhere/out.csv", "out.xyz"])
def test_an_output_that_cannot_be_a_file_is_refused(
    out: str,
    classifier: elman.Classifier,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    classifier.save(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["predict", "run", "--file", str(source), "--out", out]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    reasons = {
        "/dev/full": "/dev/full: is a device, expected a file that ends with .csv, .tsv, .jsonl",
        ".": ".: is a folder, expected a file that ends with .csv, .tsv, .jsonl",
        "nowhere/out.csv": "there is no folder nowhere; create it, or name another file",
        "out.xyz": "out.xyz: expected a name that ends with .csv, .tsv, .jsonl",
    }
    assert reasons[out] in error
