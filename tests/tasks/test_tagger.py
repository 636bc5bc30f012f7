"""Taggers of sentences: in memory, from files, live and on the command line."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest
import torch

import elman
from elman.cli import main
from elman.errors import ArgumentError, DataError
from elman.tasks import predict_file
from elman.tasks.predictions import Tags
from tests.tasks.stops import stopped_at_call

SETTINGS: dict[str, object] = {
    "hidden_size": 12,
    "embedding_size": 12,
    "character_size": 8,
    "epochs": 6,
    "batch_size": 8,
    "learning_rate": 0.02,
    "dropout": 0.1,
    "input_dropout": 0.0,
    "min_count": 1,
    "device": "cpu",
}
NOUNS, VERBS = ["cat", "dog", "hen", "fox"], ["sees", "likes", "hears"]


def sentences() -> tuple[list[list[str]], list[list[str]]]:
    """Return 96 sentences and their tags: "duck" is a noun after "the" and a verb after "they"."""
    made = []
    for a, verb, b, late in itertools.product(NOUNS, VERBS, NOUNS, (False, True)):
        words, tags = ["the", a, verb, "the", b], ["DET", "NOUN", "VERB", "DET", "NOUN"]
        if late:
            words, tags = [*words, "they", "duck"], [*tags, "PRON", "VERB"]
        else:
            words, tags = [*words[:-1], "duck"], tags
        made.append((words, tags))
    random.Random(0).shuffle(made)
    return [words for words, _ in made], [tags for _, tags in made]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.conll"
    pairs = (zip(w, t, strict=True) for w, t in zip(*sentences(), strict=True))
    path.write_text("\n".join("".join(f"{w} {t}\n" for w, t in pair) for pair in pairs))
    return path


@pytest.mark.learns
@pytest.mark.parametrize("chain", [False, True])
def test_a_tagger_learns_from_the_words_before_a_word(chain: bool) -> None:
    model = elman.Tagger(**SETTINGS, chain=chain).fit(*sentences())
    found = model.predict([["the", "duck", "sees", "the", "fox"], ["they", "duck"], []])
    assert found == [["DET", "NOUN", "VERB", "DET", "NOUN"], ["PRON", "VERB"], []]
    ours, baseline = (model.metrics[who]["validation"] for who in ("model", "baseline"))
    assert ours["accuracy"] == 1
    assert baseline["accuracy"] < 1  # the baseline has only one tag for "duck"


@pytest.mark.learns
def test_an_unknown_word_is_tagged_by_its_characters() -> None:
    words, tags = sentences()
    model = elman.Tagger(**{**SETTINGS, "epochs": 12}).fit(words, tags)
    assert model.predict([["the", "cats", "greets", "the", "hen"]])[0][2] == "VERB"


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "gru", "chain": True, "num_layers": 2, "precision": "bf16"},
        {"character_size": 0, "embedding_dropout": 0.1, "bidirectional": False},
        {"cell": "rnn", "lowercase": False, "min_count": 2, "layer_norm": True},
    ],
)
def test_models_with_combined_options_are_equal_after_loading(
    options: dict[str, object], file: Path, tmp_path: Path
) -> None:
    model = elman.Tagger(**{**SETTINGS, "epochs": 1, **options}).fit(file, out=tmp_path / "run")
    back = elman.load(tmp_path / "run")
    odd = [["The", "日本", "sees"], ["x" * 100]]
    assert back.predict(odd) == model.predict(odd)
    assert back.evaluate(file) == model.evaluate(file)
    assert back.metrics == model.metrics


def test_the_tags_of_a_sentence_do_not_depend_on_its_batch() -> None:
    model = elman.Tagger(**{**SETTINGS, "epochs": 1}).fit(*sentences())
    words, _ = sentences()
    together = model.predict(words)
    assert together == [model.predict([sentence])[0] for sentence in words]


@pytest.mark.parametrize("chain", [False, True])
def test_live_tags_equal_those_of_a_batch(chain: bool) -> None:
    model = elman.Tagger(**SETTINGS, bidirectional=False, chain=chain).fit(*sentences())
    live = model.stream()
    words = ["the", "duck", "sees", "the", "fox", "they", "duck"]
    assert [live.push(word)[0] for word in words] == model.predict([words])[0]
    live.restart()
    first = live.push("they")
    assert first[0] == "PRON"
    assert 0.5 < first[1] <= 1
    with pytest.raises(ArgumentError, match="bidirectional=False"):
        elman.Tagger(**{**SETTINGS, "epochs": 1}).fit(*sentences()).stream()


def test_spans_are_scored_if_the_tags_mark_spans() -> None:
    words = [["fly", "to", "New", "York"], ["go", "home"]] * 20
    tags = [["O", "O", "B-CITY", "I-CITY"], ["O", "O"]] * 20
    model = elman.Tagger(**SETTINGS).fit(words, tags)
    scores = model.evaluate(words, tags)
    assert (scores["F1"], scores["spans"]) == (1, 20)


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        ([["a"], ["b"]], [["X"], ["X"]], "at least 2 are needed"),
        ([["a", "b"]], [["X"]], "row 0: words: 2, but tags: 1"),
        ([["a"], ["b"]], [["X"], ["Y"]], r"too few sentences \(2\) to hold out"),
        ([], [], "has no sentence"),
    ],
)
def test_unusable_training_data_are_refused_with_a_reason(
    words: list[list[str]], tags: list[list[str]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        elman.Tagger(**SETTINGS).fit(words, tags)


def test_a_text_in_place_of_words_is_refused() -> None:
    model = elman.Tagger(**{**SETTINGS, "epochs": 1}).fit(*sentences())
    with pytest.raises(ArgumentError, match="a sentence must be a list of words"):
        model.predict(["the cat"])


def test_a_run_resumed_with_more_epochs_gives_the_same_result(file: Path, tmp_path: Path) -> None:
    whole = elman.Tagger(**{**SETTINGS, "epochs": 3}).fit(file, out=tmp_path / "whole")
    elman.Tagger(**{**SETTINGS, "epochs": 2}).fit(file, out=tmp_path / "part")
    again = elman.Tagger.resume(tmp_path / "part", epochs=3)
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
    file.write_text(file.read_text() + "\nmore X\n")
    with pytest.raises(DataError, match="has changed since the run began"):
        elman.Tagger.resume(tmp_path / "part", epochs=4)


@pytest.mark.parametrize("suffix", [".conll", ".jsonl"])
def test_tags_of_a_file_keep_its_order_and_continue_after_a_stop(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_file, "WINDOW", 10)
    words, _ = sentences()
    (tmp_path / "new.txt").write_text("\n".join(" ".join(sentence) for sentence in words))
    model = elman.Tagger(**{**SETTINGS, "epochs": 1}).fit(*sentences())
    out = tmp_path / f"out{suffix}"

    def run() -> tuple[int, int]:
        return predict_file.predict_file(
            model, tmp_path / "new.txt", out, overwrite=True, rejects=None, show=False
        )

    assert run() == (len(words), 0)
    whole = out.read_bytes()
    tags = model.predict(words)
    if suffix == ".jsonl":
        assert [json.loads(line)["tags"] for line in whole.decode().splitlines()] == tags
    else:
        blocks = whole.decode().removesuffix("\n\n").split("\n\n")
        assert [[line.split("\t")[1] for line in block.split("\n")] for block in blocks] == tags
    with stopped_at_call(4, Tags, "answers"):
        run()
    part = tmp_path / f"out{suffix}.part"
    part.write_bytes(part.read_bytes() + b"the\tDE")
    assert run() == (len(words), 0)
    assert out.read_bytes() == whole


def test_the_command_line_trains_evaluates_and_predicts(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    flags = ["--hidden-size", "8", "--epochs", "2", "--device", "cpu", "--min-count", "1"]
    assert main(["train", "tagger", str(file), "--out", str(out), *flags]) == 0
    assert "validation accuracy" in capsys.readouterr().out
    assert main(["predict", str(out), "the cat"]) == 0
    assert capsys.readouterr().out.split()[1::2] == ["the", "cat"]
    assert main(["evaluate", str(out), str(file), "--json"]) == 0
    assert "accuracy" in json.loads(capsys.readouterr().out)
    assert main(["predict", str(out), "--file", str(file), "--out", str(tmp_path / "o.conll")]) == 0


@pytest.mark.parametrize("block", ["The DET\ncat\nsat VERB\n", "word\t\n", "\tNOUN\n"])
def test_a_line_without_a_word_or_a_tag_is_refused(block: str, tmp_path: Path) -> None:
    (tmp_path / "odd.conll").write_text(f"it PRON\n\n{block}")
    with pytest.raises(DataError, match=r"odd.conll: line [34]: .*expected"):
        elman.Tagger(**SETTINGS).fit(tmp_path / "odd.conll")


def test_blocks_of_comments_are_not_sentences(tmp_path: Path) -> None:
    line = "1\tit\tit\tPRON\t_\t_\t0\troot\t_\t_\n2\tis\tbe\tVERB\t_\t_\t0\troot\t_\t_\n"
    (tmp_path / "a.conllu").write_text(f"# newdoc\n\n{line}\n" * 30 + "# the end\n")
    model = elman.Tagger(**{**SETTINGS, "epochs": 1, "batch_size": 1}).fit(tmp_path / "a.conllu")
    assert model.predict([["it", "is"]])[0] in (["PRON", "VERB"], ["PRON", "PRON"], ["VERB"] * 2)


def test_sentences_in_a_list_need_tags() -> None:
    with pytest.raises(ArgumentError, match="sentences in a list need their tags"):
        elman.Tagger(**SETTINGS).fit([["a", "b"]])


def test_a_run_with_data_in_memory_cannot_be_resumed(file: Path, tmp_path: Path) -> None:
    model = elman.Tagger(**{**SETTINGS, "epochs": 1})
    model.fit(file, validation=sentences(), out=tmp_path / "run")
    with pytest.raises(DataError, match="the validation data were given in memory"):
        elman.Tagger.resume(tmp_path / "run", epochs=2)


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        ([["a", None]], [["X", "Y"]], "row 0: a word or tag is null"),
        ([["a", "b"]], [["X", None]], "row 0: a word or tag is null"),
        ([["a", " "]], [["X", "Y"]], "row 0: a word or tag is empty"),
        ([["a", True]], [["X", "Y"]], "row 0: a word or tag is bool"),
        ([{"a": 1}], [["X"]], "row 0: dict, expected a list of words or tags"),
    ],
)
def test_a_missing_word_or_tag_is_refused(words: object, tags: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        elman.Tagger(**SETTINGS).fit(words, tags)  # type: ignore[arg-type]


def test_numbers_are_accepted_as_words() -> None:
    words, tags = sentences()
    model = elman.Tagger(**{**SETTINGS, "epochs": 1})
    model.fit([[1, *some] for some in words], [["N", *some] for some in tags])  # type: ignore[list-item]
    assert "1" in model.index.words


def test_a_second_file_is_refused_if_the_first_has_the_tags(file: Path, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("X\n")
    with pytest.raises(ArgumentError, match=r"b.txt: .*a.conll has words and tags already"):
        elman.Tagger(**SETTINGS).fit(file, tmp_path / "b.txt")
