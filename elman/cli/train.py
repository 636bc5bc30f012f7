"""`elman train TASK` and `elman resume`: flags and help come from the fields of the tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal  # noqa: F401 - types of the settings are looked up here

from cyclopts import Parameter

from elman.cli.app import SETTINGS, app, train
from elman.cli.show import print_metrics
from elman.errors import ArgumentError
from elman.tasks import Classifier, Forecaster, LanguageModel, Tagger, Translator, task_of
from elman.tasks.settings import TableSettings

Sizes = Annotated[tuple[int, ...], Parameter(show_default=lambda sizes: " ".join(map(str, sizes)))]
Files = Annotated[tuple[Path, ...], Parameter(show_default=False)]
Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True)]
Overwrite = Annotated[bool, Parameter(negative="")]
Flags = Parameter(name="*", group=SETTINGS, negative_none="no-")


@dataclass(kw_only=True)
class LanguageModelFlags(LanguageModel):
    """The fields as flags: "one number or several" is one type more than the parser takes."""

    hidden_size: Sizes = (256,)


@dataclass(kw_only=True)
class TableFlags(TableSettings):
    """The same for the columns of tables."""

    missing: Names = ()
    categorical: Names = ()
    numeric: Names = ()


@dataclass(kw_only=True)
class ClassifierFlags(TableFlags, Classifier):
    """The same."""

    hidden_size: Sizes = (128,)
    channels: Names = ()
    static: Names = ()


@train.command(name="language-model")
def train_language_model(
    text: Path,
    /,
    *,
    out: Path,
    validation: Path | None = None,
    test: Path | None = None,
    overwrite: Overwrite = False,
    config: Path | None = None,  # noqa: ARG001 - read by `use_config` before the flags are
    settings: Annotated[LanguageModelFlags, Flags] = LanguageModelFlags(),  # noqa: B008
) -> None:
    """Train a next-word model on a text.

    Example: elman train language-model book.txt --out runs/book --epochs 5

    Parameters
    ----------
    text
        A text file, a folder of them, or a CSV, JSONL or Parquet file with --column; .gz too.
    out
        Folder for the model, its checkpoints and its report.
    validation
        Text for choosing the best weights; without it a part of the text is held out.
    test
        Text that is scored at the end and has no influence.
    overwrite
        Replace a model that the folder holds.
    config
        A YAML file with settings, such as "hidden_size: 512"; flags win over it.
    """
    model = settings.fit(text, validation, test=test, out=out, overwrite=overwrite, show=True)
    print_metrics(model.metrics, out)


@dataclass(kw_only=True)
class Run:
    """Where a run goes, and what is held out of it."""

    out: Path
    """Folder for the model, its checkpoints and its report."""
    validation: Files = ()
    """Data like those of training, for choosing the best weights; without them a part is held out.
    Twice for two files, in the same order."""
    test: Files = ()
    """The same; scored at the end and without influence."""
    overwrite: Overwrite = False
    """Replace a model that the folder holds."""
    skip_bad_rows: Path | None = None
    """Leave out rows that cannot be read and write them, with the reason, to this CSV file."""
    config: Path | None = None  # read by `use_config` before the flags are
    """A YAML file with settings, such as "hidden_size: 512"; flags win over it."""

    def train(
        self, model: Classifier | Tagger | Translator, first: Path, second: Path | None
    ) -> None:
        """Fit, and show the scores."""
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
    """Train a classifier of texts or of recordings: sentiment, topic, intent, movement, risk.

    Example: elman train classifier reviews.csv --text review --label stars --out runs/reviews

    Example: elman train classifier watch.csv --channels ax ay az --rate 50 --window 200 --out
    runs/watch

    Example: elman train classifier records.csv outcomes.csv --variable name --out runs/risk

    Parameters
    ----------
    data
        A table with a column of texts and one of labels (CSV, TSV, JSONL, Parquet; .gz too), a
        folder with a folder of files for each label, or a file with a text a line. Of recordings a
        table with columns unique_id, ds, label and --channels, or a row a measurement with
        --variable and --value; or a folder with a table for each.
    labels
        For a file with a text a line: the file with their labels. For recordings a table with
        columns unique_id and label, and of parts of them start and end.
    """
    run.train(settings, data, labels)


@dataclass(kw_only=True)
class TaggerFlags(TableFlags, Tagger):
    """The same."""

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
    """Train a tagger: a part of speech or an entity for every word, an activity for every step.

    Example: elman train tagger en-train.conllu --validation en-dev.conllu --out runs/tags

    Example: elman train tagger trips.csv events.csv --channels ax ay az --rate 20 --out runs/trips

    Parameters
    ----------
    data
        CoNLL-U; columns of words and tags with a blank line behind each sentence (.conll); a table
        with a column of each; or a file with the words of a sentence a line. Of recordings a table
        with columns unique_id, ds, label and --channels, or a folder with a table for each.
    tag_file
        For a file with a sentence a line: the file with the tags of its words. For recordings a
        table of events with columns unique_id, label, start, end.
    """
    run.train(settings, data, tag_file)


@dataclass(kw_only=True)
class TranslatorFlags(Translator):
    """The same."""

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
    """Train from text to text: translation, and with --kind summaries or dialogue.

    Example: elman train translator train.de train.en --out runs/de-en

    Example: elman train translator mails.jsonl --source body --target subject --kind summary --out
    runs/subjects

    Example: elman train translator dialogues.txt --kind dialogue --out runs/talk

    Parameters
    ----------
    sources
        A file with a text a line; a table with a column of sources and one of targets (CSV, TSV,
        JSONL, Parquet; .gz too); of kind dialogue, without TARGETS, conversations: a line each with
        --separator between turns, or a table with --conversation.
    targets
        The file with the target of each line.
    """
    run.train(settings, sources, targets)


@dataclass(kw_only=True)
class ForecasterFlags(TableFlags, Forecaster):
    """The same."""

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
    out: Path,
    test: Path | None = None,
    overwrite: Overwrite = False,
    skip_bad_rows: Path | None = None,
    config: Path | None = None,  # noqa: ARG001 - read by `use_config` before the flags are
    settings: Annotated[ForecasterFlags, Flags] = ForecasterFlags(),  # noqa: B008
) -> None:
    """Train a forecaster: prices, loads, weather, sales, counts.

    Example: elman train forecaster sales.csv --horizon 28 --out runs/sales

    Parameters
    ----------
    series
        A table (CSV, TSV, JSONL, Parquet; .gz too) with a row a series and stamp: columns
        unique_id, ds, y, or others by flag; with --wide a column a series.
    out
        Folder for the model, its checkpoints and its report.
    test
        What came behind, in the same form; scored at the end and without influence.
    overwrite
        Replace a model that the folder holds.
    skip_bad_rows
        Leave out rows that cannot be read and write them, with the reason, to this CSV file.
    config
        A YAML file with settings, such as "horizon: 28"; flags win over it.
    """
    fitted = settings.fit(
        series, test=test, out=out, overwrite=overwrite, skip_bad_rows=skip_bad_rows, show=True
    )
    print_metrics(fitted.metrics, out)


def _pair(paths: tuple[Path, ...], name: str) -> Path | tuple[Path, Path] | None:
    if len(paths) > 2:
        raise ArgumentError(f"{name} takes a table or two files, got {len(paths)}")
    return None if not paths else paths[0] if len(paths) == 1 else (paths[0], paths[1])


@app.command
def resume(run: Path, /, *, learning_rate: float | None = None, epochs: int | None = None) -> None:
    """Continue a stopped run; the result is the same as without the stop.

    Parameters
    ----------
    run
        The folder given as --out.
    learning_rate
        New learning rate, for example after a divergence.
    epochs
        New total number of epochs. With schedule cosine the learning rate then follows the new
        number, so the result differs from that of one run of this many epochs.
    """
    model = task_of(run).resume(run, learning_rate=learning_rate, epochs=epochs, show=True)
    print_metrics(model.metrics, run)
