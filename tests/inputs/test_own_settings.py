"""Settings of each of several inputs: strings, descriptions, YAML, readers, folders, errors."""

from __future__ import annotations

import copy
import csv
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image as Pictures

import elman
from elman.arguments import hints_of, is_of_type
from elman.cli import main
from elman.errors import ArgumentError, DataError, FolderError
from elman.inputs.declared import KINDS as NAMES
from elman.inputs.declared import declare, read_declared, write_settings
from elman.inputs.descriptions import Description
from elman.inputs.fused_trained import Fused
from elman.inputs.kinds import READERS, check_kinds, reader_of
from elman.inputs.settings import READS, InputSettings
from elman.read.examples import Examples

RATE = 8000
SMALL: dict[str, Any] = {
    "hidden_size": 6,
    "epochs": 1,
    "batch_size": 8,
    "device": "cpu",
    "wide": False,
    "schedule": "constant",
}
SMALLER = {name: SMALL[name] for name in SMALL if name not in ("wide", "schedule")}
KINDS: list[type[Description]] = [
    *(elman.Text, elman.Words, elman.Recordings, elman.Audio, elman.Image),
    *(elman.Number, elman.Category),
]
MICROPHONES = {
    "near": elman.Audio(sample_rate=RATE, masks=0, speed=0, gain=0, shift=0, feature_size=12),
    "far": elman.Audio(sample_rate=4000, features="mfcc", frame_stack=2, running_norm="mean"),
}


def sounds(count: int = 16) -> dict[str, list[Any]]:
    """Return items with the sound of two microphones, which shows their label."""
    draw, time = np.random.default_rng(0), np.arange(RATE // 4) / RATE
    waves = [np.sin(2 * np.pi * (300 + 500 * (n % 2)) * time) for n in range(count)]
    noisy = [((0.3 * one + draw.normal(0, 0.02, len(one))), RATE) for one in waves]
    near = [(one.astype(np.float32), RATE) for one, _ in noisy]
    far = [(one.astype(np.float32) / 3, RATE) for one, _ in noisy]
    return {"near": near, "far": far, "label": ["low", "high"] * (count // 2)}


def table(folder: Path, columns: dict[str, list[Any]]) -> Path:
    """Write items to a table, and their sounds and images to files."""
    cells: dict[str, list[Any]] = {}
    for name, values in columns.items():
        cells[name] = []
        for n, one in enumerate(values):
            if isinstance(one, tuple):
                soundfile.write(folder / f"{name}{n}.wav", *one, subtype="FLOAT")
                one = f"{name}{n}.wav"
            elif isinstance(one, np.ndarray):
                Pictures.fromarray(one).save(folder / f"{name}{n}.png")
                one = f"{name}{n}.png"
            cells[name].append(one)
    with (folder / "data.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(cells)
        rows.writerows(zip(*cells.values(), strict=True))
    return folder / "data.csv"


def parts_of(model: Any) -> dict[str, Any]:
    """Return the inputs after training, by column."""
    learned = model.input_
    assert isinstance(learned, Fused)
    return dict(zip(learned.reader.columns, learned.parts, strict=True))


# Strings and descriptions.


def another(name: str) -> object:
    """Return a value of a setting that is not the usual one."""
    usual, hint = getattr(InputSettings, name), hints_of(InputSettings)[name][0]
    some = [not usual, 7, 0.25, "x, y", ("x", "y"), "mfcc", "mean", "columns", "word", ","]
    return next(one for one in some if one != usual and one is not None and is_of_type(one, hint))


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_description_becomes_a_string_from_which_its_settings_are_read(
    kind: type[Description],
) -> None:
    other = {name: another(name) for name in READS[kind.kind]}
    settings = InputSettings(inputs=(f"a:{kind(**other)}", "b:category"))
    found = settings.of_input("a")
    assert {name: getattr(found, name) for name in other} == other
    assert settings.of_input("b") is settings
    assert found.inputs == (f"a:{kind.kind}",)


def test_there_is_a_description_of_each_kind_and_it_has_the_settings_of_the_kind() -> None:
    assert [one.kind for one in KINDS] == list(READERS) == list(READS) == list(NAMES)
    known = set(InputSettings.__dataclass_fields__)
    assert all(set(names) <= known for names in READS.values())


class Watched(InputSettings):
    """Settings that remember which of them are read."""

    seen: set[str]

    def __getattribute__(self, name: str) -> Any:
        if name in InputSettings.__dataclass_fields__:
            object.__getattribute__(self, "seen").add(name)
        return object.__getattribute__(self, name)


ITEMS: dict[str, list[Any]] = {
    "text": ["so good a film", "so bad a film"] * 4,
    "words": [["so", "good"], ["so", "bad"]] * 4,
    "audio": sounds(8)["near"],
    "image": [np.full((6, 6), 20 + n, np.uint8) for n in range(8)],
    "number": ["1,5", "2"] * 4,
    "category": ["red", "blue"] * 4,
}


@pytest.mark.parametrize("kind", ITEMS)
def test_a_description_has_the_settings_that_its_kind_reads(kind: str) -> None:
    settings = Watched()
    settings.seen = set()
    reader = reader_of(settings, [f"a:{kind}"])
    items = [reader.item(one, "row 0") for one in ITEMS[kind]]
    learned = reader.learn(Examples(items, [0, 1] * 4, [""] * 8), [])
    learned.encode(items)
    learned.layer(settings)
    learned.change()
    learned.prepare([])
    if kind == "image":
        learned.states(4)
    settings.seen |= {"noise_snr", "max_seconds"} if kind == "audio" else set()
    of_tables = {"encoding", "delimiter", "missing", "categorical", "numeric"}
    others = {"hidden_size", "inputs", "group", *of_tables}
    others |= set() if kind == "number" else {"decimal"}
    assert settings.seen - others == set(READS[kind])


@pytest.mark.parametrize(
    ("text", "column", "kind", "settings"),
    [
        ("audio", None, "audio", {}),
        ("a:b:audio", "a:b", "audio", {}),
        ("a,b=text", "a,b", "text", {}),
        ("x:number,decimal=,", "x", "number", {"decimal": [","]}),
        ("x:audio,noise=a:b,c=d,gain=1", "x", "audio", {"noise": ["a:b"], "c": ["d"]}),
        ("x:audio, sample-rate=8", "x", "audio", {"sample_rate": ["8"]}),
    ],
)
def test_strings_of_inputs_are_read(text: str, column: str, kind: str, settings: Any) -> None:
    found = read_declared(text)
    assert (found.column, found.kind) == (column, kind)
    assert settings.items() <= dict(found.settings).items()


def test_values_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(ArgumentError, match="noise of an input must not contain ',NAME='"):
        elman.Audio(noise="a,gain=3")
    assert read_declared(f"a:audio{write_settings({'noise': 'a, b'})}").settings["noise"] == [
        "a, b"
    ]


def test_descriptions_are_values() -> None:
    one = elman.Audio(gain=0, sample_rate=np.int64(RATE))
    assert one == elman.Audio(sample_rate=RATE, gain=0)
    assert one != elman.Audio()
    assert hash(one) == hash(copy.deepcopy(one))
    assert pickle.loads(pickle.dumps(one)) == one
    assert repr(one) == "Audio(sample_rate=8000, gain=0)"
    for name in ("settings", "sample_rate"):
        with pytest.raises(AttributeError):
            setattr(one, name, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: elman.Audio(sample_rat=1), "audio has no setting 'sample_rat'; did you mean 's"),
        (
            lambda: elman.Audio(mirror=True),
            "audio has no setting 'mirror'; it has 'sample_rate', ",
        ),
        (lambda: elman.Audio(audio="path"), "audio has no setting 'audio'; it has"),
        (lambda: elman.Category(tokens="word"), "category has no setting 'tokens'; it has none"),
        (lambda: elman.Audio(sample_rate="x"), "sample_rate must be a whole number, got 'x'"),
        (lambda: elman.Text(tokens="letter"), "tokens must be one of word, character, byte, bpe"),
        (lambda: declare({"a": None}), "inputs: a: expected a kind such as text.*got None"),
        (lambda: declare({"a": {"gain": 1}}), "inputs: a: expected a kind"),
        (
            lambda: read_declared("a:audio,mirror"),
            "expected setting=value after each comma, got 'm",
        ),
    ],
)
def test_wrong_descriptions_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


# Errors of a model.


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (["a:audio,sample_rat=8", "b:text"], {}, "^a: audio has no setting 'sample_rat'; did you"),
        (["a:audio,sample_rate=8", "b:text"], {}, "^a: sample_rate must be in 1,000..192,000 Hz,"),
        (["a:audio,sample_rate=x", "b:text"], {}, "^a: sample_rate must be a whole number, got 'x"),
        (["a:audio,gain=1,gain=2", "b:text"], {}, "^a: gain must be a number, got"),
        (["a:audio,convolution=4,frame_stack=2", "b:text"], {}, "^a: convolution reads 7 frames"),
        (["a:image,distort=2", "b:text"], {}, r"^a: distort must be in \[0, 0.5\), got 2"),
        (["a:image,patch_size=2", "b:text"], {}, "^a: patch_size has no effect without scan=patch"),
        (["a:audoi,gain=1", "b:text"], {}, "inputs must be KIND or .*got 'a:audoi'"),
        (["audio,sample_rate=8"], {}, "^audio: sample_rate must be in 1,000..192,000 Hz, got 8"),
        (["a:text,vectors=glove", "b:text"], {}, "vectors needs texts as the only input"),
        (
            ["a:audio,gain=1", "b:audio,gain=2"],
            {"gain": 3},
            "gain has no effect, because each of the audio clips has its own gain; omit gain",
        ),
        (["a:text", "b:number"], {"mirror": True}, "mirror has no effect on texts, only on images"),
    ],
)
def test_wrong_settings_of_one_input_are_refused_with_its_column(
    inputs: list[str], options: dict[str, Any], message: str
) -> None:
    data = {"a": ["so good", "so bad"] * 8, "b": ["1", "2"] * 8, "label": [0, 1] * 8}
    with pytest.raises(ArgumentError, match=message):
        elman.Classifier(**SMALL, **options, inputs=inputs).fit(data)


def test_a_setting_of_the_model_is_that_of_the_inputs_without_their_own() -> None:
    settings = InputSettings(inputs=("a:audio,gain=1", "b:audio"), gain=3)
    check_kinds(settings, ["a:audio", "b:audio"])
    assert (settings.of_input("a").gain, settings.of_input("b").gain) == (1, 3)
    none = InputSettings(inputs=("a:audio,gain=none", "b:audio"), gain=3)
    assert none.of_input("a").gain is None


# Models.


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> tuple[elman.Classifier, Path, Path]:
    folder = tmp_path_factory.mktemp("heard")
    data = table(folder, sounds())
    model = elman.Classifier(**SMALL, inputs=MICROPHONES, bidirectional=False, examples=16)
    return model.fit(data, out=folder / "run"), data, folder / "run"


def test_each_of_two_microphones_is_read_with_its_own_settings(
    heard: tuple[elman.Classifier, Path, Path],
) -> None:
    model, _, _ = heard
    near, far = parts_of(model).values()
    assert (near.index.rate, near.index.size, near.index.kind) == (RATE, 12, "log-mel")
    assert (far.index.rate, far.index.size, far.index.kind) == (4000, 13, "mfcc")
    assert (far.index.stack, far.index.running) == (2, "mean")
    assert near.change() is None
    assert far.change() is not None
    assert model.inputs[0].startswith("near:audio,sample_rate=8000,")
    assert model.described["inputs"] == ["near:audio", "far:audio"]
    assert near.reader.settings.sample_rate == RATE
    assert model.input_.reader.settings.sample_rate is None


def test_two_microphones_are_loaded_resumed_evaluated_and_read_live(
    heard: tuple[elman.Classifier, Path, Path],
) -> None:
    model, data, run = heard
    loaded = elman.load(run)
    assert isinstance(loaded, elman.Classifier)
    assert loaded.inputs == model.inputs
    p = model.predict_proba(data)
    np.testing.assert_array_equal(loaded.predict_proba(data), p)
    assert loaded.evaluate(data) == model.evaluate(data)
    columns = sounds()
    live = loaded.stream(far=columns["far"][1])
    for chunk in np.array_split(columns["near"][1][0], 5):
        output = live.push(chunk)
    output = live.finish() or output
    np.testing.assert_allclose(list(output.values()), p[1], atol=1e-4)
    resumed = elman.Classifier.resume(run, epochs=2)
    straight = elman.Classifier(
        **{**SMALL, "epochs": 2}, inputs=MICROPHONES, bidirectional=False, examples=16
    ).fit(data)
    np.testing.assert_array_equal(resumed.predict_proba(data), straight.predict_proba(data))


def test_the_card_the_report_and_the_config_show_the_settings(
    heard: tuple[elman.Classifier, Path, Path],
) -> None:
    _, _, run = heard
    shown = "far:audio,sample_rate=4000,features=mfcc,frame"
    for name in ("config.json", "report.html"):
        assert shown in (run / name).read_text(), name
    assert shown.replace("_", r"\_") in (run / "README.md").read_text()


def test_a_photo_and_a_scan_have_their_own_layers_and_sizes(tmp_path: Path) -> None:
    pictures = [np.full((24, 18), 20 + 200 * (n % 2), np.uint8) for n in range(16)]
    data = {"photo": pictures, "scan": pictures, "label": [0, 1] * 8}
    inputs = {
        "photo": elman.Image(convolution=0, image_height=6, distort=0, embedding_size=5),
        "scan": elman.Image(scan="columns", convolution=4),
    }
    model = elman.Classifier(**SMALL, inputs=inputs, examples=16).fit(data)
    photo, scan = parts_of(model).values()
    assert (photo.index.height, photo.index.scan, photo.states(6)) == (6, "rows", 6)
    assert (scan.index.height, scan.index.scan, scan.states(24)) == (24, "columns", 6)
    assert photo.change() is None
    assert scan.change() is not None
    first, second = model.model.encode.encoders
    assert first.size == 5
    assert sum(p.numel() for p in second.parameters()) > 0
    model.save(tmp_path / "run")
    loaded = elman.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.predict_proba(data), model.predict_proba(data))


def test_texts_have_their_own_tokens_in_every_task() -> None:
    data: dict[str, list[Any]] = {
        "a": [["so", "good"], ["so", "bad"]] * 8,
        "b": ["ab", "ba"] * 8,
        "c": ["one two", "two"] * 8,
    }
    inputs = {"a": "words", "b": elman.Text(tokens="character", min_count=1), "c": "text"}
    tagger = elman.Tagger(**SMALLER, inputs=inputs).fit({**data, "tags": [["X", "Y"]] * 16})
    assert [one.vocabulary.tokens for one in tagger.input_.parts[1:]] == ["character", "word"]
    translator = elman.Translator(**SMALLER, inputs=inputs, tokens="word").fit(
        {name: values * 2 for name, values in {**data, "target": ["eins", "zwei"] * 8}.items()}
    )
    assert [one.vocabulary.tokens for one in translator.input_.parts[1:]] == ["character", "word"]
    assert translator.texts.vocabulary.tokens == "word"


def test_a_transcriber_reads_two_microphones() -> None:
    columns = sounds()
    data = {**columns, "text": columns.pop("label")}
    model = elman.Transcriber(**SMALLER, inputs=MICROPHONES, tokens="word", min_count=1).fit(data)
    assert [one.index.rate for one in model.input_.parts] == [RATE, 4000]
    assert len(model.predict({"near": columns["near"][:1], "far": columns["far"][:1]})) == 1


@pytest.mark.parametrize("inputs", [elman.Audio(sample_rate=4000), "audio,sample_rate=4000"])
def test_a_single_input_has_its_own_settings(inputs: Any, tmp_path: Path) -> None:
    columns = sounds()
    clips, labels = columns["near"], columns["label"]
    own = elman.Classifier(**SMALL, inputs=inputs, examples=16).fit(clips, labels)
    usual = elman.Classifier(**SMALL, inputs="audio", sample_rate=4000, examples=16)
    p = usual.fit(clips, labels).predict_proba(clips)
    np.testing.assert_array_equal(own.predict_proba(clips), p)
    own.save(tmp_path / "run")
    np.testing.assert_array_equal(elman.load(tmp_path / "run").predict_proba(clips), p)


def test_a_single_column_has_its_own_settings(tmp_path: Path) -> None:
    columns = {name: values for name, values in sounds().items() if name != "far"}
    model = elman.Classifier(**SMALL, inputs={"near": elman.Audio(sample_rate=4000)}, examples=16)
    data = table(tmp_path, columns)
    model.fit(data, out=tmp_path / "run")
    assert model.input_.index.rate == 4000  # type: ignore[attr-defined]
    assert elman.load(tmp_path / "run").predict(data).shape == (16,)


def test_recordings_have_windows_and_names_of_their_own(tmp_path: Path) -> None:
    rows = {"who": [], "x": [], "label": []}  # type: ignore[var-annotated]
    for n in range(16):
        rows["who"] += [f"w{n}"] * 8
        rows["x"] += [(n % 2) * (k % 2) for k in range(8)]
        rows["label"] += [n % 2] * 8
    data, out = table(tmp_path, rows), tmp_path / "run"
    own = elman.Recordings(channels=["x"], unique_id="who", window=4, overlap=0.0)
    options = {"channels": ("x",), "unique_id": "who", "window": 4, "overlap": 0.0}
    model = elman.Classifier(**SMALL, inputs=own, examples=16).fit(data, out=out)
    usual = elman.Classifier(**SMALL, **options, examples=16).fit(data)
    np.testing.assert_array_equal(model.predict_proba(data), usual.predict_proba(data))
    assert main(["predict", str(out), "--file", str(data), "--out", str(tmp_path / "o.csv")]) == 0
    assert (tmp_path / "o.csv").read_text().startswith("who,")


def test_a_recording_of_several_rows_among_several_inputs_has_its_own_channels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns: dict[str, list[Any]] = {"who": [], "x": [], "age": [], "label": []}
    for n in range(16):
        columns["who"] += [f"w{n}"] * 4
        columns["x"] += [(n % 2) * (k % 2) for k in range(4)]
        columns["age"] += [20 + n] * 4
        columns["label"] += [n % 2] * 4
    data, run = table(tmp_path, columns), tmp_path / "run"
    own = elman.Recordings(channels="x", unique_id="who", elapsed=False)
    usual: dict[str, Any] = {"channels": ("x",), "unique_id": "who", "elapsed": False}
    inputs = {"move": "recordings", "age": "number"}
    models = [
        elman.Classifier(**SMALL, examples=16, inputs=inputs, **usual).fit(data),
        elman.Classifier(**SMALL, examples=16, inputs={**inputs, "move": own}).fit(data, out=run),
        elman.load(run),
    ]
    first, *others = (model.predict_proba(data) for model in models)
    for p in others:
        np.testing.assert_array_equal(p, first)
    assert main(["predict", str(run), "--file", str(data), "--out", str(tmp_path / "o.csv")]) == 0
    assert (tmp_path / "o.csv").read_text().startswith("who,")
    flags = [f"--input={one}" for one in models[1].inputs]
    assert main(["look", str(data), "--task=classifier", *flags]) == 0
    assert re.search(r"\bx +--channels", capsys.readouterr().out)
    both = {"move": elman.Recordings(channels="x", window=3), "age": "number"}
    with pytest.raises(ArgumentError, match="window has no effect on several inputs"):
        elman.Classifier(**SMALL, inputs=both).fit(data)


def test_a_source_has_other_tokens_than_its_target() -> None:
    sources, targets = ["ab cd", "cd ab"] * 16, ["eins zwei", "zwei eins"] * 16
    source = elman.Text(tokens="character", embedding_size=4)
    model = elman.Translator(**SMALLER, inputs=source, tokens="word").fit(sources, targets)
    assert [one.tokens for one in model.vocabularies] == ["character", "word"]
    assert len(model.predict(["ab"])) == 1
    for options in ({"shared": True}, {"cell": "transformer", "hidden_size": 8}):
        with pytest.raises(ArgumentError, match="needs the same settings for source and target"):
            elman.Translator(**{**SMALLER, **options}, inputs=source).fit(sources, targets)


def test_a_single_text_begins_with_its_own_word_vectors(tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_text("good 1 0 0\nbad 0 1 0\nso 0 0 1\n")
    texts, labels = ["so good", "so bad"] * 8, [1, 0] * 8
    inputs = elman.Text(vectors=tmp_path / "vectors.txt", max_tokens=5)
    model = elman.Classifier(**SMALL, inputs=inputs).fit(texts, labels, out=tmp_path / "run")
    assert model.model.encode.weight.shape[1] == 3
    assert elman.load(tmp_path / "run").predict(texts).tolist() == model.predict(texts).tolist()
    book = tmp_path / "book"
    elman.LanguageModel(epochs=1, hidden_size=6, device="cpu").fit(texts * 9).save(book)
    other: dict[str, Any] = {"start_from": book, "bidirectional": False}
    with pytest.raises(ArgumentError, match="start_from and vectors cannot be combined"):
        elman.Classifier(**SMALL, **other, inputs=inputs).fit(texts, labels)
    with pytest.raises(ArgumentError, match="tokens=character: the language model in"):
        elman.Classifier(**SMALL, **other, inputs="text,tokens=character").fit(texts, labels)


def test_a_clip_of_several_inputs_can_be_too_long() -> None:
    inputs = {"near": elman.Audio(max_seconds=0.2), "far": "audio"}
    with pytest.raises(DataError, match=r"row 0.*lasts 0.25 s, more than max_seconds=0.2"):
        elman.Classifier(**SMALL, inputs=inputs).fit(sounds())


def test_paths_in_the_settings_of_an_input_are_relative_in_a_folder(tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.mkdir()
    soundfile.write(noise / "n.wav", np.full(RATE, 0.1), RATE)
    inputs = {"near": elman.Audio(noise=noise), "far": "audio"}
    model = elman.Classifier(**SMALL, inputs=inputs, examples=16)
    model.fit(sounds(), out=tmp_path / "run")
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert settings["inputs"] == ["near:audio,noise=../noise", "far:audio"]
    assert elman.load(tmp_path / "run").inputs[0] == f"near:audio,noise={noise}"
    report = (tmp_path / "run" / "report.html").read_text()
    assert "near:audio,noise=noise" in report
    assert str(tmp_path) not in report + (tmp_path / "run" / "README.md").read_text()


def test_a_damaged_setting_of_an_input_is_an_error_of_the_config(tmp_path: Path) -> None:
    data = {"a": ["so good", "so bad"] * 8, "b": ["1", "2"] * 8, "label": [0, 1] * 8}
    inputs = {"a": elman.Text(min_count=1), "b": "number"}
    elman.Classifier(**SMALL, inputs=inputs).fit(data, out=tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace("min_count=1", "min_count=x"))
    with pytest.raises(FolderError, match="min_count must be a whole number, got 'x'"):
        elman.load(tmp_path / "run")


def test_a_search_over_settings_of_inputs_clones_the_model() -> None:
    from sklearn.base import clone

    model = elman.Classifier(inputs={"a": elman.Text(min_count=1), "b": "number"})
    assert clone(model).inputs == model.inputs
    model.set_params(inputs=elman.Text(min_count=3))
    assert model.inputs == ("text,min_count=3",)


# The command line.


def test_flags_and_yaml_have_the_settings_of_each_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path, {"review": ["so good", "so bad"] * 8, **sounds()})
    flags = [
        *("--hidden-size=4", "--epochs=1", "--device=cpu", "--examples=16"),
        *("--input=review:text", "--input=near:audio,sample-rate=4000,masks=0"),
    ]
    assert main(["train", "classifier", str(data), *flags, f"--out={tmp_path / 'a'}"]) == 0
    (tmp_path / "c.yaml").write_text(
        "inputs:\n  review: text\n  near: {kind: audio, sample_rate: 4000, masks: 0}\n"
        "hidden_size: 4\nepochs: 1\ndevice: cpu\nexamples: 16\n"
    )
    config = [f"--config={tmp_path / 'c.yaml'}", f"--out={tmp_path / 'b'}"]
    assert main(["train", "classifier", str(data), *config]) == 0
    a, b = elman.load(tmp_path / "a"), elman.load(tmp_path / "b")
    assert b.inputs == ("review:text", "near:audio,sample_rate=4000,masks=0")
    assert parts_of(a)["near"].index.rate == 4000
    np.testing.assert_array_equal(a.predict_proba(data), b.predict_proba(data))
    capsys.readouterr()
    assert main(["look", str(data), "--task=classifier", *flags]) == 0
    shown = capsys.readouterr().out
    assert "--input near:audio,sample-rate=4000,masks=0" in shown
    assert main(["info", str(tmp_path / "b")]) == 0
    assert "near:audio,sample_rate=4000,masks=0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("near:audio,sample_rate=5", "near: sample_rate must be in 1,000..192,000 Hz, got 5"),
        (
            "near:audio,sample_rat=5",
            "near: audio has no setting 'sample_rat'; did you mean 'sample_rate'",
        ),
        ("near:audio,gain", "expected setting=value after each comma, got 'gain'"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(
    flag: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path, {"near": ["a.wav"], "label": ["x"]})
    command = ["train", "classifier", str(data), f"--input={flag}", "--input=label:category"]
    assert main([*command, f"--out={tmp_path / 'run'}"]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1


def test_a_wrong_yaml_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = table(tmp_path, {"near": ["a.wav"], "label": ["x"]})
    (tmp_path / "c.yaml").write_text("inputs:\n  near: {sample_rate: 4000}\n")
    command = ["train", "classifier", str(data), f"--config={tmp_path / 'c.yaml'}"]
    assert main([*command, f"--out={tmp_path / 'run'}"]) == 2
    assert "c.yaml: inputs: near: expected a kind such as text" in capsys.readouterr().err
