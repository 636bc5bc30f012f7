"""Scores of classes equal those of scikit-learn, and need no K x K of memory."""

from itertools import chain
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from elman.encode.labels import label_numbers
from elman.read.examples import Examples
from elman.report import window_statistics
from elman.report.bag_of_words import LARGE, MOST, bag_of_words
from elman.report.classes import (
    find_positive,
    fit_temperature,
    judged_by,
    nll,
    reliability,
    score_classes,
)
from elman.targets.tag_settings import TagSettings
from elman.targets.tags import Tags

metrics = pytest.importorskip("sklearn.metrics")


def guesses(rows: int, classes: int, seed: int = 0) -> torch.Tensor:
    """Return probabilities (N, K) with many ties."""
    torch.manual_seed(seed)
    p = (2 * torch.randn(rows, classes)).softmax(1)
    return (20 * p).round() / 20 + 1e-3 * torch.arange(classes)


@pytest.mark.parametrize(("rows", "classes"), [(50, 2), (200, 7), (30, 40)])
def test_scores_of_one_label_equal_those_of_scikit_learn(rows: int, classes: int) -> None:
    p = guesses(rows, classes)
    y = torch.randint(0, classes, (rows,))
    guess, there = p.argmax(1), sorted(set(y.tolist()))
    found = score_classes(p, y, several=False)
    each = [metrics.roc_auc_score(y == k, p[:, k]) for k in there]
    areas = [metrics.average_precision_score(y == k, p[:, k]) for k in there]
    wanted = {
        "accuracy": metrics.accuracy_score(y, guess),
        "F1_macro": metrics.f1_score(y, guess, average="macro"),
        "F1_micro": metrics.f1_score(y, guess, average="micro"),
        "AUC": np.mean(each),
        "AUPRC": np.mean(areas) if classes > 2 else areas[1],
    }
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("positive", [0, 1])
def test_average_precision_of_two_classes_is_that_of_the_positive_one(positive: int) -> None:
    p, y = guesses(200, 2), (torch.arange(200) % 8 > 0).long()
    found = score_classes(p, y, several=False, positive=positive)
    wanted = metrics.average_precision_score(y == positive, p[:, positive])
    assert found["AUPRC"] == pytest.approx(wanted, abs=1e-12)
    assert found["AUC"] == score_classes(p, y, several=False)["AUC"]
    rows = sum(rows for *_, rows in reliability(p, y, positive))
    true = sum(share * rows for _, _, share, rows in reliability(p, y, positive))
    assert (rows, true) == (200, pytest.approx((y == positive).sum().item()))


def test_the_rarer_of_two_classes_is_the_positive_one() -> None:
    rare_first, rare_second = torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 0, 1])
    for names in (["sick", "well"], ["ham", "spam"], [1, 2], ["no", "yes"]):
        assert find_positive(rare_first, names) == 0
        assert find_positive(rare_second, names) == 1


@pytest.mark.parametrize(
    "names",
    [[0, 1], [False, True], [-1, 1], ["0", "1"], ["-1", "1"], ["False", "True"], [0.0, 1.0]],
)
def test_one_and_true_are_positive_even_if_frequent(names: list[Any]) -> None:
    assert find_positive(torch.tensor([0, 1, 1, 1]), names) == 1


def test_areas_of_several_classes_compare_each_class_with_the_rest() -> None:
    p = torch.rand(300, 5, dtype=torch.float64).softmax(1)
    y = torch.arange(300) % 5
    found = score_classes(p, y, several=False)
    assert found["AUC"] == pytest.approx(metrics.roc_auc_score(y, p, multi_class="ovr"), abs=1e-12)
    assert found["AUPRC"] == pytest.approx(metrics.average_precision_score(y, p), abs=1e-12)


def test_a_label_that_is_not_in_the_training_data_counts_in_the_macro_mean() -> None:
    labels = [("a",), ("b",), ("new",), ("a",), ("b",), ("other",), ("new",)]
    y, unseen = label_numbers(labels, ["a", "b"], several=False)
    p = torch.tensor(
        [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7], [0.4, 0.6]] + [[0.8, 0.2]] * 2
    )
    found = score_classes(p, y, unseen, several=False)
    true, guess = [label for (label,) in labels], np.array(["a", "b"])[p.argmax(1)]
    for average in ("macro", "micro"):
        wanted = metrics.f1_score(true, guess, average=average)
        assert found[f"F1_{average}"] == pytest.approx(wanted, abs=1e-12)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(true, guess))
    assert found["unseen_labels"] == 3


def test_scores_of_several_labels_equal_those_of_scikit_learn() -> None:
    torch.manual_seed(0)
    p, y = torch.rand(60, 5), (torch.rand(60, 5) > 0.7).float()
    y[:, 2] = 0  # which scikit-learn counts as an F1 and an average precision of 0
    some = [0, 1, 3, 4]
    found = score_classes(p, y, several=True)
    wanted = {
        "accuracy": metrics.accuracy_score(y, p > 0.5),
        "F1_macro": metrics.f1_score(y, p > 0.5, average="macro"),
        "F1_micro": metrics.f1_score(y, p > 0.5, average="micro"),
        "AUC": metrics.roc_auc_score(y[:, some], p[:, some]),
    }
    with pytest.warns(UserWarning, match="No positive class"):
        wanted["AUPRC"] = metrics.average_precision_score(y, p)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-12)


def test_unseen_labels_of_several_count_as_missed() -> None:
    labels = [("a", "new"), ("b",), (), ("other",)]
    y, unseen = label_numbers(labels, ["a", "b"], several=True)
    assert unseen.tolist() == [[0, 0], [3, 1]]
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.4]])
    found = score_classes(p, y, unseen, several=True)
    true = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    guess = np.pad((p > 0.5).numpy(), ((0, 0), (0, 2)))
    for average in ("macro", "micro"):
        wanted = metrics.f1_score(true, guess, average=average, zero_division=0)
        assert found[f"F1_{average}"] == pytest.approx(wanted, abs=1e-12)
    assert found["accuracy"] == metrics.accuracy_score(true, guess)


def test_the_loss_is_the_log_loss_of_scikit_learn() -> None:
    torch.manual_seed(0)
    scores, y = torch.randn(40, 6), torch.arange(40) % 6
    wanted = metrics.log_loss(y, (scores.double() / 1.7).softmax(1))
    assert nll(scores, y, 1.7, several=False) == pytest.approx(wanted, rel=1e-12)


class Sizes(TorchDispatchMode):
    """A mode that records the size in bytes of the largest result of any operation."""

    largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple) else (found,):
            if isinstance(one, torch.Tensor) and not one._is_view():
                self.largest = max(self.largest, one.numel() * one.element_size())
        return found


@pytest.mark.parametrize("classes", [100, 10_000])
def test_only_the_scores_need_memory_for_rows_times_classes(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elman.report.classes.BLOCK", 1000)
    scores, y = torch.rand(20, classes), torch.arange(20)
    with Sizes() as sizes:
        fit_temperature(scores, y, several=False)
        nll(scores, y, 1.0, several=False)
    # Numbers of 8 bytes, for 1,000 scores or for a row.
    assert sizes.largest <= max(scores.nbytes, 8 * max(1000, classes))
    with Sizes() as sizes:
        score_classes(scores, y, several=False)
    assert sizes.largest <= max(8 * 2000, 8 * classes)


def test_the_baseline_of_many_classes_is_centroids() -> None:
    classes = 300
    texts = [f"{kind} word{k} of{k} {n}" for n, kind in enumerate("ab") for k in range(classes)]
    y = torch.arange(2 * classes) % classes
    asked = {"test": [f"word{k} c" for k in range(classes)]}
    name, few = bag_of_words(texts, y, asked, classes, tokens="word", lowercase=True) or ("", {})
    assert name == "logistic regression on words and pairs of them"
    more = torch.cat([y, torch.arange(MOST // 1000, MOST // 1000 + classes)])
    texts += [f"x{k} y{k}" for k in range(classes)]
    name, many = bag_of_words(
        texts, more, asked, MOST // 1000 + classes, tokens="word", lowercase=True
    ) or ("", {})
    assert name == "class centroids of words and pairs of them"
    for found in (few, many):
        assert (found["test"].argmax(1) == torch.arange(classes)).float().mean() == 1
        np.testing.assert_allclose(found["test"].sum(1), 1, rtol=1e-4)


@pytest.mark.parametrize("repeated", [0, 50])
def test_many_texts_with_words_that_occur_once_have_a_baseline(repeated: int) -> None:
    texts = [f"name{n}" for n in range(LARGE)] + ["again"] * repeated
    y = torch.arange(len(texts)) % 2
    asked = {"test": ["name7", "name8", "new"]}
    found = bag_of_words(texts, y, asked, 2, tokens="word", lowercase=True)
    assert found is not None
    assert found[0] == "logistic regression on words and pairs of them"
    assert found[1]["test"].argmax(1)[:2].tolist() == [1, 0]


@pytest.mark.parametrize(("tokens", "right"), [("word", 0.5), ("character", 1.0), ("byte", 1.0)])
def test_the_baseline_reads_the_tokens_of_the_model(tokens: str, right: float) -> None:
    # Each name is a word that no other text has; its ending determines the class.
    names = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "xyz"]
    texts = [name + end for name in names for end in ("ella", "orto")]
    y = torch.arange(len(texts)) % 2
    asked = {"test": ["Wumella", "Wumorto", "Hubella", "Hiborto"]}
    found = bag_of_words(texts, y, asked, 2, tokens=tokens, lowercase=False)
    assert found is not None
    assert ("characters" in found[0]) == (tokens != "word")
    guess = found[1]["test"].argmax(1)
    assert (guess == torch.tensor([0, 1, 0, 1])).float().mean() == right


def test_a_forest_for_many_classes_has_fewer_trees_or_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = [np.full((3, 1), float(n % 4)) for n in range(40)]
    windows = (values, np.zeros((40, 0)), np.arange(40))
    y = torch.arange(40) % 4
    for trees in (12, 9):
        monkeypatch.setattr(window_statistics, "NODES", 40 * 4 * trees)
        found = window_statistics.by_forest(windows, y, {"test": windows}, 4)
        assert (found is None) == (trees < window_statistics.FEWEST)
        if found is not None:
            assert found[0] == f"{window_statistics.FOREST}, 12 trees"
            assert found[1]["test"].argmax(1).tolist() == y.tolist()


def test_a_forest_of_all_values_reads_where_they_are() -> None:
    draw = np.random.default_rng(0)
    y = torch.arange(200) % 3
    values = [draw.normal(size=(6, 2)) for _ in y]
    for one, k in zip(values, y.tolist(), strict=True):
        one[2:5] = one[2:5][np.argsort(one[2:5, 0])]  # so that first, last and order say nothing
        one[2:5, 0] = np.roll([0.0, 0.0, 9.0], k)
    windows = (values, np.zeros((200, 0)), np.arange(200))
    half = ([*values[:100]], np.zeros((100, 0)), np.arange(100))
    name, found = window_statistics.by_values(half, y[:100], {"test": windows}, 3) or ("", {})
    assert name == "random forest on all values"
    assert (found["test"].argmax(1) == y).float().mean() > 0.95
    ragged = ([*values[:99], values[99][:5]], np.zeros((100, 0)), np.arange(100))
    assert window_statistics.by_values(half, y[:100], {"test": ragged}, 3) is None
    assert window_statistics.by_values(ragged, y[:100], {"test": windows}, 3) is None


def test_tags_that_are_not_in_the_training_data_count_in_the_macro_mean() -> None:
    reader = SimpleNamespace(unit="steps")
    steps: Any = SimpleNamespace(reader=reader, is_known=lambda _: None)
    part = Examples([None, None], [["none", "turn", "new"], ["turn", "turn"]])
    found = [["none", "turn", "turn"], ["none", "turn"]]
    true, guess = list(chain(*part.targets)), list(chain(*found))
    scores = Tags(TagSettings(), ["none", "turn"]).score(steps, part, found)
    wanted = metrics.f1_score(true, guess, average="macro")
    assert scores["F1_macro"] == pytest.approx(wanted, abs=1e-12)
    assert scores["accuracy"] == metrics.accuracy_score(true, guess)


def test_skewed_classes_are_judged_by_more_than_accuracy() -> None:
    assert judged_by(torch.tensor([0, 1, 1]), 2) == ["AUC", "AUPRC"]
    assert judged_by(torch.tensor([0, 0, 1, 1, 1]), 2) == ["accuracy"]
    assert judged_by(torch.tensor([0, 1, 2, 2, 2, 2, 2]), 3) == ["accuracy", "F1_macro"]
