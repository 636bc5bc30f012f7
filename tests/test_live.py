"""Live sessions of every input and target equal the batch, and their states can be restored."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman.errors import ArgumentError, DataError
from elman.state import leaves_from_bytes, to_bytes
from tests.states import resealed

SMALL: dict[str, Any] = {
    "hidden_size": 6,
    "epochs": 1,
    "learning_rate": 0.02,
    "device": "cpu",
    "bidirectional": False,
}
TEXTS = [f"the {a} film, {b}! is {c}" for a in "xyz" for b in ("so", "not") for c in ("ok", "bad")]
LABELS = [text.split()[-1] for text in TEXTS]
WORDS = [text.split() for text in TEXTS]
TAGS = [["none" if len(word) > 2 else word for word in words] for words in WORDS]


def waves(count: int = 24) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [
        np.sin(np.arange(12)[:, None] * (1 + n % 2)) + draw.normal(0, 0.1, (12, 2))
        for n in range(count)
    ]


def table() -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {n: [] for n in ("unique_id", "ds", "a", "b", "label")}
    for n, wave in enumerate(waves()):
        for t, (a, b) in enumerate(wave.tolist()):
            for name, value in zip(rows, (f"r{n}", t * 0.4 + n, a, b, str(n % 2)), strict=True):
                rows[name].append(value)
    return rows


def classifier(**settings: Any) -> elman.Classifier:
    return elman.Classifier(**{**SMALL, **settings})


def steps(n: int = 3) -> list[Any]:
    return [row.tolist() for row in waves()[n]]


def batch_of_arrays(model: Any, seen: list[Any]) -> Any:
    return model.predict_proba([np.array(seen)])[0]


def batch_of_texts(model: Any, seen: list[Any]) -> Any:
    return model.predict_proba([" ".join(seen)])[0]


def batch_of_words(model: Any, seen: list[Any]) -> Any:
    return model.predict_proba([seen])[0]


def last_tag(model: Any, seen: list[Any]) -> Any:
    return model.predict([seen])[0][-1]


def last_tag_of_array(model: Any, seen: list[Any]) -> Any:
    return model.predict([np.array(seen)])[0][-1]


ARRAYS = [str(n % 2) for n in range(24)]
STEP_TAGS = [["none", "up"][int(v > 0)] for v in range(2)]
CASES: dict[str, tuple[Any, Any, Any, list[Any], Any]] = {
    "words of a text": (
        classifier(tokens="word", min_count=1),
        TEXTS,
        LABELS,
        TEXTS[3].split(),
        batch_of_texts,
    ),
    "pieces of a text": (
        classifier(tokens="character", pooling="concat"),
        TEXTS,
        LABELS,
        ["the x", "film, ! !", " so  much", "bad"],
        batch_of_texts,
    ),
    "bpe": (
        classifier(tokens="bpe", pooling="attention", skip=True),
        TEXTS,
        LABELS,
        TEXTS[5].split(),
        batch_of_texts,
    ),
    "narrow": (classifier(wide=False), TEXTS, LABELS, TEXTS[3].split(), batch_of_texts),
    "sentences": (classifier(inputs="words", min_count=1), WORDS, LABELS, WORDS[3], batch_of_words),
    "recordings": (classifier(), waves(), ARRAYS, steps(), batch_of_arrays),
    "embedded": (
        classifier(embedding_size=5, pooling="mean", cell="gru"),
        waves(),
        ARRAYS,
        steps(),
        batch_of_arrays,
    ),
    "decays": (classifier(cell="grud"), waves(), ARRAYS, steps(), batch_of_arrays),
    "tags": (elman.Tagger(**SMALL, character_size=4, min_count=1), WORDS, TAGS, WORDS[3], last_tag),
    "tags of steps": (
        elman.Tagger(**SMALL),
        waves(),
        [["up" if a > 0 else "none" for a, _ in one.tolist()] for one in waves()],
        steps(),
        last_tag_of_array,
    ),
}
MODELS: dict[str, Any] = {}


def trained(name: str) -> Any:
    if name not in MODELS:
        model, data, targets, *_ = CASES[name]
        MODELS[name] = model.fit(data, targets)
    return MODELS[name]


def changed(blob: bytes, change: Callable[[torch.Tensor], Any]) -> bytes:
    """Return a stored state with changed leaves."""
    leaves = leaves_from_bytes(blob)
    return resealed(blob, {name: change(leaf) for name, leaf in leaves.items()})


@pytest.mark.parametrize("name", CASES)
def test_a_session_equals_the_batch_on_every_prefix(name: str) -> None:
    model, elements, batch = trained(name), CASES[name][3], CASES[name][4]
    live = model.stream()
    for count, element in enumerate(elements, 1):
        output = live.push(element)
        expected = batch(model, elements[:count])
        if isinstance(output, dict):
            np.testing.assert_allclose(list(output.values()), expected, atol=2e-5)
        else:
            assert output[0] == expected


@pytest.mark.parametrize("name", CASES)
def test_a_restored_session_continues_bit_for_bit(name: str, tmp_path: Path) -> None:
    model, elements = trained(name), CASES[name][3]
    model.save(tmp_path / "run")
    live = model.stream()
    before = live.state_bytes()
    for element in elements[:2]:
        live.push(element)
    blob = live.state_bytes()
    after = [live.push(element) for element in elements[2:]]
    other = elman.load(tmp_path / "run").stream()
    other.restore(blob)
    assert [other.push(element) for element in elements[2:]] == after
    assert other.state_bytes() == live.state_bytes()
    other.restore(before)
    again = model.stream()
    assert [other.push(one) for one in elements] == [again.push(one) for one in elements]
    other.restart()
    assert other.state_bytes() == before


@pytest.mark.parametrize("name", CASES)
def test_an_unsuitable_state_is_refused_and_changes_nothing(name: str) -> None:
    model, elements = trained(name), CASES[name][3]
    live = model.stream()
    live.push(elements[0])
    blob = live.state_bytes()
    wrong = [
        b"",
        b"no state",
        blob[:-3],
        to_bytes(torch.zeros(1, 1, 6)),
        resealed(blob, torch.zeros(1, 1, 6)),
        changed(blob, lambda leaf: leaf.half() if leaf.is_floating_point() else leaf),
        changed(blob, lambda leaf: torch.cat([leaf, leaf], -1)),
        changed(blob, lambda leaf: leaf * torch.nan if leaf.is_floating_point() else leaf - 9),
    ]
    for other in CASES:
        theirs = trained(other).stream().state_bytes()
        if other != name:
            wrong.append(theirs)
    for one in wrong:
        with pytest.raises(DataError) as error:
            live.restore(one)
        assert "\n" not in str(error.value)
        assert live.state_bytes() == blob


@pytest.mark.parametrize("name", CASES)
def test_a_changed_bit_is_refused(name: str) -> None:
    model, elements = trained(name), CASES[name][3]
    live, draw = model.stream(), np.random.default_rng(0)
    live.push(elements[0])
    blob = live.state_bytes()
    for _ in range(100):
        bad = bytearray(blob)
        bad[draw.integers(len(blob))] ^= 1 << draw.integers(8)
        with pytest.raises(DataError):
            live.restore(bytes(bad))
    live.restore(bytearray(blob))  # type: ignore[arg-type]
    live.restore(memoryview(blob))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="a stored state must be bytes, got NoneType"):
        live.restore(None)  # type: ignore[arg-type]
    assert live.state_bytes() == blob


def test_a_state_of_another_model_of_equal_sizes_is_refused() -> None:
    texts, labels = ["so good", "so bad"] * 20, ["+", "-"] * 20
    blobs = []
    for seed in (0, 1):
        model = classifier(seed=seed).fit(texts, labels)
        live = model.stream()
        live.push("so")
        blobs.append(live.state_bytes())
    with pytest.raises(DataError, match="the state is from another model"):
        live.restore(blobs[0])
    live.restore(blobs[1])
    with torch.no_grad():  # the weights of the model change
        next(model.model.core.parameters()).add_(1)
    with pytest.raises(DataError, match="the state is from another model"):
        live.restore(blobs[1])


def test_a_state_with_other_static_values_is_refused() -> None:
    rows = table()
    model = classifier(channels=("a", "b"), static=("age",)).fit(
        {**rows, "age": [50 + n % 9 for n in range(len(rows["a"]))]}
    )
    live = model.stream(age=50)
    live.push([1.0, 2.0])
    model.stream(age=50.0).restore(live.state_bytes())
    with pytest.raises(DataError, match="a session with other settings"):
        model.stream(age=51).restore(live.state_bytes())


def test_a_state_after_impossibly_many_steps_is_refused() -> None:
    model = elman.Classifier(hidden_size=4, epochs=1, bidirectional=False, device="cpu")
    live = model.fit(["so good", "so bad"] * 20, ["+", "-"] * 20).stream()
    live.push("so")
    blob = live.state_bytes()
    leaves = leaves_from_bytes(blob)
    name = "state.2.0"  # the number of steps that the labels have read
    assert leaves[name].tolist() == [1]
    leaves[name] += 2**63 - 2  # one more would not fit in 64 bits
    with pytest.raises(DataError):
        live.restore(resealed(blob, leaves))


def test_the_state_includes_the_times_of_a_recording() -> None:
    rows = table()
    for rate, window in ((None, None), (5.0, None), (5.0, 4)):
        model = classifier(channels=("a", "b"), rate=rate, window=window).fit(rows)
        one, other = model.stream(), model.stream()
        times = [f"2024-01-01 00:00:0{t * 0.9:.1f}" for t in range(8)]
        for at, row in zip(times[:4], steps(), strict=False):
            one.push(row, at=at)
        other.restore(one.state_bytes())
        for at, row in zip(times[4:], steps(5), strict=False):
            assert one.push(row, at=at) == other.push(row, at=at)
        assert one.finish() == other.finish()
        with pytest.raises(ArgumentError, match="must not be before the previous step"):
            other.push(steps()[0], at=times[0])


def test_the_state_includes_events_that_were_not_fetched() -> None:
    model = trained("tags of steps")
    live, other = (model.stream(on=0.5, off=0.5) for _ in range(2))
    for row in [[1.0, 1.0], [-1.0, -1.0]] * 6:
        live.push(row)
    other.restore(live.state_bytes())
    assert live.active == other.active
    ended = live.finish()
    assert ended == other.finish()
    assert live.events() == []


def test_a_session_is_restored_in_another_process(tmp_path: Path) -> None:
    model = trained("recordings")
    model.save(tmp_path / "run")
    live = model.stream()
    for row in steps()[:5]:
        live.push(row)
    (tmp_path / "state").write_bytes(live.state_bytes())
    program = (
        "import sys, elman; from pathlib import Path; live = elman.load(sys.argv[1]).stream();"
        "live.restore(Path(sys.argv[2]).read_bytes()); print(list(live.push([0.5, 0.25]).values()))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "run"), str(tmp_path / "state")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found.strip() == str(list(live.push([0.5, 0.25]).values()))


def test_models_and_arguments_that_do_not_work_live_are_refused() -> None:
    both = elman.Classifier(**{**SMALL, "bidirectional": True}).fit(TEXTS, LABELS)
    with pytest.raises(ArgumentError, match=r"cannot read texts live: train with bidirectional=F"):
        both.stream()
    with pytest.raises(ArgumentError, match="texts have no static columns, got age"):
        trained("narrow").stream(age=3)
    with pytest.raises(ArgumentError, match="at must be None: texts have no times"):
        trained("narrow").stream().push("good", at=1)
    assert trained("narrow").stream().push("  ") is None
