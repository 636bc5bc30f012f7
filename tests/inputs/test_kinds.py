"""A new kind of input needs a reader and an entry in READERS, and then works in every task."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import elman
from elman.cli import main
from elman.encode.encoder import Encoder
from elman.errors import ArgumentError, DataError
from elman.inputs import kinds
from elman.inputs.input import Array, Input, Reader
from elman.inputs.settings import InputSettings
from elman.manifest import read_json, write_json
from elman.padded import Padded
from elman.read.examples import Examples


class Dice(nn.Module):
    """An embedding of the numbers of a die."""

    def __init__(self, sides: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(sides, 4))

    def forward(self, x: Padded, *, generator: torch.Generator | None = None) -> Padded:
        """Return vectors (B, T, 4)."""
        vectors: Tensor = self.weight[x.data.long()]
        return Padded(vectors, x.lengths, x.extra)


class DiceReader(Reader):
    """Throws of a die, as "3 1 6" or a list of numbers."""

    kind, noun, unit = "dice", "throws", "numbers"

    def item(self, cell: Any, place: str) -> list[int]:
        try:
            found = [int(one) for one in (cell.split() if isinstance(cell, str) else cell)]
        except (TypeError, ValueError):
            found = []
        if not found or min(found) < 1:
            raise DataError(
                f"{place}: column {self.column!r}: expected numbers from 1, got {cell!r}"
            )
        return found

    def learn(self, train: Examples, notes: list[str], *, classes: int = 0) -> Thrown:
        return Thrown(self, max(max(item) for item in train.items))

    def load(self, folder: Path) -> Thrown:
        return Thrown(self, read_json(folder / "series.json")["sides"])


class Thrown(Input):
    """Encoder of throws of a die, after training."""

    def __init__(self, reader: DiceReader, sides: int) -> None:
        self.reader, self.sides = reader, sides

    def save(self, folder: Path) -> None:
        write_json(folder / "series.json", {"sides": self.sides})

    def encode(self, items: Sequence[list[int]]) -> list[Array]:
        return [np.array(item, dtype=np.int64).clip(1, self.sides) - 1 for item in items]

    def layer(self, settings: InputSettings) -> tuple[Encoder, int]:
        return Dice(self.sides), 4


@pytest.fixture(autouse=True)
def dice() -> Iterator[None]:
    kinds.READERS["dice"] = DiceReader
    yield
    del kinds.READERS["dice"]


DRAW = np.random.default_rng(0)
THROWS = [DRAW.integers(1, 7, 3 + n % 3).tolist() for n in range(60)]
LABELS = ["high" if sum(one) / len(one) > 3.5 else "low" for one in THROWS]
TAGS = [["six" if number == 6 else "none" for number in one] for one in THROWS]
TEXTS = [f"a {label} one" if n % 2 else "an odd one" for n, label in enumerate(LABELS)]
SMALL: dict[str, Any] = {
    "hidden_size": 6,
    "epochs": 2,
    "learning_rate": 0.02,
    "batch_size": 8,
    "device": "cpu",
    "bidirectional": False,
}


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
    return path


def test_a_new_kind_is_classified_saved_and_read_live(tmp_path: Path) -> None:
    model = elman.Classifier(**SMALL, inputs="dice").fit(THROWS, LABELS, out=tmp_path / "run")
    loaded = elman.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.predict_proba(THROWS), model.predict_proba(THROWS))
    assert set(model.evaluate(THROWS, LABELS)) >= {"accuracy", "AUC", "loss"}
    live = loaded.stream()
    for count, number in enumerate(THROWS[0], 1):
        output = live.push(number)
        expected = model.predict_proba([THROWS[0][:count]])[0]
        np.testing.assert_allclose(list(output.values()), expected, atol=1e-6)
    other = model.stream()
    other.restore(live.state_bytes())
    assert other.push(6) == live.push(6)


def test_a_new_kind_is_tagged_and_read_live() -> None:
    model = elman.Tagger(**SMALL, inputs="dice").fit(THROWS, TAGS)
    live = model.stream()
    for item in THROWS[:3]:
        live.restart()
        assert [live.push(number)[0] for number in item] == model.predict([item])[0]
    with pytest.raises(DataError, match="row 0: has 3 numbers and 1 tags; expected the same"):
        elman.Tagger(**SMALL, inputs="dice").fit(THROWS, [["six"]] * 60)


def test_files_of_a_new_kind_are_read_and_their_bad_rows_refused(tmp_path: Path) -> None:
    throws = [" ".join(map(str, one)) for one in THROWS]
    table = write(tmp_path / "a.csv", {"dice": throws, "label": LABELS})
    out = tmp_path / "run"
    flags = ["--input=dice", "--hidden-size=6", "--epochs=1", "--device=cpu", f"--out={out}"]
    assert main(["train", "classifier", str(table), *flags]) == 0
    assert elman.Classifier.resume(out, epochs=2).metrics["model"]["validation"]["examples"] == 6
    model, other = elman.load(out), elman.Classifier(**SMALL, inputs="dice")
    (row,) = model.predict_proba([THROWS[7]]).tolist()
    assert sum(row) == pytest.approx(1)
    bad = write(tmp_path / "b.csv", {"dice": [*throws, "x"], "label": [*LABELS, "low"]})
    with pytest.raises(DataError, match=r"b.csv: line 62: column 'dice': expected numbers from 1"):
        other.fit(bad)
    other.fit(bad, skip_bad_rows=tmp_path / "bad.csv")
    assert "line 62" in (tmp_path / "bad.csv").read_text()


def test_several_inputs_are_combined_in_one_model(tmp_path: Path) -> None:
    columns = {"words": TEXTS, "throw": [" ".join(map(str, one)) for one in THROWS]}
    table = write(tmp_path / "a.csv", {**columns, "label": LABELS})
    both = elman.Classifier(**SMALL, inputs=["words:text", "throw:dice"])
    model = both.fit(table, out=tmp_path / "run")
    p = elman.load(tmp_path / "run").predict_proba(columns)
    np.testing.assert_array_equal(p, model.predict_proba(table))
    assert model.evaluate(table) == model.evaluate(columns, LABELS)
    changed = {**columns, "throw": ["1 1 1"] * 60}
    assert not np.allclose(p, model.predict_proba(changed))
    live = model.stream(throw=THROWS[3])
    for count, word in enumerate(TEXTS[3].split(), 1):
        output = live.push(word)
        part = {"words": [" ".join(TEXTS[3].split()[:count])], "throw": columns["throw"][3:4]}
        np.testing.assert_allclose(list(output.values()), model.predict_proba(part)[0], atol=1e-5)
    again = elman.load(tmp_path / "run").stream(throw=THROWS[3])
    again.restore(live.state_bytes())
    assert again.push("one") == live.push("one")
    resumed = elman.Classifier.resume(tmp_path / "run", epochs=3)
    assert resumed.predict_proba(table).shape == p.shape
    named = elman.Classifier(**SMALL, inputs={"words": "text", "throw": "dice"}).fit(
        columns, LABELS
    )
    np.testing.assert_array_equal(named.predict_proba(columns), p)


def test_a_tagger_of_several_inputs_tags_the_elements_of_the_first(tmp_path: Path) -> None:
    columns = {"throw": THROWS, "words": TEXTS}
    model = elman.Tagger(**SMALL, inputs=["throw:dice", "words:text"]).fit(columns, TAGS)
    assert list(map(len, model.predict(columns))) == list(map(len, THROWS))
    live = model.stream(words=TEXTS[0])
    assert [live.push(one)[0] for one in THROWS[0]] == model.predict(columns)[0]
    model.save(tmp_path / "run")
    assert elman.load(tmp_path / "run").predict(columns) == model.predict(columns)
    with pytest.raises(DataError, match="row 0: has 3 numbers and 1 tags; expected the same"):
        elman.Tagger(**SMALL, inputs=["throw:dice", "words:text"]).fit(columns, [["six"]] * 60)


def test_several_inputs_are_predicted_from_a_file_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns, out = {"throw": THROWS, "words": TEXTS}, str(tmp_path / "run")
    elman.Tagger(**SMALL, inputs=["throw:dice", "words:text"]).fit(columns, TAGS, out=out)
    table = write(tmp_path / "a.csv", {"throw": ["3 1 6"], "words": ["odd"]})
    tags = tmp_path / "a.conll"
    assert main(["predict", out, "--file", str(table), "--out", str(tags)]) == 0
    assert [line.split("\t")[0] for line in tags.read_text().splitlines()] == ["3", "1", "6", ""]
    assert main(["predict", out, "3 1"]) == 2
    told = capsys.readouterr().err
    assert "this tagger reads the columns throw, words, not a single text; give a table" in told
    assert "with --file" in told


def test_an_empty_text_of_several_inputs_is_predicted() -> None:
    columns = {"a": TEXTS, "b": TEXTS}
    model = elman.Classifier(**SMALL, inputs=["a:text", "b:text"]).fit(columns, LABELS)
    assert model.predict_proba({"a": ["odd"], "b": [""]}).sum() == pytest.approx(1)
    assert sum(model.stream(b="").push("odd").values()) == pytest.approx(1)


def test_look_shows_data_of_several_inputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "a.csv", {"w": TEXTS, "t": ["3 1 6", "2 5"] * 30, "label": LABELS})
    flags = ["--task=classifier", "--input=w:text", "--input=t:dice"]
    assert main(["look", str(table), *flags]) == 0
    text = capsys.readouterr().out
    assert "w: an odd one" in text
    assert "--input" in text


@pytest.mark.parametrize("cell", [None, 3, {"a": 1}, ["a", None], ["a", ""]])
def test_cells_that_are_not_words_are_refused_with_their_row(cell: Any) -> None:
    sentences = [*(text.split() for text in TEXTS), cell]
    with pytest.raises(DataError, match=r"row 60: "):
        elman.Classifier(**SMALL, inputs="words").fit(sentences, [*LABELS, "low"])


def test_a_tagger_of_texts_is_refused_before_it_trains() -> None:
    with pytest.raises(ArgumentError, match="a tagger needs words or recordings, not texts"):
        elman.Tagger(**SMALL, inputs="text").fit(TEXTS, TAGS)


def test_damaged_files_of_one_of_several_inputs_are_named(tmp_path: Path) -> None:
    columns = {"a": TEXTS, "b": TEXTS}
    model = elman.Classifier(**SMALL, inputs=["a:text", "b:text"]).fit(columns, LABELS)
    model.save(tmp_path / "run")
    part = tmp_path / "run" / "inputs" / "1" / "tokenizer.json"
    part.write_text(part.read_text().replace("odd", "even"))
    with pytest.raises(elman.errors.FolderError, match=r"inputs/1/tokenizer.json: is not the file"):
        elman.load(tmp_path / "run")
    model.save(tmp_path / "run", overwrite=True)
    elman.load(tmp_path / "run")
    elman.Classifier(**SMALL).fit(TEXTS, LABELS).save(tmp_path / "run", overwrite=True)
    assert not (tmp_path / "run" / "inputs").exists()


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            ["pictures"],
            "one of the kinds text, words, recordings, audio, image, number, category, dice, got",
        ),
        (["text", "dice"], "each of several inputs needs its own column"),
        (["a:text", "a:dice"], "each of several inputs needs its own column"),
    ],
)
def test_invalid_inputs_are_refused(declared: list[str], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        elman.Classifier(**SMALL, inputs=declared).fit({"a": TEXTS, "b": TEXTS}, LABELS)


def test_the_kind_in_the_documents_equals_the_one_tested_here() -> None:
    page = (Path(__file__).parents[2] / "docs" / "adding.md").read_text(encoding="utf-8")
    code = page.partition("## A kind of input")[2].partition("```python\n")[2].partition("```")[0]
    assert f"{len(code.splitlines())} lines:" in page
    names: dict[str, Any] = {"__name__": "dice"}
    exec(code, names)
    ours = elman.Classifier(**SMALL, inputs="dice").fit(THROWS, LABELS).predict_proba(THROWS)
    kinds.READERS["dice"] = names["DiceReader"]
    theirs = elman.Classifier(**SMALL, inputs="dice").fit(THROWS, LABELS).predict_proba(THROWS)
    np.testing.assert_array_equal(ours, theirs)


def test_a_session_of_a_new_kind_continues_in_another_process(tmp_path: Path) -> None:
    model = elman.Tagger(**SMALL, inputs="dice").fit(THROWS, TAGS)
    model.save(tmp_path / "run")
    live = model.stream()
    live.push(3)
    (tmp_path / "state").write_bytes(live.state_bytes())
    program = (
        "import sys, elman; from pathlib import Path; from elman.inputs import kinds;"
        "from tests.inputs.test_kinds import DiceReader; kinds.READERS['dice'] = DiceReader;"
        "live = elman.load(sys.argv[1]).stream();"
        "live.restore(Path(sys.argv[2]).read_bytes()); print(live.push(6))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "run"), str(tmp_path / "state")]
    root = Path(__file__).parents[2]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout
    assert found.strip() == str(live.push(6))
