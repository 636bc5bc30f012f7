"""A forest on levels of statistics, beside the linear model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elman.encode.bags import LEVELS, Levels
from elman.heads.forest import Forest, log_of, trees_of
from elman.heads.wide import Wide

ensemble = pytest.importorskip("sklearn.ensemble")


def _xor(count: int) -> tuple[np.ndarray, torch.Tensor]:
    """Return statistics that determine the class only together, and the class."""
    draw = np.random.default_rng(0)
    rows = draw.normal(0, 1, (count, 3))
    return rows, torch.from_numpy((rows[:, 0] > 0) != (rows[:, 1] > 0)).long()


@pytest.mark.parametrize("classes", [2, 5])
def test_probabilities_equal_those_of_scikit_learn(classes: int) -> None:
    draw = torch.Generator().manual_seed(0)
    levels = torch.randint(0, LEVELS, (300, 7), generator=draw)
    targets = torch.randint(0, classes, (300,), generator=draw)
    targets[targets == 1] = 0  # a class without rows
    weights = torch.ones(300)
    weights[:50] = 0
    forest = Forest(classes, 20)
    forest.grow(levels, targets, weights)
    theirs = ensemble.RandomForestClassifier(
        20, max_depth=forest.depth, min_samples_leaf=2, random_state=0, max_samples=1.0
    ).fit(levels[50:].numpy(), targets[50:].numpy(), np.ones(250))
    expected = torch.zeros(300, classes)
    expected[:, theirs.classes_] = torch.from_numpy(theirs.predict_proba(levels.numpy())).float()
    torch.testing.assert_close(forest(levels), log_of(expected))
    torch.testing.assert_close(forest(levels[:1]), forest(levels)[:1])
    assert forest(levels[:0]).shape == (0, classes)


def test_a_forest_learns_interactions_that_the_linear_model_does_not() -> None:
    rows, targets = _xor(600)
    levels = Levels.build(rows[:400])
    bag, other = levels.encode(rows[:400]), levels.encode(rows[400:])
    right = []
    for trees in (0, 50):
        wide = Wide(levels.features, 2, trees)
        scores = wide.fit(bag, targets[:400], torch.ones(400, 2), levels=LEVELS)
        right.append(float((wide(other).argmax(1) == targets[400:]).float().mean()))
    assert right[0] < 0.65
    assert right[1] > 0.9
    # Scores of a row are from trees that did not train on it.
    assert 0.85 < float((scores.argmax(1) == targets[:400]).float().mean()) < 0.995


def test_the_linear_model_keeps_a_share_if_statistics_do_not_interact() -> None:
    draw = np.random.default_rng(0)
    rows = draw.normal(0, 1, (400, 12))
    p = 1 / (1 + np.exp(-rows.sum(1)))
    targets = torch.from_numpy((draw.random(400) < p).astype(np.int64))
    levels = Levels.build(rows)
    wide = Wide(levels.features, 2, 50)
    wide.fit(levels.encode(rows), targets, torch.ones(400, 2), levels=LEVELS)
    assert float(wide.weight.abs().max()) > 0


def test_rows_of_a_single_group_have_finite_scores() -> None:
    rows, targets = _xor(60)
    levels = Levels.build(rows)
    wide, alone = Wide(levels.features, 2, 10), torch.zeros(60, dtype=torch.int64)
    scores = wide.fit(levels.encode(rows), targets, torch.ones(60, 2), alone, levels=LEVELS)
    assert scores.isfinite().all()
    assert wide(levels.encode(rows)).isfinite().all()


def test_a_forest_is_restored_from_a_state_dict() -> None:
    rows, targets = _xor(100)
    levels = Levels.build(rows)
    bag = levels.encode(rows)
    wide, again = Wide(levels.features, 2, 10), Wide(levels.features, 2, 10)
    wide.fit(bag, targets, torch.ones(100, 2), levels=LEVELS)
    again.load_state_dict(wide.state_dict())
    assert torch.equal(again(bag), wide(bag))


def test_a_forest_needs_scikit_learn_and_one_label(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trees_of(several=False) > 0
    assert trees_of(several=True) == 0
    monkeypatch.setattr("elman.heads.forest.find", lambda _: None)
    assert trees_of(several=False) == 0
