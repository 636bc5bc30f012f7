"""Language models that adapt to a text: they never peek, share nothing, and do no harm."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import elman
from elman.cli import main
from elman.cores import CORES
from elman.errors import ArgumentError, DataError, DivergenceError
from elman.live.adapting import AdaptingText
from elman.live.text import LiveText
from elman.state import hash_of, leaves_from_bytes
from tests.states import resealed

DYNAMIC = elman.DynamicEvaluation(learning_rate=5e-3, decay=1e-3, segment=4)
CACHE = elman.NeuralCache(size=30, theta=5.0, weight=0.3)
ADAPT = {"dynamic": [DYNAMIC], "cache": [CACHE], "both": [DYNAMIC, CACHE]}
ANIMALS = {"cat": "mat", "dog": "log", "hen": "pen", "fox": "box", "bee": "tree"}
VERBS = {"sat": "on the", "ran": "to the", "slept": "near the", "looked": "at the"}
SENTENCES = [
    f"{opening}the {animal} {verb} {where} {place}"
    for opening in ("", "today ", "then ", "once ", "at night ")
    for animal, place in ANIMALS.items()
    for verb, where in VERBS.items()
]
NEW = "then the cat ran to the tree"  # all of its words are known, but not together


def train(**settings: object) -> elman.LanguageModel:
    given = {"hidden_size": 16, "epochs": 1, "bptt": 8, "batch_size": 8, "learning_rate": 0.01}
    model = elman.LanguageModel(device="cpu", **(given | settings))  # type: ignore[arg-type]
    return model.fit(SENTENCES * 2)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model() -> elman.LanguageModel:
    return train(hidden_size=32, epochs=12)


@pytest.fixture(scope="module")
def stream_model(tmp_path_factory: pytest.TempPathFactory) -> elman.LanguageModel:
    """Return a model of one long document, in which `<eos>` only ends a line."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(SENTENCES * 3) + "\n")
    return elman.LanguageModel(
        hidden_size=24, epochs=6, bptt=8, batch_size=8, learning_rate=0.01, device="cpu"
    ).fit(path)


def live_loss(model: elman.LanguageModel, live: LiveText, texts: list[str]) -> float:
    """Return the mean loss of tokens that are predicted before they are pushed."""
    nats, count = 0.0, 0
    for text in texts:
        for word in [*text.split(), "\n"]:
            token = "<eos>" if word == "\n" else word
            nats -= math.log(dict(live.predict(model.vocabulary.size))[token])
            count += 1
            if word == "\n":
                live.finish()
            else:
                live.push(word)
    return nats / count


@pytest.mark.parametrize("adapt", ADAPT)
def test_evaluate_equals_a_session_that_has_not_seen_the_next_token(
    model: elman.LanguageModel, adapt: str
) -> None:
    texts = [*SENTENCES[3:40:5], NEW, NEW, "the"]
    scores = model.evaluate(texts, adapt=ADAPT[adapt])
    live = model.stream(adapt=ADAPT[adapt])
    # The session runs one step at a time, so sums are in another order.
    assert scores["adapted"]["loss"] == pytest.approx(live_loss(model, live, texts), rel=1e-4)
    assert scores["adapted"]["loss"] != pytest.approx(scores["loss"], rel=2e-3)


@pytest.mark.parametrize("adapt", ADAPT)
def test_evaluate_equals_a_session_in_one_long_document(
    stream_model: elman.LanguageModel, tmp_path: Path, adapt: str
) -> None:
    texts = [*SENTENCES[3:40:5], NEW, NEW]
    path = tmp_path / "text.txt"
    path.write_text("\n".join(texts) + "\n")
    scores = stream_model.evaluate(path, adapt=ADAPT[adapt])["adapted"]
    live = stream_model.stream(adapt=ADAPT[adapt])
    assert scores["loss"] == pytest.approx(live_loss(stream_model, live, texts), rel=1e-3)


@pytest.mark.parametrize("pieces", [1, 3, 7, 1000])
@pytest.mark.parametrize("adapt", ADAPT)
def test_pieces_of_any_length_lead_to_the_same_prediction(
    stream_model: elman.LanguageModel, adapt: str, pieces: int
) -> None:
    words = " ".join([*SENTENCES[3:30:5], NEW, NEW]).split()
    whole, live = (stream_model.stream(adapt=ADAPT[adapt]) for _ in range(2))
    whole.push(" ".join(words))
    for n in range(0, len(words), pieces):
        live.push(" ".join(words[n : n + pieces]))
    assert dict(live.predict(5)) == pytest.approx(dict(whole.predict(5)), rel=1e-3)


@pytest.mark.parametrize("adapt", ADAPT)
def test_sessions_affect_neither_each_other_nor_the_model(
    model: elman.LanguageModel, adapt: str
) -> None:
    before, static = hash_of(model.model), model.evaluate([NEW])["loss"]
    one, other, alone = (model.stream(adapt=ADAPT[adapt]) for _ in range(3))
    for sentence in SENTENCES[:10]:
        one.push(NEW + "\n")
        other.push(sentence + "\n")
        alone.push(sentence + "\n")
    assert other.predict() == alone.predict()
    one.push("then the cat ran to the")
    other.push("then the cat ran to the")
    assert dict(one.predict(20))["tree"] > dict(other.predict(20))["tree"]
    assert hash_of(model.model) == before
    assert model.evaluate([NEW])["loss"] == static
    assert all(weight.grad is None for weight in model.model.parameters())


@pytest.mark.parametrize(
    "adapt",
    [elman.DynamicEvaluation(learning_rate=0, segment=3), elman.NeuralCache(weight=0)],
    ids=["dynamic", "cache"],
)
def test_settings_that_change_nothing_give_the_scores_of_the_model(
    model: elman.LanguageModel, adapt: object
) -> None:
    scores = model.evaluate([*SENTENCES[:9], NEW], adapt=adapt)  # type: ignore[arg-type]
    assert scores["adapted"]["loss"] == pytest.approx(scores["loss"], rel=1e-4)
    assert scores["adapted"]["accuracy"] == scores["accuracy"]


@pytest.mark.parametrize("adapt", ["dynamic", "cache", ["dynamic", "cache"]])
def test_the_defaults_do_no_harm_on_text_like_the_training_text(
    model: elman.LanguageModel, adapt: str
) -> None:
    order = torch.randperm(len(SENTENCES), generator=torch.Generator().manual_seed(0)).tolist()
    scores = model.evaluate([SENTENCES[n] for n in order], adapt=adapt)
    assert scores["adapted"]["perplexity"] < 1.01 * scores["perplexity"]


@pytest.mark.parametrize("adapt", ["dynamic", "cache"])
def test_the_defaults_learn_a_text_that_repeats_itself(
    model: elman.LanguageModel, adapt: str
) -> None:
    scores = model.evaluate([NEW, "the dog looked at the pen"] * 40, adapt=adapt)
    assert scores["adapted"]["perplexity"] < 0.95 * scores["perplexity"]


def distance(live: AdaptingText, start: AdaptingText) -> float:
    """Return the distance of the weights of two sessions."""
    pairs = zip(live._learner._weights, start._learner._weights, strict=True)  # type: ignore[union-attr]
    return math.sqrt(sum(float((a - b).detach().square().sum()) for a, b in pairs))


@pytest.mark.parametrize("scaled", [True, False])
def test_decay_pulls_the_weights_back_to_the_trained_ones(
    model: elman.LanguageModel, tmp_path: Path, scaled: bool
) -> None:
    """Without the training text, as in a folder that has been sent, all weights decay equally."""
    used = model
    if not scaled:
        model.save(tmp_path / "model")
        used = elman.load(tmp_path / "model")
    found = {}
    for decay in (0.0, 0.01, 1.0):
        adapt = elman.DynamicEvaluation(learning_rate=1e-3, decay=decay, segment=4)
        live, start = (used.stream(adapt=adapt) for _ in range(2))
        for _ in range(10):
            live.push(NEW + "\n")
        found[decay] = distance(live, start)  # type: ignore[arg-type]
        live.restart()
        assert distance(live, start) == 0  # type: ignore[arg-type]
    assert 0 <= found[1.0] < found[0.01] < 0.9 * found[0.0]
    if not scaled:
        assert found[1.0] == 0


@pytest.mark.parametrize("adapt", ADAPT)
@pytest.mark.parametrize("ends", [True, False])
def test_a_stored_session_continues_exactly(
    model: elman.LanguageModel, stream_model: elman.LanguageModel, adapt: str, ends: bool
) -> None:
    used = model if ends else stream_model
    live, other = (used.stream(adapt=ADAPT[adapt]) for _ in range(2))
    live.push(f"{NEW}\n{NEW}\nthe dog")
    blob = live.state_bytes()
    live.push(f"sat on the tree\n{NEW}")
    end, likely = live.state_bytes(), live.predict()
    assert end != blob
    assert len(end) == pytest.approx(len(blob), abs=64)  # only the header has another length
    for session in (live, other):
        session.restore(blob)
        assert session.state_bytes() == blob
        session.push(f"sat on the tree\n{NEW}")
        assert session.state_bytes() == end
        assert session.predict() == likely


def test_a_state_of_other_settings_or_with_damage_is_refused(model: elman.LanguageModel) -> None:
    live = model.stream(adapt=[DYNAMIC, CACHE])
    live.push(NEW)
    blob, likely = live.state_bytes(), live.predict()
    for other in (None, DYNAMIC, [elman.DynamicEvaluation(segment=4), CACHE]):
        with pytest.raises(DataError, match="from another model, or from a session with other"):
            model.stream(adapt=other).restore(blob)
    good = leaves_from_bytes(blob)
    for name, leaf in good.items():
        if name.startswith("state.0") or not leaf.numel():
            continue
        bad = leaf * math.nan if leaf.is_floating_point() else leaf + 10_000
        with pytest.raises(DataError, match="damaged"):
            live.restore(resealed(blob, good | {name: bad}))
    assert live.predict() == likely
    assert live.state_bytes() == blob


@pytest.mark.parametrize("adapt", ADAPT)
def test_tokens_that_the_session_draws_are_read_but_not_learned(
    stream_model: elman.LanguageModel, adapt: str
) -> None:
    live, static = stream_model.stream(adapt=ADAPT[adapt], seed=3), stream_model.stream(seed=3)
    assert [live.next() for _ in range(30)] == [static.next() for _ in range(30)]
    assert dict(live.predict(5)) == pytest.approx(dict(static.predict(5)), rel=1e-4)


@pytest.mark.parametrize("cell", [name for name, core in CORES.items() if not core.timed])
def test_every_cell_adapts(cell: str) -> None:
    options = {"tied": len(cell) % 2 == 0}
    model = train(cell=cell, **options)
    scores = model.evaluate([NEW] * 12, adapt=[DYNAMIC, CACHE])
    assert scores["adapted"]["loss"] < 0.95 * scores["loss"]
    live = model.stream(adapt=[DYNAMIC, CACHE])
    assert live_loss(model, live, [NEW] * 12) == pytest.approx(scores["adapted"]["loss"], rel=1e-2)


def test_blocks_and_models_trained_in_bfloat16_adapt() -> None:
    model = train(cell="mingru", block=True, num_layers=2, precision="bf16")
    scores = model.evaluate([NEW] * 12, adapt="dynamic,learning_rate=2e-3,segment=4")
    assert scores["adapted"]["loss"] < 0.95 * scores["loss"]


def test_settings_are_chosen_on_a_validation_text_and_can_be_used_again(
    model: elman.LanguageModel,
) -> None:
    far = "dynamic,learning_rate=1e-7,decay=0,segment=4"
    text, held = [NEW] * 20, [NEW] * 10
    plain = model.evaluate(text, adapt=[far, "cache"])["adapted"]
    tuned = model.evaluate(text, adapt=[far, "cache"], tune_on=held)["adapted"]
    assert tuned["loss"] < plain["loss"]
    assert tuned["adapt"] != plain["adapt"]
    again = model.evaluate(text, adapt=tuned["adapt"])["adapted"]
    assert again["loss"] == pytest.approx(tuned["loss"], rel=1e-6)


def test_a_learning_rate_that_is_too_high_gives_one_line(model: elman.LanguageModel) -> None:
    with pytest.raises(DivergenceError, match="give DynamicEvaluation a learning_rate below 1e"):
        model.evaluate([NEW] * 20, adapt=elman.DynamicEvaluation(learning_rate=1e30))


@pytest.mark.parametrize(
    ("adapt", "message"),
    [
        ("cash", "adapt must be dynamic or cache, or one with settings .* got 'cash'"),
        ("dynamic,size=3", "has the settings 'learning_rate', 'decay', 'segment', got 'size=3'"),
        ("dynamic,decay", "decay must be a number, got ''"),
        ("cache,size=0", "adapt: size must be at least 1, got 0"),
        ("dynamic,segment=2.5", "adapt: segment must be a whole number, got 2.5"),
        ("dynamic,decay=2", r"adapt: decay must be in \[0, 1\], got 2"),
        ("dynamic,learning_rate=-1", "adapt: learning_rate must be 0 or more, got -1"),
        (["cache", "cache"], "adapt must have cache only once"),
        ([], "got an empty list"),
        (3, "or a list of them, got int"),
    ],
)
def test_bad_values_are_refused(model: elman.LanguageModel, adapt: str, message: str) -> None:
    for use in (model.stream, lambda adapt: model.evaluate([NEW], adapt=adapt)):
        with pytest.raises(ArgumentError, match=message):
            use(adapt=adapt)
    with pytest.raises(ArgumentError, match="tune_on has no effect without adapt"):
        model.evaluate([NEW], tune_on=[NEW])


def test_the_command_shows_both_scores_and_the_cost(
    stream_model: elman.LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, run = tmp_path / "new.txt", tmp_path / "model"
    text.write_text("\n".join([NEW] * 10) + "\n")
    stream_model.save(run)
    command = ["evaluate", str(run), str(text)]
    flags = ["--adapt", "dynamic,learning_rate=1e-3", "--adapt", "cache"]
    assert main([*command, *flags]) == 0
    shown = capsys.readouterr().out.splitlines()
    perplexities = [
        float(line.split()[1]) for line in shown if "adapted" in line and "%" not in line
    ]
    assert len(perplexities) == 1
    assert perplexities[0] < float(shown[0].split()[1])
    assert any("microseconds a token" in line for line in shown)
    assert main([*command, "--adapt", "cache", "--tune-on", str(text), "--json"]) == 0
    adapted = json.loads(capsys.readouterr().out)["adapted"]
    assert adapted["adapt"][0].startswith("cache,size=")
    for bad in (["--adapt", "cash"], ["--tune-on", str(text)]):
        assert main([*command, *bad]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_documents_that_are_shorter_than_a_segment_are_learned_at_their_end(
    model: elman.LanguageModel,
) -> None:
    adapt = elman.DynamicEvaluation(learning_rate=1e-3, segment=100)
    scores = model.evaluate([NEW] * 30, adapt=adapt)
    assert scores["adapted"]["loss"] < 0.9 * scores["loss"]
    shown = scores["adapted"]["adapt"]
    assert shown == ["dynamic,learning_rate=0.001,decay=0.00025,segment=100"]
