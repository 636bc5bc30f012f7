"""Live translation: equal to the batch on every prefix, stored, restored, refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman.decode.beam import Search
from elman.errors import ArgumentError, DataError
from elman.live.translation import LiveTranslation
from elman.state import leaves_from_bytes
from tests.states import resealed

SMALL: dict[str, Any] = {
    "hidden_size": 24,
    "tokens": "word",
    "min_count": 1,
    "epochs": 4,
    "batch_size": 8,
    "learning_rate": 0.02,
    "bidirectional": False,
    "device": "cpu",
}
NUMBERS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier"}
SOURCES = [f"{a} {b} {c}" for a in NUMBERS for b in NUMBERS for c in NUMBERS]
TARGETS = [" ".join(NUMBERS[word] for word in text.split()[::-1]) for text in SOURCES]
CASES: dict[str, dict[str, Any]] = {
    "lstm": {},
    "gru of several sizes": {"cell": "gru", "hidden_size": (20, 24), "attention": "additive"},
    "rnn without attention": {"cell": "rnn", "attention": None},
    "input feeding, layer norm": {"input_feeding": True, "layer_norm": True, "num_layers": 2},
    "copying": {"shared": True, "copying": True, "coverage": 0.1, "tied": True},
    "pieces of words": {"tokens": "bpe", "attention": "multi-head"},
    "cut": {"max_tokens": 2},
}
MODELS: dict[str, elman.Translator] = {}


def trained(name: str) -> elman.Translator:
    if name not in MODELS:
        MODELS[name] = elman.Translator(**{**SMALL, **CASES[name]}).fit(SOURCES, TARGETS)
    return MODELS[name]


@pytest.mark.parametrize("name", CASES)
def test_every_prefix_is_translated_as_in_a_batch(name: str) -> None:
    model = trained(name)
    live = model.stream()
    for source in ("two four one", "three zebra two one"):  # a zebra is unknown
        words = source.split()
        for n, word in enumerate(words, 1):
            live.push(word)
            assert live.predict() == model.predict([" ".join(words[:n])])[0]
        assert live.finish() == live.predict()
        live.restart()


def test_the_search_can_be_set() -> None:
    model = trained("lstm")
    search = Search(beam=1, length_penalty=0)
    live = model.stream(search=search)
    live.push("four four two")
    assert live.predict() == model.predict(["four four two"], search=search)[0]


@pytest.mark.parametrize("name", CASES)
def test_a_restored_session_continues_exactly(name: str) -> None:
    live, other = trained(name).stream(), trained(name).stream()
    live.push("two four")
    blob = live.state_bytes()
    live.push("one")
    end, text = live.state_bytes(), live.predict()
    other.restore(blob)
    other.push("one")
    assert (other.state_bytes(), other.predict()) == (end, text)
    live.restore(blob)
    assert live.state_bytes() == blob


def test_an_empty_session_predicts_as_an_empty_text() -> None:
    model = trained("lstm")
    live = model.stream()
    assert live.push(" ") is None
    assert live.predict() == model.predict([""])[0]


@pytest.mark.parametrize("attention", [None, "dot"])
def test_memory_is_bounded_by_the_tokens_that_are_read(attention: str | None) -> None:
    settings = {**SMALL, "max_tokens": 4, "attention": attention, "epochs": 1}
    live = elman.Translator(**settings).fit(SOURCES, TARGETS).stream()
    sizes = []
    for _ in range(20):
        live.push("one two")
        sizes.append(len(live.state_bytes()))
    assert len(set(sizes[1:])) == 1  # after two pieces nothing more is read


@pytest.mark.parametrize("damage", ["text", "token", "states", "number", "steps", "bytes"])
def test_a_damaged_state_is_refused_and_changes_nothing(damage: str) -> None:
    live = trained("lstm").stream()
    live.push("two four")
    blob = live.state_bytes()
    leaves = leaves_from_bytes(blob)
    change: dict[str, tuple[str, torch.Tensor]] = {
        "text": ("state.0.0", torch.tensor([255, 254], dtype=torch.uint8)),
        "token": ("state.0.1", torch.tensor([0, 10**6])),
        "states": ("state.2.0", leaves["state.2.0"][:1].clone()),
        "number": ("state.2.0", leaves["state.2.0"] * torch.nan),
        "steps": ("state.2.1", torch.tensor(-1)),
    }
    bad = b"x"
    if damage in change:
        name, leaf = change[damage]
        assert name in leaves
        bad = resealed(blob, {**leaves, name: leaf})
    with pytest.raises(DataError):
        live.restore(bad)
    assert live.state_bytes() == blob


@pytest.mark.parametrize("damage", ["many steps", "other tokens", "large numbers"])
def test_a_state_that_no_prediction_can_follow_is_refused(damage: str) -> None:
    live = trained("copying" if damage == "other tokens" else "rnn without attention").stream()
    live.push("two four")
    blob = live.state_bytes()
    leaves = leaves_from_bytes(blob)
    name, leaf = {
        "many steps": ("state.2.1", torch.tensor(2**62)),
        "other tokens": ("state.0.1", leaves["state.0.1"].repeat(2)),
        "large numbers": ("state.2.0", torch.full_like(leaves["state.2.0"], 3e38)),
    }[damage]
    with pytest.raises(DataError):
        live.restore(resealed(blob, {**leaves, name: leaf}))
    assert live.state_bytes() == blob


def test_recordings_are_read_step_by_step() -> None:
    waves = [np.sin(np.arange(6 + n % 3)[:, None] * (1 + n % 2)) for n in range(40)]
    settings = {**SMALL, "epochs": 2, "tokens": "word"}
    model = elman.Translator(**settings).fit(waves, ["low", "high high"] * 20)
    live = model.stream()
    for n, step in enumerate(waves[3].tolist(), 1):
        assert live.push(step) == 1
        assert live.predict() == model.predict([waves[3][:n]])[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bidirectional": True}, "cannot read sources live: train with bidirectional=False"),
        ({"cell": "transformer", "hidden_size": 8, "bidirectional": True}, "transformer"),
        ({"kind": "dialogue"}, "use chat"),
    ],
)
def test_models_that_cannot_read_live_are_refused(settings: dict[str, Any], message: str) -> None:
    model = elman.Translator(**{**SMALL, "epochs": 1, **settings}).fit(SOURCES, TARGETS)
    with pytest.raises(ArgumentError, match=message):
        model.stream()


def test_static_columns_of_texts_are_refused() -> None:
    with pytest.raises(ArgumentError, match="sources have no static columns, got age"):
        trained("lstm").stream(age=3)


def test_the_session_belongs_to_the_public_face() -> None:
    assert isinstance(trained("lstm").stream(), LiveTranslation)
