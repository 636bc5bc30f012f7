"""Translators, summaries and dialogue: in memory, from files and on the command line."""

from __future__ import annotations

import io
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

import elman
from elman.cli import main
from elman.decode.beam import Found, Search
from elman.decode.consensus import Consensus
from elman.decode.sample import Sampling
from elman.encode.text import Vocabulary, stream_text
from elman.errors import ArgumentError, DataError
from elman.state import to_bytes
from elman.targets.texts import Texts
from elman.tasks.predict_file import predict_file
from elman.tasks.run import Request
from tests.states import resealed

WORDS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier"}
SETTINGS: dict[str, object] = {
    "hidden_size": 24,
    "embedding_size": 16,
    "tokens": "word",
    "min_count": 1,
    "epochs": 30,
    "batch_size": 8,
    "learning_rate": 0.01,
    "dropout": 0.0,
    "device": "cpu",
}


def pairs() -> tuple[list[str], list[str]]:
    """Return 84 pairs of one to three numbers; the target has the opposite order."""
    texts = [c for n in (1, 2, 3) for c in itertools.product(WORDS, repeat=n)]
    random.Random(0).shuffle(texts)
    sources = [" ".join(words) for words in texts]
    return sources, [" ".join(WORDS[word] for word in reversed(words)) for words in texts]


@pytest.fixture(scope="module")
def trained() -> elman.Translator:
    return elman.Translator(**SETTINGS).fit(*pairs())


@pytest.mark.learns
def test_a_translator_learns_order_and_words(trained: elman.Translator) -> None:
    sources, targets = pairs()
    found = trained.predict(sources, search=Search(beam=3))
    assert sum(a == b for a, b in zip(found, targets, strict=True)) > 0.9 * len(targets)
    scores = trained.metrics["model"]["validation"]
    assert scores["chrF"] > 2 * trained.metrics["baseline"]["validation"]["chrF"]


def test_the_n_best_translations_are_distinct_and_sorted(trained: elman.Translator) -> None:
    best = trained.n_best(["two one"], Search(beam=4, n_best=3, length_penalty=0))[0]
    assert len({text for text, _ in best}) == 3
    assert [p for _, p in best] == sorted((p for _, p in best), reverse=True)


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "gru", "attention": "additive", "num_layers": 2},
        {"attention": None, "bidirectional": False, "tied": True, "embedding_size": 24},
        {"attention": "multi-head", "tokens": "character", "shared": True},
        {"cell": "rnn", "attention": "dot", "bidirectional": False, "input_feeding": True},
        {"tokens": "bpe", "vocabulary_size": 300, "precision": "bf16", "kind": "summary"},
        {"kind": "dialogue"},
        {"cell": "transformer", "num_layers": 2, "hidden_size": 24, "embedding_size": None},
        {"shared": True, "copying": True, "coverage": 0.5, "scheduled_sampling": 0.2},
    ],
)
def test_models_with_combined_options_are_equal_after_loading(
    options: dict[str, object], tmp_path: Path
) -> None:
    settings = {**SETTINGS, "epochs": 1, **options}
    model = elman.Translator(**settings).fit(*pairs(), out=tmp_path / "run")
    back = elman.load(tmp_path / "run")
    texts = ["one two", "日本", "four " * 50]
    assert back.predict(texts) == model.predict(texts)
    assert back.metrics == model.metrics
    for a, b in zip(back.model.parameters(), model.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_encoder_and_decoder_start_from_a_language_model(tmp_path: Path) -> None:
    sources, targets = pairs()
    language = elman.LanguageModel(
        hidden_size=8, epochs=1, bptt=8, batch_size=8, device="cpu", min_count=1, tied=True
    ).fit([*sources, *targets], out=tmp_path / "lm")
    settings = {"epochs": 1, "learning_rate": 1e-9, "shared": True, "device": "cpu"}
    start = {**settings, "start_from": str(tmp_path / "lm")}
    for tied in (True, False):
        model = elman.Translator(**start, tied=tied).fit(sources, targets)
        settled = model.settled()
        assert (settled.tokens, settled.hidden_size) == (language.tokens, 8)
        ours, theirs = model.model.state_dict(), language.model.state_dict()
        for part, names in (
            ("coder.embed_source.", "encode."),
            ("coder.embed_target.", "encode."),
            ("coder.encoder.", "core."),
            ("coder.core.", "core."),
            ("head.", "head."),
        ):
            for name in (name for name in theirs if name.startswith(names)):
                found = ours[part + name.removeprefix(names)]
                torch.testing.assert_close(found, theirs[name], rtol=0, atol=1e-5)
    with pytest.raises(ArgumentError, match="start_from needs shared"):
        elman.Translator(start_from="x").fit(sources, targets)
    with pytest.raises(ArgumentError, match="start_from and input_feeding cannot be"):
        elman.Translator(start_from="x", shared=True, input_feeding=True).fit(sources, targets)
    with pytest.raises(ArgumentError, match=r"cell=gru: .* has cell=lstm, which cannot"):
        elman.Translator(**start, cell="gru").fit(sources, targets)


def test_a_run_stopped_before_its_first_checkpoint_starts_again_from_the_language_model(
    tmp_path: Path,
) -> None:
    for name, texts in zip(("a", "b"), pairs(), strict=True):
        (tmp_path / name).write_text("\n".join(texts))
    elman.LanguageModel(hidden_size=8, epochs=1, bptt=8, batch_size=8, device="cpu").fit(
        tmp_path / "a", out=tmp_path / "lm"
    )
    settings = {"epochs": 1, "shared": True, "device": "cpu", "start_from": str(tmp_path / "lm")}
    run = tmp_path / "run"
    whole = elman.Translator(**settings).fit(tmp_path / "a", tmp_path / "b", out=run)
    after = ("checkpoint.safetensors", "metrics.json", "weights.safetensors", "manifest.json")
    for name in after:
        (run / name).unlink()
    again = elman.Translator.resume(run)
    for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_length_of_a_summary_is_limited_by_those_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SETTINGS, "epochs": 1, "kind": "summary"}
    elman.Translator(**settings).fit(*pairs(), out=tmp_path / "run")
    model, steps = elman.load(tmp_path / "run"), []
    step = model.network.step
    monkeypatch.setattr(model.network, "step", lambda *given: steps.append(1) or step(*given))
    model.predict(["four " * 150])
    assert len(steps) <= 5  # three words, the end, and one more step


def test_an_unknown_word_is_replaced_by_the_source_word_with_most_attention(
    trained: elman.Translator,
) -> None:
    theirs = trained.vocabularies[1]
    tokens = [theirs.encode("eins")[0], theirs.unknown, theirs.encode("drei")[0]]
    attention = torch.eye(4)[[0, 2, 1, 3]]
    found = Found(tokens, 0.0, 0.0, attention)  # type: ignore[arg-type]
    assert trained.text_of("one three zebra", found) == "eins zebra drei"


@pytest.mark.learns
def test_sources_can_be_recordings(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    levels = [draw.integers(0, 3, draw.integers(1, 4)).tolist() for _ in range(200)]
    ends = np.zeros((1, 2))  # a pause after each level
    arrays = [
        np.concatenate([part for n in some for part in (draw.normal([n, 3], 0.1, (4, 2)), ends)])
        for some in levels
    ]
    texts = [" ".join(("low", "middle", "high")[n] for n in some) for some in levels]
    settings = {**SETTINGS, "epochs": 8, "batch_size": 16, "examples": 400, "jitter": 0.01}
    model = elman.Translator(**settings).fit(arrays, texts, out=tmp_path / "run")
    found = model.predict(arrays)
    assert sum(a == b for a, b in zip(found, texts, strict=True)) > 0.9 * len(texts)
    assert model.metrics["baseline"]["name"] == "the most frequent target"
    assert model.evaluate(arrays[:9], texts[:9])["pairs"] == 9
    assert "recordings to text" in (tmp_path / "run" / "README.md").read_text()
    back = elman.load(tmp_path / "run")
    assert back.predict(arrays) == found
    drawn = [one.predict(arrays, sampling=Sampling(), seed=1) for one in (model, back)]
    assert drawn[0] == drawn[1]
    with pytest.raises(ArgumentError, match="vocabularies needs sources that are texts"):
        _ = model.vocabularies
    assert main(["predict", str(tmp_path / "run"), "low"]) == 2


def test_recordings_of_a_table_are_translated_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"r{n}" for n in range(40)]
    rows = [f"{name},{time},{n % 2}\n" for n, name in enumerate(names) for time in range(4)]
    table, texts, out = tmp_path / "steps.csv", tmp_path / "texts.csv", tmp_path / "out.csv"
    table.write_text("unique_id,ds,x\n" + "".join(rows), encoding="utf-8")
    lines = [f"{name},{('low', 'very high')[n % 2]}\n" for n, name in enumerate(names)]
    texts.write_text("unique_id,target\n" + "".join(lines), encoding="utf-8")
    run = tmp_path / "run"
    flags = "--channels x --tokens word --min-count 1 --hidden-size 16 --epochs 2 --device cpu"
    train = ["train", "translator", str(table), str(texts), "--out", str(run)]
    assert main([*train, *flags.split()]) == 0
    predict = ["predict", str(run), "--file", str(table)]
    assert main([*predict, "--out", str(out), "--beam", "2"]) == 0
    header, *found = out.read_text(encoding="utf-8").splitlines()
    assert header == "unique_id,start,end,target"
    model = elman.load(run)
    assert isinstance(model, elman.Translator)
    best = model.predict(table, search=Search(beam=2))
    assert [line.split(",") for line in found[:2]] == [
        ["r0", "0", "4", best[0]],
        ["r1", "0", "4", best[1]],
    ]
    spans = tmp_path / "spans.csv"
    spans.write_text("unique_id,start,end\nr1,0,2\n", encoding="utf-8")
    capsys.readouterr()
    assert main([*predict, "--spans", str(spans)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main([*predict, "--k", "2"]) == 2
    assert "--k is an option of" in capsys.readouterr().err
    assert main(["predict", str(run), "low"]) == 2
    assert "give a table of recordings with --file" in capsys.readouterr().err


def test_sources_can_be_several_inputs(tmp_path: Path) -> None:
    sources, targets = pairs()
    table = {"a": sources, "b": sources[::-1], "target": targets}
    inputs = ("a:text", "b:words")
    model = elman.Translator(**{**SETTINGS, "epochs": 1}, inputs=inputs).fit(table)
    model.save(tmp_path / "run")
    rows = {name: table[name][:5] for name in "ab"}
    assert elman.load(tmp_path / "run").predict(rows) == model.predict(rows)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"shared": True, "copying": True}, "shared"),
        ({"shared": True, "start_from": "x"}, "shared"),
        ({"kind": "dialogue"}, "kind=dialogue"),
        ({"kind": "summary"}, "kind=summary"),
        ({"cell": "transformer", "embedding_size": None}, "cell=transformer"),
    ],
)
def test_options_that_need_tokens_refuse_other_inputs(
    options: dict[str, object], named: str
) -> None:
    arrays = [np.zeros((5, 2))] * 40
    with pytest.raises(ArgumentError, match=f"{named} needs sources that are texts, got rec"):
        elman.Translator(**{**SETTINGS, **options}).fit(arrays, ["a"] * 40)


def test_a_run_resumed_with_more_epochs_gives_the_same_result(tmp_path: Path) -> None:
    for name, texts in zip(("a", "b"), pairs(), strict=True):
        (tmp_path / name).write_text("\n".join(texts))
    settings = {**SETTINGS, "epochs": 3}
    whole = elman.Translator(**settings).fit(tmp_path / "a", tmp_path / "b", out=tmp_path / "w")
    settings["epochs"] = 2
    elman.Translator(**settings).fit(tmp_path / "a", tmp_path / "b", out=tmp_path / "p")
    again = elman.Translator.resume(tmp_path / "p", epochs=3)
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_invalid_settings_and_unusable_data_are_refused() -> None:
    with pytest.raises(ArgumentError, match="input_feeding needs attention"):
        elman.Translator(attention=None, input_feeding=True).fit(["a"], ["b"])
    with pytest.raises(DataError, match=r"too few pairs \(1\)"):
        elman.Translator(**SETTINGS).fit(["a"], ["b"])
    with pytest.raises(DataError, match="row 1: column 'target' is empty"):
        elman.Translator(**SETTINGS).fit(["a", "b"], ["c", ""])


def test_the_card_and_the_metrics_are_written(tmp_path: Path) -> None:
    settings = {**SETTINGS, "epochs": 1}
    elman.Translator(**settings).fit(*pairs(), out=tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "signature" in metrics["model"]["validation"]
    assert "| this model | validation |" in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.learns
def test_a_transformer_learns_order_and_words(tmp_path: Path) -> None:
    settings = {
        **SETTINGS,
        "cell": "transformer",
        "hidden_size": 32,
        "embedding_size": None,
        "epochs": 40,
        "num_layers": 1,
        "learning_rate": 0.003,
    }
    model = elman.Translator(**settings).fit(*pairs())
    sources, targets = pairs()
    found = model.predict(sources, search=Search(beam=1))
    assert sum(a == b for a, b in zip(found, targets, strict=True)) > 0.8 * len(targets)


@pytest.mark.learns
def test_a_model_with_copying_outputs_words_unseen_in_training_targets() -> None:
    ends = [f"{a}{b}{c}" for a in "aeiou" for b in "mnls" for c in "ao"]
    names = [f"{a}{end}" for end in ends for a in "bcdfgklmnprst"]
    new, known = names[:8], names[8:408]  # so many that copying is easier than memorising
    settings = {
        **SETTINGS,
        "tokens": "word",
        "shared": True,
        "copying": True,
        "epochs": 10,
        "attention": "multi-head",
        "label_smoothing": 0.0,
    }
    sources = [f"my name is {name}" for name in known] + [f"{name} is new" for name in new]
    targets = [f"hello {name}" for name in known] + ["hello"] * len(new)
    model = elman.Translator(**settings).fit(sources, targets)
    found = model.predict([f"my name is {name}" for name in new])
    assert sum(text == f"hello {name}" for text, name in zip(found, new, strict=True)) >= 6


def test_samples_depend_only_on_the_seed(trained: elman.Translator) -> None:
    texts, hot = ["one two three"] * 20, Sampling(temperature=2.0)
    drawn = trained.predict(texts, sampling=hot, seed=1)
    assert drawn == trained.predict(texts, sampling=hot, seed=1)
    assert len(set(drawn)) > 3
    cold = trained.predict(texts[:1], sampling=Sampling(temperature=0))
    assert cold == trained.predict(texts[:1], search=Search(beam=1))


TALK = ["hello __eou__ hi there __eou__ how are you ? __eou__ fine __eou__"] * 40


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("talk")
    (folder / "talk.txt").write_text("\n".join(TALK), encoding="utf-8")
    settings = {**SETTINGS, "kind": "dialogue", "history": 2, "epochs": 10}
    elman.Translator(**settings).fit(folder / "talk.txt", out=folder / "run")
    return folder / "run"


@pytest.mark.learns
def test_a_dialogue_model_learns_the_answer_to_every_turn(talker: Path) -> None:
    model = elman.load(talker)
    assert isinstance(model, elman.Translator)
    metrics = json.loads((talker / "metrics.json").read_text())
    assert metrics["baseline"]["name"] == "the most frequent answer"
    assert {"BLEU-2", "distinct-1", "distinct-2"} <= set(metrics["model"]["validation"])
    assert model.predict(["hello", "hello __eou__ hi there __eou__ how are you ?"]) == [
        "hi there",
        "fine",
    ]


def test_a_chat_keeps_only_the_turns_that_the_model_reads(talker: Path) -> None:
    model = elman.load(talker)
    assert isinstance(model, elman.Translator)
    talk = model.chat()
    assert talk.push("hello") == "hi there"
    assert talk.push(" how are you ? ") == "fine"
    assert talk.turns == ["how are you ?", "fine"]
    other, blob = model.chat(), talk.state_bytes()
    other.restore(blob)
    assert other.turns == talk.turns
    assert other.push("hello") == talk.push("hello")
    for bad in (b"x", blob[:-1] + b"}", to_bytes((torch.zeros(1),))):
        with pytest.raises(DataError):
            talk.restore(bad)
    assert talk.turns == other.turns
    half = torch.frombuffer(bytearray(b'["\\ud800"]'), dtype=torch.uint8)
    for seed, text in ((0, half), (2**63 - 1, torch.tensor([91, 93], dtype=torch.uint8))):
        with pytest.raises(DataError):
            talk.restore(resealed(blob, (torch.tensor(seed), text)))
    with pytest.raises(ArgumentError, match="seed must have 64 bits"):
        model.chat(seed=2**64)
    with pytest.raises(ArgumentError, match="sampling must be a Sampling"):
        model.chat(sampling=0.5)  # type: ignore[arg-type]
    talk.restart()
    assert talk.turns == []
    with pytest.raises(ArgumentError, match="turn must contain words"):
        talk.push(" ")


def test_chat_answers_on_the_command_line(
    talker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n\nhello\nhow are you ?\n"))
    assert main(["chat", str(talker)]) == 0
    assert capsys.readouterr().out.splitlines() == ["hi there", "hi there", "fine"]


def test_chat_needs_a_model_of_dialogue(trained: elman.Translator) -> None:
    with pytest.raises(ArgumentError, match="chat needs kind=dialogue"):
        trained.chat()


def test_a_conversation_of_one_turn_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.write_text("\n".join([*TALK, "alone"]), encoding="utf-8")
    settings = {**SETTINGS, "kind": "dialogue", "epochs": 1}
    with pytest.raises(DataError, match="line 41: expected two or more turns, got 1"):
        elman.Translator(**settings).fit(file)
    model = elman.Translator(**settings).fit(file, skip_bad_rows=tmp_path / "bad.csv")
    assert model.metrics["model"]["validation"]["pairs"] == 6
    assert 'line 41,"expected two or more turns, got 1' in (tmp_path / "bad.csv").read_text()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model that the command line trained on a table."""
    folder = tmp_path_factory.mktemp("translator")
    rows = zip(*pairs(), strict=True)
    (folder / "pairs.csv").write_text(
        "english,german\n" + "".join(f"{a},{b}\n" for a, b in rows), encoding="utf-8"
    )
    flags = "--source english --target german --tokens word --min-count 1 --epochs 12 --dropout 0"
    size = "--hidden-size 24 --batch-size 8 --learning-rate 0.01 --validation-fraction 0.2"
    command = ["train", "translator", str(folder / "pairs.csv"), "--out", str(folder / "run")]
    assert main([*command, *flags.split(), *size.split()]) == 0
    return folder / "run"


def test_the_command_line_predicts_generates_and_evaluates(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["predict", str(run), "two one"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["predict", str(run), "two one", "--k", "3", "--beam", "4"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["generate", str(run), "two one", "--samples", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["evaluate", str(run), str(run.parent / "pairs.csv"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["pairs"] == 84
    assert main(["info", str(run)]) == 0
    assert "a translator by Elman" in capsys.readouterr().out
    assert main(["evaluate", str(run), str(run.parent / "pairs.csv")]) == 0
    assert "chrF" in capsys.readouterr().out
    assert main(["chat", str(run)]) == 2
    assert "chat needs --kind dialogue" in capsys.readouterr().err
    assert main(["generate", str(run), "two one", "--seed", str(2**64)]) == 2
    assert "--seed must have 64 bits" in capsys.readouterr().err


def test_the_report_shows_the_attention(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert '<table class="heat many">' in page
    assert "One of the worst: " in page
    assert page.count("nrefs:1|") == 2  # once for BLEU and once for chrF
    picture = json.loads((run / "metrics.json").read_text())["attention"][0]
    for _, *weights in picture["rows"]:
        assert len(weights) == len(picture["columns"])
        assert sum(weights) == pytest.approx(1, abs=0.02)


def test_a_file_is_translated_line_by_line_and_continues_after_a_stop(run: Path) -> None:
    texts = [" ".join(words) for words in itertools.product(WORDS, repeat=3)] * 80  # > WINDOW
    source = run.parent / "new.txt"
    source.write_text("\n".join(texts), encoding="utf-8")
    out = run.parent / "out.txt"
    command = ["predict", str(run), "--file", str(source), "--out", str(out), "--beam", "1"]
    assert main(command) == 0
    whole = out.read_text(encoding="utf-8")
    model = elman.load(run)
    assert isinstance(model, elman.Translator)
    assert whole.splitlines() == model.predict(texts[:64], search=Search(beam=1)) * 80
    assert main(command) == 2
    out.unlink()

    seen: list[int] = []
    predict = elman.Translator.predict

    def once(self: elman.Translator, items: list[str], **options: object) -> list[str]:
        if seen:
            raise KeyboardInterrupt
        seen.append(len(items))
        return predict(self, items, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elman.Translator, "predict", once)
        assert main(command) == 130
    assert not out.exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            elman.Translator,
            "predict",
            lambda self, items, **o: seen.append(len(items)) or predict(self, items, **o),
        )
        assert main(command) == 0
    assert sum(seen) == 5120
    assert max(seen) <= 1024
    assert out.read_text(encoding="utf-8") == whole


def test_a_file_that_another_process_is_writing_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = run.parent / "both.txt", run.parent / "both_out.txt"
    source.write_text("one two\nthree\n" * 1500, encoding="utf-8")
    command = ["predict", str(run), "--file", str(source), "--out", str(out), "--beam", "1"]
    predict, codes = elman.Translator.predict, list[int]()

    def twice(self: elman.Translator, items: list[str], **options: object) -> list[str]:
        if not codes:
            codes.append(-1)
            codes.append(main(command))
        return predict(self, items, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elman.Translator, "predict", twice)
        assert main(command) == 0
    assert codes == [-1, 2]
    assert "another process is using it" in capsys.readouterr().err
    assert len(out.read_text(encoding="utf-8").splitlines()) == 3000
    assert not list(run.parent.glob("both_out.txt.part*"))


def test_unicode_is_preserved(trained: elman.Translator, tmp_path: Path) -> None:
    odd = ["e\u0301tude", "שלום עולם", "👩‍👩‍👧 yes", "x" * 100_000, "日本語"]
    settings = {**SETTINGS, "tokens": "bpe", "epochs": 1, "vocabulary_size": 300}
    model = elman.Translator(**settings).fit(odd * 10, odd * 10)
    theirs = model.vocabularies[1]
    for text in odd:
        assert theirs.decode(theirs.encode(text)) == text
    assert len(model.predict(odd, search=Search(beam=1))) == len(odd)


def test_an_output_of_several_lines_is_written_as_one_row(tmp_path: Path) -> None:
    sources, targets = pairs()
    settings = {**SETTINGS, "tokens": "bpe", "vocabulary_size": 300, "epochs": 20}
    model = elman.Translator(**settings).fit(sources, [t.replace(" ", "\n") for t in targets])
    (tmp_path / "new.txt").write_text("\n".join(sources[:20]))
    for suffix in (".csv", ".txt", ".jsonl"):
        out = tmp_path / f"out{suffix}"
        done = predict_file(
            model, tmp_path / "new.txt", out, overwrite=False, rejects=None, show=False
        )
        assert done == (20, 0)
        assert len(out.read_text().splitlines()) == 20 + (suffix == ".csv")


def test_an_unknown_word_in_a_truncated_source_is_copied_from_its_position() -> None:
    settings = {**SETTINGS, "kind": "dialogue", "max_tokens": 3, "epochs": 1}
    model = elman.Translator(**settings).fit(
        [f"{a} __eou__ {b}" for a, b in zip(*pairs(), strict=True)]
    )
    theirs = model.vocabularies[1]
    attention = torch.eye(4)[[2, 3]]  # on the last of the three words read
    found = Found([theirs.unknown], 0.0, 0.0, attention)  # type: ignore[list-item]
    assert model.text_of("one two three four zebra", found) == "zebra"


def test_samples_contain_no_unknown_words(trained: elman.Translator) -> None:
    drawn = trained.predict(["one two three"] * 200, sampling=Sampling(temperature=3.0))
    assert not any("<unk>" in text for text in drawn)


def test_sources_in_a_list_need_targets(trained: elman.Translator) -> None:
    with pytest.raises(ArgumentError, match="sources in a list need their targets"):
        elman.Translator(**SETTINGS).fit(["a", "b"])
    with pytest.raises(ArgumentError, match="expected a list of texts"):
        trained.predict("one two")


@pytest.mark.learns
def test_consensus_of_samples_is_as_good_as_a_beam(trained: elman.Translator) -> None:
    sources, targets = pairs()
    found = trained.predict(sources, search=Consensus(samples=8))
    assert sum(a == b for a, b in zip(found, targets, strict=True)) > 0.9 * len(targets)
    assert found == trained.predict(sources, search=Consensus(samples=8))
    always = elman.Translator(**SETTINGS, consensus=8)
    always._model, always._input = trained.model, trained.input_
    always._target = Texts(always, trained.texts.longest)
    always._target.vocabulary = trained.vocabularies[1]
    assert always.predict(sources) == found


def test_conversations_may_have_one_turn_per_line(tmp_path: Path) -> None:
    talks = [["hi", "hello", "how are you", "fine"], ["bye", "see you"]] * 20
    (tmp_path / "lines.txt").write_text("\n".join("\n".join(talk) + "\n" for talk in talks))
    (tmp_path / "one.txt").write_text("".join(" __eou__ ".join(t) + "\n" for t in talks))
    settings = {**SETTINGS, "kind": "dialogue", "epochs": 1, "validation_fraction": 0.2}
    runs = [
        elman.Translator(**settings).fit(tmp_path / name, out=tmp_path / f"run_{name}")
        for name in ("lines.txt", "one.txt")
    ]
    assert runs[0].metrics["model"] == runs[1].metrics["model"]
    (tmp_path / "lonely.txt").write_text("hi\n\nbye\n\n")
    with pytest.raises(
        DataError, match=r"lonely.txt: line 1: expected two or more turns.* a blank line after"
    ):
        elman.Translator(**settings).fit(tmp_path / "lonely.txt")


def test_whole_conversations_are_held_out() -> None:
    talks = [[f"a{n}", f"b{n}", f"c{n}", f"d{n}"] for n in range(20)]
    model = elman.Translator(**{**SETTINGS, "kind": "dialogue", "validation_fraction": 0.2})
    request = Request({"train": (talks, None)}, None, None, None, False)
    parts, *_ = model._prepare(request)
    train, held = ({text[1:] for text in part.targets} for part in parts.data.values())
    assert not train & held
    assert len(held) == 4
    assert "4 conversations, 20%, are held out for validation" in parts.notes


def test_unknown_characters_are_replaced_without_spaces(trained: elman.Translator) -> None:
    vocabulary = Vocabulary.build(lambda: ["abc"], tokens="character", min_count=1)
    assert "".join(stream_text(vocabulary, vocabulary.encode("azbz"), ["x", "y"])) == "axby"
    words = Vocabulary.build(lambda: ["( a )"], tokens="word", min_count=1)
    assert "".join(stream_text(words, words.encode("( z )"), ["zebras"])).strip() == "(zebras)"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["predict", "RUN", "one", "--beam", "0"], "--beam must be at least 1, got 0"),
        (["predict", "RUN", "one", "--k", "9", "--beam", "2"], "--k 9 needs a beam of at least 9"),
        (
            ["predict", "RUN", "one", "--beam", "1", "--length-penalty", "0"],
            "--length-penalty and --coverage-penalty choose between several sequences",
        ),
        (["predict", "RUN", "one", "--overwrite"], "--overwrite has no effect without --out;"),
        (
            ["predict", "RUN", "one", "--skip-bad-rows", "bad.csv"],
            "--skip-bad-rows has no effect without --file; add it, or omit --skip-bad-rows",
        ),
        (
            ["generate", "RUN", "one", "--temperature", "0", "--top-k", "3"],
            "--top-k has no effect with --temperature 0, which takes the likeliest word",
        ),
        (["chat", "RUN", "--seed", "3"], "and --seed draw answers: set --temperature"),
        (
            ["predict", "RUN", "--file", "a", "--out", "b", "--k", "3"],
            "--k is for printed predictions",
        ),
        (
            ["generate", "RUN", "one", "--stop", "x"],
            "--stop is an option of a language model; ",
        ),
        (["chat", "RUN", "--top-k", "3"], "--top-k, --top-p and --seed draw answers: set"),
    ],
)
def test_options_without_an_effect_are_refused(
    talker: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(talker) if flag == "RUN" else flag for flag in flags]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Search, "beam"),
        (Search, "n_best"),
        (Search, "no_repeat"),
        (Search, "length_penalty"),
        (Consensus, "samples"),
        (Consensus, "temperature"),
    ],
)
def test_a_setting_of_a_search_that_is_no_number_is_named(kind: type[object], name: str) -> None:
    with pytest.raises(ArgumentError, match=rf"^{name} must be a (whole )?number, got 'a'"):
        kind(**{name: "a"})


def test_a_transformer_refuses_settings_of_attention() -> None:
    for options in ({"attention": "dot"}, {"bidirectional": False}):
        settings = {**SETTINGS, "cell": "transformer", "hidden_size": 24, "embedding_size": None}
        with pytest.raises(ArgumentError, match="cell=transformer has its own attention"):
            elman.Translator(**{**settings, **options}).check()
