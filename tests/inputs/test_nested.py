"""Groups of rows: a sequence whose steps are sequences, or have several inputs."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import elman
from elman.cli import main
from elman.encode.embed import Embed
from elman.encode.nest import Nest
from elman.errors import ArgumentError, DataError
from elman.heads.wide import Wide
from elman.padded import Nested, pad_arrays

SMALL: dict[str, Any] = {"hidden_size": 16, "epochs": 12, "learning_rate": 0.02, "device": "cpu"}
Table = dict[str, list[Any]]


def talks(count: int, seed: int) -> Table:
    """Return conversations: "again" has the tag of the previous row, and the first word a label."""
    draw = np.random.default_rng(seed)
    table: Table = {"talk": [], "said": [], "pause": [], "tags": [], "label": []}
    for number in range(count):
        label, last = "ab"[int(draw.integers(2))], ""
        for row in range(int(draw.integers(2, 6))):
            tag = "up" if draw.random() < 0.5 else "down"
            said = {"up": "so high now", "down": "so low"}[tag]
            if row and draw.random() < 0.4:
                tag, said = last, "again"
            if not row:
                said = f"{'hello' if label == 'a' else 'goodbye'} {said}"
            table["talk"].append(f"t{number}")
            table["said"].append(said)
            table["pause"].append(float(draw.normal(1 if tag == "up" else -1, 1)))
            table["tags"].append(tag)
            table["label"].append(label)
            last = tag
    return table


def only(table: Table, *names: str) -> Table:
    return {name: table[name] for name in names}


def write(path: Path, table: Table) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))


@pytest.fixture(scope="module")
def tagger() -> elman.Tagger:
    inputs = {"said": "text", "pause": "number"}
    return elman.Tagger(**SMALL, group="talk", inputs=inputs, bidirectional=False).fit(
        talks(200, 0)
    )


def test_a_row_is_read_in_the_context_of_its_group(tagger: elman.Tagger) -> None:
    scores = tagger.evaluate(talks(40, 1))
    alone = [one["validation"]["accuracy"] for one in tagger.metrics["others"]]
    assert scores["accuracy"] > 0.95 > max(alone)
    assert scores["accuracy without pause"] > 0.9 > scores["accuracy with only pause"]
    assert scores["rows"] == len(talks(40, 1)["talk"])


def test_a_live_session_tags_each_row_as_the_whole_group(tagger: elman.Tagger) -> None:
    table = talks(6, 2)
    whole = [tag for tags in tagger.predict(only(table, "talk", "said", "pause")) for tag in tags]
    live, found, last = tagger.stream(), [], table["talk"][0]
    for talk, said, pause in zip(table["talk"], table["said"], table["pause"], strict=True):
        if talk != last:
            live.restart()
        blob = live.state_bytes()
        live.push({"said": "so high", "pause": 0})
        live.restore(blob)
        found.append(live.push({"said": said, "pause": pause})[0])
        last = talk
    assert found == whole
    with pytest.raises(DataError, match="expected a dict with said, pause, got said"):
        live.push({"said": "so low"})


def test_rows_of_a_group_need_not_be_adjacent(tagger: elman.Tagger) -> None:
    table = only(talks(8, 3), "talk", "said", "pause")
    order = sorted(range(len(table["talk"])), key=lambda n: (n % 3, n))
    order = sorted(order, key=lambda n: table["talk"][: n + 1].count(table["talk"][n]))
    mixed = {name: [values[n] for n in order] for name, values in table.items()}
    names = list(dict.fromkeys(mixed["talk"]))
    found = dict(zip(names, tagger.predict(mixed), strict=True))
    wanted = dict(zip(dict.fromkeys(table["talk"]), tagger.predict(table), strict=True))
    assert found == wanted


def test_labels_of_groups_and_of_the_saved_model(tmp_path: Path) -> None:
    model = elman.Classifier(**SMALL, group="talk", text="said").fit(talks(100, 0))
    data = talks(30, 1)
    assert model.evaluate(data)["accuracy"] > 0.95
    model.save(tmp_path / "model")
    again = elman.Classifier.load(tmp_path / "model")
    some = only(data, "talk", "said")
    np.testing.assert_array_equal(again.predict_proba(some), model.predict_proba(some))


def test_live_labels_of_a_group_are_those_of_its_rows_so_far() -> None:
    model = elman.Classifier(**SMALL, group="talk", text="said", bidirectional=False)
    model.fit(talks(100, 0))
    assert model.input_.features
    said = ["hello so low", "again", "so high now"]
    live = model.stream()
    for count in range(1, 4):
        live.push("so low")
        live.restart()
        for one in said[: count - 1]:
            live.push(one)
        live.restore(live.state_bytes())
        found = live.push(said[count - 1])
        wanted = model.predict_proba({"talk": ["t"] * count, "said": said[:count]})
        np.testing.assert_allclose(list(found.values()), wanted[0], rtol=1e-4)


@pytest.mark.parametrize("chain", [False, True])
def test_a_tagger_starts_from_a_linear_model_of_each_row(chain: bool, tmp_path: Path) -> None:
    settings = {**SMALL, "epochs": 1, "learning_rate": 1e-9}
    table = talks(100, 0)
    model = elman.Tagger(**settings, group="talk", text="said", chain=chain).fit(table)
    assert isinstance(model.head.wide, Wide)
    alone = elman.Classifier(**settings, text="said", label="tags")
    rows = only(table, "said", "tags")
    wanted = alone.fit(rows, validation=rows).evaluate(rows)["accuracy"]
    assert abs(model.evaluate(table)["accuracy"] - wanted) < 0.03
    model.save(tmp_path / "model")
    again, some = elman.Tagger.load(tmp_path / "model"), only(table, "talk", "said")
    assert again.predict(some) == model.predict(some)
    assert again.head.share == model.head.share < 1
    plain = elman.Tagger(**settings, group="talk", text="said", wide=False).fit(table)
    assert plain.head.wide is None
    assert plain.evaluate(table)["accuracy"] < wanted - 0.1


def test_a_model_of_groups_is_replaced(tmp_path: Path) -> None:
    table, run = tmp_path / "talks.csv", tmp_path / "run"
    write(table, talks(20, 0))
    settings = {**SMALL, "epochs": 1}
    inputs = {"said": "text", "pause": "number"}
    elman.Tagger(**settings, group="talk", inputs=inputs).fit(table, out=run)
    elman.Tagger(**settings, group="talk", text="said").fit(table, out=run, overwrite=True)
    assert not (run / "inputs" / "inputs").exists()
    elman.Classifier(**settings, text="said").fit(table, out=run, overwrite=True)
    assert not (run / "inputs").exists()


def test_own_settings_of_the_only_input_and_a_saved_model(tmp_path: Path) -> None:
    own = elman.Text(embedding_size=6, min_count=1)
    model = elman.Tagger(**{**SMALL, "epochs": 1}, group="talk", inputs={"said": own})
    data = talks(20, 0)
    model.fit(data)
    assert model.model.encode.inner.weight.shape[1] == 6
    model.save(tmp_path / "model")
    some = only(data, "talk", "said")
    assert elman.Tagger.load(tmp_path / "model").predict(some) == model.predict(some)


def test_groups_of_sounds_and_texts_with_a_bad_file(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    table = talks(12, 0)
    table["voice"] = [f"{n}.wav" for n in range(len(table["talk"]))]
    for name in table["voice"]:
        soundfile.write(tmp_path / name, 0.1 * draw.standard_normal(1600), 8000)
    table["voice"][3] = ""
    data, bad = tmp_path / "data.csv", tmp_path / "bad.csv"
    write(data, table)
    inputs = {"said": "text", "voice": "audio"}
    settings = {**SMALL, "epochs": 1, "group": "talk", "inputs": inputs, "examples": 12}
    model = elman.Tagger(**settings).fit(data)
    assert len(model.predict(data)) == len(set(table["talk"]))
    (tmp_path / "5.wav").write_text("not a sound")
    with pytest.raises(DataError, match=r"line 7: column 'voice'"):
        elman.Tagger(**settings).fit(data)
    elman.Tagger(**settings).fit(data, skip_bad_rows=bad)
    assert bad.read_text().count("5.wav") == 1


def test_each_input_of_a_row_can_be_missing_in_training() -> None:
    inputs = {"said": "text", "pause": "number"}
    model = elman.Tagger(**{**SMALL, "epochs": 1}, group="talk", inputs=inputs).fit(talks(20, 0))
    assert model.model.encode.inner.main_dropped


def test_the_vectors_of_a_group_do_not_depend_on_the_batch() -> None:
    nest = Nest(Embed(9, 3), 3, 2).eval()
    items = [
        Nested([np.array([1, 2, 3]), np.array([4])]),
        Nested([np.array([], dtype=np.int64), np.array([5, 6]), np.array([7])]),
    ]
    both = nest(pad_arrays(items))
    for n, item in enumerate(items):
        alone = nest(pad_arrays([item]))
        torch.testing.assert_close(both.data[n, : len(item)], alone.data[0])
    assert not both.data[1, 0].any()  # a row without elements


@pytest.mark.parametrize(
    ("changes", "settings", "words"),
    [
        ({"talk": [""]}, {}, "column 'talk' is empty; name the group"),
        ({"tags": [""]}, {}, "the column of the targets is empty"),
        ({}, {"group": "said"}, "group=said is also an input"),
        ({}, {"window": 4}, "window has no effect with group=talk"),
        ({}, {"channels": ("pause",)}, "channels has no effect with group=talk"),
        ({}, {"group": "who"}, "column 'who'"),
    ],
)
def test_invalid_groups(changes: Table, settings: dict[str, Any], words: str) -> None:
    table = talks(20, 0)
    for name, values in changes.items():
        table[name][: len(values)] = values
    given = {**SMALL, "epochs": 1, "group": "talk", "inputs": {"said": "text"}, **settings}
    with pytest.raises((ArgumentError, DataError), match=words):
        elman.Tagger(**given).fit(table)


def test_labels_that_change_within_a_group() -> None:
    table = talks(20, 0)
    table["label"][1] = "b" if table["label"][0] == "a" else "a"
    with pytest.raises(DataError, match=r"group 't0' change from '.' to '.'; give all rows"):
        elman.Classifier(**SMALL, group="talk", text="said").fit(table)


def test_lists_without_groups() -> None:
    with pytest.raises(ArgumentError, match="group=talk needs a table with the columns talk and"):
        elman.Classifier(**SMALL, group="talk").fit(["so good"], ["a"])


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run, out = tmp_path / "data.csv", tmp_path / "run", tmp_path / "out.csv"
    table = talks(30, 0)
    write(data, table)
    flags = ["--group", "talk", "--text", "said", "--device", "cpu"]
    assert main(["look", str(data), *flags[:4], "--task", "tagger", "--tags", "tags"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"talk +--group", shown)
    assert re.search(r"cells +said=.*talk=t0", shown)
    small = ["--hidden-size", "8", "--epochs", "1", "--out", str(run)]
    assert main(["train", "tagger", str(data), *flags, *small]) == 0
    assert main(["predict", str(run), "--file", str(data), "--out", str(out)]) == 0
    lines = out.read_text().splitlines()
    assert lines[0] == "talk,tags"
    assert len(lines) == len(table["talk"]) + 1
    capsys.readouterr()
    assert main(["predict", str(run), "some text"]) == 2
    assert "reads groups" in capsys.readouterr().err
