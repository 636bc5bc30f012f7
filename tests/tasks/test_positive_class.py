"""The rarer of two classes is the positive one, whatever the names of the labels."""

import json
from pathlib import Path

import numpy as np
import pytest

import elman
from elman.cli import main
from elman.errors import FolderError

metrics = pytest.importorskip("sklearn.metrics")


def rows(sick: str, well: str, count: int = 120) -> tuple[list[str], list[str]]:
    """Return texts and labels: one row in six is of the rare class, and words partly predict it."""
    labels = [sick if n % 6 == 0 else well for n in range(count)]
    words = [
        ("cough" if (n % 6 == 0) != (n % 7 == 0) else "smile") + f" day{n % 10}"
        for n in range(count)
    ]
    return words, labels


def train(sick: str, well: str) -> elman.Classifier:
    model = elman.Classifier(hidden_size=8, epochs=1, min_count=1, device="cpu")
    return model.fit(*rows(sick, well), test=rows(sick, well, 90))


def test_renaming_labels_does_not_change_the_positive_class() -> None:
    found = [train("sick", "well"), train("yellow", "green")]
    for model, name in zip(found, ("sick", "yellow"), strict=True):
        texts, labels = rows(name, "well" if name == "sick" else "green", 90)
        p = model.predict_proba(texts)[:, model.classes.index(name)]
        expected = metrics.average_precision_score(np.array(labels) == name, p)
        for scores in (model.metrics["model"]["test"], model.evaluate(texts, labels)):
            assert scores["AUPRC"] == pytest.approx(expected, abs=1e-6)
        assert model.metrics["positive"] == name
        assert f"AUPRC of {name}" in model.card("run")
        assert model.metrics["tables"][1]["columns"][0] == f"p({name})"
    first, second = (model.metrics["baseline"]["test"]["AUPRC"] for model in found)
    # The logistic regression breaks ties differently; AUPRC of the frequent class is above 0.9.
    assert first == pytest.approx(second, abs=0.02)
    # For constant scores, AUPRC is the share of the rare class.
    for model in found:
        assert model.metrics["others"][-1]["test"]["AUPRC"] == pytest.approx(1 / 6)


def test_the_output_names_the_positive_class_even_after_loading(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train("sick", "well").save(run)
    assert main(["info", str(run)]) == 0
    assert "; AUPRC of sick 0." in capsys.readouterr().out
    table = tmp_path / "test.csv"
    pairs = zip(*rows("sick", "well", 90), strict=True)
    table.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in pairs))
    assert main(["evaluate", str(run), str(table)]) == 0
    assert "\nAUPRC of sick  " in capsys.readouterr().out
    config = run / "config.json"
    facts = json.loads(config.read_text())
    assert facts["data"]["positive"] == 0
    facts["data"]["positive"] = 7
    config.write_text(json.dumps(facts))
    (run / "manifest.json").unlink()
    with pytest.raises(FolderError, match="positive must be 0 or 1, got 7"):
        elman.load(run)


def test_three_classes_have_no_positive_class() -> None:
    texts, labels = rows("sick", "well")
    labels[1::6] = ["ill"] * 20
    model = elman.Classifier(hidden_size=8, epochs=1, min_count=1, device="cpu")
    found = model.fit(texts, labels).metrics
    assert "positive" not in found
    assert np.isfinite(found["model"]["validation"]["AUPRC"])


def test_a_stopped_run_has_stored_its_positive_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("elman.targets.labels.Labels.measure", stop)
    model = elman.Classifier(hidden_size=8, epochs=1, min_count=1, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        model.fit(*rows("sick", "well"), out=tmp_path / "run")
    assert elman.load(tmp_path / "run").labels.positive == 0  # type: ignore[union-attr]
