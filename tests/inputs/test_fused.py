"""Several inputs of one item: numbers and categories, missing inputs, gates and fusion."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman.cli import main
from elman.encode.embed import Embed
from elman.encode.fuse import Fuse, ReadMoments, ReadSequence, ReadValue, at_moments
from elman.encode.series import SeriesEmbed
from elman.errors import ArgumentError, DataError
from elman.inputs.guess import guess_columns
from elman.padded import Joint, Padded, pad_arrays
from elman.read.columns import Table

DRAW = np.random.default_rng(0)
SMALL: dict[str, Any] = {"hidden_size": 8, "epochs": 3, "batch_size": 8, "device": "cpu"}
INPUTS = {"review": "text", "stars": "number", "colour": "category"}


def rows(count: int = 80, *, missing: float = 0.2) -> dict[str, list[Any]]:
    """Return items whose label every input shows, unless it is missing."""
    label = [n % 2 for n in range(count)]
    columns: dict[str, list[Any]] = {
        "review": ["so good" if y else "so bad" for y in label],
        "stars": [3.0 + y + DRAW.random() / 2 for y in label],
        "colour": ["red" if y else "blue" for y in label],
    }
    for n in range(count):  # one input of some rows is missing
        if DRAW.random() < missing:
            name = list(columns)[n % 3]
            columns[name][n] = ""
    return {**columns, "label": label}


@pytest.fixture(scope="module")
def fitted() -> elman.Classifier:
    settings = {**SMALL, "epochs": 12, "learning_rate": 0.02}
    return elman.Classifier(**settings, inputs=INPUTS).fit(rows())


def test_each_input_alone_is_enough_if_it_was_trained_with_missing_ones(
    fitted: elman.Classifier,
) -> None:
    scores = fitted.evaluate(rows())
    assert scores["accuracy"] > 0.9
    for name in INPUTS:
        assert scores[f"accuracy with only {name}"] > 0.7, name
        assert scores[f"accuracy without {name}"] > 0.8, name


def test_the_report_has_the_scores_and_the_gate_of_each_input(
    fitted: elman.Classifier,
) -> None:
    table = fitted.metrics["tables"][-1]
    assert table["title"] == "Inputs (validation data)"
    assert [row[0] for row in table["rows"]] == list(INPUTS)
    gates = [float(row[-1]) for row in table["rows"]]
    assert all(0 < gate < 1 for gate in gates)
    names = [one["name"] for one in fitted.metrics["others"]]
    assert any(name.endswith("on numbers and categories") for name in names)
    assert any(name.startswith("review: ") for name in names)


def test_predictions_do_not_depend_on_the_other_rows(fitted: elman.Classifier) -> None:
    some: dict[str, Any] = {
        "review": ["so good", "", None, "so bad so bad"],
        "stars": [4.2, None, float("nan"), "3.1"],
        "colour": ["red", "blue", "red", "green"],  # the last one is unknown
    }
    whole = fitted.predict_proba(some)
    for n in range(4):
        (alone,) = fitted.predict_proba({name: [some[name][n]] for name in some})
        np.testing.assert_allclose(alone, whole[n], atol=1e-6)


def test_a_saved_model_predicts_the_same(fitted: elman.Classifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "run")
    loaded, data = elman.load(tmp_path / "run"), rows()
    np.testing.assert_array_equal(loaded.predict_proba(data), fitted.predict_proba(data))


@pytest.mark.parametrize("fusion", ["late", "attention", "early"])
@pytest.mark.parametrize("order", [("a", "n", "b"), ("n", "b", "a")])
def test_a_live_session_equals_the_batch_on_every_prefix(
    fusion: str, order: tuple[str, ...]
) -> None:
    kinds = {"a": "text", "b": "text", "n": "number"}
    data: dict[str, list[Any]] = {
        "a": ["one two three", "three two"] * 20,
        "b": ["x y", "z"] * 20,
        "n": [1.0, 2.0] * 20,
        "label": ["p", "q"] * 20,
    }
    inputs = {name: kinds[name] for name in order}
    settings = {**SMALL, "bidirectional": False, "wide": False, "fusion": fusion}
    model = elman.Classifier(**settings, inputs=inputs).fit(data)
    first = next(name for name in order if name != "n")  # numbers have no steps
    other = "b" if first == "a" else "a"
    for there in ("x y", None):
        live = model.stream(**{other: there, "n": 1.5})
        for count in (1, 2, 3):
            output = live.push(["one", "two", "three"][count - 1])
            item = {first: " ".join(["one", "two", "three"][:count]), other: there, "n": 1.5}
            (wanted,) = model.predict_proba({name: [item[name]] for name in item})
            np.testing.assert_allclose(list(output.values()), wanted, atol=1e-5)


def test_the_fused_vectors_are_those_of_the_equations() -> None:
    torch.manual_seed(0)
    value, sequence, moments = ReadValue(2, 4), ReadSequence(3, 1), ReadMoments()
    encoders = [Embed(5, 3), SeriesEmbed(2, []), Embed(5, 3), Embed(7, 2)]
    fuse = Fuse(encoders, [3, 2, 3, 2], [value, sequence, moments], [4, 4, 2]).eval()
    torch.nn.init.normal_(fuse.gate.weight)
    tokens, number = np.array([1, 2, 3]), np.array([[0.5, -1.0]], dtype=np.float32)
    places = at_moments(1, 0, 3, 0.5)  # two steps of the main input are one of this input
    joint = Joint(tokens, (number, np.array([4, 4]), np.array([6])[places]))
    with torch.no_grad():
        z = fuse(pad_arrays([joint])).data[0]
        x = encoders[0].weight[tokens]
        v = torch.tanh(value.layer(torch.tensor([0.5, -1.0])))
        states, last = sequence.read(encoders[2].weight[torch.tensor([[4, 4]])])
        late = torch.cat([states[0].amax(0), last[:, 0].flatten()])
        moment = torch.stack([encoders[3].weight[6], encoders[3].weight[6], fuse.missing[3]])
        e = torch.cat([x, v.expand(3, -1), late.expand(3, -1), moment], 1)
        gate = torch.sigmoid(e @ fuse.gate.weight.T + fuse.gate.bias)
        wanted = e * gate.repeat_interleave(torch.tensor([3, 4, 4, 2]), 1)
    torch.testing.assert_close(z, wanted)


def test_a_missing_input_is_its_learned_vector_and_has_a_gradient() -> None:
    fuse = Fuse([Embed(5, 3), Embed(7, 2)], [3, 2], [ReadSequence(2, 1)], [4]).train()
    batch = pad_arrays([Joint(np.array([1, 2]), (None,)), Joint(None, (np.array([3]),))])
    vectors, lengths = fuse.vectors(batch)
    assert lengths.tolist() == [2, 1]
    torch.testing.assert_close(vectors[0][1, 0], fuse.missing[0].data)
    torch.testing.assert_close(vectors[1][0, 0], fuse.missing[1].data)
    fuse(batch).data.sum().backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in fuse.missing)


def test_inputs_are_dropped_only_in_training_and_never_all_of_them() -> None:
    fuse = Fuse([Embed(5, 3), Embed(7, 2)], [3, 2], [ReadSequence(2, 1)], [4], dropped=0.9)
    item = Joint(np.array([1, 2]), (np.array([3]),))
    batch, draw = pad_arrays([item] * 200), torch.Generator().manual_seed(0)
    first, second = fuse.train().vectors(batch, generator=draw)[0]
    gone = torch.stack(
        [(one[:, 0] == fuse.missing[k]).all(1) for k, one in enumerate((first, second))], 1
    )
    assert int(gone.any(1).sum()) > 150
    assert not bool(gone.all(1).any())
    kept = Fuse(
        [Embed(5, 3), Embed(7, 2)],
        [3, 2],
        [ReadSequence(2, 1)],
        [4],
        dropped=0.9,
        main_dropped=False,
    )
    assert not bool((kept.train().vectors(batch)[0][0][:, 0] == kept.missing[0]).all(1).any())
    fuse.eval()
    torch.testing.assert_close(fuse(batch).data, fuse(batch).data[:1].expand(200, -1, -1))


def test_a_batch_without_any_item_of_an_input_is_read() -> None:
    fuse = Fuse([Embed(5, 3), Embed(7, 2)], [3, 2], [ReadSequence(2, 1)], [4]).eval()
    alone = fuse(pad_arrays([Joint(np.array([1, 2]), (None,))]))
    both = fuse(pad_arrays([Joint(np.array([1, 2]), (None,)), Joint(None, (np.array([3]),))]))
    torch.testing.assert_close(both.data[:1], alone.data)
    only = fuse(pad_arrays([Joint(None, (np.array([3]),))]))
    torch.testing.assert_close(both.data[1:, :1], only.data)
    assert isinstance(only, Padded)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("stars", ["many"], r"row 80: column 'stars': expected a number, got 'many'"),
        (
            "stars",
            [1e200],
            r"row 80: column 'stars': expected a number of at most 1e\+30, got '1e\+200'",
        ),
        ("stars", ["1,234"], r"row 80: column 'stars': expected a number, got '1,234'"),
        ("colour", [["red"]], r"row 80: column 'colour': expected a category, got \['red'\]"),
        ("review", [3.5], r"row 80"),
    ],
)
def test_a_bad_cell_is_named(column: str, value: list[Any], message: str) -> None:
    data = rows()
    for name in data:
        data[name] = data[name] + (value if name == column else data[name][:1])
    with pytest.raises(DataError, match=message):
        elman.Classifier(**SMALL, inputs=INPUTS).fit(data)


def test_columns_that_cannot_help_are_refused() -> None:
    data = rows()
    for name, message in (("stars", "is 1 in all training rows"), ("colour", "is '1' in all")):
        with pytest.raises(DataError, match=f"column {name!r}: {message}"):
            elman.Classifier(**SMALL, inputs=INPUTS).fit({**data, name: [1] * 80})
    with pytest.raises(DataError, match="column 'stars': is empty in all training rows"):
        elman.Classifier(**SMALL, inputs=INPUTS).fit({**data, "stars": [None] * 80})
    nothing = {name: [*values[:5], None] for name, values in rows(missing=0).items()}
    nothing["label"][-1] = 1
    with pytest.raises(DataError, match="row 5: all inputs are missing, expected review or stars"):
        elman.Classifier(**SMALL, inputs=INPUTS).fit(nothing)


def test_a_file_that_does_not_exist_is_a_missing_input_on_request(tmp_path: Path) -> None:
    from PIL import Image

    table = tmp_path / "a.csv"
    with table.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["photo", "review", "label"])
        for n in range(40):
            if n != 7:
                Image.fromarray(np.full((6, 6), 200 * (n % 2), np.uint8)).save(
                    tmp_path / f"{n}.png"
                )
            lines.writerow([f"{n}.png", "so good" if n % 2 else "so bad", n % 2])
    settings = {**SMALL, "inputs": {"photo": "image", "review": "text"}, "examples": 40}
    with pytest.raises(DataError, match=r"a\.csv: line 9: .*7\.png"):
        elman.Classifier(**settings).fit(table)
    model = elman.Classifier(**settings, missing_files=True).fit(table)
    assert model.predict_proba(table).shape == (40, 2)


def test_the_kinds_of_columns_are_guessed_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, table = rows(), tmp_path / "a.csv"
    data["id"] = list(range(80))
    data["same"] = ["x"] * 80
    with table.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(data)
        lines.writerows(zip(*data.values(), strict=True))
    flags = ["--hidden-size=4", "--epochs=1", "--device=cpu", f"--out={tmp_path / 'run'}"]
    assert main(["train", "classifier", str(table), *flags]) == 0
    shown = re.sub(r"\s+", " ", capsys.readouterr().err)
    assert "--input review:category --input stars:number --input colour:category" in shown
    model = elman.load(tmp_path / "run")
    assert model.described["inputs"] == ["review:category", "stars:number", "colour:category"]
    assert guess_columns(Table(data), "label")["stars"] == "number"
    assert elman.Classifier(**SMALL).fit(table).described["inputs"] == model.described["inputs"]


def test_settings_of_fusion_are_checked() -> None:
    with pytest.raises(ArgumentError, match=r"drop_inputs must be in \[0, 1\), got 1"):
        elman.Classifier(**SMALL, inputs=INPUTS, drop_inputs=1.0).fit(rows())


def test_numbers_alone_and_categories_alone_are_inputs() -> None:
    data = rows(missing=0)
    for name, kind in (("stars", "number"), ("colour", "category")):
        model = elman.Classifier(**{**SMALL, "learning_rate": 0.05}, inputs={name: kind}).fit(data)
        assert model.score(data) > 0.9
    values = {"stars": "number", "colour": "category"}
    assert elman.Classifier(**SMALL, inputs=values).fit(rows()).predict(data).shape == (80,)


def pictures(count: int = 40) -> dict[str, list[Any]]:
    """Return grey images and texts that show a label."""
    label = [n % 2 for n in range(count)]
    images = [np.full((9, 6), 20 + 200 * y, np.uint8) for y in label]
    return {"text": ["one two" if y else "three" for y in label], "pic": images, "label": label}


@pytest.mark.parametrize("order", [("text", "pic"), ("pic", "text")])
def test_early_fusion_trains_with_random_changes_of_images(order: tuple[str, str]) -> None:
    kinds, data = {"text": "text", "pic": "image"}, pictures()
    inputs = {name: kinds[name] for name in order}
    settings = {**SMALL, "examples": 40, "distort": 0.2}
    model = elman.Classifier(**settings, inputs=inputs, fusion="early").fit(data)
    assert model.predict(data).shape == (40,)


def test_decimal_commas_are_read() -> None:
    data = rows(missing=0)
    commas = {**data, "stars": [str(one).replace(".", ",") for one in data["stars"]]}
    assert guess_columns(Table(commas), "label")["stars"] == "number"
    ours, theirs = (elman.Classifier(**SMALL, inputs=INPUTS).fit(one) for one in (data, commas))
    np.testing.assert_array_equal(ours.predict_proba(data), theirs.predict_proba(data))
    thousands = elman.Classifier(**SMALL, inputs=INPUTS, decimal=".")
    with pytest.raises(DataError, match="expected a number, got"):
        thousands.fit(commas)
    with pytest.raises(ArgumentError, match="missing has an effect only on recordings"):
        elman.Classifier(**SMALL, inputs=INPUTS, missing=("-9",)).fit(data)


def test_codes_are_the_same_category_as_numbers_of_any_type() -> None:
    data = {**rows(missing=0), "colour": [n % 2 for n in range(80)]}
    model = elman.Classifier(**SMALL, inputs=INPUTS).fit(data)
    for code in ("1", 1.0, np.float64(1)):
        (item,) = model.items({"review": ["so"], "stars": [3.0], "colour": [code]})
        place = model.input_.reader.columns.index("colour")
        assert len(model.input_.parts[place].encode([item[place]])[0]) == 1


def test_plain_tuples_are_refused(fitted: elman.Classifier) -> None:
    with pytest.raises(ArgumentError, match="several inputs must be a table or a dict"):
        fitted.predict([("so good", 3.0, "red")])


def test_paths_in_a_frame_do_not_begin_at_the_folder_of_an_earlier_table(tmp_path: Path) -> None:
    from PIL import Image

    for n in range(2):
        Image.fromarray(np.full((6, 6), 9 * n, np.uint8)).save(tmp_path / f"{n}.png")
    lines = ["pic,review,label", *(f"{n % 2}.png,so {n % 2},{n % 2}" for n in range(40))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    inputs = {"pic": "image", "review": "text"}
    model = elman.Classifier(**SMALL, examples=40, inputs=inputs).fit(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"0\.png"):
        model.predict({"pic": ["0.png"], "review": ["so 1"]})
    (tmp_path / "b.csv").write_text("\n".join([*lines, "NA,so 1,1"]), encoding="utf-16")
    model = elman.Classifier(**SMALL, examples=40, encoding="utf-16").fit(tmp_path / "b.csv")
    assert model.described["inputs"] == ["pic:image", "review:category"]


def test_small_numbers_are_stored_and_huge_ones_are_refused(tmp_path: Path) -> None:
    data = rows(missing=0)
    small = {**data, "stars": [one * 1e-20 for one in data["stars"]]}
    model = elman.Classifier(**SMALL, inputs=INPUTS).fit(small)
    model.save(tmp_path / "run")
    loaded = elman.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.predict_proba(small), model.predict_proba(small))
    with pytest.raises(DataError, match="column 'stars': is 1e-300 in all training rows"):
        elman.Classifier(**SMALL, inputs=INPUTS).fit({**data, "stars": [1e-300, 2e-300] * 40})


def test_a_tagger_needs_its_main_input() -> None:
    data: dict[str, list[Any]] = {
        "words": [["a", "b"], ["c"]] * 20,
        "n": [1.0, 2.5] * 20,
        "tags": [["X", "Y"], ["X"]] * 20,
    }
    data["words"][4], data["tags"][4] = None, []
    with pytest.raises(DataError, match="row 4: column 'words' is empty, but each of its words"):
        elman.Tagger(**SMALL, inputs={"words": "words", "n": "number"}).fit(data)


def test_single_values_cannot_be_read_live(fitted: elman.Classifier) -> None:
    settings = {**SMALL, "bidirectional": False}
    model = elman.Classifier(**settings, inputs={"stars": "number"}).fit(rows(missing=0))
    with pytest.raises(ArgumentError, match="numbers are single values"):
        model.stream()


def test_many_categories_do_not_slow_the_baselines_down() -> None:
    data = rows(2000, missing=0)
    data["colour"] = [f"c{n % 900}" for n in range(2000)]
    model = elman.Classifier(**{**SMALL, "epochs": 1}, inputs=INPUTS).fit(data)
    place = model.input_.reader.columns.index("colour")
    assert model.input_.parts[place].table(["c1"]).shape[1] <= 50
