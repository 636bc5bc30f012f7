"""Several inputs that arrive element by element, each at its own rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman.errors import ArgumentError, DataError
from elman.state import leaves_from_bytes
from tests.states import resealed

SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "epochs": 2,
    "batch_size": 8,
    "device": "cpu",
    "examples": 40,
    "bidirectional": False,
    "fusion": "early",
}
STEPS = {"slow": 6, "fast": 6}


def fitted(task: Any, *, wide: bool = True) -> Any:
    """Return a model of two recordings, which have one clock, and a number."""
    draw = np.random.default_rng(0)
    label = [n % 2 for n in range(40)]
    data: dict[str, list[Any]] = {
        "slow": [draw.normal(y, 1, (int(draw.integers(3, 9)), 1)) for y in label],
        "fast": [draw.normal(-y, 1, (int(draw.integers(3, 9)), 2)) for y in label],
        "size": [float(draw.normal(y)) for y in label],
    }
    inputs = {"slow": "recordings", "fast": "recordings", "size": "number"}
    if task is elman.Tagger:
        tags = [["a" if y else "b"] * len(one) for y, one in zip(label, data["slow"], strict=True)]
        return task(**SMALL, inputs=inputs).fit({**data, "tags": tags})
    return task(**SMALL, inputs=inputs, wide=wide).fit({**data, "label": label})


@pytest.fixture(scope="module")
def classifier() -> elman.Classifier:
    return fitted(elman.Classifier)


def item(seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    return {"slow": draw.normal(0, 1, (6, 1)), "fast": draw.normal(0, 1, (6, 2))}


def test_any_order_of_arrival_gives_what_the_batch_gives(classifier: elman.Classifier) -> None:
    whole = item(1)
    data = {name: [values] for name, values in whole.items()} | {"size": [0.5]}
    (wanted,) = classifier.predict_proba(data)
    for seed in range(6):
        draw = np.random.default_rng(seed)
        live = classifier.stream(size=0.5)
        order = draw.permutation([name for name, steps in STEPS.items() for _ in range(steps)])
        places = dict.fromkeys(STEPS, 0)
        found = None
        for name in order:
            if draw.random() < 0.3:  # go on from the stored state in another session
                blob = live.state_bytes()
                live = classifier.stream(size=0.5)
                live.restore(blob)
            output = live.push({str(name): whole[str(name)][places[str(name)]]})
            places[str(name)] += 1
            found = found if output is None else output
        output = live.finish()
        found = found if output is None else output
        assert found is not None
        np.testing.assert_allclose(list(found.values()), wanted, atol=1e-5)


def test_a_prefix_is_what_the_batch_gives(classifier: elman.Classifier) -> None:
    whole, live = item(2), classifier.stream(size=None)
    for steps in range(1, 7):
        live.push({"slow": whole["slow"][steps - 1]})  # it waits for the other one
        found = live.push({"fast": whole["fast"][steps - 1]})
        data = {name: [values[:steps]] for name, values in whole.items()} | {"size": [None]}
        (wanted,) = classifier.predict_proba(data)
        assert found is not None
        np.testing.assert_allclose(list(found.values()), wanted, atol=1e-5)


def test_an_input_that_ends_early_is_missing_afterwards(classifier: elman.Classifier) -> None:
    whole = item(3)
    data = {"slow": [whole["slow"]], "fast": [whole["fast"][:2]], "size": [1.0]}
    (wanted,) = classifier.predict_proba(data)
    live = classifier.stream(size=1.0)
    for step in whole["fast"][:2]:
        live.push({"fast": step})
    for step in whole["slow"]:
        live.push({"slow": step})
    found = live.finish()
    assert found is not None
    np.testing.assert_allclose(list(found.values()), wanted, atol=1e-5)


def test_a_wrong_element_of_one_of_two_inputs_changes_nothing(
    classifier: elman.Classifier,
) -> None:
    live = classifier.stream(size=1.0)
    live.push({"slow": [1.0], "fast": [1.0, 2.0]})
    before = live.state_bytes()
    with pytest.raises(ArgumentError):
        live.push({"slow": [2.0], "fast": ["loud", 1.0]})
    assert live.state_bytes() == before


def test_tags_of_the_main_input() -> None:
    tagger, whole = fitted(elman.Tagger), item(4)
    data = {name: [values] for name, values in whole.items()} | {"size": [0.0]}
    (wanted,) = tagger.predict(data)
    live = tagger.stream(size=0.0)
    found = [
        live.push({"slow": slow, "fast": fast})[0]
        for slow, fast in zip(whole["slow"], whole["fast"], strict=True)
    ]
    assert found[-1] == wanted[-1]
    assert sum(a == b for a, b in zip(found, wanted, strict=True)) == 6


def test_words_about_wrong_elements_and_states(classifier: elman.Classifier) -> None:
    live = classifier.stream(size=1.0)
    for element in ([1.0], {"other": [1.0]}):
        with pytest.raises(
            ArgumentError, match="push needs a dict of some of the inputs slow, fast"
        ):
            live.push(element)
    with pytest.raises(ArgumentError, match="stream needs the other inputs by name"):
        classifier.stream()
    for n in range(3):
        live.push({"fast": [n, n]})
    live.push({"slow": [1.0]})
    blob = live.state_bytes()
    with pytest.raises(DataError):
        classifier.stream(size=2.0).restore(blob)
    leaves = leaves_from_bytes(blob)
    waiting = next(name for name, leaf in leaves.items() if leaf.tolist() == [1, 1])
    for value in (-3, 7):
        changed = resealed(blob, {**leaves, waiting: torch.full_like(leaves[waiting], value)})
        with pytest.raises(DataError):
            live.restore(changed)
    live.restore(blob)
