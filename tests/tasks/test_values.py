"""Labels, names, lines and frames are returned as the user gave them."""

from __future__ import annotations

import csv
import enum
import json
import os
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_score

import elman
from elman.encode.labels import label_numbers
from elman.errors import DataError
from elman.read.examples import Examples
from elman.read.labels import join_labels, split_labels
from elman.tasks.predict_file import predict_file

pandas = pytest.importorskip("pandas")

TEXTS = ["so good", "so bad"] * 20
SETTINGS: dict[str, Any] = {"hidden_size": 8, "epochs": 1, "bidirectional": False, "device": "cpu"}
FORECAST: dict[str, Any] = {
    "horizon": 4,
    "season": 4,
    "context": 8,
    "hidden_size": 8,
    "epochs": 1,
    "windows": 32,
    "device": "cpu",
}


class Mood(enum.Enum):
    GOOD = 1
    BAD = 2


@pytest.mark.parametrize(
    ("y", "given"),
    [
        (torch.tensor([1, 0] * 20), [0, 1]),
        (np.array([1.5, np.float32(2)] * 20), [1.5, 2.0]),
        ([b"a", b"b"] * 20, [b"a", b"b"]),
        ([date(2024, 1, 1), date(2024, 1, 2)] * 20, [date(2024, 1, 1), date(2024, 1, 2)]),
        (
            [datetime(2024, 1, 1, 5), datetime(2024, 1, 2)] * 20,
            [datetime(2024, 1, 1, 5), datetime(2024, 1, 2)],
        ),
        ([Decimal("1.50"), Decimal(2)] * 20, [Decimal("1.50"), Decimal(2)]),
        (["pos ", " neg"] * 20, [" neg", "pos "]),
        ([float("inf"), 1.0] * 20, [1.0, float("inf")]),
        ([np.True_, np.False_] * 20, [False, True]),
    ],
)
def test_labels_are_returned_as_they_were_given(y: Any, given: list[Any], tmp_path: Path) -> None:
    model = elman.Classifier(**SETTINGS).fit(TEXTS, y)
    model.save(tmp_path / "run")
    config = (tmp_path / "run" / "config.json").read_text()
    json.loads(config, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    for one in (model, elman.load(tmp_path / "run")):
        assert one.classes_.tolist() == given  # type: ignore[union-attr]
        assert {type(label) for label in one.classes} == {type(given[0])}  # type: ignore[union-attr]
        assert one.predict(TEXTS[:1])[0] in given  # type: ignore[union-attr]


class Stars(enum.IntEnum):
    ONE = 1
    TWO = 2


def test_labels_of_types_that_json_lacks_are_equal_after_loading(
    tmp_path: Path,
) -> None:
    model = elman.Classifier(**SETTINGS).fit(TEXTS, list(Mood) * 20)
    assert model.classes == ["Mood.BAD", "Mood.GOOD"]
    model.save(tmp_path / "run")
    loaded = elman.load(tmp_path / "run")
    assert loaded.classes == model.classes  # type: ignore[union-attr]
    assert loaded.predict(TEXTS).tolist() == model.predict(TEXTS).tolist()  # type: ignore[union-attr]
    assert elman.Classifier(**SETTINGS).fit(TEXTS, list(Stars) * 20).classes == list(Stars)
    assert loaded.score(TEXTS, list(Mood) * 20) == model.score(TEXTS, list(Mood) * 20)  # type: ignore[union-attr]


def test_predicted_labels_equal_those_of_y_in_scikit_learn() -> None:
    y = ["pos ", "neg "] * 20
    model = elman.Classifier(**{**SETTINGS, "epochs": 8, "learning_rate": 0.05})
    scores = cross_val_score(model, TEXTS, y, scoring="accuracy", cv=2)
    assert scores.tolist() == [1.0, 1.0]


def test_every_form_of_a_missing_label_is_refused() -> None:
    for none in (pandas.NA, pandas.NaT, None, float("nan"), "#N/A", " "):
        with pytest.raises(DataError, match="row 1: column 'label' is empty, expected a label"):
            elman.Classifier(**SETTINGS).fit(TEXTS, ["a", none] * 20)


def test_labels_of_a_file_are_matched_to_those_of_training_by_value() -> None:
    labels: list[tuple[Any, ...]] = [(1.0,), ("1",), (" 1.0 ",), ("2",)]
    assert label_numbers(labels, [1, 2], several=False)[0].tolist() == [0, 0, 0, 1]
    assert label_numbers([("1.0",)], ["1.0", "1"], several=False)[0].tolist() == [0]
    assert len(Examples()) == 0


def test_labels_that_contain_the_separator_are_split_correctly() -> None:
    for labels in (["a, b", "c"], ['"a"', "b"], ["a"], [], ["x;y", 'say "so", twice']):
        for separator in (",", ";", ", "):
            assert split_labels(join_labels(labels, separator), separator) == labels
    assert split_labels("a, b,,c ", ",") == ["a", " b", "c "]


def test_every_task_of_texts_accepts_frames(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"text": TEXTS, "label": [1, 0] * 20, "more": 0})
    model = elman.Classifier(**SETTINGS).fit(frame)
    assert model.predict(frame).shape == (40,)
    assert 0 <= model.evaluate(frame)["accuracy"] <= 1
    assert elman.Classifier(**SETTINGS).fit(frame, frame["label"]).classes == [0, 1]
    pairs = pandas.DataFrame({"source": TEXTS, "target": TEXTS})
    settings: dict[str, Any] = {"hidden_size": 8, "epochs": 1, "tokens": "word", "device": "cpu"}
    assert len(elman.Translator(**settings).fit(pairs).predict(pairs[:3])) == 3
    words = pandas.DataFrame({"words": [text.split() for text in TEXTS], "tags": [["A", "B"]] * 40})
    tagger = elman.Tagger(hidden_size=8, epochs=1, device="cpu").fit(words)
    assert len(tagger.predict(words[:3])) == 3
    language = elman.LanguageModel(hidden_size=8, epochs=1, bptt=4, batch_size=4, column="text")
    assert language.fit(frame).evaluate(frame)["tokens"] > 40


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_the_default_dtype_of_torch_does_not_matter(default: torch.dtype, tmp_path: Path) -> None:
    waves = [np.full((6, 1), float(n % 2)) for n in range(40)]
    torch.set_default_dtype(default)
    try:
        for name, data in (("texts", TEXTS), ("waves", waves)):
            run = tmp_path / name
            settings = {**SETTINGS, "bidirectional": True}  # recordings have a wide part
            elman.Classifier(**settings).fit(data, [1, 0] * 20).save(run)
            model: Any = elman.load(run)
            assert model.predict_proba(data).dtype == np.float32
            assert model.score(data, [1, 0] * 20) == 1
        (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{t},{t}\n" for t in TEXTS))
        elman.Classifier(**SETTINGS).fit(tmp_path / "a.csv", out=tmp_path / "run")
        elman.Classifier.resume(tmp_path / "run", epochs=2)
    finally:
        torch.set_default_dtype(torch.float32)
    assert elman.Classifier.resume(tmp_path / "run", epochs=3).score(TEXTS, TEXTS) == 1


@pytest.fixture(scope="module")
def shops() -> elman.Forecaster:
    y = [float([1, 3, 2, 7][t % 4]) for t in range(60)] * 2
    rows = {"unique_id": [1] * 60 + [2] * 60, "ds": [*range(60)] * 2, "y": y}
    return elman.Forecaster(**FORECAST).fit(pandas.DataFrame(rows))


def rows_of(names: list[Any], begin: int, end: int) -> dict[str, list[Any]]:
    many = end - begin
    return {
        "unique_id": [name for name in names for _ in range(many)],
        "ds": [*range(begin, end)] * len(names),
        "y": [1.0, 3.0, 2.0, 7.0] * (many * len(names) // 4),
    }


def test_names_of_series_are_compared_by_value_in_every_method(
    shops: elman.Forecaster, tmp_path: Path
) -> None:
    whole = shops.evaluate(rows_of([1, 2], 60, 80))
    assert shops.evaluate(rows_of(["1.0", 2.0], 60, 80)) == whole
    assert "unseen_series" not in whole
    new = shops.evaluate(rows_of(["x", "y"], 60, 80))
    assert new["unseen_series"] == "'x', 'y'"
    with pytest.raises(DataError, match="series 'x': is not in the training data"):
        shops.evaluate(rows_of([1, "x"], 60, 80))
    for name in (1, "1", 1.0, "1.0", np.int64(1)):
        assert shops.stream(name).forecast().mean.shape == (4, 1)
    shops.save(tmp_path / "run")
    loaded = elman.load(tmp_path / "run")
    for one in (shops, loaded):
        assert one.predict().columns([80])["unique_id"][::4] == [1, 2]  # type: ignore[union-attr, attr-defined]
    back = shops.backtest(pandas.DataFrame(rows_of([2.0], 0, 80)), cuts=1)
    assert back.forecasts.columns([80])["unique_id"] == [2.0] * 4


def test_a_table_is_written_to_every_kind_of_path(shops: elman.Forecaster, tmp_path: Path) -> None:
    class Named(os.PathLike[str]):
        def __fspath__(self) -> str:
            return str(tmp_path / "c.csv")

    found = shops.predict()
    for path in (str(tmp_path / "a.csv"), tmp_path / "b.csv", Named()):
        found.write(path, 80)  # type: ignore[arg-type]
    texts = [(tmp_path / name).read_text() for name in ("a.csv", "b.csv", "c.csv")]
    assert texts == [texts[0]] * 3
    shops.save(str(tmp_path / "run"))


def test_a_blank_line_of_the_input_is_an_empty_line_of_the_output(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"hidden_size": 8, "epochs": 1, "tokens": "word", "device": "cpu"}
    model = elman.Translator(**settings).fit(TEXTS, TEXTS)
    (tmp_path / "in.txt").write_bytes(b"so good\n\nso\rbad\n   \nbad\n\xff\n")
    done = predict_file(
        model,
        tmp_path / "in.txt",
        tmp_path / "out.txt",
        overwrite=False,
        rejects=tmp_path / "bad.csv",
        show=False,
    )
    lines = (tmp_path / "out.txt").read_text().split("\n")
    assert done == (6, 1)
    assert [bool(line) for line in lines[1::2]] == [False, False, False]
    assert len(lines) == 7
    reasons = list(csv.DictReader((tmp_path / "bad.csv").read_text().splitlines()))
    assert [row["place"].rsplit(": ", 1)[1] for row in reasons] == ["line 6"]


def test_a_csv_file_of_another_dialect_is_read_in_every_method(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "text ; label\n" + "".join(f"{t}, you;{n % 2}\n" for n, t in enumerate(TEXTS))
    )
    model = elman.Classifier(**SETTINGS).fit(str(tmp_path / "a.csv"))
    assert model.evaluate(tmp_path / "a.csv")["examples"] == 40
    predict_file(
        model, tmp_path / "a.csv", tmp_path / "out.csv", overwrite=False, rejects=None, show=False
    )
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 41


def test_undecodable_bytes_are_bad_rows_in_any_dialect(tmp_path: Path) -> None:
    rows = "".join(f"{text};{n % 2}\n" for n, text in enumerate(TEXTS)).encode()
    (tmp_path / "a.csv").write_bytes(b"text;label\n\xff;1\n" + rows)
    model = elman.Classifier(**SETTINGS)
    model.fit(tmp_path / "a.csv", skip_bad_rows=tmp_path / "bad.csv")
    assert "line 2" in (tmp_path / "bad.csv").read_text()


def _keys(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(_keys, value))
    return set(value).union(*map(_keys, value.values())) if isinstance(value, dict) else set()


def test_keys_of_metrics_have_no_spaces(tmp_path: Path) -> None:
    y = np.tile([1.0, 2.0, 4.0, 8.0], 20)
    columns = {"unique_id": ["a"] * 80, "ds": range(80), "x": y, "y": -y}
    place = elman.Forecaster(**FORECAST, targets=("x", "y"), plane=True, scaling="velocity")
    models = {
        "label": elman.Classifier(**SETTINGS).fit(TEXTS, ["good", "bad"] * 20),
        "number": elman.Forecaster(**FORECAST).fit(y),
        "place": place.fit(pandas.DataFrame(columns)),
    }
    found = set()
    for name, model in models.items():
        model.save(tmp_path / name)
        found |= _keys(json.loads((tmp_path / name / "metrics.json").read_text()))
    assert {"F1_macro", "coverage_80", "best_of_20_ADE"} <= found
    assert not [key for key in found if " " in key]
