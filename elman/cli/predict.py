"""`elman predict` and `elman generate`, with the options of the kind of model in the folder."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cyclopts import Group

from elman.arguments import either, is_unicode
from elman.cli.app import FileName, Overwrite, RunFolder, SkipBadRows
from elman.cli.flags import flag_name, flags_of
from elman.cli.show import named, notes_shown, print_table
from elman.errors import ArgumentError, ElmanError, FolderError
from elman.inputs.declared import read_declared
from elman.read.files import files_below, path_of
from elman.report.terminal import counted, show, show_text
from elman.tasks import Transcriber, load
from elman.tasks.file_predictions import Transcripts
from elman.tasks.folder import read_config
from elman.tasks.generations import GENERATIONS
from elman.tasks.prediction import Prediction, check_pair
from elman.tasks.predictions import PREDICTIONS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ROWS = {"channels", "variable"}  # settings of recordings of several rows of a table
Options = TypeVar("Options", bound="DataclassInstance")


def predict(
    run: RunFolder,
    /,
    *text: str,
    file: FileName | None = None,
    out: FileName | None = None,
    overwrite: Overwrite = False,
    skip_bad_rows: SkipBadRows = None,
    **options: Any,
) -> None:
    """Predict the next words, labels, tags, a translation, a transcript or a forecast.

    A forecaster predicts the steps after its training data, or after the series in --file. A
    classifier of recordings predicts a label for each recording in --file. A tagger of recordings
    predicts a tag for each step, or with --events the begin and the end of each event.
    A model of audio or images predicts for each file, or for each file of a folder or a manifest in
    --file. elman predict RUN --help shows only the options for the model in RUN.

    Example: elman predict runs/book "The cat sat on the"

    Example: elman predict runs/reviews --file new.csv --out labels.csv

    Example: elman predict runs/sales --out next.csv

    Example: elman predict runs/trips --file trip.csv --events --out events.csv

    Example: elman predict runs/speech talk.wav --times

    Example: elman predict runs/speech --file talks --out subtitles --subtitles srt

    Parameters
    ----------
    text
        A text to continue, label, tag or translate; for a model of audio or images, one or more
        files.
    file
        A table with the same column of texts as in training, or a file with one text per line, of
        any size. For forecasts and recordings, a table like the training data. For audio, a folder
        or a manifest.
    out
        File for the predictions, in the order of the rows: CSV, TSV or JSONL; also .conll for
        tags, .txt for translations, .parquet for forecasts, .srt and .vtt for the transcript of an
        audio file. With --subtitles, a folder. After an interruption, the same command continues.
    """
    _check_quotes(text)
    check_pair("overwrite", overwrite or None, "out", out)
    wanted = options_of(run, PREDICTIONS, options)
    if "k" in options and out is not None:
        raise ArgumentError("--k is for printed predictions; --out has the best one of each row")
    texts = list(text)
    if wanted.reads == "files" and len(texts) == 1 and file is None and _is_table(out, wanted):
        file = path_of(texts.pop(), "TEXT")
    if wanted.reads not in _TAKES:
        given = {"TEXT": text, "--skip-bad-rows": skip_bad_rows}
        _check_table(run, wanted.reads, file, [name for name in given if given[name]])
        read = [one for one in (file, *options.values()) if isinstance(one, Path)]
        _predict_table(run, wanted, file, out, read, overwrite=overwrite)
    elif isinstance(wanted, Transcripts) and (wanted.subtitles or _is_subtitles(texts, out)):
        files = [path_of(one, "TEXT") for one in texts] + ([] if file is None else [file])
        _predict_subtitles(run, wanted, files, out, skip_bad_rows, overwrite=overwrite)
    elif texts and file is None and out is None:
        check_pair("skip_bad_rows", skip_bad_rows, "file", file)
        _predict_texts(run, wanted, texts)
    elif not texts and file is not None and out is not None:
        _predict_rows(run, wanted, file, out, skip_bad_rows, overwrite=overwrite)
    else:
        raise ArgumentError(f"predict takes {_TAKES[wanted.reads]}, or --file and --out")


def _predict_rows(
    run: Path,
    wanted: Prediction[Any],
    file: Path,
    out: Path,
    rejects: Path | None,
    *,
    overwrite: bool,
) -> None:
    """Write the predictions for the rows of a file."""
    from elman.tasks.predict_file import predict_file

    with notes_shown():
        count, bad = predict_file(
            load(run), file, out, overwrite=overwrite, rejects=rejects, options=wanted
        )
    _show_count(counted(count, "rows"), out, bad, rejects)


def _show_count(count: str, out: Path, bad: int, rejects: Path | None) -> None:
    """Print what was written, and how many bad rows were not."""
    show(f"{count}: {out}")
    if bad:
        show(f"bad rows skipped: {bad:,}, see {rejects}")


_TAKES = {"texts": "a TEXT", "files": "files"}


def _check_quotes(texts: tuple[str, ...]) -> None:
    """Raise an ArgumentError for several words that are no files."""
    if len(texts) > 1 and not any(map(_exists, texts)):
        raise ArgumentError(
            f"unexpected: {' '.join(texts[1:])!r}; put quotes around a text of several words"
        )


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # no file can have this name
        return False


def _predict_texts(run: Path, wanted: Prediction[Any], texts: Sequence[str]) -> None:
    """Print the predictions for a text, or for each of several files."""
    for text in texts:
        check_unicode(text)
    if wanted.reads == "files":
        for text in texts:
            path_of(text, "TEXT")
    elif len(texts) > 1:
        raise ArgumentError(f"{run}: reads one TEXT at a time, got {len(texts)}")
    model = load(run)
    with notes_shown():
        for text in texts:
            for line in wanted.lines(model, text):
                show(f"{text}: {line}" if len(texts) > 1 else line)


def _predict_subtitles(
    run: Path,
    wanted: Transcripts,
    files: list[Path],
    out: Path | None,
    rejects: Path | None,
    *,
    overwrite: bool,
) -> None:
    """Write the subtitles of one recording to a file, or those of many to a folder."""
    from elman.tasks.subtitle_files import write_file, write_folder

    if out is None or not files:
        raise ArgumentError("subtitles need audio files, and a file or a folder with --out")
    model = Transcriber.load(run)
    with notes_shown():
        if wanted.subtitles is not None:
            count, bad = write_folder(
                model, wanted, files, out, overwrite=overwrite, rejects=rejects
            )
            _show_count(counted(count, "files"), out, bad, rejects)
            return
        check_pair("skip_bad_rows", rejects, "subtitles", wanted.subtitles)
        if len(files) > 1:
            raise ArgumentError(
                f"{out}: would be for one audio file; for several, give a folder with --out and "
                "--subtitles srt or vtt"
            )
        words = write_file(model, wanted, files[0], out, overwrite=overwrite)
    show(f"{counted(words, 'words')}: {out}")


def _is_table(out: Path | None, wanted: Prediction[Any]) -> bool:
    return out is not None and out.suffix.lower() in wanted.kinds


def _is_subtitles(texts: Sequence[str], out: Path | None) -> bool:
    return out is not None and (bool(texts) or out.suffix.lower() in (".srt", ".vtt"))


def _check_table(run: Path, reads: str, file: Path | None, others: list[str]) -> None:
    """Raise an ArgumentError if a model that reads tables is given anything else."""
    if others:
        raise ArgumentError(
            f"{run}: reads {reads}, so it takes no {' and no '.join(others)}; give a table of "
            f"{reads} with --file"
        )
    if file is None and reads != "series":  # series can come from the training data
        raise ArgumentError(f"{run}: reads {reads}; give a table of {reads} with --file")


def _predict_table(
    run: Path,
    wanted: Prediction[Any],
    file: Path | None,
    out: Path | None,
    read: list[Path],
    *,
    overwrite: bool,
) -> None:
    """Write the predictions for a table to a file, or print the first of them."""
    from elman.report.write_table import check_target

    if out is not None:
        check_target(out, overwrite=overwrite)
        if out.resolve() in [path.resolve() for one in read for path in files_below(one)]:
            raise FolderError(f"{out}: would replace the data that are read; name another file")
    with notes_shown():
        columns, write = wanted.table(load(run), file)
    if out is None:
        print_table(columns)
        return
    write(out, overwrite=overwrite)
    show(f"{counted(len(next(iter(columns.values()))), 'rows')}: {out}")


def generate(run: RunFolder, text: str = "", /, **options: Any) -> None:
    """Generate random continuations of a text, or random translations of it.

    Example: elman generate runs/book "It was a" --temperature 0.8 --top-p 0.95

    Parameters
    ----------
    text
        A text to continue or translate.
    """
    wanted = options_of(run, GENERATIONS, options)
    check_unicode(text)
    with notes_shown():
        for piece in wanted.pieces(load(run), text):
            show_text(piece)


def kind_of(folder: Path) -> str:
    """Return the name of the kind of model in a folder, as in PREDICTIONS.

    Raises:
        FolderError: the folder contains no model.
    """
    config = read_config(folder)
    kinds, settings = config["data"].get("inputs"), config["settings"]
    inputs = list(map(read_declared, settings.get("inputs") or ()))
    own = {name for one in inputs for name in one.settings}
    one = kinds[0] if isinstance(kinds, list) and len(kinds) == 1 else kinds
    kind = read_declared(one).kind if isinstance(one, str) else one
    if kind is kinds and (own | {n for n in ROWS if settings.get(n)}) & ROWS:
        kind = "recordings"  # with further inputs in the rows of the same table
    kind = "groups" if settings.get("group") else kind
    name = f"{config['task']} of {'images' if kind == 'image' else kind}"
    return name if name in PREDICTIONS else str(config["task"])


def options_of(run: Path, table: Mapping[str, type[Options]], given: dict[str, Any]) -> Options:
    """Return the options of the kind of model in a folder.

    Raises:
        ArgumentError: the table does not have this kind, or an option belongs to another kind.
    """
    kind, owners = kind_of(run), _owners(table)
    for name in given:
        if kind not in owners[name]:
            others = either(list(map(named, owners[name])))
            raise ArgumentError(
                f"{flag_name(name)} is an option of {others}; {run} holds {named(kind)}"
            )
    if kind not in table:
        raise ArgumentError(f"{run}: holds {named(kind)}, not {either(list(map(named, table)))}")
    return table[kind](**given)


def options_in(
    table: Mapping[str, type[DataclassInstance]], arguments: Sequence[str]
) -> list[inspect.Parameter]:
    """Return the options of all kinds; if the arguments name a model, help shows only its own."""
    kind, owners = _kind_in(arguments), _owners(table)
    shown, hidden = Group(f"Options of {named(kind)}"), Group("Options of others", show=False)

    def group(name: str) -> Group:
        if kind:
            return shown if kind in owners[name] else hidden
        return Group(f"Options of {' or '.join(map(named, owners[name]))}")

    flags: dict[str, inspect.Parameter] = {}
    for one in sorted(table, key=lambda one: one != kind):  # its own help texts first
        for flag in flags_of(table[one], group=group):
            flags.setdefault(flag.name, flag)
    return list(flags.values())


def _kind_in(arguments: Sequence[str]) -> str:
    """Return the kind of the first model folder among the arguments; "" without one."""
    for argument in arguments:
        with suppress(ElmanError, OSError, ValueError):
            if Path(argument).is_dir():
                return kind_of(Path(argument))
    return ""


def _owners(table: Mapping[str, type[DataclassInstance]]) -> dict[str, list[str]]:
    """Return the kinds that have each option."""
    owners: dict[str, list[str]] = {}
    for kind, options in table.items():
        for field in fields(options):
            owners.setdefault(field.name, []).append(kind)
    return owners


def check_unicode(text: str) -> None:
    """Raise an ArgumentError for a text that the terminal did not encode as UTF-8."""
    if not is_unicode(text):
        raise ArgumentError(f"the text is not valid UTF-8: {text!a}")
