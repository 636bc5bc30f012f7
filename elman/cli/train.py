"""`elman train TASK` and `elman resume`; most flags and their help are fields of the tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal  # noqa: F401 - cyclopts looks up types of settings here

from cyclopts import Parameter

from elman.cli.app import SETTINGS, RunFolder, SkipBadRows, app, train
from elman.cli.show import print_metrics
from elman.errors import ArgumentError
from elman.settings import TableSettings
from elman.tasks import Classifier, Forecaster, LanguageModel, Tagger, Translator, task_of

Sizes = Annotated[tuple[int, ...], Parameter(show_default=lambda sizes: " ".join(map(str, sizes)))]
Files = Annotated[tuple[Path, ...], Parameter(show_default=False)]
Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True)]
Out = Annotated[Path, Parameter(help="Folder for the model, its checkpoints and its report.")]
Overwrite = Annotated[
    bool, Parameter(negative="", help="Replace the model that is in the folder already.")
]
Config = Annotated[
    Path | None,
    Parameter(
        help='YAML file with settings, such as "hidden_size: 512"; flags take precedence over it.'
    ),
]
Flags = Parameter(name="*", group=SETTINGS, negative_none="no-")


@dataclass(kw_only=True)
class LanguageModelFlags(LanguageModel):
    """The settings of a language model as flags; the parser takes no union of int and tuple."""

    hidden_size: Sizes = (256,)


@dataclass(kw_only=True)
class TableFlags(TableSettings):
    """The settings of columns of tables as flags."""

    missing: Names = ()
    categorical: Names = ()
    numeric: Names = ()


@dataclass(kw_only=True)
class ClassifierFlags(TableFlags, Classifier):
    """The settings of a classifier as flags."""

    hidden_size: Sizes = (128,)
    channels: Names = ()
    static: Names = ()


@train.command(name="language-model")
def train_language_model(
    text: Path,
    /,
    *,
    out: Out,
    validation: Path | None = None,
    test: Path | None = None,
    overwrite: Overwrite = False,
    config: Config = None,  # noqa: ARG001 - read by `use_config` before the flags are
    settings: Annotated[LanguageModelFlags, Flags] = LanguageModelFlags(),  # noqa: B008
) -> None:
    """Train a model that predicts the next word of a text.

    Example: elman train language-model book.txt --out runs/book --epochs 5

    Parameters
    ----------
    text
        A text file, a folder of text files, or a CSV, JSONL or Parquet file with --column; also
        compressed (.gz).
    validation
        Text that chooses the best weights; without it, a part of the training text is held out.
    test
        Text that is only scored at the end.
    """
    model = settings.fit(text, validation, test=test, out=out, overwrite=overwrite, show=True)
    print_metrics(model.metrics, out)


@dataclass(kw_only=True)
class Run:
    """The folder and the data of a run."""

    out: Out
    validation: Files = ()
    """Data that choose the best weights, in the same form as the training data; without them, a
    part of the training data is held out. Give it twice for two files, in the same order."""
    test: Files = ()
    """Data in the same form that are only scored at the end."""
    overwrite: Overwrite = False
    skip_bad_rows: SkipBadRows = None
    config: Config = None  # read by `use_config` before the flags are

    def train(
        self, model: Classifier | Tagger | Translator, first: Path, second: Path | None
    ) -> None:
        """Train the model and print the scores."""
        fitted = model.fit(
            first, second, validation=_pair(self.validation, "validation"),
            test=_pair(self.test, "test"), out=self.out, overwrite=self.overwrite,
            skip_bad_rows=self.skip_bad_rows, show=True,
        )  # fmt: skip
        print_metrics(fitted.metrics, self.out)


@train.command(name="classifier")
def train_classifier(
    data: Path,
    labels: Path | None = None,
    /,
    *,
    run: Annotated[Run, Parameter(name="*")],
    settings: Annotated[ClassifierFlags, Flags] = ClassifierFlags(),  # noqa: B008
) -> None:
    """Train a classifier of texts or recordings, such as sentiment, topic, movement or risk.

    Example: elman train classifier reviews.csv --text review --label stars --out runs/reviews

    Example: elman train classifier watch.csv --channels ax ay az --rate 50 --window 200 --out
    runs/watch

    Example: elman train classifier records.csv outcomes.csv --variable name --out runs/risk

    Parameters
    ----------
    data
        A table with a column of texts and a column of labels (CSV, TSV, JSONL, Parquet; also .gz),
        a folder that contains a folder of files for each label, or a file with one text per line.
        For recordings, a table with columns unique_id, ds, label and those of --channels, or with
        one measurement per row and --variable and --value; or a folder with a table for each.
    labels
        For a file with one text per line: the file with the labels. For recordings, a table with
        columns unique_id and label; for parts of recordings, also start and end.
    """
    run.train(settings, data, labels)


@dataclass(kw_only=True)
class TaggerFlags(TableFlags, Tagger):
    """The settings of a tagger as flags."""

    hidden_size: Sizes = (128,)
    channels: Names = ()
    static: Names = ()


@train.command(name="tagger")
def train_tagger(
    data: Path,
    tag_file: Path | None = None,
    /,
    *,
    run: Annotated[Run, Parameter(name="*")],
    settings: Annotated[TaggerFlags, Flags] = TaggerFlags(),  # noqa: B008
) -> None:
    """Train a tagger of words or steps, such as parts of speech, entities or activities.

    Example: elman train tagger en-train.conllu --validation en-dev.conllu --out runs/tags

    Example: elman train tagger trips.csv events.csv --channels ax ay az --rate 20 --out runs/trips

    Parameters
    ----------
    data
        CoNLL-U; columns of words and tags with a blank line after each sentence (.conll); a table
        with a column of words and a column of tags; or a file with one sentence per line. For
        recordings, a table with columns unique_id, ds, label and those of --channels, or a folder
        with a table for each.
    tag_file
        For a file with one sentence per line: the file with the tags of its words. For recordings,
        a table of events with columns unique_id, label, start, end.
    """
    run.train(settings, data, tag_file)


@dataclass(kw_only=True)
class TranslatorFlags(Translator):
    """The settings of a translator as flags."""

    hidden_size: Sizes = (256,)


@train.command(name="translator")
def train_translator(
    sources: Path,
    targets: Path | None = None,
    /,
    *,
    run: Annotated[Run, Parameter(name="*")],
    settings: Annotated[TranslatorFlags, Flags] = TranslatorFlags(),  # noqa: B008
) -> None:
    """Train a translator from text to text; with --kind also for summaries or dialogue.

    Example: elman train translator train.de train.en --out runs/de-en

    Example: elman train translator mails.jsonl --source body --target subject --kind summary --out
    runs/subjects

    Example: elman train translator dialogues.txt --kind dialogue --out runs/talk

    Parameters
    ----------
    sources
        A file with one text per line, or a table with a column of sources and a column of targets
        (CSV, TSV, JSONL, Parquet; also .gz). For dialogue without TARGETS: one conversation per
        line with --separator between turns, or a table with --conversation.
    targets
        A file with the target of each line.
    """
    run.train(settings, sources, targets)


@dataclass(kw_only=True)
class ForecasterFlags(TableFlags, Forecaster):
    """The settings of a forecaster as flags."""

    hidden_size: Sizes = (128,)
    targets: Names = ("y",)
    past: Names = ()
    future: Names = ()
    static: Names = ()


@train.command(name="forecaster")
def train_forecaster(
    series: Path,
    /,
    *,
    out: Out,
    test: Path | None = None,
    overwrite: Overwrite = False,
    skip_bad_rows: SkipBadRows = None,
    config: Config = None,  # noqa: ARG001 - read by `use_config` before the flags are
    settings: Annotated[ForecasterFlags, Flags] = ForecasterFlags(),  # noqa: B008
) -> None:
    """Train a forecaster of numbers over time, such as prices, loads, weather or sales.

    Example: elman train forecaster sales.csv --horizon 28 --out runs/sales

    Parameters
    ----------
    series
        A table (CSV, TSV, JSONL, Parquet; also .gz) with one row for each series and time: columns
        unique_id, ds and y, or others that are named by flags. With --wide, each series is a
        column.
    test
        Data in the same form that continue the series and are only scored at the end.
    """
    fitted = settings.fit(
        series, test=test, out=out, overwrite=overwrite, skip_bad_rows=skip_bad_rows, show=True
    )
    print_metrics(fitted.metrics, out)


def _pair(paths: tuple[Path, ...], name: str) -> Path | tuple[Path, Path] | None:
    if len(paths) > 2:
        raise ArgumentError(f"{name} must be a table or two files, got {len(paths)} files")
    return None if not paths else paths[0] if len(paths) == 1 else (paths[0], paths[1])


@app.command
def resume(
    run: RunFolder, /, *, learning_rate: float | None = None, epochs: int | None = None
) -> None:
    """Continue a stopped training run; the result is the same as without the stop.

    Parameters
    ----------
    learning_rate
        New learning rate, for example after a divergence.
    epochs
        New total number of epochs. With schedule cosine the learning rate then follows the new
        number, so the result differs from that of one run of this many epochs.
    """
    model = task_of(run).resume(run, learning_rate=learning_rate, epochs=epochs, show=True)
    print_metrics(model.metrics, run)
