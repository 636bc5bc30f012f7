"""Every task works without the optional libraries and names the missing one where it needs it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import elman
import elman.report.classes  # torchmetrics looks for scipy when it is imported
from elman.cli import main
from elman.errors import DataError
from elman.optional import find
from elman.report.forecasts import Guess, score_forecasts

LIBRARIES = (
    "polars",
    "rouge_score",
    "sacrebleu",
    "scipy",
    "sklearn",
    "statsforecast",
    "utilsforecast",
)
SMALL = {"hidden_size": 4, "epochs": 1, "device": "cpu"}


@pytest.fixture
def base_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the imports of all optional libraries fail."""
    for module in list(sys.modules):
        if module.partition(".")[0] in LIBRARIES:
            monkeypatch.delitem(sys.modules, module)
    for library in LIBRARIES:
        monkeypatch.setitem(sys.modules, library, None)


@pytest.mark.usefixtures("base_install")
def test_a_base_install_trains_and_backtests_a_forecaster(
    capsys: pytest.CaptureFixture[str],
) -> None:
    y = np.tile([1.0, 2.0, 3.0, 2.0], 20) + np.arange(80)
    model = elman.Forecaster(**SMALL, horizon=4, season=4, windows=64, statistics=True)
    model.fit(y, show=True)
    ours = model.metrics["model"]["validation"]
    assert {"MAE", "RMSE", "MASE", "sMAPE", "ND", "CRPS", "wQL"} <= set(ours)
    note = "not computed without statsforecast: AutoETS and AutoTheta"
    assert note in " ".join(capsys.readouterr().err.split())
    assert any(note in found for found in model.backtest(y, cuts=1).forecasts.notes)


@pytest.mark.usefixtures("base_install")
@pytest.mark.parametrize("output", ["student_t", "negative_binomial"])
def test_an_output_that_needs_scipy_is_refused_before_training(output: str) -> None:
    model = elman.Forecaster(**SMALL, horizon=4, output=output, scaling="mean")
    with pytest.raises(DataError, match=rf"output={output} needs scipy: pip install scipy"):
        model.fit([1.0, 2.0, 3.0, 2.0] * 20)


@pytest.mark.usefixtures("base_install")
@pytest.mark.parametrize(
    ("kind", "scores", "package"),
    [
        ("translation", set(), "sacrebleu"),
        ("summary", set(), "rouge-score"),
        ("dialogue", {"distinct-1", "distinct-2"}, "sacrebleu"),
    ],
)
def test_a_base_install_trains_a_translator_and_omits_some_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, scores: set[str], package: str
) -> None:
    sources, targets = ["one two", "two one"] * 10, ["a b", "b a"] * 10
    model = elman.Translator(**SMALL, kind=kind, min_count=1, consensus=None, max_tokens=4)
    model.fit(sources, targets, out=tmp_path / "run")
    found = set(model.metrics["model"]["validation"])
    assert found == {"loss", "perplexity", "accuracy", "tokens", "pairs"} | scores
    assert f"(pip install {package})" in (tmp_path / "run" / "run.jsonl").read_text()
    for name, lines in (("s.txt", sources), ("t.txt", targets)):
        (tmp_path / name).write_text("\n".join(lines))
    assert main(["evaluate", *(str(tmp_path / name) for name in ("run", "s.txt", "t.txt"))]) == 0
    assert f"(pip install {package})" in capsys.readouterr().err


@pytest.mark.usefixtures("base_install")
def test_a_base_install_trains_classifiers_and_taggers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = elman.Classifier(**SMALL).fit(["a b", "c d"] * 10, [0, 1] * 10, show=True)
    assert model.metrics["baseline"]["name"] == "most frequent label"
    arrays = [np.full((6, 1), float(n % 2)) for n in range(20)]
    elman.Classifier(**SMALL).fit(arrays, [0, 1] * 10, show=True)
    elman.Tagger(**SMALL).fit(arrays, [["none"] * 3 + ["on"] * 3] * 20, show=True)
    shown = " ".join(capsys.readouterr().err.split())
    for what in (
        "the bag of words",
        "random forest on statistics of windows, logistic regression on last values and means",
        "random forest on statistics around each step",
    ):
        note = f"not computed without scikit-learn: {what} (pip install scikit-learn)"
        assert note in shown


@pytest.mark.usefixtures("base_install")
def test_reading_parquet_names_the_missing_library(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"a\.parquet: Parquet needs polars: pip install polars"):
        elman.Forecaster(**SMALL).fit(tmp_path / "a.parquet")


@pytest.mark.skipif(find("utilsforecast") is None, reason="compares with utilsforecast")
def test_point_scores_equal_those_of_utilsforecast() -> None:
    import polars
    from utilsforecast import losses

    draw = np.random.default_rng(0)
    series = np.repeat(np.arange(4), 6)
    target = series % 2
    y, f = draw.normal(size=(2, 24)).round(1)
    y[[0, 7]], f[0], y[3] = 0, 0, np.nan
    there = ~np.isnan(y)
    errors = np.array([0.5, 1.0, 0.0, 2.0])  # the third series is constant
    found = {
        one: score_forecasts(
            series,
            y,
            {"m": Guess(f, f)},
            levels=[],
            errors=errors,
            targets=None if one else target,
        )
        for one in (True, False)
    }
    table = polars.DataFrame({"unique_id": series, "y": y, "m": f}).filter(there)

    def loss(name: str, groups: np.ndarray) -> np.ndarray:
        rows = table.with_columns(unique_id=polars.Series(groups[there]))
        return np.asarray(getattr(losses, name)(rows, ["m"])["m"])

    ours, both = found[True].scores["m"], found[False].scores["m"]
    mase = loss("mae", series)[[0, 1, 3]] / errors[[0, 1, 3]]
    everything = np.zeros_like(series)
    # The sums are in another order, so the last bits may differ.
    assert ours["MASE"] == pytest.approx(mase.mean(), rel=1e-12)
    assert ours["sMAPE"] == pytest.approx(200 * loss("smape", series).mean(), rel=1e-12)
    for name in ("MAE", "RMSE", "ND"):
        assert ours[name] == pytest.approx(loss(name.lower(), everything)[0], rel=1e-12)
    assert both["ND"] == pytest.approx(loss("nd", target).mean(), rel=1e-12)
    assert "MAE" not in both
    np.testing.assert_allclose(found[True].of_series["m"][[0, 1, 3]], mase, rtol=1e-12)
    assert np.isnan(found[True].of_series["m"][2])
