"""`elman predict`: predictions for a text, a file, series or recordings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from elman.arguments import is_unicode
from elman.cli.app import Overwrite, RunFolder, SkipBadRows, app
from elman.cli.forecast import ForecastFlags, print_forecasts
from elman.cli.recordings import RecordingFlags, print_recordings, reads_recordings
from elman.cli.show import notes_shown
from elman.errors import ArgumentError
from elman.report.terminal import counted, show, tell
from elman.tasks import Classifier, Forecaster, LanguageModel, Tagger, Translator, load, task_of

if TYPE_CHECKING:
    from elman.decode.beam import Search
    from elman.tasks.estimator import Estimator


@dataclass(kw_only=True)
class SearchFlags:
    """The flags of `elman predict` for a beam search."""

    beam: int | None = None
    """Sequences that are kept at a time; 1 is greedy. None for 5, or k if it is larger."""
    length_penalty: float = 1.0
    """0 for the likeliest sequence; larger values prefer longer ones."""
    coverage_penalty: float = 0.0
    """Above 0: prefer translations that attend to the entire source."""
    no_repeat: int | None = None
    """Length of n-grams that must not occur twice."""

    def search(self, k: int | None) -> Search | None:
        """Return the search for the k best translations; None for the model's default."""
        from elman.decode.beam import Search

        if k is None and self == SearchFlags():
            return None
        best = max(1, k or 1)
        return Search(
            beam=max(5, best) if self.beam is None else self.beam,
            length_penalty=self.length_penalty, coverage_penalty=self.coverage_penalty,
            no_repeat=self.no_repeat, n_best=best,
        )  # fmt: skip


TRANSLATORS, FORECASTERS, RECORDINGS = (
    Parameter(name="*", group=Group(name)) for name in ("Translators", "Forecasters", "Recordings")
)


@app.command
def predict(
    run: RunFolder,
    text: str | None = None,
    /,
    *,
    k: int | None = None,
    search: Annotated[SearchFlags, TRANSLATORS] = SearchFlags(),  # noqa: B008
    forecast: Annotated[ForecastFlags, FORECASTERS] = ForecastFlags(),  # noqa: B008
    file: Path | None = None,
    recorded: Annotated[RecordingFlags, RECORDINGS] = RecordingFlags(),  # noqa: B008
    out: Path | None = None,
    overwrite: Overwrite = False,
    skip_bad_rows: SkipBadRows = None,
) -> None:
    """Predict the next words, labels, tags, a translation or a forecast.

    A forecaster predicts what follows its training data, or the series in --file. A model of
    recordings predicts a label for each recording in --file, a tag for each step, or with --events
    when each event begins and ends.

    Example: elman predict runs/book "The cat sat on the"

    Example: elman predict runs/reviews --file new.csv --out labels.csv

    Example: elman predict runs/sales --out next.csv

    Example: elman predict runs/trips --file trip.csv --events --out events.csv

    Parameters
    ----------
    text
        A text to continue, label, tag or translate.
    k
        Number of predictions for a text; None for 5 words or labels, and for 1 translation.
    file
        A table with a column of texts as in training, or a file with one text per line; of any
        size. For forecasts and recordings, a table like the training data.
    out
        File for the predictions, in the order of the rows: CSV, TSV or JSONL; also .conll for tags,
        .txt for translations, .parquet for forecasts. After an interruption, the same command
        continues.
    """
    task = task_of(run)
    _check_flags(run, task, search, forecast, recorded)
    if issubclass(task, Forecaster):
        _check_no_texts(run, "series", text=text, k=k, skip_bad_rows=skip_bad_rows)
        print_forecasts(run, file, out, forecast, overwrite=overwrite)
    elif reads_recordings(run):
        _check_no_texts(run, "recordings", text=text, k=k, skip_bad_rows=skip_bad_rows)
        if file is None:
            raise ArgumentError(f"{run}: reads recordings; give a table of recordings with --file")
        print_recordings(run, file, recorded, out, overwrite=overwrite)
    elif text is not None and file is None and out is None:
        _predict_text(run, text, k, search)
    elif text is None and file is not None and out is not None:
        _predict_file(run, file, out, k, search, overwrite=overwrite, skip_bad_rows=skip_bad_rows)
    else:
        raise ArgumentError("predict takes a TEXT, or --file and --out")


def _check_flags(
    run: Path, task: type[Estimator], search: SearchFlags, forecast: ForecastFlags,
    recorded: RecordingFlags,
) -> None:  # fmt: skip
    """Raise an ArgumentError for a flag of another task."""
    name = f"{run}: holds a {task.task}"
    if forecast != ForecastFlags() and not issubclass(task, Forecaster):
        raise ArgumentError(f"{name}; --level and --futures are for a forecaster")
    if search != SearchFlags() and not issubclass(task, Translator):
        raise ArgumentError(
            f"{name}; --beam, --length-penalty, --coverage-penalty and --no-repeat are for a "
            "translator"
        )
    if recorded != RecordingFlags() and not reads_recordings(run):
        raise ArgumentError(
            f"{run}: does not read recordings; --spans and --events are for models that do"
        )


def _check_no_texts(
    run: Path, kind: str, *, text: str | None, k: int | None, skip_bad_rows: Path | None
) -> None:
    """Raise an ArgumentError if something is given that is for models of texts."""
    values = {"TEXT": text, "--k": k, "--skip-bad-rows": skip_bad_rows}
    given = [name for name, value in values.items() if value is not None]
    if given:
        raise ArgumentError(
            f"{run}: reads {kind}, so it takes no {' and no '.join(given)}; give a table of {kind} "
            "with --file"
        )


def _predict_text(run: Path, text: str, k: int | None, flags: SearchFlags) -> None:
    """Print the predictions for one text, one per line."""
    search = flags.search(k)
    model = load(run)
    check_unicode(text)
    if not isinstance(model, LanguageModel):
        if not text.strip():
            raise ArgumentError(f"the text is empty; a {model.task} needs words")
        if k is not None and k < 1:
            raise ArgumentError(f"k must be at least 1, got {k}")
    match model:
        case Tagger():
            if k is not None:
                raise ArgumentError("--k is not for a tagger, which predicts one tag for each word")
            words = text.split()
            for word, tag in zip(words, model.predict([words])[0], strict=True):
                show(f"{tag:8s} {word}")
        case Classifier():
            p = model.predict_proba([text])[0]
            for n in sorted(range(len(p)), key=lambda n: -p[n])[: k or 5]:
                show(f"{p[n]:7.2%}  {model.classes[n]}")
        case Translator():
            if search is None:
                show(model.predict([text])[0])
                return
            for translation, log_p in model.n_best([text], search)[0]:
                show(f"{log_p:8.2f}  {translation}" if k is not None else translation)
        case LanguageModel():
            tell_unknown(model, text)
            for token, probability in model.predict(text, k=5 if k is None else k):
                show(f"{probability:7.2%}  {token if token.strip() else repr(token)}")


def _predict_file(
    run: Path, file: Path, out: Path, k: int | None, flags: SearchFlags, *, overwrite: bool,
    skip_bad_rows: Path | None,
) -> None:  # fmt: skip
    """Write the predictions for every row of a file."""
    from elman.tasks.predict_file import predict_file

    if k is not None:
        raise ArgumentError("--k is for a TEXT; for a --file the best of each row is written")
    search = flags.search(None)
    model = load(run)
    if not isinstance(model, Classifier | Tagger | Translator):
        raise ArgumentError(f"{run}: a language model predicts from a TEXT, not from --file")
    with notes_shown():
        count, bad = predict_file(
            model, file, out, overwrite=overwrite, rejects=skip_bad_rows, search=search, show=True
        )
    show(f"{counted(count, 'rows')}: {out}")
    if bad:
        show(f"bad rows skipped: {bad:,}, see {skip_bad_rows}")


def check_unicode(text: str) -> None:
    """Raise an ArgumentError for a text that the terminal did not encode as UTF-8."""
    if not is_unicode(text):
        raise ArgumentError(f"the text is not valid UTF-8: {text!a}")


def tell_unknown(model: LanguageModel, text: str) -> None:
    """Print the words of a text that the model does not know to the error stream."""
    vocabulary = model.vocabulary
    if vocabulary.unknown is None:
        return
    encoding = vocabulary.tokenizer.encode(text, add_special_tokens=False)
    words = [
        text[start:end]
        for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
        if number == vocabulary.unknown
    ]
    if words:
        tell(f"not in the vocabulary: {', '.join(dict.fromkeys(words))}")
