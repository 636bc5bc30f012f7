"""Invalid files, frames, paths and arguments are refused with a one-line error that names them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elman
from elman.cli import main
from elman.encode.text import Vocabulary
from elman.errors import ArgumentError, DataError, ElmanError, FolderError
from elman.forecast.forecasts import check_level
from elman.inputs.kinds import reader_of
from elman.read.columns import Table
from elman.read.examples import Examples
from elman.read.files import files_below
from elman.read.rows import Rejects
from elman.read.split import hold_out_labels
from elman.read.tables import line_values
from elman.read.text import TextSource
from elman.report.write_table import write_table
from elman.targets.label_settings import LabelSettings
from elman.targets.labels import Labels

SMALL = {"hidden_size": 4, "epochs": 1, "device": "cpu"}
DEEP = "[" * 20_000 + "]" * 20_000
HUGE = "9" * 400


def forecast(source: Any, **settings: Any) -> None:
    elman.Forecaster(**SMALL, horizon=4, windows=8, **settings).fit(source)


def one_line(error: ElmanError) -> bool:
    return len(str(error)) < 300 and "\n" not in str(error)


# ---- values of tables


@pytest.mark.parametrize("column", ["unique_id", "ds", "y"])
@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, np.arange(3), (1,), {1}, 10**400])
def test_a_column_must_hold_one_value_per_row(column: str, value: object) -> None:
    table: dict[str, list[object]] = {
        "unique_id": ["a"] * 20,
        "ds": list(range(20)),
        "y": [float(n % 4) for n in range(20)],
    }
    table[column][7] = value
    with pytest.raises(DataError, match=f"row 7: column '{column}' is ") as caught:
        forecast(table)
    assert one_line(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (HUGE, "line 21: column 'y' is a whole number with over 300 digits"),
        (HUGE * 20, "line 21: a number has thousands of digits"),
        (DEEP, "line 21: brackets nest too deeply"),
        ("[1, 2]", r"line 21: column 'y' is \[1, 2\], expected one value"),
    ],
)
def test_json_that_python_cannot_represent_is_an_error_of_its_line(
    tmp_path: Path, value: str, message: str
) -> None:
    lines = [f'{{"ds": {n}, "y": {n % 4}}}\n' for n in range(20)]
    (tmp_path / "a.jsonl").write_text("".join(lines) + f'{{"ds": 20, "y": {value}}}\n')
    with pytest.raises(DataError, match=message) as caught:
        forecast(tmp_path / "a.jsonl")
    assert one_line(caught.value)


def test_a_bad_line_of_json_can_be_skipped(tmp_path: Path) -> None:
    lines = [json.dumps({"y": n}) for n in range(3)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, f'{{"y": {DEEP}}}', f'{{"y": {HUGE}}}']))
    with Rejects(tmp_path / "bad.csv") as rejects:
        found = Table(tmp_path / "a.jsonl").read({"y": "number"}, rejects)
        assert rejects.count == 2
    assert found.columns["y"].values.tolist() == [0.0, 1.0, 2.0]


def test_deeply_nested_settings_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("[" * 1100)
    arguments = ["data.csv", "--out", "runs/a", "--config", str(tmp_path / "a.yaml")]
    assert main(["train", "classifier", *arguments]) == 2
    assert "a.yaml: too many nested brackets" in capsys.readouterr().err


def test_a_deeply_nested_config_is_reported_as_damaged(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(DEEP)
    with pytest.raises(FolderError, match="is damaged"):
        elman.load(tmp_path)


@pytest.mark.parametrize(
    "encoding", ["punycode", "idna", "unicode_escape", "raw_unicode_escape", "base64", "rot13", 5]
)
def test_only_text_encodings_are_accepted(encoding: Any) -> None:
    with pytest.raises(ArgumentError, match="encoding must name a text encoding such as utf-8"):
        TextSource(["a"], encoding=encoding)


def test_a_message_lists_only_the_first_of_many_columns(tmp_path: Path) -> None:
    names = [f"s{n}" for n in range(5000)]
    for source in ({name: [1.0] for name in names}, tmp_path / "a.csv"):
        (tmp_path / "a.csv").write_text(",".join(names) + "\n" + ",".join(["1"] * 5000) + "\n")
        with pytest.raises(ElmanError, match="'s19' and 4,980 more") as caught:
            forecast(source)
        assert len(str(caught.value)) < 600


# ---- paths


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "\ud800", "", 5, b"bytes", ["a"]])
def test_invalid_paths_are_refused_everywhere(path: Any) -> None:
    model = elman.Classifier(**SMALL)
    for call in (
        lambda: elman.load(path),
        lambda: elman.Classifier.resume(path),
        lambda: model.fit(["a", "b"] * 4, [0, 1] * 4, out=path),
        lambda: model.fit(["a", "b"] * 4, [0, 1] * 4, skip_bad_rows=path),
        lambda: elman.LanguageModel(**SMALL).fit(["a b"] * 9, out=path),
        lambda: write_table(path, {"y": [1.0]}),
    ):
        with pytest.raises(ArgumentError, match="must be a path, got") as caught:
            call()
        assert one_line(caught.value)


def test_the_command_line_shortens_long_messages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["predict", "x" * 5000, "text"]) == 2
    assert len(capsys.readouterr().err) < 400


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    for read in (forecast, Table, elman.Classifier(**SMALL).fit, files_below):
        for source in (tmp_path / "a.csv", tmp_path):
            with pytest.raises(ElmanError, match=r"pipe or a device|expected a table"):
                read(source)  # type: ignore[operator]
    with pytest.raises(ArgumentError, match="is not a file"):
        elman.Classifier(**SMALL).fit(["a"], [0], skip_bad_rows=tmp_path / "a.csv")


# ---- run time that grows with the size of the input: steps are counted, not seconds


def test_the_end_of_an_open_quote_is_searched_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from elman.read import tables

    taken = []
    after = tables._Lines.__next__
    monkeypatch.setattr(
        tables._Lines,
        "__next__",
        lambda self: taken.append(1) or after(self),  # type: ignore[func-returns-value]
    )
    lines = 500
    text = "x,y\n" + 'a","b\n' * lines + "1,2\n"
    found = list(line_values([text], ["x"], Path("a.csv"), kind=".csv", record=1 << 20))
    assert [n for n, values in found if isinstance(values, DataError)] == list(range(2, lines + 2))
    assert found[-1] == (lines + 2, ("1",))
    assert len(taken) < 4 * lines


def test_bpe_learns_from_pieces_of_limited_length(monkeypatch: pytest.MonkeyPatch) -> None:
    from elman.encode.text import _without_marks

    text = "acgt" * 1000 + " in words"
    parts = list(_without_marks([text], "bpe"))
    assert "".join(parts).replace("\n", "") == text
    assert max(map(len, " ".join(parts).split())) == 64
    vocabulary = Vocabulary.build(lambda: [text], tokens="bpe")
    assert vocabulary.decode(vocabulary.encode(text)) == text


# ---- shares, percentages, single rows


def test_a_level_must_be_a_percentage() -> None:
    message = "level must be a percentage, at least 1 and below 100, got 0.8; for 80% set level 80"
    with pytest.raises(ArgumentError, match=message):
        check_level([80, 0.8])
    for wrong in (0, 100, -5, "80", None):
        with pytest.raises(ArgumentError, match="level must be"):
            check_level([wrong])  # type: ignore[list-item]


def test_quantiles_must_be_shares() -> None:
    with pytest.raises(
        ArgumentError, match=r"between 0 and 1, in rising order, got 10, 50, 90; 90 percent is 0.9"
    ):
        elman.Forecaster(quantiles=(10, 50, 90)).check()


def test_labels_of_a_single_row_are_named() -> None:
    examples = Examples(["x"] * 3, [("a",), ("a",), ("b",)], [""] * 3)
    labels = Labels(LabelSettings(), ["a", "b"])
    assert "labels with only one row, which cannot be held out: b" in labels.notes_on(
        examples, {}, reader_of(LabelSettings(), ["text"])
    )
    with pytest.raises(
        DataError, match=r"3 rows with 2 labels are too few .* \(b in one row only\)"
    ):
        hold_out_labels(examples.targets, 0.1, seed=0)


# ---- arguments of other types


@pytest.fixture(scope="module")
def words() -> elman.LanguageModel:
    return elman.LanguageModel(**SMALL).fit(["the cat sat on the mat"] * 20)


@pytest.mark.parametrize("text", [["the"], None, 5, b"the", "\ud800"])
def test_a_language_model_accepts_only_a_text(words: elman.LanguageModel, text: Any) -> None:
    for call in (words.predict, words.generate, words.stream().push):
        with pytest.raises(ArgumentError, match=r"^text (must be a string, got|is not valid)"):
            call(text)


@pytest.mark.parametrize("value", [None, "5", 2.5, [1], np.arange(3)])
def test_counts_must_be_whole_numbers(words: elman.LanguageModel, value: Any) -> None:
    for name in ("max_new_tokens", "samples", "seed"):
        with pytest.raises(ArgumentError, match=f"{name} must be a whole number, got"):
            words.generate("the", **{"max_new_tokens": 2, name: value})
    with pytest.raises(ArgumentError, match="k must be a whole number, got"):
        words.predict("the", k=value)


@pytest.mark.parametrize("sentences", [None, 5, [5], [None], [[5]], [[None]], [[["a"]]], "a b"])
def test_a_tagger_accepts_only_lists_of_words(sentences: Any) -> None:
    model = elman.Tagger(**SMALL).fit([["a", "b"]] * 10, [["X", "Y"]] * 10)
    with pytest.raises(ArgumentError, match=r"sentence|a word"):
        model.predict(sentences)


@pytest.mark.parametrize("labels", [5, True, object(), np.array(1)])
def test_labels_must_be_a_list(labels: Any) -> None:
    with pytest.raises(ArgumentError, match="label must be a list of values, got"):
        elman.Classifier(**SMALL).fit(["a", "b"], labels)


@pytest.mark.parametrize("source", [np.array("a"), {}, 5, None])
def test_data_of_a_wrong_type_are_refused(source: Any) -> None:
    for task in (elman.Forecaster, elman.Classifier, elman.Tagger, elman.LanguageModel):
        with pytest.raises(ElmanError):
            task(**SMALL).fit(source)  # type: ignore[operator]
    with pytest.raises(ArgumentError, match="labels must be a list of values, got"):
        elman.Classifier(**SMALL).fit([np.zeros((3, 1))] * 4, 5)
