"""Settings are converted to plain values and checked against their types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import elman
from elman.arguments import is_of_type
from elman.errors import ArgumentError
from elman.tasks.task import Task

TEXTS = ["so good", "so bad", "good film", "bad film"] * 15
TASKS = [elman.Classifier, elman.Forecaster, elman.LanguageModel, elman.Tagger, elman.Translator]


@pytest.mark.parametrize("task", TASKS)
def test_settings_accept_numbers_of_numpy_and_torch(task: type[Task]) -> None:
    given: dict[str, Any] = {
        "hidden_size": np.int64(8),
        "epochs": torch.tensor(2),
        "learning_rate": np.float32(0.5),
        "layer_norm": np.True_,
        "dropout": np.array(0.25),
        "batch_size": np.uint8(4),
        "seed": torch.tensor([3])[0],
    }
    model = task(**given)
    model.check()
    assert {name: getattr(model, name) for name in given} == {
        "hidden_size": 8,
        "epochs": 2,
        "learning_rate": 0.5,
        "layer_norm": True,
        "dropout": 0.25,
        "batch_size": 4,
        "seed": 3,
    }
    model.hidden_size = np.array([8, 8])  # type: ignore[assignment]
    assert model.hidden_size == (8, 8)
    assert json.loads(json.dumps(model._config(Path())))["settings"]["dropout"] == 0.25


def test_the_best_model_of_a_search_over_arrays_can_be_saved(tmp_path: Path) -> None:
    model = elman.Classifier(epochs=1, device="cpu", max_tokens=np.int64(9), bidirectional=False)
    grid = {"hidden_size": np.arange(4, 6), "learning_rate": np.array([0.01], dtype=np.float32)}
    search = GridSearchCV(model, grid, cv=2).fit(TEXTS, [1, 0] * 30)
    search.best_estimator_.save(tmp_path / "run")
    assert elman.load(tmp_path / "run").max_tokens == 9  # type: ignore[union-attr]


def test_a_single_value_for_a_list_becomes_a_list_of_one() -> None:
    model = elman.Forecaster(
        targets="load", past=["heat"], static=np.array(["shop"]), lags=7, quantiles=np.float64(0.5)
    )  # type: ignore[arg-type]
    assert (model.targets, model.past, model.static) == (("load",), ("heat",), ("shop",))
    assert (model.lags, model.quantiles) == ((7,), (0.5,))
    assert elman.Classifier(channels="ax").channels == ("ax",)  # type: ignore[arg-type]
    assert elman.Classifier(channels=range(3)).channels == ("0", "1", "2")  # type: ignore[arg-type]
    if isinstance(model, elman.Classifier):
        assert clone(model).get_params() == model.get_params()


def test_a_single_stop_string_is_not_split_into_characters() -> None:
    model = elman.LanguageModel(hidden_size=8, epochs=1, bptt=8, batch_size=4, device="cpu")
    model.fit(["the cat sat on the mat"] * 40)
    whole = model.generate("the cat", max_new_tokens=np.int64(30), temperature=0.5)[0]
    at = whole.find("sat")
    assert at >= 0
    for stop in ("sat", ["sat"]):
        found = model.generate("the cat", max_new_tokens=30, temperature=0.5, stop=stop)[0]
        live = model.generate_live("the cat", max_new_tokens=30, stop=stop)
        assert found == whole[:at]
        assert "sat" not in "".join(live)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (elman.Forecaster(static=("zip",), categorical=("zpi",)), "column 'zpi', which is not"),
        (elman.Forecaster(past=("heat",), missing=("hea=-1",)), "expected one of y, heat, unique"),
        (
            elman.Forecaster(categorical=("y",)),
            "categorical names 'y', whose values must be numbers",
        ),
        (elman.Classifier(channels=("x",), numeric=("z",)), "numeric names the column 'z'"),
        (elman.Tagger(channels=("x",), missing=("z=-1",)), "missing names the column 'z'"),
    ],
)
def test_a_setting_that_names_an_unread_column_is_refused(model: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        model.check()


def test_settings_may_name_every_column_that_is_read() -> None:
    elman.Forecaster(
        static=("zip",), categorical=("zip",), numeric=("y",), missing=("-1", "y=-2", "=3")
    ).check()
    elman.Forecaster(wide=True, missing=("north=-1",)).check()
    elman.Classifier(channels=("x",), static=("age",), missing=("age=-1", "label=?")).check()
    elman.Classifier(variable="what", missing=("pulse=-1",)).check()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"device": 3}, "device must be a string, got 3"),
        ({"num_layers": None}, "num_layers must be a whole number, got None"),
        ({"skip": None}, "skip must be True or False, got None"),
        ({"skip": "x"}, "skip must be True or False, got 'x'"),
        ({"several": "x"}, "several must be True or False, got 'x'"),
        ({"dropout": True}, "dropout must be a number, got True"),
        ({"epochs": 1.5}, "epochs must be a whole number, got 1.5"),
        ({"channels": None}, "channels must be a list of strings, got None"),
        (
            {"hidden_size": (8, 2.5)},
            "hidden_size must be a list of whole numbers or a whole number",
        ),
        ({"pooling": "x"}, "pooling must be one of last, mean, max, concat, attention, got 'x'"),
    ],
)
def test_a_setting_that_does_not_match_its_annotation_is_refused(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        elman.Classifier(**values).fit(TEXTS, [1, 0] * 30)
    assert str(caught.value).startswith(message)


def test_a_whole_number_counts_as_a_number_and_true_does_not() -> None:
    assert is_of_type([1, 2.5], list[float])
    assert not is_of_type([1, None], list[float])
    assert not is_of_type(True, int | float)
    assert is_of_type({"a": [1]}, dict[str, list[int]])
    assert not is_of_type({1: [1]}, dict[str, list[int]])
    assert is_of_type(None, Literal["a"] | None)
