"""Classifiers of texts: in memory, from files, with scikit-learn and on the command line."""

from __future__ import annotations

import csv
import itertools
import json
import math
import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import elman
from elman.cli import main
from elman.errors import ArgumentError, DataError, FolderError, Stopped, UntrainedError
from elman.read.split import hold_out_labels
from elman.report.classes import fit_temperature, nll, score_classes
from elman.tasks import predict_file
from elman.tasks.predictions import Labels
from elman.train.checkpoint import save_tensors
from elman.train.loop import _Loop
from tests.tasks.stops import stopped_at_call

GOOD, BAD = ["good", "great", "fine", "lovely"], ["bad", "awful", "poor", "dull"]
THINGS = ["film", "plot", "cast", "song", "end"]
SETTINGS: dict[str, object] = {
    "hidden_size": 8,
    "epochs": 8,
    "learning_rate": 0.02,
    "batch_size": 16,
    "device": "cpu",
    "min_count": 1,
    "dropout": 0.1,
    "input_dropout": 0.0,
}


def reviews(turn: str = "so ") -> tuple[list[str], list[str]]:
    """Return 160 sentences and their labels: one word decides, and `turn="not "` reverses it."""
    texts, labels = [], []
    for word, thing, before, end in itertools.product(GOOD + BAD, THINGS, ("", turn), (" now", "")):
        texts.append(f"the {thing} was {before}{word}{end}")
        labels.append("pos" if (word in GOOD) != (before == "not ") else "neg")
    order = random.Random(0).sample(range(len(texts)), len(texts))
    return [texts[n] for n in order], [labels[n] for n in order]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    write_csv(path, ["text", "label"], zip(*reviews(), strict=True))
    return path


def write_csv(path: Path, header: list[str], rows: Iterator[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


@pytest.fixture(scope="module")
def trained() -> elman.Classifier:
    return elman.Classifier(**SETTINGS, pooling="attention").fit(*reviews())


@pytest.mark.learns
def test_the_network_learns_negation_which_a_bag_of_words_cannot() -> None:
    texts, labels = reviews("not ")
    settings = {**SETTINGS, "hidden_size": 16, "epochs": 40, "pooling": "last"}
    model = elman.Classifier(**settings).fit(texts, labels)
    assert model.score(texts, labels) > 0.95
    found = model.predict(["the plot was not great", "the plot was great"])
    assert found.tolist() == ["neg", "pos"]


def test_metrics_include_the_scores_of_baselines(trained: elman.Classifier) -> None:
    texts, labels = reviews()
    assert trained.score(texts, labels) > 0.95
    scores = trained.metrics["model"]["validation"]
    assert set(scores) == {
        "loss",
        "accuracy",
        "F1_macro",
        "F1_micro",
        "AUC",
        "AUPRC",
        "ECE",
        "examples",
    }
    words, frequent = trained.metrics["baseline"], trained.metrics["others"][0]
    assert words["validation"]["accuracy"] == 1
    assert frequent["validation"]["accuracy"] == 0.5
    assert scores["accuracy"] > 0.9


def linear(model: elman.Classifier, texts: list[str]) -> torch.Tensor:
    """Return the scores of the linear model alone."""
    scores: torch.Tensor = model.head.wide(model.input_.bag(texts))
    return scores


def test_training_starts_from_the_linear_model(trained: elman.Classifier) -> None:
    texts, labels = reviews()
    still = elman.Classifier(**{**SETTINGS, "epochs": 1, "learning_rate": 1e-12})
    still.fit(texts, labels)
    alone = linear(still, texts)
    torch.testing.assert_close(still.scores(texts), alone, rtol=0, atol=1e-6)
    right = [still.classes[k] for k in alone.argmax(1)]
    assert np.mean(np.array(right) == labels) > 0.95
    # After training, the scores include those of the network.
    assert not torch.allclose(trained.scores(texts), linear(trained, texts), atol=0.1)


def test_a_folder_of_0_1_0_loads_without_a_wide_part(table: Path, tmp_path: Path) -> None:
    model = elman.Classifier(**{**SETTINGS, "epochs": 1}, wide=False)
    model.fit(table, out=tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    facts = json.loads(config.read_text())
    del facts["settings"]["wide"]  # Elman 0.1.0 did not write it
    config.write_text(json.dumps(facts))
    (tmp_path / "run" / "manifest.json").unlink()
    texts, _ = reviews()
    back = elman.load(tmp_path / "run")
    assert back.wide is False
    assert np.array_equal(back.predict_proba(texts), model.predict_proba(texts))


def test_the_share_of_the_network_grows_with_the_examples_and_is_saved(
    table: Path, tmp_path: Path
) -> None:
    model = elman.Classifier(**{**SETTINGS, "epochs": 1}).fit(table, out=tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "config.json").read_text())
    count = json.loads((tmp_path / "run" / "run.jsonl").read_text().splitlines()[0])
    examples = count["data"]["train_examples"]
    assert facts["data"]["share"] == pytest.approx(examples / (examples + 100), abs=1e-4)
    assert model.head.share == elman.load(tmp_path / "run").head.share == facts["data"]["share"]
    assert elman.Classifier(**{**SETTINGS, "epochs": 1}, wide=False).fit(table).head.share == 1
    facts["data"]["share"] = 2
    (tmp_path / "run" / "config.json").write_text(json.dumps(facts))
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(FolderError, match="share must be above 0 and at most 1, got 2"):
        elman.load(tmp_path / "run")


def test_a_damaged_linear_model_is_named(table: Path, tmp_path: Path) -> None:
    elman.Classifier(**{**SETTINGS, "epochs": 1}).fit(table, out=tmp_path / "run")
    file = tmp_path / "run" / "wide.safetensors"
    save_tensors(file, {"other": torch.ones(1)})
    with pytest.raises(FolderError, match=r"wide.safetensors: is damaged \('known' is missing\)"):
        elman.load(tmp_path / "run")
    file.unlink()
    with pytest.raises(FolderError, match=r"wide.safetensors: is missing"):
        elman.load(tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(FolderError, match=r"weights.safetensors: .*head.wide"):
        elman.load(tmp_path / "run")


def test_a_run_stopped_within_an_epoch_resumes_with_the_linear_model(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SETTINGS, "epochs": 2, "several": True}  # other losses take the same path
    whole = elman.Classifier(**settings).fit(table, out=tmp_path / "whole")
    steps = 0

    def stop(loop: _Loop, validate: Callable[[_Loop], None] = _Loop._validate) -> None:
        nonlocal steps
        steps += 1
        validate(loop)
        if steps == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_Loop, "_validate", stop)
    with pytest.raises(Stopped):
        elman.Classifier(**settings).fit(table, out=tmp_path / "part")
    again = elman.Classifier.resume(tmp_path / "part")
    texts, _ = reviews()
    assert np.array_equal(whole.predict_proba(texts), again.predict_proba(texts))


def test_texts_of_rare_words_are_read_by_character() -> None:
    draw = random.Random(0)
    names = ["".join(draw.sample("bdklmnrst", 5)) for _ in range(400)]
    labels = [n % 2 for n in range(400)]
    names = [name + "ao"[label] for name, label in zip(names, labels, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        model = elman.Classifier(**{**SETTINGS, "min_count": 2, "epochs": 1})
        model.fit(names[:300], labels[:300], out=Path(folder, "run"))
        notes = Path(folder, "run", "run.jsonl").read_text()
    assert model.vocabulary.tokens == "character"
    assert "of the words occur fewer than min_count=2 times: the model reads characters" in notes
    assert model.score(names[300:], labels[300:]) > 0.95


def test_explain_returns_the_attention_weights(trained: elman.Classifier) -> None:
    explained = trained.explain("the plot was so great")
    assert [token for token, _ in explained] == ["the", "plot", "was", "so", "great"]
    assert sum(weight for _, weight in explained) == pytest.approx(1, abs=1e-5)
    plain = elman.Classifier(**SETTINGS)
    with pytest.raises(ArgumentError, match="explain needs pooling=attention"):
        plain.explain("x")


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "gru", "pooling": "last", "num_layers": 2, "hidden_size": (8, 6)},
        {"cell": "rnn", "pooling": "mean", "class_weights": "balanced", "tokens": "character"},
        {"pooling": "concat", "label_smoothing": 0.1, "precision": "bf16", "tokens": "bpe"},
        {"bidirectional": False, "bptt": 2, "pooling": "max", "max_tokens": 4},
    ],
)
def test_models_with_combined_options_are_equal_after_loading(
    options: dict[str, object], table: Path, tmp_path: Path
) -> None:
    settings = {**SETTINGS, "epochs": 1, **options}
    if options.get("tokens") == "bpe":
        settings["vocabulary_size"] = 300
    model = elman.Classifier(**settings).fit(table, out=tmp_path / "run")
    back = elman.load(tmp_path / "run")
    texts = ["the plot was great", "", "the 日本 plot"]
    assert np.array_equal(back.predict_proba(texts), model.predict_proba(texts))
    assert back.metrics == model.metrics
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Confusion, validation data" in page
    assert "most frequent label" in page


def test_labels_keep_their_type() -> None:
    texts, labels = reviews()
    for kind in (
        lambda x: int(x == "pos"),
        lambda x: x == "pos",
        lambda x: 2.5 if x == "pos" else -1.0,
    ):
        typed = [kind(label) for label in labels]
        model = elman.Classifier(**{**SETTINGS, "epochs": 1}).fit(texts, typed)
        assert model.classes_.dtype == np.array(typed).dtype
        assert set(model.predict(texts[:20]).tolist()) <= set(typed)


def test_several_labels_are_predicted_at_once(tmp_path: Path) -> None:
    texts, labels = reviews()
    both = [
        [label, *(thing for thing in THINGS[:2] if thing in text)]
        for text, label in zip(texts, labels, strict=True)
    ]
    model = elman.Classifier(**{**SETTINGS, "several": True, "epochs": 10}).fit(texts, both)
    assert model.classes == ["film", "neg", "plot", "pos"]
    found = model.predict(["the film was great", "the song was bad"])
    assert found.tolist() == [[1, 0, 0, 1], [0, 1, 0, 0]]
    # In a file, all labels of a row are in one field.
    fields = [", ".join(some) for some in both]
    write_csv(tmp_path / "a.csv", ["text", "label"], zip(texts, fields, strict=True))
    again = elman.Classifier(**{**SETTINGS, "several": True, "epochs": 1}).fit(tmp_path / "a.csv")
    assert again.classes == model.classes


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a", "b"], ["x", "x"], "all rows have 'x'; at least 2 classes are needed"),
        (["a", ""], ["x", "y"], "row 1: column 'text' is empty"),
        (["a", "b"], ["x", None], "row 1: column 'label' is empty"),
        (["a", "b"], ["x", math.nan], "row 1: column 'label' is empty"),
        (["a", 3], ["x", "y"], "row 1: column 'text' is int"),
        (["a", "b", "c"], ["1", 1, "2"], "labels of different types look alike"),
        (["a", "b"], ["x", "y"], "2 rows with 2 labels are too few to hold out"),
        ([], [], "has no texts with labels"),
        (["a"], ["x", "y"], "equal lengths, got 1 in text, 2 in label"),
    ],
)
def test_unusable_training_data_are_refused_with_a_reason(
    texts: list[str], labels: list[object], message: str
) -> None:
    with pytest.raises((DataError, ArgumentError), match=message):
        elman.Classifier(**SETTINGS).fit(texts, labels)


def test_labels_unseen_in_training_count_as_wrong(trained: elman.Classifier) -> None:
    scores = trained.evaluate(["the plot was great", "the plot was great"], ["pos", "odd"])
    assert (scores["accuracy"], scores["unseen_labels"]) == (0.5, 1)


def test_training_starts_from_word_vectors(tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text("2 3\ngood 1 2 3\nunheard 4 5 6\n")
    settings = {**SETTINGS, "epochs": 1, "learning_rate": 1e-9, "vectors": str(file)}
    model = elman.Classifier(**settings).fit(*reviews())
    row = model.vocabulary.encode("good")
    torch.testing.assert_close(
        model.model.encode.weight[row].detach(), torch.tensor([[1.0, 2, 3]]), rtol=0, atol=1e-4
    )
    file.write_text("good 1 2 3\nbad 1 2\n")
    with pytest.raises(
        DataError, match=r"vectors.txt: line 2 is 'bad 1 2'; expected a word and 3 numbers"
    ):
        elman.Classifier(**settings).fit(*reviews())


@pytest.mark.parametrize("bidirectional", [False, True])
def test_training_starts_from_a_language_model(bidirectional: bool, tmp_path: Path) -> None:
    texts, labels = reviews()
    language = elman.LanguageModel(
        hidden_size=8, cell="gru", epochs=1, bptt=8, batch_size=8, device="cpu", min_count=1
    ).fit(texts, out=tmp_path / "lm")
    settings = {"epochs": 1, "learning_rate": 1e-9, "bidirectional": bidirectional, "wide": False}
    model = elman.Classifier(**settings, start_from=str(tmp_path / "lm")).fit(texts, labels)
    assert (model.settled().cell, model.settled().hidden_size) == ("gru", 8)
    assert (
        model.get_params()
        == elman.Classifier(**settings, start_from=str(tmp_path / "lm")).get_params()
    )
    with pytest.raises(ArgumentError, match=r"hidden_size=9: .* has hidden_size=8, which cannot"):
        elman.Classifier(start_from=str(tmp_path / "lm"), hidden_size=9).fit(texts, labels)
    ours, theirs = model.model.state_dict(), language.model.state_dict()
    fresh = {name for name in ours if "reverse" in name or name.startswith("head")}
    assert len(fresh) == 2 + 4 * bidirectional
    for name in ours.keys() - fresh:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-5)


def test_the_command_line_starts_from_a_language_model(table: Path, tmp_path: Path) -> None:
    lm, short = str(tmp_path / "lm"), ["--epochs", "1", "--device", "cpu", "--min-count", "1"]
    language = ["language-model", str(table), "--column", "text", "--bptt", "8", "--out", lm]
    assert main(["train", *language, *short, "--hidden-size", "8", "--batch-size", "8"]) == 0
    run = str(tmp_path / "run")
    assert main(["train", "classifier", str(table), "--start-from", lm, "--out", run, *short]) == 0
    model = elman.load(run)
    assert model.settled().hidden_size == 8
    assert model.vocabulary.size == elman.load(lm).vocabulary.size


def test_a_bidirectional_model_cannot_start_from_two_forward_layers(tmp_path: Path) -> None:
    texts, labels = reviews()
    options = {"epochs": 1, "bptt": 8, "batch_size": 8, "device": "cpu", "min_count": 1}
    language = elman.LanguageModel(hidden_size=8, num_layers=2, **options)
    language.fit(texts, out=tmp_path / "lm")
    with pytest.raises(ArgumentError, match="set bidirectional=False"):
        elman.Classifier(start_from=str(tmp_path / "lm")).fit(texts, labels)


def test_a_run_resumed_with_more_epochs_gives_the_same_result(table: Path, tmp_path: Path) -> None:
    # A cosine schedule would end with the first run.
    settings = {**SETTINGS, "schedule": "constant"}
    whole = elman.Classifier(**{**settings, "epochs": 3}).fit(table, out=tmp_path / "whole")
    elman.Classifier(**{**settings, "epochs": 2}).fit(table, out=tmp_path / "part")
    again = elman.Classifier.resume(tmp_path / "part", epochs=3)
    texts, _ = reviews()
    assert np.array_equal(whole.predict_proba(texts), again.predict_proba(texts))
    table.write_text(table.read_text() + "more,pos\n")
    with pytest.raises(DataError, match=r"reviews.csv: has changed since the run began"):
        elman.Classifier.resume(tmp_path / "part", epochs=4)


def test_bptt_limits_the_gradient_to_the_last_steps() -> None:
    model = elman.Classifier(
        hidden_size=6,
        bidirectional=False,
        bptt=3,
        dropout=0.0,
        input_dropout=0.0,
        pooling="mean",
        cell="gru",
        min_count=1,
        device="cpu",
        epochs=1,
    ).fit(*reviews())
    network = model.model.train()
    from elman.padded import Padded

    tokens = Padded(torch.randint(2, 9, (3, 7)), torch.tensor([7, 2, 4]))
    states, _ = network.run(tokens)
    network.backward_steps = None
    whole, _ = network.run(tokens)
    torch.testing.assert_close(states.data, whole.data, rtol=0, atol=1e-6)
    grad = torch.autograd.grad(states.data[0].sum(), network.encode.weight)[0]
    touched = set(grad.abs().sum(1).nonzero().flatten().tolist())
    assert touched == set(tokens.data[0, 4:].tolist())


def test_a_classifier_is_an_estimator_of_scikit_learn() -> None:
    sklearn_base = pytest.importorskip("sklearn.base")
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    texts, labels = reviews()
    model = elman.Classifier(**SETTINGS)
    copy = sklearn_base.clone(model)
    assert copy.get_params() == model.get_params()
    assert copy.set_params(epochs=2).epochs == 2
    with pytest.raises(ArgumentError, match="shade is not a setting"):
        copy.set_params(shade=1)
    assert sklearn_base.is_classifier(model)
    shout = FunctionTransformer(lambda texts: [text.upper() for text in texts])
    scores = cross_val_score(make_pipeline(shout, model), np.array(texts), labels, cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > 0.9


def test_scores_equal_their_definitions() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.4, 0.5, 0.1], [0.2, 0.2, 0.6]])
    targets = torch.tensor([0, 1, 0, 1])
    scores = score_classes(p, targets, several=False)
    assert scores["accuracy"] == 0.5
    # Class 0: one right, one missed. Class 1: one right, one missed, one wrong. Class 2: one wrong.
    assert scores["F1_macro"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores["F1_micro"] == pytest.approx(0.5)
    # Class 0: all pairs in order. Class 1: 0.8 above both, 0.2 tied with one and below the other.
    assert scores["AUC"] == pytest.approx((1 + 2.5 / 4) / 2)
    # The confidences are 0.7 and 0.8 (right), 0.5 and 0.6 (wrong).
    assert scores["ECE"] == pytest.approx((0.3 + 0.2 + 0.5 + 0.6) / 4)


def test_the_fitted_temperature_minimises_the_loss() -> None:
    torch.manual_seed(0)
    true = torch.randn(4000, 3)
    targets = torch.multinomial(true.softmax(1), 1).flatten()
    found = fit_temperature(3 * true, targets, several=False)
    assert found == pytest.approx(3, rel=0.1)
    best = nll(3 * true, targets, found, several=False)
    assert all(best <= nll(3 * true, targets, t, several=False) for t in (1.0, 2.5, 3.5, 9.0))


def test_a_few_correct_rows_do_not_make_the_temperature_overconfident() -> None:
    targets = torch.arange(9) % 3
    scores = 2 * torch.nn.functional.one_hot(targets).float()
    t = fit_temperature(scores, targets, several=False)
    assert (scores / t).softmax(1).amax(1).tolist() == pytest.approx([10 / 11] * 9, abs=0.002)
    many = fit_temperature(scores.repeat(1000, 1), targets.repeat(1000), several=False)
    assert (scores / many).softmax(1).amax() > 0.999
    both = torch.nn.functional.one_hot(targets).float()
    t = fit_temperature(4 * both - 2, both, several=True)
    assert ((4 * both - 2) / t).sigmoid().amax().item() == pytest.approx(10 / 11, abs=0.002)


@pytest.fixture
def folder(trained: elman.Classifier, tmp_path: Path) -> Path:
    trained.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_labels_of_a_file_keep_its_order_and_continue_after_a_stop(
    suffix: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_file, "WINDOW", 16)
    texts = [text + " x" * (n % 7) for n, text in enumerate(reviews()[0])]
    write_csv(tmp_path / "new.csv", ["id", "text"], enumerate(texts))
    model, out = elman.load(folder), tmp_path / f"out{suffix}"

    def run() -> tuple[int, int]:
        return predict_file.predict_file(
            model, tmp_path / "new.csv", out, overwrite=False, rejects=None, show=False
        )

    assert run() == (len(texts), 0)
    whole = out.read_bytes()
    if suffix == ".jsonl":
        rows = [json.loads(line) for line in whole.decode().splitlines()]
        found, lines = [row["label"] for row in rows], [row["line"] for row in rows]
    else:
        rows = list(
            csv.reader(whole.decode().splitlines(), delimiter="," if suffix == ".csv" else "\t")
        )
        found, lines = [row[1] for row in rows[1:]], [int(row[0]) for row in rows[1:]]
    assert found == model.predict(texts).tolist()
    assert lines == list(range(2, len(texts) + 2))
    with pytest.raises(FolderError, match="exists already"):
        run()
    out.unlink()
    with stopped_at_call(4, Labels, "answers"):
        run()
    part = tmp_path / f"out{suffix}.part"
    part.write_bytes(part.read_bytes() + b"7,po")  # cut by a crash
    assert run() == (len(texts), 0)
    assert out.read_bytes() == whole
    assert not part.exists()


def test_a_label_with_a_line_break_is_written_on_one_line(tmp_path: Path) -> None:
    texts, labels = reviews()
    names = {"pos": "very\ngood", "neg": "bad"}
    model = elman.Classifier(**SETTINGS).fit(texts, [names[label] for label in labels])
    write_csv(tmp_path / "new.csv", ["text"], zip(texts, strict=True))
    out = tmp_path / "out.csv"
    predict_file.predict_file(
        model, tmp_path / "new.csv", out, overwrite=False, rejects=None, show=False
    )
    rows = [line.split(",")[1] for line in out.read_text().splitlines()[1:]]
    assert rows == [" ".join(label.split()) for label in model.predict(texts)]


def test_the_command_line_trains_evaluates_and_predicts(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    flags = ["--hidden-size", "8", "--epochs", "2", "--device", "cpu", "--min-count", "1"]
    assert main(["train", "classifier", str(table), "--out", str(out), *flags]) == 0
    assert "validation accuracy" in capsys.readouterr().out
    assert main(["predict", str(out), "the plot was great"]) == 0
    assert capsys.readouterr().out.split()[1] in ("pos", "neg")
    assert main(["evaluate", str(out), str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 160
    assert main(["info", str(out)]) == 0
    assert "classifier by Elman" in capsys.readouterr().out
    bad = tmp_path / "bad.csv"
    bad.write_bytes(b"text\ngood film\n\xff\xfe\n   \nbad film\n")
    labelled = tmp_path / "labelled.csv"
    assert main(["predict", str(out), "--file", str(bad), "--out", str(labelled)]) == 2
    assert "line 3" in capsys.readouterr().err
    again = ["predict", str(out), "--file", str(bad), "--out", str(labelled)]
    assert main([*again, "--skip-bad-rows", str(tmp_path / "rejects.csv")]) == 0
    assert [row[0] for row in csv.reader(labelled.read_text().splitlines())] == ["line", "2", "5"]
    rejects = list(csv.reader((tmp_path / "rejects.csv").read_text().splitlines()))
    assert [place.rpartition(" ")[2] for place, _ in rejects[1:]] == ["3", "4"]
    assert main(["generate", str(out)]) == 2
    assert "holds a classifier, not a language model or a translator" in capsys.readouterr().err
    assert main(["predict", str(out), " "]) == 2
    assert "the text is empty; a classifier needs words" in capsys.readouterr().err


def test_bad_rows_stop_the_training_or_are_skipped_and_recorded(tmp_path: Path) -> None:
    texts, labels = reviews()
    write_csv(
        tmp_path / "a.csv", ["text", "label"], zip([*texts, ""], [*labels, "pos"], strict=True)
    )
    with pytest.raises(DataError, match=r"a.csv: line 162: column 'text' is empty"):
        elman.Classifier(**SETTINGS).fit(tmp_path / "a.csv")
    model = elman.Classifier(**{**SETTINGS, "epochs": 1})
    model.fit(tmp_path / "a.csv", skip_bad_rows=tmp_path / "bad.csv", out=tmp_path / "run")
    assert "line 162" in (tmp_path / "bad.csv").read_text()
    shutil.rmtree(tmp_path / "run")


def test_an_undecodable_label_is_a_bad_row_and_the_old_model_is_kept(tmp_path: Path) -> None:
    file, out = tmp_path / "odd.csv", tmp_path / "run"
    texts, labels = reviews()
    write_csv(file, ["text", "label"], zip(texts, labels, strict=True))
    settings = {**SETTINGS, "epochs": 1}
    elman.Classifier(**settings).fit(file, out=out)
    file.write_bytes(file.read_bytes() + b"good film,caf\xe9\n")
    with pytest.raises(DataError):
        elman.Classifier(**settings).fit(file, out=out, overwrite=True)
    assert (out / "weights.safetensors").exists()
    bad = tmp_path / "bad.csv"
    model = elman.Classifier(**settings).fit(file, out=out, overwrite=True, skip_bad_rows=bad)
    assert model.classes == ["neg", "pos"]
    assert len(bad.read_text().splitlines()) == 2


def test_the_file_of_bad_rows_never_replaces_a_file_of_the_user(
    table: Path, tmp_path: Path
) -> None:
    whole = table.read_bytes()
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    for path in (table, other):
        for overwrite, message in ((False, "exists already"), (True, "has other content")):
            with pytest.raises(ArgumentError, match=message):
                elman.Classifier(**SETTINGS).fit(table, skip_bad_rows=path, overwrite=overwrite)
    assert table.read_bytes() == whole
    assert other.read_text() == "mine"
    with pytest.raises(ArgumentError, match="cannot be written"):
        elman.Classifier(**SETTINGS).fit(table, skip_bad_rows=tmp_path / "no" / "bad.csv")


def test_a_run_with_data_in_memory_cannot_be_resumed(table: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "epochs": 1}
    held = (["good film"] * 4 + ["bad film"], ["pos"] * 4 + ["neg"])
    for part in ("validation", "test"):
        out = tmp_path / part
        elman.Classifier(**settings).fit(table, out=out, **{part: held})  # type: ignore[arg-type]
        with pytest.raises(DataError, match=f"the {part} data were given in memory"):
            elman.Classifier.resume(out, epochs=2)


def test_a_run_stopped_before_its_first_checkpoint_starts_again_from_its_vectors(
    table: Path, tmp_path: Path
) -> None:
    (tmp_path / "vectors.txt").write_text("good 5 5 5\nbad -5 -5 -5\n")
    settings = {**SETTINGS, "epochs": 1, "vectors": str(tmp_path / "vectors.txt")}
    whole = elman.Classifier(**settings).fit(table, out=tmp_path / "run")
    after = ("checkpoint.safetensors", "metrics.json", "weights.safetensors", "manifest.json")
    for name in after:
        (tmp_path / "run" / name).unlink()
    again = elman.Classifier.resume(tmp_path / "run")
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_split_keeps_enough_rows_of_every_label_for_training() -> None:
    labels: list[tuple[str, ...]] = [(f"{n:03d}",) for n in range(100)] + [("zz",)] * 12
    train, held = hold_out_labels(labels, 0.1, seed=0)
    assert [labels[n] for n in held].count(("zz",)) <= 2
    assert len(train) + len(held) == 112


def test_an_indicator_matrix_is_read_as_in_scikit_learn() -> None:
    texts = ["good film", "bad film", "good cast", "bad cast"] * 20
    y = np.array([["good" in text, "film" in text] for text in texts]).astype(int)
    model = elman.Classifier(**{**SETTINGS, "several": True}).fit(texts, y)
    assert model.classes == [0, 1]
    assert (model.predict(texts) == y).mean() > 0.9
    with pytest.raises(ArgumentError, match="labels must be a list, or with several=True"):
        elman.Classifier(**SETTINGS).fit(texts, y)


def test_unseen_labels_among_several_count_as_missed() -> None:
    texts = ["good film", "bad film", "good cast", "bad cast"] * 20
    labels = [text.split() for text in texts]
    model = elman.Classifier(**{**SETTINGS, "several": True}).fit(texts, labels)
    scores = model.evaluate(["good film", "bad cast"], [["good", "film", "new"], ["bad", "cast"]])
    assert scores["accuracy"] == 0.5
    assert scores["F1_micro"] == pytest.approx(8 / 9)
    assert scores["unseen_labels"] == 1
    alone = model.evaluate(["good film"], [["new"]])
    assert alone["accuracy"] == 0.0
    assert math.isfinite(alone["F1_macro"])


def test_a_single_text_in_place_of_a_list_is_refused(trained: elman.Classifier) -> None:
    with pytest.raises(ArgumentError, match="expected a list of texts, got one"):
        trained.predict("good film")
    with pytest.raises(ArgumentError, match="half a surrogate pair"):
        trained.predict(["good \ud83d"])


def test_skipped_rows_of_a_file_are_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "new.csv", ["text"], iter([("good",), ("",), ("bad",)]))
    command = ["predict", str(folder), "--file", str(tmp_path / "new.csv"), "--out"]
    bad = ["--skip-bad-rows", str(tmp_path / "bad.csv")]
    assert main([*command, str(tmp_path / "out.csv"), *bad]) == 0
    shown = capsys.readouterr().out
    assert "2 rows" in shown
    assert "bad rows skipped: 1, see" in shown
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["line", "2", "4"]
    assert "line 3" in (tmp_path / "bad.csv").read_text()


def test_rows_with_distinct_sets_of_labels_can_be_held_out() -> None:
    sets = [tuple(s) for n in range(1, 8) for s in itertools.combinations("abcdefg", n)]
    train, held = hold_out_labels(sets, 0.1, seed=0)
    assert len(held) == len(sets) // 10
    assert {letter for n in train for letter in sets[n]} == set("abcdefg")
    lonely = [("a", "b"), ("c",), ("d", "e"), ("f",)]
    with pytest.raises(DataError, match="4 rows with 4 labels are too few to hold out"):
        hold_out_labels(lonely, 0.5, seed=0)


def test_a_column_of_zeros_in_an_indicator_matrix_is_a_label() -> None:
    texts = ["good film", "bad film"] * 20
    y = np.zeros((40, 3), dtype=int)
    y[::2, 0] = y[:, 2] = 1
    model = elman.Classifier(**{**SETTINGS, "several": True, "epochs": 1}).fit(texts, y)
    assert model.classes == [0, 1, 2]
    assert model.predict(texts).shape == (40, 3)


def test_a_list_of_labels_needs_the_setting_several() -> None:
    with pytest.raises(DataError, match=r"column 'label' is a list, expected a label; .* several"):
        elman.Classifier(**SETTINGS).fit(["a", "b"], [["x"], ["y", "z"]])


def test_fit_changes_no_setting(tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_bytes(b"good\t1 2 3\nb\xff 1 2 3\nbad 1 2 3\n")
    settings = {**SETTINGS, "epochs": 1, "vectors": str(tmp_path / "vectors.txt")}
    model = elman.Classifier(**settings)
    before = model.get_params()
    assert model.fit(*reviews()).get_params() == before
    assert model.settled().embedding_size == 3
    (tmp_path / "vectors.txt").write_text("good 1 2 3 4\nbad 1 2 3 4\n")
    assert model.fit(*reviews()).settled().embedding_size == 4
    model.save(tmp_path / "run")
    assert (
        elman.load(tmp_path / "run").predict(["good"]).tolist() == model.predict(["good"]).tolist()
    )
    fresh = elman.Classifier().set_params(hidden_size=[4, 4])
    assert pytest.importorskip("sklearn.base").clone(fresh).sizes == (4, 4)


def test_an_untrained_classifier_has_no_classes() -> None:
    assert not hasattr(elman.Classifier(), "classes_")
    with pytest.raises(UntrainedError, match="not trained yet: call fit first"):
        elman.Classifier().predict(["a"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": None}, "dropout must be a number, got None"),
        (
            {"hidden_size": 8.0},
            "hidden_size must be a list of whole numbers or a whole number, got 8.0",
        ),
        ({"epochs": "3"}, "epochs must be a whole number, got '3'"),
        ({"encoding": "klingon"}, "encoding must name a text encoding"),
    ],
)
def test_settings_of_a_wrong_type_are_refused(
    settings: dict[str, object], message: str, table: Path
) -> None:
    with pytest.raises(ArgumentError, match=message):
        elman.Classifier(**{**SETTINGS, **settings}).fit(table)


def test_predictions_never_replace_a_file_of_the_user(
    trained: elman.Classifier, tmp_path: Path
) -> None:
    data, out, bad = (tmp_path / name for name in ("a.csv", "out.csv", "bad.csv"))
    data.write_text('text\ngood film\n""\n')

    def run(out: Path, **options: Path) -> None:
        predict_file.predict_file(
            trained, data, out, **{"overwrite": True, "rejects": None, "show": False, **options}
        )  # type: ignore[arg-type]

    with pytest.raises(FolderError, match="would replace the data that are read"):
        run(data)
    for path in (out, tmp_path / "out.csv.part"):
        with pytest.raises(ArgumentError, match="is the file for the predictions"):
            run(out, rejects=path)
    (tmp_path / "out.csv.part").write_text("mine")
    with pytest.raises(
        FolderError, match=r"out.csv.part: exists already and was not written by Elman"
    ):
        run(out)
    assert (tmp_path / "out.csv.part").read_text() == "mine"
    (tmp_path / "out.csv.part").unlink()
    bad.write_text("place,reason\nb.csv: line 9,odd\n")
    with pytest.raises(ArgumentError, match=r"bad\.csv: exists already"):
        run(out, rejects=bad, overwrite=False)  # type: ignore[arg-type]
    assert "b.csv" in bad.read_text()
    run(out, rejects=bad)
    assert "a.csv: line 3" in bad.read_text()


def test_the_report_contains_the_notes_on_the_data(table: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "epochs": 1, "max_tokens": 4}
    model = elman.Classifier(**settings).fit(table, out=tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "16 texts, 10% of each class, are held out for validation" in page
    assert (
        f"divided by the temperature {model.temperature:.2f}, fitted on the validation data" in page
    )
    assert "texts with max_tokens=4 tokens or more: 144" in page


def test_evaluate_can_skip_bad_rows(
    trained: elman.Classifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, bad = tmp_path / "a.csv", tmp_path / "bad.csv"
    data.write_bytes(b"text,label\ngood film,pos\nbad \xff,neg\nbad film,\nbad film,neg\n")
    assert trained.evaluate(data, skip_bad_rows=bad)["examples"] == 2
    assert [line.split(",")[0][-1] for line in bad.read_text().splitlines()[1:]] == ["3", "4"]
    with pytest.raises(ArgumentError, match=r"bad\.csv: exists already"):
        trained.evaluate(data, skip_bad_rows=bad)
    trained.save(tmp_path / "run")
    other = str(tmp_path / "other.csv")
    assert main(["evaluate", str(tmp_path / "run"), str(data), "--skip-bad-rows", other]) == 0
    assert capsys.readouterr().err.splitlines() == ["elman: bad rows skipped: 2, see other.csv"]
