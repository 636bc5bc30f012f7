"""The command line, called in process: accepted and refused arguments, and the messages."""

from __future__ import annotations

import errno
import functools
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import torch

from elman.cli import main
from elman.cli.flags import GROUPS, flag_name
from elman.cli.train import EXAMPLES, RunFlags
from elman.errors import ElmanError, Stopped
from elman.tasks import TASKS, Classifier, LanguageModel, Transcriber

NOUNS, VERBS = ["cat", "dog", "bird", "fish", "horse", "cow"], ["sees", "likes", "hears"]
TEXT = "".join(
    f"the {NOUNS[i % 6]} {VERBS[i % 3]} a {NOUNS[(i // 6 + i) % 6]} .\n" for i in range(72)
)
SMALL = (
    "--hidden-size",
    "8",
    "--epochs",
    "1",
    "--bptt",
    "10",
    "--batch-size",
    "4",
    "--device",
    "cpu",
)
FILES = (
    "config.json",
    "tokenizer.json",
    "weights.safetensors",
    "checkpoint.safetensors",
    "metrics.json",
    "run.jsonl",
)


@dataclass(frozen=True)
class Run:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def elman(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    def run(*arguments: str | Path) -> Run:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Run(code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(elman: Callable[..., Run]) -> Callable[..., str]:
    def run(*arguments: str | Path, message: str = "") -> str:
        """Return the error line of a refused command, after checking its form."""
        done = elman(*arguments)
        assert (done.code, done.out) == (2, ""), done
        assert done.err.startswith("elman: "), done.err
        assert done.err.count("\n") == 1, done.err
        assert done.err.endswith("\n"), done.err
        assert len(done.err) > len("elman: \n")
        assert message in done.err
        return done.err

    return run


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    book = tmp_path_factory.mktemp("texts") / "book.txt"
    book.write_text(TEXT)
    return book


@pytest.fixture(scope="session")
def trained(book: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert main(["train", "language-model", str(book), "--out", str(folder), *SMALL]) == 0
    return folder


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of a trained model that a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / trained.name))


@pytest.fixture
def train(refused: Callable[..., str], book: Path, tmp_path: Path) -> Callable[..., str]:
    def run(*flags: str | Path, message: str = "", text: Path = book) -> str:
        """Return the error line of a refused training, which must not create a folder."""
        out = tmp_path / "out"
        line = refused("train", "language-model", text, "--out", out, *flags, message=message)
        assert not out.exists()
        return line

    return run


# Flags.


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--epochs 0", "epochs must be at least 1, got 0"),
        ("--epochs -1", "epochs must be at least 1, got -1"),
        ("--epochs many", "--epochs: expected a whole number such as 2, got many"),
        ("--epochs 2.5", "--epochs: expected a whole number such as 2, got 2.5"),
        ("--epochs 1e3", "--epochs: expected a whole number such as 2, got 1e3"),
        ("--epochs 10.0", "--epochs: expected a whole number such as 2, got 10.0"),
        ("--batch-size 8.", "--batch-size: expected a whole number such as 2, got 8."),
        ("--seed 1.5", "--seed: expected a whole number such as 2, got 1.5"),
        ("--bptt 0.5", "--bptt: expected a whole number such as 2, got 0.5"),
        ("--hidden-size 8 --hidden-size 6.5", "--hidden-size: expected a whole number"),
        ("--epoch 3", "Unknown option: --epoch. Did you mean --epochs?"),
        ("--epochs none", "--epochs"),
        ("--epochs", "--epochs requires an argument"),
        ("--batch-size 0", "--batch-size must be at least 1"),
        ("--bptt 0", "bptt must be at least 1"),
        ("--bptt 100000", "--bptt 100000"),
        ("--hidden-size 0", "--hidden-size must be at least 1, got 0"),
        ("--hidden-size -3", "--hidden-size must be at least 1, got -3"),
        ("--hidden-size 8 0", "--hidden-size must be at least 1, got (8, 0)"),
        ("--hidden-size big", "got big"),
        ("--hidden-size", "--hidden-size requires an argument"),
        ("--hidden-size 8 6 --num-layers 3", "--num-layers 3"),
        ("--hidden-size 10000000 --embedding-size 8", "not enough memory"),
        ("--num-layers 0", "--num-layers must be at least 1"),
        ("--embedding-size 0", "--embedding-size must be at least 1, got 0"),
        ("--embedding-size -2", "--embedding-size must be at least 1, got -2"),
        ("--tied --embedding-size 3", "--tied needs --embedding-size equal to"),
        ("--tied --hidden-size 8 6 --embedding-size 8", "last hidden size 6"),
        ("--dropout 1.5", "dropout must be in [0, 1), got 1.5"),
        ("--dropout 1", "dropout must be in [0, 1), got 1"),
        ("--dropout nan", "dropout must be in [0, 1), got nan"),
        ("--input-dropout -0.1", "--input-dropout must be in [0, 1)"),
        ("--embedding-dropout 2", "--embedding-dropout must be in [0, 1)"),
        ("--weight-dropout 2", "--weight-dropout must be in [0, 1)"),
        ("--recurrent-dropout 2", "--recurrent-dropout must be in [0, 1)"),
        ("--zoneout inf", "zoneout must be in [0, 1)"),
        ("--activation-penalty -1", "--activation-penalty must be 0 or more"),
        ("--temporal-penalty nan", "--temporal-penalty must be 0 or more"),
        ("--learning-rate 0", "--learning-rate must be a positive number, got 0"),
        ("--learning-rate nan", "--learning-rate must be a positive number, got nan"),
        ("--learning-rate fast", '"fast"'),
        ("--clip-norm -1", "--clip-norm must be a positive number"),
        ("--weight-decay -1", "--weight-decay must be at least 0"),
        ("--early-stopping 0", "--early-stopping must be at least 1"),
        ("--seed -1", "seed must be at least 0"),
        ("--seed 99999999999999999999", "seed must be below 2**53"),
        ("--processes 3", "--batch-size 32 must be a multiple of --processes 3"),
        ("--cell transformer", "transformer"),
        ("--peephole --cell gru", "--peephole needs --cell lstm"),
        ("--optimizer lion", "lion"),
        ("--schedule never", "never"),
        ("--precision float8", "float8"),
        ("--tokens syllable", "syllable"),
        ("--document chapter", "chapter"),
        ("--device tpu7", "--device tpu7"),
        ("--device=", "device="),
        ("--encoding klingon", "klingon"),
        ("--validation-fraction 0", "--validation-fraction must be in (0, 1)"),
        ("--validation-fraction 1", "--validation-fraction must be in (0, 1)"),
        ("--vocabulary-size 1", "--vocabulary-size must be at least 4"),
        ("--min-count 0", "--min-count must be at least 1"),
        ("--min-count 100000", "--min-count"),
        ("--column text", "--column text is for tables, but book.txt is plain text"),
        ("--hiden-size 3", "--hiden-size"),
        ("--epochs 1 --epochs 2", "--epochs specified multiple times"),
        ("more words", "'more words'; put quotes"),
        ("--config", "--config requires an argument"),
        ("--config a.yaml --config b.yaml", "a.yaml"),
    ],
)
def test_a_bad_flag_is_named_and_creates_no_folder(
    train: Callable[..., str], flags: str, message: str
) -> None:
    train(*flags.split(), message=message)


@pytest.mark.parametrize("flags", ["--device cpu:1", "--device cpu:x", "--device cuda:one"])
def test_invalid_device_numbers_are_refused(train: Callable[..., str], flags: str) -> None:
    train(*flags.split(), message="device must be like cpu, cuda, cuda:1 or auto")


def test_debug_shows_the_traceback_of_a_bad_flag(book: Path, tmp_path: Path) -> None:
    with pytest.raises(ElmanError, match="epochs must be at least 1"):
        main(
            [
                "train",
                "language-model",
                str(book),
                "--out",
                str(tmp_path / "out"),
                "--epochs",
                "0",
                "--debug",
            ]
        )
    with pytest.raises(Exception, match="--nope"):
        main(["--debug", "info", "--nope"])
    with pytest.raises(OSError, match="too long"):
        main(["info", "x" * 300, "--debug"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nonsense", "nonsense"),
        ("train nonsense", "nonsense"),
        ("train language-model", "TEXT is missing; see elman train language-model --help"),
        ("train language-model no.txt", "'no.txt': No such file"),
        ("train language-model no.txt --out", "--out requires an argument"),
        ("predict", "RUN is missing; see elman predict --help"),
        ("predict run", "there is no such folder"),
        ("predict run the cat", "'cat'; put quotes around"),
        ("evaluate run", "DATA"),
        ("resume", "RUN"),
        ("generate", "RUN"),
        ("info --json", "--json"),
    ],
)
def test_missing_and_unknown_parts_of_a_command_are_named(
    refused: Callable[..., str], arguments: str, message: str
) -> None:
    refused(*arguments.split(), message=message)


@pytest.mark.parametrize(
    "task", ["language-model", "classifier", "tagger", "translator", "forecaster"]
)
def test_a_missing_out_folder_is_reported_after_all_other_errors(
    refused: Callable[..., str], book: Path, task: str
) -> None:
    command = ("train", task, book)
    refused(
        *command, message="--out is missing: name a folder for the model, such as --out runs/NAME"
    )
    refused(*command, "--hidden-size", "big", message="got big")
    refused("train", task, f"{book}.zip", message="No such file")


def test_options_that_a_forecaster_does_not_have_are_named(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elman.cli.predict.kind_of", lambda _: "forecaster")
    expected = "sales: reads series, so it takes no TEXT; give a table of series with --file"
    refused("predict", "sales", "some text", message=expected)
    owners = "a language model, a classifier, a translator, a classifier of audio, "
    owners += "a classifier of images or a transcriber"
    refused("predict", "sales", "--k", "3", message=f"--k is an option of {owners}; sales holds")


# Flags are derived from the tasks.


@dataclass(kw_only=True)
class Other(Classifier):
    """A classifier with another field."""

    task = "other"

    sparkle: int | None = None
    """Number of sparks; None for
    many."""

    def fit(self, pictures: object, *, out: object = None, show: bool = False) -> Other:
        """Train on pictures.

        Args:
            pictures: pictures, each of which is
                a file.
            out: folder of the model.
        """
        self.metrics = {"notes": [f"{pictures} {self.sparkle} {self.epochs}"]}
        return self


def test_an_added_task_and_an_added_field_have_flags(
    elman: Callable[..., Run], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TASKS, "other", Other)
    monkeypatch.setenv("COLUMNS", "200")
    shown = elman("train", "other", "--help-all").out
    assert "Train a classifier with another field." in shown
    assert "--sparkle" in shown  # with its type from cyclopts 5 on
    assert "Number of sparks; None for many." in shown
    assert "Pictures, each of which is a file. [required]" in shown
    assert "--validation PATH" not in shown  # `fit` has no such argument
    done = elman("train", "other", "a.png", "--out", "o", "--sparkle", "3", "--epochs", "2")
    assert (done.code, done.out.splitlines()[0]) == (0, "  a.png 3 2")
    refused("train", "other", "a.png", "--out", "o", "--sparkle", "2.5", message="got 2.5")


def test_the_groups_of_flags_name_only_flags_that_exist() -> None:
    named = [name for names in GROUPS.values() for name in names]
    tasks = {field.name for task in TASKS.values() for field in fields(task)}
    run = {field.name for field in fields(RunFlags)}
    assert len(set(named)) == len(named)
    assert set(named) <= tasks | run
    assert set(EXAMPLES) <= set(TASKS)


@pytest.mark.parametrize("task", list(TASKS))
def test_help_begins_with_the_flags_that_a_newcomer_needs(
    elman: Callable[..., Run], task: str
) -> None:
    short, whole = (elman("train", task, flag).out for flag in ("--help", "--help-all"))
    titles = [line.split()[1] for line in short.splitlines() if line.startswith("╭─")]
    assert titles == ["Arguments", "Data", "Target", "Model", "Training"][: len(titles)] or (
        titles == ["Arguments", "Data", "Model", "Training"]  # a language model predicts words
    )
    assert "more flags are shown by --help-all." in short
    assert all(len(line) <= 80 for line in (short + whole).splitlines())
    assert 8 < short.count("│ --") + short.count("│ *  --") + short.count("│    --") < 30
    missing = [f.name for f in fields(TASKS[task]) if flag_name(f.name) not in whole]
    assert not missing


def test_help_of_predict_shows_the_options_of_the_model_in_the_folder(
    elman: Callable[..., Run], trained: Path
) -> None:
    every, ours = elman("predict", "--help").out, elman("predict", trained, "--help").out
    assert "Options of a translator" in every
    assert "Options of a language model" in ours
    assert "│ --k" in ours
    for flag in ("--events", "--beam", "--level"):
        assert f"│ {flag}" in every
        assert f"│ {flag}" not in ours


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("predict --events", "--events is an option of a tagger of recordings; "),
        (
            "predict --beam 3",
            "of a translator, a translator of recordings, a translator of groups, a translator of "
            "audio, a translator of images, a transcriber of recordings or a transcriber; ",
        ),
        ("predict --level 80", "--level is an option of a forecaster; "),
        (
            "predict --spans a.csv",
            "of a classifier of recordings, a tagger of recordings, a translator of recordings or "
            "a transcriber of recordings; ",
        ),
        ("predict --shortest 2.5", "Invalid value for --shortest: expected a whole number"),
        ("predict --even", "Did you mean --events?"),
        ("generate --beam 3", "Unknown option: --beam"),
    ],
)
def test_an_option_of_another_kind_of_model_is_refused_by_name(
    refused: Callable[..., str], trained: Path, flags: str, message: str
) -> None:
    command, *rest = flags.split()
    line = refused(command, trained, "the cat", *rest, message=message)
    assert "is an option of" not in line or f"{trained} holds a language model" in line


# Texts.


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", "", "empty.txt: empty"),
        ("blank.txt", " \n\n\t", "blank.txt: only white space"),
        ("zeros.txt", b"abc\0def", "zeros.txt: binary"),
        ("archive.txt", b"PK\x03\x04abc", "archive.txt: a ZIP archive"),
        ("latin.txt", b"good\nb\xe4d\n", "latin.txt: byte 6 (line 2) is not valid UTF-8"),
        (
            "cut.txt.gz",
            gzip.compress(TEXT.encode(), mtime=0)[:40],
            "cut.txt.gz: not a complete gzip",
        ),
        ("one.txt", "word " * 100, "at least 2 are needed"),
        ("short.txt", "one two one two one two", "only 5 tokens, fewer than one chunk"),
        ("a.csv", "id,text\n1,x\n", "its columns: 'id', 'text'"),
        ("a.jsonl", '{"text": "x"}\n', "its columns: 'text'"),
        ("torn.jsonl", '{"text": "x', "torn.jsonl: line 1"),
    ],
)
def test_a_bad_text_is_refused_with_file_and_line(
    train: Callable[..., str], tmp_path: Path, name: str, content: bytes | str, message: str
) -> None:
    train("--validation-fraction", "0.2", text=write(tmp_path / name, content), message=message)


def test_the_message_for_a_missing_column_lists_the_columns(
    train: Callable[..., str], tmp_path: Path
) -> None:
    table = write(tmp_path / "a.csv", "id,text\n1,x\n")
    train(
        "--column",
        "words",
        text=table,
        message="a.csv: no column 'words'; its columns: 'id', 'text'",
    )


def test_texts_that_are_not_files_are_refused(train: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    train(text=tmp_path / "none.txt", message="none.txt': No such file")
    train(text=tmp_path / "folder", message="folder: a folder without files")
    train(text=tmp_path / ("x" * 300), message="xxx': File name too long")
    train(text=Path(os.devnull), message=f"{os.devnull}: a pipe or a device")


@pytest.mark.parametrize("part", ["validation", "test"])
def test_validation_and_test_texts_must_exist_and_contain_known_words(
    train: Callable[..., str], tmp_path: Path, part: str
) -> None:
    train(f"--{part}", tmp_path / "none.txt", message="none.txt': No such file")
    train(f"--{part}", write(tmp_path / "empty.txt", ""), message="empty.txt: empty")
    foreign = write(tmp_path / "foreign.txt", "ceci n'est pas une pipe\n" * 20)
    train(f"--{part}", foreign, message="foreign.txt: none of its word tokens is in the vocabulary")


# The folder.


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_an_out_path_that_cannot_be_a_folder_is_refused(
    refused: Callable[..., str], book: Path, tmp_path: Path
) -> None:
    command = ("train", "language-model", book, "--out")
    file = write(tmp_path / "file", "mine")
    refused(*command, file, message=f"{file}: is a file")
    refused(*command, file / "run", message=f"{file} cannot be written")
    refused(*command, tmp_path / ("x" * 300), message="too long")
    assert contents(tmp_path) == {"file": b"mine"}


def test_a_folder_without_write_permission_is_refused(
    train: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # chmod would not work: in containers, tests run as root, which may write anywhere.
    monkeypatch.setattr("elman.tasks.folder.os.access", lambda path, mode: path != tmp_path)
    train(message=f"{tmp_path} cannot be written")


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
@pytest.mark.parametrize("config", [None, "{}", "not JSON", '{"task": "cook"}', "[1]"])
def test_a_folder_without_a_model_of_elman_is_never_changed(
    refused: Callable[..., str], book: Path, tmp_path: Path, config: str | None, flags: list[str]
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    write(theirs / "weights.safetensors", "mine")
    if config is not None:
        write(theirs / "config.json", config)
    before = contents(theirs)
    refused("train", "language-model", book, "--out", theirs, *SMALL, *flags, message=str(theirs))
    assert contents(theirs) == before


def test_a_model_is_replaced_only_with_overwrite_and_other_files_are_kept(
    elman: Callable[..., Run], refused: Callable[..., str], book: Path, model: Path
) -> None:
    write(model / "notes.txt", "mine")
    before = contents(model)
    command = ("train", "language-model", book, "--out", model, *SMALL, "--seed", "1")
    refused(*command, message=f"{model}: holds a model already")
    assert contents(model) == before
    assert elman(*command, "--overwrite").code == 0
    after = contents(model)
    assert after["notes.txt"] == b"mine"
    assert after.keys() == before.keys()
    assert after["weights.safetensors"] != before["weights.safetensors"]


@pytest.mark.parametrize("flags", [["--bptt", "9999"], ["--hidden-size", "8", "--seed", "-1"]])
def test_a_run_that_cannot_start_keeps_the_old_model(
    refused: Callable[..., str], book: Path, model: Path, flags: list[str]
) -> None:
    before = contents(model)
    refused("train", "language-model", book, "--out", model, "--overwrite", *flags)
    assert contents(model) == before


# The configuration file.


CHOSEN = {
    "epochs": 3,
    "batch_size": 8,
    "bptt": None,
    "optimizer": "sgd",
    "learning_rate": 0.5,
    "weight_decay": 0.1,
    "schedule": "halve",
    "warmup_steps": 7,
    "halve_after": 2,
    "plateau_patience": 1,
    "average_after": 3,
    "average_decay": 0.9,
    "clip_norm": None,
    "accumulate": 2,
    "monitor": "accuracy",
    "early_stopping": 4,
    "validate_steps": 50,
    "checkpoint_seconds": 5.0,
    "precision": "bf16",
    "device": "cpu",
    "processes": 2,
    "seed": 11,
    "cell": "gru",
    "hidden_size": (8, 6),
    "num_layers": 2,
    "embedding_size": 6,
    "tied": True,
    "dropout": 0.1,
    "output_dropout": 0.1,
    "variational": False,
    "input_dropout": 0.1,
    "embedding_dropout": 0.1,
    "weight_dropout": 0.1,
    "recurrent_dropout": 0.1,
    "zoneout": 0.1,
    "layer_norm": True,
    "peephole": True,
    "block": True,
    "cell_heads": 2,
    "activation_penalty": 2.0,
    "temporal_penalty": 1.0,
    "tokens": "character",
    "vocabulary_size": 100,
    "min_count": 1,
    "lowercase": True,
    "split_punctuation": False,
    "document": "line",
    "column": "text",
    "encoding": "latin-1",
    "validation_fraction": 0.1,
    "delimiter": ";",
}


@pytest.fixture
def settings(
    elman: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, object]]:
    """Return a function that returns the settings with which a command line would train."""
    found: list[LanguageModel] = []

    @functools.wraps(LanguageModel.fit)  # the command derives its flags from the signature
    def fit(self: LanguageModel, *texts: object, **options: object) -> LanguageModel:
        found.append(self)
        return self

    def parse(*flags: str | Path) -> dict[str, object]:
        done = elman("train", "language-model", "book.txt", "--out", "out", *flags)
        assert done.code == 0, done
        return {field.name: getattr(found[-1], field.name) for field in fields(LanguageModel)}

    monkeypatch.setattr(LanguageModel, "fit", fit)
    return parse


def flags_for(settings: dict[str, object]) -> list[str]:
    flags = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if value is None or isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            values = value if isinstance(value, tuple) else [value]
            flags += [f"--{flag}", *map(str, values)]
    return flags


def test_every_setting_has_a_flag(settings: Callable[..., dict[str, object]]) -> None:
    defaults = settings()
    assert CHOSEN.keys() == defaults.keys()
    assert not [name for name in CHOSEN if CHOSEN[name] == defaults[name]]
    assert settings(*flags_for(CHOSEN)) == CHOSEN


def test_every_setting_can_be_in_a_yaml_file_and_flags_override_it(
    settings: Callable[..., dict[str, object]], tmp_path: Path
) -> None:
    lines = [
        f"{name}: {json.dumps(value)}"  # JSON values are valid YAML
        for name, value in CHOSEN.items()
    ]
    config = write(tmp_path / "all.yaml", "# all\n" + "\n".join(lines))
    defaults = settings()
    assert settings("--config", config) == CHOSEN
    assert settings(f"--config={config}") == CHOSEN
    assert settings() == defaults  # the file has no effect on the next command
    assert settings("--config", config, *flags_for(defaults)) == defaults


def test_common_forms_of_yaml_are_accepted(
    settings: Callable[..., dict[str, object]], tmp_path: Path
) -> None:
    config = write(
        tmp_path / "a.yaml",
        "hidden-size: 16   # as the flag\nlearning_rate: 1e-3\n"
        "bptt: null\nclip_norm: ~\ntied: yes\n",
    )
    found = settings("--config", config)
    assert (found["hidden_size"], found["learning_rate"], found["tied"]) == (16, 0.001, True)
    assert (found["bptt"], found["clip_norm"]) == (None, None)
    write(config, "# nothing\n")
    assert settings("--config", config) == settings()


def test_hidden_sizes_are_accepted_at_any_position(
    settings: Callable[..., dict[str, object]],
) -> None:
    for flags in (
        ["--hidden-size", "8", "6", "--epochs", "2"],
        ["--epochs", "2", "--hidden-size", "8", "6"],
        ["--hidden-size", "8", "--epochs", "2", "--hidden-size", "6"],
        ["--hidden-size", "[8, 6]", "--epochs", "2"],
    ):
        found = settings(*flags)
        assert (found["hidden_size"], found["epochs"]) == ((8, 6), 2)
    assert main(["train", "language-model", "--hidden-size", "9", "book.txt", "--out", "o"]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("hidden_size: [8, 6\n", "is not valid YAML"),
        ("hidden_size: 8\n  epochs: 1", "is not valid YAML"),
        (b"column: \xff\n", "is not valid YAML"),
        ("- 1\n- 2\n", "expected one setting per line"),
        ("fast", "expected one setting per line"),
        ("3: 4", "expected one setting per line"),
        ("hiden_size: 3", "hiden_size"),
        ("hidden_size: big", "big"),
        ("hidden_size: []", "--hidden-size must be at least 1"),
        ("hidden_size: {a: 1}", "hidden_size"),
        ("cell: transformer", "transformer"),
        ("epochs: 0", "epochs must be at least 1"),
        ("epochs: 2.5", "Invalid value for epochs in "),
        ("epochs: 2.5", "expected a whole number such as 2, got 2.5"),
        ("seed: 1e3", "expected a whole number such as 2, got 1e3"),
        ("batch_size: 8.0", "expected a whole number such as 2, got 8.0"),
        ("batch_size: null", "a whole number"),
        ("hidden_size: [8, 2.5]", "expected a whole number such as 2, got 2.5"),
        ("epochs: [1, 2]", "'epochs' must be one value, got [1, 2]"),
        ("device: {type: cpu}", "'device' must be one value"),
        ("hidden_size: [8, big]", "hidden-size"),
        ("tied: perhaps", "tied"),
        ("text: book.txt", "text"),
    ],
)
def test_a_bad_configuration_file_is_refused(
    train: Callable[..., str], tmp_path: Path, content: bytes | str | None, message: str
) -> None:
    config = tmp_path / "bad.yaml"
    if content is not None:
        write(config, content)
    line = train("--config", config, message=message)
    checked_later = ("must be at least", "must be a whole number")  # without the name of the file
    assert str(config) in line or any(part in line for part in checked_later)


def test_a_folder_is_refused_as_a_configuration_file(
    train: Callable[..., str], tmp_path: Path
) -> None:
    train("--config", tmp_path, message=f"{tmp_path}: cannot be read (Is a directory)")


# Use of a model.


def test_predict_shows_the_most_likely_words(elman: Callable[..., Run], trained: Path) -> None:
    done = elman("predict", trained, "the cat sees a", "--k", "3")
    assert (done.code, done.err) == (0, "")
    shares = [float(line.split("%")[0]) for line in done.out.splitlines()]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("command", ["predict", "generate"])
def test_unknown_words_are_reported_and_an_empty_text_is_accepted(
    elman: Callable[..., Run], trained: Path, command: str
) -> None:
    done = elman(command, trained, "the zebra sees a quagga . the zebra")
    assert (done.code, done.err) == (0, "elman: not in the vocabulary: zebra, quagga\n")
    assert done.out
    empty = elman(command, trained, "")
    assert (empty.code, empty.err) == (0, "")
    assert empty.out


def test_generate_follows_its_flags(elman: Callable[..., Run], trained: Path) -> None:
    command = ("generate", trained, "the cat", "--max-new-tokens", "12")
    first = elman(*command, "--seed", "1")
    assert first.code == 0
    assert first.out.startswith("the cat ")
    assert elman(*command, "--seed", "1") == first
    assert elman(*command, "--seed", "2") != first
    assert elman(*command, "--samples", "3").out.count("the cat") >= 3
    stopped = elman(*command, "--stop", "zebra", "--stop", "a", "--seed", "1").out
    assert stopped == first.out[: len("the cat ") + first.out[len("the cat ") :].index("a")] + "\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("predict --k 0", "k must be in 1.."),
        ("predict --k 100000", "k must be in 1.."),
        ("predict --k some", "got some"),
        ("generate --temperature -1", "temperature must be 0 or more, got -1"),
        ("generate --temperature nan", "temperature must be 0 or more, got nan"),
        ("generate --top-k 0", "--top-k must be at least 1, got 0"),
        ("generate --top-p 0", "--top-p must be in (0, 1], got 0"),
        ("generate --top-p 1.5", "--top-p must be in (0, 1], got 1.5"),
        ("generate --min-p 0", "--min-p must be in (0, 1], got 0"),
        ("generate --repetition-penalty 0", "--repetition-penalty must be positive"),
        ("generate --samples 0", "samples must be at least 1, got 0"),
        ("generate --max-new-tokens 0", "--max-new-tokens must be at least 1, got 0"),
        ("generate --stop", "--stop requires an argument"),
        ("generate --empty-stop", "Unknown option: --empty-stop"),
        ("generate --seed 99999999999999999999", "seed must have 64 bits"),
    ],
)
def test_a_command_with_a_bad_flag_prints_only_the_error(
    refused: Callable[..., str], trained: Path, flags: str, message: str
) -> None:
    command, *rest = flags.split()
    refused(command, trained, "the cat", *rest, message=message)


@pytest.mark.parametrize("command", ["predict", "generate"])
def test_a_text_from_a_terminal_with_another_encoding_is_refused(
    refused: Callable[..., str], trained: Path, command: str
) -> None:
    refused(command, trained, os.fsdecode(b"the caf\xe9"), message="is not valid UTF-8: 'the caf")


def test_evaluate_shows_the_scores_of_the_model_and_the_baseline(
    elman: Callable[..., Run], trained: Path, book: Path
) -> None:
    done = elman("evaluate", trained, book)
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()] == [
        "perplexity",
        "n-gram",
        "accuracy",
        "tokens",
    ]
    scores = json.loads(elman("evaluate", trained, book, "--json").out)
    assert f"{scores['perplexity']:.2f}" in done.out
    assert scores["tokens"] == 72 * 7  # including the line ends


def test_evaluate_refuses_missing_empty_and_foreign_texts(
    refused: Callable[..., str], trained: Path, tmp_path: Path
) -> None:
    refused("evaluate", trained, tmp_path / "none.txt", message="none.txt': No such file")
    refused("evaluate", trained, write(tmp_path / "empty.txt", ""), message="empty.txt: empty")
    foreign = write(tmp_path / "foreign.txt", "ceci n'est pas une pipe\n" * 20)
    refused("evaluate", trained, foreign, message="foreign.txt: none of its word tokens is in")


def test_evaluate_omits_the_baseline_if_the_training_text_has_changed(
    elman: Callable[..., Run], model: Path, book: Path, tmp_path: Path
) -> None:
    moved = move_text(model, book, tmp_path)
    write(moved, TEXT + "the cat sees a dog .\n")
    done = elman("evaluate", model, book)
    assert done.code == 0
    assert "baseline    unknown" in done.out


def test_info_shows_a_model_and_the_installation(
    elman: Callable[..., Run], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = elman("info", trained)
    assert done.code == 0
    assert "book.txt" in done.out
    assert "hidden_size: 8" in done.out
    assert "state  trained" in done.out
    assert "dropout" not in done.out  # defaults are not shown
    assert "torch" in elman("info").out


# Resuming a run.


def move_text(model: Path, book: Path, folder: Path) -> Path:
    """Copy the training text, and make the copy the training data of the model."""
    moved = Path(shutil.copy(book, folder / "moved.txt"))
    config = json.loads((model / "config.json").read_text())
    config["data"]["train"] = str(moved)
    write(model / "config.json", json.dumps(config))
    (model / "manifest.json").unlink()
    return moved


def test_resuming_a_finished_run_does_not_change_the_model(
    elman: Callable[..., Run], model: Path
) -> None:
    before = contents(model)
    done = elman("resume", model)
    assert done.code == 0
    after = contents(model)
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"run.jsonl", "report.html"}
    assert after.keys() == before.keys()


def test_resume_with_more_epochs_equals_one_longer_training(
    elman: Callable[..., Run], model: Path, book: Path, tmp_path: Path
) -> None:
    assert elman("resume", model, "--epochs", "2").code == 0
    long = tmp_path / "long"
    command = ("train", "language-model", book, "--out", long, *SMALL)
    assert elman(*(("2" if a == "1" else a) for a in command)).code == 0
    for name in ("weights.safetensors", "metrics.json", "tokenizer.json"):
        assert (model / name).read_bytes() == (long / name).read_bytes()


def test_resume_refuses_a_changed_or_missing_text(
    refused: Callable[..., str], model: Path, book: Path, tmp_path: Path
) -> None:
    moved = move_text(model, book, tmp_path)
    before = contents(model)
    write(moved, TEXT + "the cat sees a dog .\n")
    refused("resume", model, message=f"{moved.name}: has changed since the run began")
    moved.unlink()
    refused(
        "resume", model, message=f"{moved.name}: is missing, it holds the train data of this run"
    )
    assert contents(model) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--epochs 0", "epochs must be at least 1"),
        ("--learning-rate nan", "--learning-rate must be a positive number"),
        ("--out elsewhere", "--out"),
    ],
)
def test_resume_refuses_bad_flags_and_keeps_the_run(
    refused: Callable[..., str], model: Path, flags: str, message: str
) -> None:
    before = contents(model)
    refused("resume", model, *flags.split(), message=message)
    assert contents(model) == before


def test_a_model_without_a_checkpoint_cannot_be_resumed(
    refused: Callable[..., str], model: Path
) -> None:
    (model / "checkpoint.safetensors").unlink()
    before = contents(model)
    refused("resume", model, message=f"{model}: has no checkpoint.safetensors")
    assert contents(model) == before


def test_a_full_disk_keeps_the_old_checkpoint_and_the_run_can_be_resumed(
    elman: Callable[..., Run], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untouched = Path(shutil.copytree(model, tmp_path / "untouched"))
    before = contents(model)
    sync = os.fsync

    def full(descriptor: int) -> None:
        parts = model.glob(".checkpoint.safetensors.*")
        if any(os.path.samestat(os.fstat(descriptor), part.stat()) for part in parts):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("elman.atomic.os.fsync", full)
        done = elman("resume", model, "--epochs", "2")
    assert done.code == 2
    last = done.err.splitlines()[-1]
    assert last.startswith(
        f"elman: {model / 'checkpoint.safetensors'}: cannot be written (No space"
    )
    after = contents(model)
    assert after["checkpoint.safetensors"] == before["checkpoint.safetensors"]
    assert after.keys() == before.keys()  # no partial file remains
    assert elman("resume", model).code == 0
    assert elman("resume", untouched, "--epochs", "2").code == 0
    assert contents(model)["weights.safetensors"] == contents(untouched)["weights.safetensors"]


# Damaged and foreign folders.


COMMANDS = {
    "predict": ["the cat"],
    "generate": ["the cat", "--max-new-tokens", "3"],
    "evaluate": [],
    "resume": [],
    "info": [],
}
DAMAGES = ("deleted", "empty", "cut", "zeros", "text", "folder")
PRESENT = DAMAGES[1:]
USED = dict.fromkeys(("config.json", "tokenizer.json", "weights.safetensors"), DAMAGES)
# The kinds of damage that each command must refuse. A command accepts damage to files that it does
# not read.
FATAL = {
    **dict.fromkeys(("predict", "generate", "evaluate"), USED | {"metrics.json": PRESENT}),
    "info": {**USED, "checkpoint.safetensors": PRESENT, "metrics.json": PRESENT},
    "resume": {
        **USED,
        "checkpoint.safetensors": DAMAGES,
        "metrics.json": ("folder",),  # the file is written again
        "run.jsonl": ("text", "folder"),  # a missing file is created; a cut last line is dropped
    },
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_model_is_refused_and_the_damaged_file_is_named(
    elman: Callable[..., Run],
    model: Path,
    book: Path,
    name: str,
    damage: str,
    command: str,
) -> None:
    file = model / name
    content = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage != "deleted":
        damaged = {"empty": b"", "cut": content[: len(content) // 2], "zeros": bytes(len(content))}
        write(file, damaged.get(damage, b"some text\nof mine\n"))
    arguments = [command, model, *([book] if command == "evaluate" else COMMANDS[command])]
    done = elman(*arguments)
    if damage not in FATAL[command].get(name, ()):
        assert done.code == 0, done
        return
    assert done.code == 2, done
    *shown, line = done.err.splitlines()
    assert line.startswith("elman: ")
    assert str(model if damage == "deleted" else file) in line
    # An error after the end of the training follows the lines of its progress.
    assert not shown or (command == "resume" and name in ("metrics.json", "run.jsonl"))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[]", "is not a JSON object"),
        ("{}", "was not written by Elman"),
        ('{"model_type": "gpt2"}', "was not written by Elman"),
        ({"format": 99}, "has folder format 99"),
        ({"settings": None}, "is damaged, it holds no settings"),
        ({"data": []}, "is damaged, it holds no data"),
        ({"task": "cook"}, "cook"),
        ({"settings": {"hidden_size": "wide"}}, "is damaged"),
        ({"settings": {"epochs": "ten"}}, "is damaged"),
        ({"settings": {"dropout": 7}}, "dropout must be in [0, 1), got 7"),
        ({"settings": {"attention": True}}, "unknown settings: attention"),
    ],
)
def test_a_foreign_or_edited_config_is_refused(
    refused: Callable[..., str],
    model: Path,
    book: Path,
    config: str | dict[str, object],
    message: str,
    command: str,
) -> None:
    if isinstance(config, dict):
        config = json.dumps(json.loads((model / "config.json").read_text()) | config)
    write(model / "config.json", config)
    arguments = [command, model, *([book] if command == "evaluate" else COMMANDS[command])]
    refused(*arguments, message=message)


@pytest.mark.parametrize("command", ["predict", "resume"])
def test_files_of_another_model_are_refused(
    refused: Callable[..., str], model: Path, command: str
) -> None:
    config = json.loads((model / "config.json").read_text())
    config["settings"]["hidden_size"] = 9
    write(model / "config.json", json.dumps(config))
    (model / "manifest.json").unlink()
    before = contents(model)
    refused(command, model, *COMMANDS[command], message=".safetensors: ")
    assert contents(model) == before


def test_weights_in_place_of_a_checkpoint_are_refused(
    refused: Callable[..., str], model: Path
) -> None:
    shutil.copy(model / "weights.safetensors", model / "checkpoint.safetensors")
    refused("resume", model, message="checkpoint.safetensors: is not the file that was written")
    (model / "manifest.json").unlink()
    refused("resume", model, message="checkpoint.safetensors: encode.weight is missing")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_without_a_model_is_refused(
    refused: Callable[..., str], book: Path, tmp_path: Path, command: str
) -> None:
    rest = [book] if command == "evaluate" else COMMANDS[command]
    (tmp_path / "empty").mkdir()
    refused(
        command, tmp_path / "none", *rest, message=f"{tmp_path / 'none'}: there is no such folder"
    )
    refused(command, tmp_path / "empty", *rest, message="empty: is not a model folder")
    refused(command, book, *rest, message=f"{book}: there is no such folder")


# The program in a process of its own.


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_docstring_of_several_lines_is_one_paragraph_in_help(
    elman: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    shown = elman("train", "forecaster", "--help-all").out
    assert "us or ns (since 1970), or step for plain steps; None to detect it." in shown
    assert shown.startswith("Usage: elman train forecaster")


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "--version",
        "train --help",
        "train language-model --help",
        "predict --help",
        "generate --help",
        "evaluate --help",
        "resume --help",
        "info --help",
    ],
)
def test_help_is_fast_because_it_imports_no_large_library(
    elman: Callable[..., Run], command: str
) -> None:
    code = (
        "import sys, elman.cli as c\n"
        f"code = c.main({command.split()})\n"
        "heavy = {'torch', 'numpy', 'polars', 'matplotlib', 'lightning_fabric', 'tokenizers'}\n"
        "print(code, heavy & set(sys.modules), len(sys.modules), file=sys.stderr)\n"
    )
    done = python("-c", code)
    result, modules, count = done.stderr.rsplit(maxsplit=2)
    assert (result, modules) == ("0", "set()")
    assert done.stdout
    # 300 modules take about 0.2 s; the libraries for data and training have over a thousand.
    assert int(count) < 500


def test_the_program_exits_with_the_code_of_its_command(tmp_path: Path) -> None:
    done = python("-m", "elman", "info", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"elman: {tmp_path}: is not a model folder")
    assert python("-m", "elman", "--version").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_exits_with_its_signal_and_shows_how_to_continue(
    elman: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    @functools.wraps(LanguageModel.fit)
    def fit(self: LanguageModel, *texts: object, **options: object) -> LanguageModel:
        raise Stopped("stopped after step 7; continue with: elman resume out", number)

    monkeypatch.setattr(LanguageModel, "fit", fit)
    done = elman("train", "language-model", "book.txt", "--out", "out")
    assert done.code == 128 + number
    assert done.err == "elman: stopped after step 7; continue with: elman resume out\n"


def test_a_closed_pipe_is_not_an_error(trained: Path) -> None:
    code = (
        "import os, sys, elman.cli as c\n"
        "reading, writing = os.pipe()\n"
        "os.close(reading)\n"
        "os.dup2(writing, 1)\n"
        f"sys.exit(c.main(['info', {str(trained)!r}]))\n"
    )
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["predict", "", "a text"], "RUN"),
        (["predict", "RUN", "--file", "", "--out", "a.csv"], "--file"),
        (["predict", "RUN", "--file", "a.csv", "--out="], "--out"),
        (["predict", "RUN", "a.wav", "--phrases", ""], "--phrases"),
        (["transcribe", "RUN", ""], "SOUND"),
        (["look", ""], "DATA"),
        (["train", "classifier", "", "--out", "run"], "DATA"),
        (["train", "classifier", "a.csv", "--out", ""], "--out"),
        (["train", "classifier", "a.csv", "--out", "run", "--test", ""], "--test"),
        (["evaluate", "RUN", ""], "DATA"),
        (["backtest", "RUN", ""], "SERIES"),
        (["resume", ""], "RUN"),
        (["info", ""], "RUN"),
    ],
)
def test_an_empty_name_is_not_the_current_folder(
    command: list[str], name: str, trained: Path, refused: Callable[..., str]
) -> None:
    given = [trained if one == "RUN" else one for one in command]
    refused(*given, message=f"{name}: expected the name of a file or a folder, got an empty text")


@pytest.mark.parametrize("task", [Classifier, LanguageModel, Transcriber])
def test_an_empty_path_of_data_is_refused(
    task: type[Classifier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("some text\n")
    with pytest.raises(ElmanError, match="must name a file or a folder, got an empty string"):
        task().fit("")


def test_output_to_a_full_disk_is_reported(trained: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full")
    with full.open("w") as output:
        done = subprocess.run(
            [sys.executable, "-m", "elman", "info", str(trained)],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stderr.splitlines()[0].startswith("elman: ")
    assert "the output cannot be printed ([Errno 28] No space left" in done.stderr.splitlines()[0]
    assert "free some space, or send it to another place" in done.stderr.splitlines()[0]
    assert done.returncode != 0
