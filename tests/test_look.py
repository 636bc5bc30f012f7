"""`elman look` reports for every task how training would read the data."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import elman
from elman.cli import main
from elman.tasks.look import FIRST

Look = Callable[..., list[str]]
SMALL = {"hidden_size": 4, "epochs": 1, "device": "cpu"}


@pytest.fixture
def look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Look:
    """Return a function that runs the command in `tmp_path` and returns the lines that it prints.

    The function asserts that the command changes no file.
    """
    monkeypatch.chdir(tmp_path)

    def run(command: str) -> list[str]:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        code = main(["look", *command.split()])
        done = capsys.readouterr()
        assert code == 0, done.err
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
        lines = done.out.splitlines()
        assert len(lines) <= 120
        return lines

    return run


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], look: Look) -> Callable[..., str]:
    def run(command: str) -> str:
        assert main(["look", *command.split()]) == 2
        done = capsys.readouterr()
        assert (done.out, done.err.count("\n")) == ("", 1)
        return done.err

    return run


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def of(lines: list[str], title: str) -> str:
    """Return the text after a title."""
    return next(
        line.strip().removeprefix(title).strip() for line in lines if line.strip().startswith(title)
    )


def watch(rows: int = 600) -> str:
    steps = (
        f"r{n // 60},{n % 60 / 10},{n % 7 / 3},{n % 5},{'run' if n // 60 % 2 else 'walk'},{n % 2}"
        for n in range(rows)
    )
    return "unique_id,ds,ax,ay,label,who\n" + "\n".join(steps) + "\n"


def sales(days: int = 120) -> str:
    """Return two series with missing numbers, which are found by reading the rows again."""
    rows = [
        f"{name},2024-{1 + n // 28:02d}-{1 + n % 28:02d},{n % 7}.5,{n % 3 or ''}"
        for name in "ab"
        for n in range(days)
    ]
    return "unique_id,ds,y,heat\n" + "\n".join(rows) + "\n"


REVIEWS = 'review;stars;extra\n"so good";5;1,5\n"so bad";1;2\n;4;2\n"a film";;3\n"good"\n'


@pytest.mark.parametrize(
    ("name", "content", "flags", "task", "way"),
    [
        ("a.txt", "one two one two\n" * 30, "", "a language model", ("tokens: one=", "(32, 35)")),
        (
            "a.csv",
            "text,label\n" + "so good,1\nso bad,0\n" * 9,
            "",
            "a classifier",
            ("so good", "2 tokens: so=", "(32, T)"),
        ),
        (
            "a.conll",
            "The DET\ncat NOUN\n\nIt PRON\nran VERB\n",
            "",
            "a tagger",
            ("The cat", "2 words: The=", "(32, T, 21)"),
        ),
        (
            "a.jsonl",
            '{"source": "one", "target": "eins"}\n' * 9,
            "",
            "a translator",
            ("one -> eins", "(32, T)"),
        ),
        ("a.csv", sales(), "", "a forecaster", ("series 'a' from 2024-01-01", "(64, ")),
        ("a.csv", watch(), "--channels ax ay", "a classifier", ("r0: 60 steps", "(32, T, 2)")),
        (
            "a.csv",
            watch(),
            "--task tagger --channels ax --window 20",
            "a tagger",
            ("r0: 60 steps", "(32, 20, 1)"),
        ),
    ],
)
def test_the_output_shows_for_every_task_how_a_row_becomes_numbers(
    look: Look, tmp_path: Path, name: str, content: str, flags: str, task: str, way: tuple[str, ...]
) -> None:
    write(tmp_path / name, content)
    lines = look(f"{name} {flags}")
    assert lines[0].startswith(f"{name}: read by {task} (")
    text = "\n".join(lines[lines.index("how the first row becomes numbers:") :])
    for part in way:
        assert part in text


def test_refused_rows_are_counted_and_shown_with_reasons(look: Look, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", REVIEWS)
    lines = look("a.csv --text review --label stars")
    assert of(lines, "refused") == "3 of these rows"
    text = "\n".join(lines)
    assert "a.csv: line 4: column 'review' is empty, expected text" in text
    assert "a.csv: line 5: column 'stars' is empty, expected a label" in text
    assert "a.csv: line 6: expected 3 fields as in the header, got 1" in text
    assert "fields are separated by ';'" in text
    assert of(lines, "to learn") == "5 (1), 1 (1)"
    kinds = [line.split() for line in lines if " --text " in line or " not read " in line]
    assert kinds[0][:3] == ["columns", "review", "--text"]
    assert kinds[1][-5:] == ["numbers", "from", "1.5", "to", "3"]  # with a decimal comma


def test_only_the_first_rows_of_a_large_file_are_read_without_count(
    look: Look, tmp_path: Path
) -> None:
    rows = "text,label\n" + "so good,1\nso bad,0\n" * 20_000 + ",1\n"
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(rows.encode()))
    lines = look("a.csv.gz")
    assert of(lines, "rows") == f"the first {FIRST:,}; --count reads all"
    assert of(lines, "refused") == "none"
    lines = look("a.csv.gz --count")
    assert of(lines, "rows") == "40,001"
    assert of(lines, "refused") == "1 of these rows"
    write(tmp_path / "s.csv", sales())
    assert of(look("s.csv --future heat"), "rows") == "240"
    write(tmp_path / "w.csv", watch(3000) + "r9,0,x,1,walk,1\n")
    assert of(look("w.csv --channels ax"), "rows") == "the first 1,000; --count reads all"
    lines = look("w.csv --channels ax --count")
    assert (of(lines, "rows"), of(lines, "refused")) == ("3,001", "1 of these rows")


def test_labels_of_unread_recordings_are_not_refused(look: Look, tmp_path: Path) -> None:
    write(tmp_path / "w.csv", watch(3000))
    write(tmp_path / "l.csv", "unique_id,label\n" + "".join(f"r{n},x\n" for n in range(51)))
    assert of(look("w.csv l.csv --channels ax"), "refused") == "none"
    assert of(look("w.csv l.csv --channels ax --count"), "refused") == "1 of these rows"


def test_the_reported_shape_is_that_of_the_input_of_the_network(look: Look, tmp_path: Path) -> None:
    data = write(tmp_path / "s.csv", sales())
    settings = {**SMALL, "horizon": 7, "past": ("heat",), "windows": 8}
    layout = elman.Forecaster(**settings).fit(data).layout
    lines = look("s.csv --horizon 7 --past heat")
    width = layout.numbers + len(layout.categories)
    assert of(lines, "shape").startswith(f"(64, {layout.steps}, {width}):")
    data = write(tmp_path / "w.csv", watch(1800))
    model = elman.Classifier(**SMALL, channels=("ax", "ay"), static=("who",)).fit(data)
    features = model.model.encode.size
    lines = look("w.csv --channels ax ay --static who")
    assert of(lines, "shape").startswith(f"(32, T, {features}):")


def test_the_column_of_the_tags_of_recordings_is_named_by_its_flag(
    look: Look, tmp_path: Path
) -> None:
    rows = [f"r{n // 8},{n % 8},{n % 3},{'ab'[n % 2]}\n" for n in range(80)]
    (tmp_path / "steps.csv").write_text("unique_id,ds,x,label\n" + "".join(rows))
    lines = look("steps.csv --task tagger --channels x")
    assert [line.split()[:2] for line in lines if "label" in line] == [["label", "--tags"]]


def test_of_several_inputs_the_elements_of_the_first_are_numbered(
    look: Look, tmp_path: Path
) -> None:
    rows = [f"so good {n % 3},loud,yes\nso bad {n % 3},soft,no\n" for n in range(30)]
    (tmp_path / "rows.csv").write_text("a,b,label\n" + "".join(rows))
    lines = look("rows.csv --task classifier --input a:text b:text --tokens word --min-count 1")
    (numbers,) = (line for line in lines if line.strip().startswith("numbers"))
    assert "3 tokens: so=" in numbers


def test_the_cells_of_the_first_row_have_the_names_of_their_columns(
    look: Look, tmp_path: Path
) -> None:
    rows = "".join(f"{n % 7},{['good', 'bad'][n % 2]} text {n},{n % 2}\n" for n in range(40))
    (tmp_path / "rows.csv").write_text("price,review,label\n" + rows)
    lines = look("rows.csv --task classifier --label label")  # the text is the main input
    (cells,) = (line for line in lines if line.split()[:1] == ["cells"])
    assert "price=0" in cells
    assert "review=good text 0" in cells
    assert "label=0" in cells


def test_several_labels_of_a_row_are_counted_separately(look: Look, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", 'text,label\nso good,"a, b"\nso bad,b\n')
    assert of(look("a.csv --several"), "to learn") == "b (2), a (1)"
    write(tmp_path / "a.jsonl", '{"text": "so", "label": ["a"]}\n{"text": "no", "label": "b"}\n')
    lines = look("a.jsonl")
    assert of(lines, "refused") == "1 of these rows"
    assert any("column 'label' is a list, expected a label" in line for line in lines)


def test_a_conversation_is_one_line_or_several_until_a_blank_line(
    look: Look, tmp_path: Path
) -> None:
    write(tmp_path / "a.txt", "hi __eou__ hello __eou__ bye\n" * 5)
    assert of(look("a.txt --kind dialogue"), "item") == "hi __eou__ hello -> bye"
    write(tmp_path / "a.txt", "hi\nhello\n\n" * 5)
    assert of(look("a.txt --kind dialogue"), "refused") == "none"


def test_wrong_input_is_refused_in_one_line(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "'no.csv': No such file" in refused("no.csv")
    assert "'no.csv': No such file" in refused("no.csv --horizon 3")
    write(tmp_path / "w.csv", watch())
    assert "w.csv: could be for language-model or classifier or" in refused("w.csv")
    assert "no column 'az'; its columns: 'unique_id'" in refused("w.csv --channels az")
    assert "Did you mean --channels?" in refused("w.csv --chanels ax")
    assert "Choose from" in refused("w.csv --task painter")
    assert "--epochs must be at least 1, got 0" in refused("w.csv --channels ax --epochs 0")
    write(tmp_path / "e.txt", "")
    assert "e.txt: empty" in refused("e.txt")
    (tmp_path / "folder").mkdir()
    assert "folder: a folder without files" in refused("folder")
    rows = "".join(json.dumps({"text": "", "label": n}) + "\n" for n in range(3))
    write(tmp_path / "b.jsonl", rows)
    assert "no row can be used" in refused("b.jsonl")


def test_help_names_the_flags_of_the_task(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["look", "--help"]) == 0
    assert "--channels" in capsys.readouterr().out
    assert main(["look", "--task", "forecaster", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--horizon" in shown
    assert "--channels" not in shown


def write_clips(folder: Path) -> None:
    """Write six short clips, and manifests of them."""
    rows: dict[str, list[str]] = {"label": [], "text": [], "spans": [], "clips": []}
    for n in range(6):
        wave = 0.3 * np.sin(np.arange(4000) * (0.05 + 0.1 * (n % 2)))
        soundfile.write(folder / f"{n}.wav", wave, 16000)
        name = ("low", "high")[n % 2]
        rows["label"].append(f"{n}.wav,{name}")
        rows["text"].append(f"{n}.wav,{name}")
        rows["spans"].append(f"{n}.wav,0.05,0.2,{name}")
        rows["clips"].append(f"{n}.wav")
    heads = {"label": "path,label", "text": "path,text", "spans": "path,start,end,label"}
    for name, lines in rows.items():
        head = heads.get(name, "path")
        write(folder / f"{name}.csv", "\n".join([head, *lines]) + "\n")


@pytest.mark.parametrize(
    ("arguments", "task"),
    [
        ("label.csv", "a classifier"),
        ("spans.csv", "a classifier"),
        ("text.csv", "a transcriber"),
        ("clips.csv spans.csv --tags label", "a tagger"),
        ("clips.csv spans.csv --input audio --tags label", "a tagger"),
        ("clips.csv spans.csv --task tagger --tags label", "a tagger"),
    ],
)
def test_manifests_of_audio_are_recognised(
    look: Look, tmp_path: Path, arguments: str, task: str
) -> None:
    write_clips(tmp_path)
    lines = look(arguments)
    assert lines[0].startswith(f"{arguments.split()[0]}: read by {task} (")
    assert of(lines, "refused") == "none"
    assert "not read" not in "\n".join(lines)


def test_start_and_end_of_parts_and_spans_are_read(look: Look, tmp_path: Path) -> None:
    write_clips(tmp_path)
    lines = look("spans.csv")
    assert [line.split()[:3] for line in lines if "a part" in line] == [
        ["start", "a", "part"],
        ["end", "a", "part"],
    ]
    lines = look("clips.csv spans.csv --tags label")
    table = lines[[line.startswith("of labels") for line in lines].index(True) :][:4]
    assert [line.removeprefix("of labels").split()[:2] for line in table] == [
        ["path", "--audio"],
        ["start", "a"],
        ["end", "a"],
        ["label", "--tags"],
    ]


def test_a_table_without_rows_or_with_other_columns_names_the_remedy(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    write_clips(tmp_path)
    write(tmp_path / "h.csv", "path,label\n")
    for task in ("", "--task classifier", "--task transcriber", "--task language-model"):
        assert "h.csv: has a header, but no rows; add a row for each" in refused(f"h.csv {task}")
    missing = "its columns: 'path', 'label'; set --text NAME to read another column"
    assert missing in refused("label.csv --task transcriber")
    assert "set --label NAME" in refused("text.csv --task classifier")
    assert "set --tags NAME" in refused("clips.csv spans.csv --task tagger --input audio")
    assert "set --targets NAME" in refused("text.csv --task forecaster")
    (tmp_path / "none").mkdir()
    for task, kinds in (
        ("transcriber", "WAV, FLAC, OGG or MP3 files"),
        ("classifier", "files of text, audio or images, in a folder for each label"),
        ("language-model", "text files"),
    ):
        message = f"none: a folder without files; expected one or more {kinds}"
        assert message in refused(f"none --task {task}")
    assert "Unknown option: --tags" in refused("label.csv --label label --tags x")


def test_the_vectors_and_scores_of_the_first_row(look: Look, tmp_path: Path) -> None:
    rows = "".join(f"so good,{n},yes,t{n}\nso bad,{-n},no,t{n}\n" for n in range(9))
    write(tmp_path / "a.csv", f"text,price,label,talk\n{rows}")
    lines = look("a.csv --hidden-size 8 --embedding-size 5")
    assert of(lines, "vectors").startswith("(1, 2, 5): items, steps, features; [")
    assert of(lines, "scores").startswith("(1, 2), before training: no=")
    lines = look("a.csv --hidden-size 8 --input text:text --input price:number")
    assert of(lines, "vectors").startswith("(1, 2, 16): ")  # 8 for each input
    lines = look("a.csv --task tagger --tags label --group talk --hidden-size 8 --no-bidirectional")
    assert of(lines, "vectors").startswith("(1, 2, 8): ")  # a vector for each row
    assert of(lines, "scores").startswith("(1, 2, 2) at the first step, before training: no=")
    write(tmp_path / "b.csv", "text,label\n" + "so good,1\nso bad,1\n" * 9)
    lines = look("b.csv")
    assert any("at least 2 classes are needed" in line for line in lines)
    assert not any(line.strip().startswith("scores") for line in lines)
    write(tmp_path / "c.csv", "source,target\none two,eins zwei\ntwo,zwei\n")
    lines = look("c.csv --task translator")
    assert of(lines, "vectors").startswith("(1, ")
