"""The output of a run: a bar on a terminal, a few plain lines elsewhere, and no exceptions."""

import io
import math
import re
from types import SimpleNamespace

import pytest

from elman.cli.config import name_flags
from elman.report.progress import Progress, clock, figure, perplexity
from elman.report.terminal import arguments_renamed

START = {
    "event": "start",
    "task": "language-model",
    "parameters": 4653200,
    "device": "cpu",
    "precision": "float32",
    "data": {"train": "book.txt"},
    "epochs": 13,
    "steps_per_epoch": 1000,
    "unit": "tokens",
}
STEP = {
    "event": "step",
    "step": 3250,
    "epoch": 4,
    "loss": 4.812,
    "gradient_norm": 0.8123,
    "learning_rate": 0.002,
    "rate": 14211.0,
}
VALIDATION = {
    "event": "validation",
    "step": 4000,
    "epoch": 4,
    "loss": 5.2,
    "perplexity": 181.27,
    "kept": True,
    "seconds": 160.2,
}
END = {"event": "end", "step": 13000, "reason": "finished", "seconds": 3661.0}
KINDS = ["start", "step", "validation", "checkpoint", "resume", "note", "reach", "end", "other"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def words(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a clock that only the test changes."""
    now = SimpleNamespace(seconds=0.0)
    fake = SimpleNamespace(monotonic=lambda: now.seconds)
    monkeypatch.setattr("elman.report.progress.time", fake)
    return now


def shown(*records: dict[str, object]) -> list[str]:
    stream = io.StringIO()
    with Progress(stream) as progress:
        for record in records:
            progress.show(record)
    return stream.getvalue().splitlines()


def test_a_count_among_the_scores_is_shown_as_a_whole_number() -> None:
    record = {"event": "validation", "step": 9, "loss": 0.5, "examples": 1700, "accuracy": 1.0}
    assert shown(record) == ["validation loss 0.5000, examples 1,700, accuracy 1.000"]


def test_a_file_gets_one_plain_line_for_start_validation_note_and_end() -> None:
    assert shown(START, STEP, VALIDATION, {"event": "note", "text": "early"}, END) == [
        "language-model on book.txt, 4,653,200 parameters, cpu float32, 13 epochs",
        "epoch 4: validation loss 5.200, perplexity 181.3, kept, 0:02:40",
        "early",
        "finished after 13,000 steps in 1:01:01, kept epoch 4: loss 5.200",
    ]


def test_a_file_gets_at_most_one_step_line_a_minute(now: SimpleNamespace) -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    for second in range(0, 200, 10):
        now.seconds = float(second)
        progress.show({**STEP, "step": second})
    lines = stream.getvalue().splitlines()
    assert [line[:16] for line in lines] == [
        "epoch 4  step 60",
        "epoch 4  step 12",
        "epoch 4  step 18",
    ]


def test_no_control_character_reaches_a_file() -> None:
    lines = shown({"event": "note", "text": "two\nlines\x1b[31m red\r\x07"})
    assert len(lines) == 1
    assert all(character.isprintable() for character in lines[0])


def test_characters_that_the_stream_cannot_encode_are_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Progress(stream).show({"event": "note", "text": "größer"})
    assert raw.getvalue() == b"gr\\xf6\\xdfer\n"


def test_lines_fit_eighty_columns_and_still_end_with_kept() -> None:
    scores: dict[str, object] = {f"score_{index}": 1000.0 * index for index in range(9)}
    lines = shown(
        {**START, "task": "a-very-long-task-name", "data": {"train": "x" * 200 + ".txt"}},
        {**VALIDATION, **scores},
        END,
    )
    assert max(map(len, lines)) < 80
    assert lines[1].endswith(", kept")


@pytest.mark.parametrize("kind", KINDS)
def test_records_without_optional_keys_are_shown_without_an_error(
    kind: str, terminal: Terminal
) -> None:
    odd: dict[str, object] = {"event": kind, "epochs": None, "loss": None, "step": "x", "data": 3}
    file = io.StringIO()
    for stream in (file, terminal):
        with Progress(stream) as progress:
            for record in ({"event": kind}, odd, {}, START, {"event": kind}, odd):
                progress.show(record)
    assert "book.txt" in file.getvalue()
    assert "book.txt" in terminal.words()


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (1e9, "loss 1.000e+09  perplexity inf"),
        (math.inf, "loss inf  perplexity inf"),
        (math.nan, "loss nan  perplexity nan"),
    ],
)
def test_a_diverged_loss_is_shown_unchanged(terminal: Terminal, loss: float, words: str) -> None:
    with Progress(terminal) as progress:
        progress.show(START)
        progress.show({**STEP, "loss": loss})
    assert words in terminal.words()


def test_a_terminal_shows_the_bar_with_all_numbers(
    terminal: Terminal, now: SimpleNamespace
) -> None:
    with Progress(terminal) as progress:
        progress.show(START)
        now.seconds = 65.0
        progress.show(STEP)
    words = terminal.words()
    # 3250 of 13000 steps took 65 s, so 9750 more take 195 s.
    for part in ("epoch 4/13", "25 %", "0:03:15 left", "loss 4.812", "perplexity 123.0"):
        assert part in words
    assert "14,211 tokens/s  lr 0.002  gradient norm 0.812" in words
    assert max(map(len, re.split(r"[\r\n]+", words))) <= 80


def test_time_left_after_a_resume_counts_only_steps_of_this_process(
    terminal: Terminal, now: SimpleNamespace
) -> None:
    with Progress(terminal) as progress:
        progress.show(START)
        progress.show({"event": "resume", "step": 12000, "epoch": 13})
        now.seconds = 10.0
        progress.show({**STEP, "step": 12500})
    assert "0:00:10 left" in terminal.words()


def test_perplexity_is_shown_only_for_tokens(terminal: Terminal) -> None:
    with Progress(terminal) as progress:
        progress.show({**START, "unit": "samples"})
        progress.show(STEP)
    assert "perplexity" not in terminal.words()
    assert "14,211 samples/s" in terminal.words()


def test_without_a_number_of_epochs_no_share_or_time_left_is_shown(terminal: Terminal) -> None:
    for epochs in (None, 0):
        with Progress(terminal) as progress:
            progress.show({**START, "epochs": epochs})
            progress.show(STEP)
        assert "epoch 4 " in terminal.words()
    assert "%" not in terminal.words()
    assert "left" not in terminal.words()


def test_markup_in_a_note_is_text(terminal: Terminal) -> None:
    with Progress(terminal) as progress:
        progress.show({"event": "note", "text": "[bold]<unk>[/bold] :smile:"})
    assert "[bold]<unk>[/bold] :smile:" in terminal.words()


def test_a_dumb_terminal_gets_plain_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with Progress(terminal) as progress:
        progress.show(START)
        progress.show(STEP)
    assert terminal.getvalue().count("\n") == 1
    assert "\x1b" not in terminal.getvalue()


def test_numbers_are_formatted_for_people() -> None:
    assert [figure(x) for x in (0.0, 4.5, 999.96, 22026.5, 3e9)] == [
        "0.000",
        "4.500",
        "1,000",
        "22,026",
        "3.000e+09",
    ]
    assert [clock(x) for x in (0.4, 59.6, 86400.0)] == ["0:00:00", "0:01:00", "24:00:00"]
    assert clock(math.nan) == "unknown time"
    # e to 15 digits, the precision of a float
    assert perplexity(1.0) == pytest.approx(2.718281828459045, rel=1e-15)


def test_notes_name_flags_only_during_a_command() -> None:
    note = {"event": "note", "text": "set gaps=0.2; wide=False for the recurrence alone"}
    stream = io.StringIO()
    progress = Progress(stream)
    with arguments_renamed(name_flags):
        progress.show(note)
    progress.show(note)
    assert stream.getvalue().splitlines() == [
        "set --gaps 0.2; --no-wide for the recurrence alone",
        "set gaps=0.2; wide=False for the recurrence alone",
    ]


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("is it encoding='utf-16'?", "is it --encoding utf-16?"),
        ("column='my text' is", "--column 'my text' is"),
        ("name it with encoding=..., such", "name it with --encoding ..., such"),
        ("exists already; or set overwrite", "exists already; or set --overwrite"),
        ("omit words, phrases and k; it", "omit --words, --phrases and --k; it"),
        ("set masks and speed only", "set --masks and --speed only"),
        ("set a larger beam", "set a larger beam"),
        ("set words=None or kinds", "set --no-words or kinds"),
    ],
)
def test_names_after_a_verb_and_quoted_values_become_flags(message: str, wanted: str) -> None:
    assert name_flags(message) == wanted


@pytest.mark.parametrize(
    "message",
    [
        "no column unique_id; its columns: 'hidden_size', 'y'",
        "runs/hidden_size/a.csv: cannot be read",
        "/data/epochs=3/x.csv: line 2: got 'bptt=None'",
        "text must be a string, got list",
        "continue with: elman resume runs/a --learning-rate 0.1",
    ],
)
def test_columns_files_and_quoted_words_are_not_changed_into_flags(message: str) -> None:
    assert name_flags(message) == message
