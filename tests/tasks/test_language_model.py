"""Language models: training, prediction, generation, evaluation, live use and loading."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import elman
from elman.errors import ArgumentError, FolderError
from elman.report.journal import read_journal

ANIMALS = {"cat": "mat", "dog": "log", "hen": "pen", "fox": "box", "bee": "tree"}
VERBS = {"sat": "on the", "ran": "to the", "slept": "near the", "looked": "at the"}


def sentences() -> list[str]:
    """Return 300 simple sentences in which the animal decides the place."""
    made = [
        f"{opening}the {animal} {verb} {where} {place}"
        for opening in ("", "today ", "then ", "once ", "at night ")
        for animal, place in ANIMALS.items()
        for verb, where in VERBS.items()
    ]
    return made * 3


@pytest.fixture(scope="module")
def simple() -> elman.LanguageModel:
    model = elman.LanguageModel(
        hidden_size=48,
        epochs=20,
        bptt=12,
        batch_size=8,
        learning_rate=0.01,
        device="cpu",
        dropout=0.0,
    )
    return model.fit(sentences())


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("book") / "book.txt"
    path.write_text("\n".join(sentences()) + "\n")
    return path


@pytest.mark.learns
def test_a_language_model_completes_the_cat_sat_on_the_with_mat(
    simple: elman.LanguageModel,
) -> None:
    word, probability = simple.predict("the cat sat on the", k=1)[0]
    assert word == "mat"
    assert probability > 0.5
    # The animal is four words back, so a 3-gram cannot predict the place.
    for animal, place in ANIMALS.items():
        assert simple.predict(f"the {animal} looked at the", k=1)[0][0] == place


@pytest.mark.learns
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_settings_of_the_tutorial_train(cell: str) -> None:
    """Train an embedding, one layer of 128 and a softmax with Adam for ten epochs, and predict."""
    model = elman.LanguageModel(
        cell=cell,
        embedding_size=128,
        hidden_size=128,
        optimizer="adam",
        epochs=10,
        bptt=12,
        learning_rate=0.005,
        batch_size=8,
        dropout=0.0,
        device="cpu",
    )
    model.fit(sentences())
    scores = model.metrics["model"]["validation"]
    assert scores["accuracy"] > 0.55  # only the opening, the animal and the verb are random
    assert scores["perplexity"] < 2.2
    assert model.predict("the cat sat on the", k=1)[0][0] == "mat"


def test_predict_returns_sorted_probabilities_of_the_softmax(simple: elman.LanguageModel) -> None:
    every = simple.predict("the dog", k=simple.vocabulary.size)
    values = [p for _, p in every]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1.0, abs=0.01)  # without the probability of <unk>
    assert len(every) == simple.vocabulary.size - 1


def test_evaluate_equals_a_sum_over_single_steps(simple: elman.LanguageModel) -> None:
    texts = ["the cat ran to the mat", "once the hen sat on the pen", "the fox"]
    nats, count = 0.0, 0
    for text in texts:
        live = simple.stream()
        for word in [*text.split(), "<eos>"]:
            probabilities = dict(live.predict(simple.vocabulary.size - 1))
            nats -= math.log(probabilities[word])
            count += 1
            if word != "<eos>":
                live.push(word)
    scores = simple.evaluate(texts)
    assert scores["tokens"] == count
    # In float32, single steps and a whole sequence round differently, by about 1e-6 each.
    assert scores["perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-4)
    assert scores["unknown"] == 0
    assert simple.evaluate(["the xylophone sat"])["unknown"] == 0.25
    assert simple.evaluate(texts)["baseline"]["perplexity"] > 1


def test_generated_text_follows_the_seed_and_the_stop_strings(simple: elman.LanguageModel) -> None:
    many = simple.generate(max_new_tokens=20, samples=6, seed=5)  # openings, animals and verbs
    assert many == simple.generate(max_new_tokens=20, samples=6, seed=5)
    assert many != simple.generate(max_new_tokens=20, samples=6, seed=6)
    assert len(set(many)) > 1
    greedy = simple.generate("the cat sat on the", max_new_tokens=8, temperature=0)[0]
    assert greedy == "mat"  # each text is a document, and generation stops at its end
    assert simple.generate("the cat", temperature=0, stop=["mat", "on"])[0].split()[0] in VERBS
    assert all("<unk>" not in text for text in simple.generate(samples=20))


def test_live_generation_gives_the_same_text_in_pieces(simple: elman.LanguageModel) -> None:
    for stop in ((), ("cat sat", "the the"), ("mat", "log"), ("on the",)):
        for seed in range(4):
            whole = simple.generate("then", max_new_tokens=30, seed=seed, stop=stop)[0]
            pieces = list(simple.generate_live("then", max_new_tokens=30, seed=seed, stop=stop))
            assert "".join(pieces) == whole
    assert len(pieces) > 1


def test_predict_equals_a_stream_on_several_documents(simple: elman.LanguageModel) -> None:
    live = simple.stream()
    live.push("the cat sat on the mat\nthen the dog ran to")
    for (word, p), (other, q) in zip(
        live.predict(), simple.predict("the cat sat on the mat\nthen the dog ran to"), strict=True
    ):
        assert word == other
        # float32 rounds single steps and a sequence differently.
        assert p == pytest.approx(q, abs=1e-5)


def test_a_stream_resets_its_state_at_the_end_of_a_document(simple: elman.LanguageModel) -> None:
    fresh, used = simple.stream(), simple.stream()
    used.push("the cat sat on the mat\n")
    assert used.predict() == fresh.predict()


def test_a_loaded_model_equals_the_saved_one_bit_for_bit(
    simple: elman.LanguageModel, tmp_path: Path
) -> None:
    simple.save(tmp_path / "model")
    back = elman.load(tmp_path / "model")
    for a, b in zip(simple.model.parameters(), back.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert back.predict("the cat") == simple.predict("the cat")
    assert back.generate("the", seed=1) == simple.generate("the", seed=1)
    assert back.metrics == json.loads(json.dumps(simple.metrics))
    assert not [p for p in (tmp_path / "model").iterdir() if p.suffix in (".pt", ".pkl", ".bin")]
    with pytest.raises(FolderError, match="holds a model already"):
        simple.save(tmp_path / "model")
    simple.save(tmp_path / "model", overwrite=True)


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "gru", "hidden_size": (12, 8), "tied": True},
        {"cell": "rnn", "layer_norm": True, "zoneout": 0.1, "tokens": "character"},
        {
            "hidden_size": (12, 10, 8),
            "embedding_size": 8,
            "tied": True,
            "dropout": 0.3,
            "input_dropout": 0.3,
            "embedding_dropout": 0.1,
            "weight_dropout": 0.4,
            "activation_penalty": 2.0,
            "temporal_penalty": 1.0,
            "optimizer": "asgd",
            "average_after": 1,
            "learning_rate": 5.0,
            "validate_steps": 5,
        },
        {"tokens": "byte", "variational": False, "num_layers": 2},
        {"tokens": "bpe", "vocabulary_size": 300, "peephole": True, "recurrent_dropout": 0.2},
        {"document": "line", "bptt": None, "schedule": "cosine", "precision": "bf16"},
    ],
)
def test_models_with_combined_options_are_equal_after_loading(
    options: dict[str, object], book: Path, tmp_path: Path
) -> None:
    settings = {"hidden_size": 12, "bptt": 10, "epochs": 1, "device": "cpu", **options}
    model = elman.LanguageModel(**settings)
    assert model.fit(book, out=tmp_path / "run").metrics["model"]["validation"]["loss"] < 6
    back = elman.load(tmp_path / "run")
    assert back.predict("the cat") == model.predict("the cat")
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {
        "config.json",
        "weights.safetensors",
        "tokenizer.json",
        "metrics.json",
        "README.md",
        "report.html",
        "run.jsonl",
    } <= files
    events = {record["event"] for record in read_journal(tmp_path / "run" / "run.jsonl")}
    assert {"start", "validation", "reach", "end"} <= events
    again = back.evaluate(book)
    assert again["baseline"]["perplexity"] > 1  # the baseline needs the training text
    assert again["perplexity"] == pytest.approx(model.evaluate(book)["perplexity"])


@pytest.mark.learns
def test_training_with_full_bptt_learns_the_sentences(book: Path) -> None:
    model = elman.LanguageModel(
        hidden_size=32,
        bptt=None,
        document="line",
        epochs=30,
        learning_rate=0.01,
        device="cpu",
        batch_size=16,
        dropout=0.0,
    )
    model.fit(book)
    assert model.metrics["model"]["validation"]["perplexity"] < 3.0
    assert model.predict("the cat sat on the", k=1)[0][0] == "mat"


def test_scripts_without_spaces_are_read_by_character(tmp_path: Path) -> None:
    poem = "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。\n" * 40
    (tmp_path / "poem.txt").write_text(poem, encoding="utf-8")
    model = elman.LanguageModel(
        hidden_size=24, epochs=25, bptt=20, learning_rate=0.02, dropout=0.1, device="cpu"
    )
    model.fit(tmp_path / "poem.txt", out=tmp_path / "run")
    assert model.vocabulary.tokens == "character"
    assert model.predict("春眠不觉", k=1)[0][0] == "晓"
    assert model.generate("夜来风雨", max_new_tokens=4, temperature=0) == ["声，花落"]


def test_texts_are_read_from_a_column_of_a_table(tmp_path: Path) -> None:
    lines = [json.dumps({"id": i, "text": text}) for i, text in enumerate(sentences())]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    model = elman.LanguageModel(column="text", hidden_size=16, epochs=1, bptt=8, device="cpu")
    model.fit(tmp_path / "texts.jsonl")
    assert model.vocabulary.size < 40
    plain = tmp_path / "plain.txt"
    plain.write_text("the cat sat on the mat\n")
    assert model.evaluate(plain)["tokens"] == 7


def test_the_seed_determines_the_model_and_the_global_generator_is_unchanged(book: Path) -> None:
    def train(seed: int) -> dict[str, torch.Tensor]:
        model = elman.LanguageModel(hidden_size=8, epochs=1, bptt=8, seed=seed, device="cpu")
        return model.fit(book).model.state_dict()

    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = train(0)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(2)
    second, other = train(0), train(1)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["core.weight_hh_l0"], other["core.weight_hh_l0"])


def test_an_untrained_model_is_refused() -> None:
    model = elman.LanguageModel()
    for use in (lambda: model.predict("a"), model.stream, lambda: model.save("x")):
        with pytest.raises(ArgumentError, match="not trained yet"):
            use()


def test_invalid_settings_are_refused_by_name(book: Path) -> None:
    for options, message in [
        ({"cell": "lstmm"}, "cell must be one of rnn, lstm, gru, .*, got 'lstmm'"),
        ({"cell": "gru", "peephole": True}, "peephole needs cell=lstm"),
        ({"cell_heads": 2}, "cell_heads=2 needs cell=deltanet, .* or slstm, got cell=lstm; set"),
        ({"cell": "mlstm", "cell_heads": 3}, "256 must be a multiple of cell_heads=3"),
        ({"tied": True, "embedding_size": 3}, "tied needs embedding_size equal to"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"validation_fraction": 1.0}, "validation_fraction must be in"),
        ({"hidden_size": 0}, "must be at least 1"),
        ({"tokens": "words"}, "tokens must be one of word, character, byte, bpe"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            elman.LanguageModel(**options).fit(book)


def test_scores_of_short_documents_do_not_depend_on_the_batch_size(
    simple: elman.LanguageModel,
) -> None:
    texts = sentences()[::7]
    losses = []
    for size in (1, 3, 50):
        simple.batch_size = size
        losses.append(simple.evaluate(texts)["loss"])
    simple.batch_size = 8
    # float32 sums in another order differ in the last digits.
    assert np.ptp(losses) < 1e-5


def test_the_card_describes_the_model(book: Path, tmp_path: Path) -> None:
    model = elman.LanguageModel(hidden_size=8, epochs=1, bptt=8, device="cpu")
    model.fit(book, test=book, out=tmp_path / "run")
    card = (tmp_path / "run" / "README.md").read_text()
    for part in ("book.txt", "LSTM", "perplexity", "Kneser-Ney", "| test |", "elman.load"):
        assert part in card
    shutil.move(tmp_path / "run", tmp_path / "moved")
    assert elman.load(tmp_path / "moved").predict("the cat")


def test_the_state_of_a_stream_does_not_grow(simple: elman.LanguageModel) -> None:
    live = simple.stream()
    sizes = set()
    for count, _ in enumerate(itertools.repeat(None, 300)):
        live.next()
        if count % 100 == 99:
            sizes.add(len(live.state_bytes()))
    assert len(sizes) == 1
