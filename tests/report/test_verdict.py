"""The comparison of a model with its baselines, for the terminal, the page and the card."""

import pytest

from elman.cli.show import print_metrics
from elman.report.page import _scores
from elman.report.verdict import compare, conclude

BAG = {"name": "bag of words", "test": {"accuracy": 0.80, "AUC": 0.85, "AUPRC": 0.70}}
FOREST = {"name": "forest", "test": {"accuracy": 0.90, "AUC": 0.80, "AUPRC": 0.75}}


def test_the_best_baseline_of_the_part_is_named() -> None:
    metrics = {
        "model": {"validation": {"MASE": 0.8}, "test": {"MASE": 1.0}},
        "baseline": {"name": "naive 2", "validation": {"MASE": 0.9}, "test": {"MASE": 1.2}},
        "others": [{"name": "drift", "validation": {"MASE": 1.1}, "test": {"MASE": 0.7}}],
    }
    assert list(map(str, compare(metrics, "validation"))) == [
        "MASE 0.800, better than naive 2 (0.900), the best of 2 baselines"
    ]
    assert conclude(metrics) == (
        "On the test data the model is worse than the best of its 2 baselines (drift): "
        "MASE 1.000 against 0.700, lower is better."
    )


def test_skewed_classes_are_compared_by_areas_each_with_its_best_baseline() -> None:
    metrics = {
        "model": {"test": {"accuracy": 0.9, "AUC": 0.84, "AUPRC": 0.80}},
        "baseline": FOREST,
        "others": [BAG],
        "judged_by": ["AUC", "AUPRC"],
    }
    assert conclude(metrics) == (
        "On the test data the model is worse than the best of its 2 baselines (bag of words): "
        "AUROC 0.840 against 0.850, higher is better. By AUPRC it is better than the best of its "
        "2 baselines (forest): 0.800 against 0.750."
    )


def test_the_positive_class_of_an_area_is_named() -> None:
    metrics = {
        "model": {"test": {"AUC": 0.90, "AUPRC": 0.652}},
        "positive": "sick <1>",
        "baseline": {"name": "forest", "test": {"AUC": 0.80, "AUPRC": 0.71}},
        "judged_by": ["AUC", "AUPRC"],
    }
    assert list(map(str, compare(metrics, "test"))) == [
        "AUROC 0.900, better than forest (0.800)",
        "AUPRC of sick <1> 0.652, worse than forest (0.710)",
    ]
    assert "By AUPRC of sick <1> it is worse than its baseline" in conclude(metrics)
    assert '<th scope="row">AUPRC of sick &lt;1&gt;</th><td>0.6520</td>' in _scores(metrics, "x")


def test_areas_decide_between_equal_baselines() -> None:
    tied = {**BAG, "test": {**BAG["test"], "accuracy": 0.90}}
    metrics = {"model": {"test": {"accuracy": 0.9}}, "baseline": FOREST, "others": [tied]}
    (found,) = compare(metrics, "test")
    assert (found.name, found.verdict) == ("bag of words", "about as good as")


def test_a_baseline_without_the_score_is_not_compared() -> None:
    metrics = {
        "model": {"test": {"perplexity": 80.0}},
        "baseline": {"name": "a", "test": {"perplexity": None}},
        "others": [{"name": "b"}],
    }
    assert "share no score" in conclude(metrics)
    assert list(map(str, compare(metrics, "test"))) == ["perplexity 80.00"]


def test_missing_scores_are_replaced_by_the_default_ones() -> None:
    one_class = {"accuracy": 0.9, "F1_macro": 0.5}
    metrics = {"model": {"test": one_class}, "baseline": FOREST, "judged_by": ["AUC", "AUPRC"]}
    assert [one.score for one in compare(metrics, "test")] == ["accuracy"]


@pytest.mark.parametrize(
    ("scores", "compared"),
    [
        ({"accuracy": 0.9, "F1": 0.5, "words": 3}, ["F1"]),
        ({"accuracy": 0.9, "event_F1": 0.5, "steps": 3}, ["accuracy", "event_F1"]),
        ({"perplexity": 9.0, "BLEU": 1.0, "pairs": 3}, ["BLEU"]),
        ({"ADE": 1.0, "FDE": 2.0}, ["ADE"]),
        ({"ND": 1.0, "MAE": 2.0}, ["ND"]),
    ],
)
def test_every_task_is_compared_by_its_own_scores(
    scores: dict[str, float], compared: list[str]
) -> None:
    assert [one.score for one in compare({"model": {"test": scores}}, "test")] == compared


def test_the_terminal_shows_comparison_details_and_notes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours = {"loss": 0.3, "accuracy": 0.91, "F1_macro": 0.9, "AUC": 0.95, "examples": 1200}
    print_metrics({"model": {"test": ours}, "baseline": FOREST, "notes": ["Calibrated."]})
    assert capsys.readouterr().out.splitlines() == [
        "test accuracy 91.0%, better than forest (90.0%); F1 macro 0.900; AUROC 0.950; "
        "1,200 examples",
        "  Calibrated.",
    ]


def test_the_page_has_a_table_for_each_part_with_a_column_for_each_model() -> None:
    metrics = {
        "model": {"validation": {"MASE": 0.8}, "test": {"MASE": 1.0}},
        "baseline": {"name": "naive 2", "test": {"MASE": 1.2}},
        "notes": ["To save time."],
    }
    page = _scores(metrics, "numbers")
    assert page.count("<table") == 2
    head = '<th scope="col">this model</th><th scope="col">naive 2</th>'
    assert page.count(head) == 1
    assert '<th scope="row">MASE</th><td>1.000</td><td>1.200</td>' in page
    assert '<p class="facts">To save time.</p>' in page
