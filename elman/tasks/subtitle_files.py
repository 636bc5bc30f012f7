"""Subtitles of one recording as a file, or of many recordings as a folder of files.

The spans of a recording that a manifest names become one file, whose times are those of the
recording.  A folder has a record while it is written (`elman.tasks.record`), so that after a stop
the same command continues with the recordings that have no subtitles yet.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from elman.atomic import refusal
from elman.errors import ArgumentError, DataError, FolderError, Stopped
from elman.inputs.audio import Audio
from elman.read.audio import Clip
from elman.read.file_source import FileSource
from elman.read.rows import Rejects, check_new
from elman.report.progress import reading_bar
from elman.report.subtitles import KINDS, Word, write_subtitles
from elman.report.write_table import check_target
from elman.tasks.file_predictions import Transcripts, words_in_file
from elman.tasks.lock import held
from elman.tasks.record import Record, facts_of
from elman.tasks.transcriber import Transcriber

RECORD = "subtitles.part.json"
Recording = list[tuple[Clip, str]]  # its clips, and where they were read


def write_file(
    model: Transcriber, options: Transcripts, path: Path, out: Path, *, overwrite: bool
) -> int:
    """Write the subtitles of a recording, and return the number of their words.

    Raises:
        ArgumentError: there are several recordings.
        DataError: the recording cannot be read.
        FolderError: the file exists already or cannot be written.
    """
    check_target(out, overwrite=overwrite, kinds=tuple(KINDS))
    found = _recordings([_rows(model, path, lenient=False)], [path], "", Rejects(None))
    if len(found) != 1:
        raise ArgumentError(
            f"{path}: {out.name} is for one audio file, got {len(found)}; give a folder with --out "
            f"and --subtitles {out.suffix[1:].lower()}"
        )
    words = _words(model, options, next(iter(found.values())))
    write_subtitles(out, words, overwrite=overwrite)
    return len(words)


def write_folder(
    model: Transcriber,
    options: Transcripts,
    sources: Sequence[Path],
    folder: Path,
    *,
    overwrite: bool,
    rejects: Path | None = None,
    show: bool = True,
) -> tuple[int, int]:
    """Write a file of subtitles for each recording to a folder.

    Args:
        model: the trained model.
        options: options of the predictions; `subtitles` is the kind of the files.
        sources: audio files, folders or manifests; the files of a folder keep their subfolders.
        folder: the folder, which can exist.
        overwrite: whether to replace existing files of subtitles.
        rejects: file for recordings that cannot be read; None to stop at such a recording.
        show: whether to show progress on a terminal.

    Returns:
        The number of files, and the number of recordings or spans that were skipped.

    Raises:
        ArgumentError: two recordings would have the same file.
        DataError: a recording cannot be read, and `rejects` is None.
        FolderError: a file exists already, or the folder cannot be written.
        Stopped: Ctrl-C was pressed; the same call continues.
    """
    if folder.suffix.lower() in KINDS or (folder.exists() and not folder.is_dir()):
        raise FolderError(f"{folder}: expected a folder for the files of subtitles")
    rows = [_rows(model, path, lenient=rejects is not None) for path in sources]
    files = tuple(file for one in rows for file in one.files)
    facts = facts_of(model, " ".join(one.fingerprint() for one in rows), options)
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / RECORD):
            record = Record(folder / RECORD, facts)
            if record.changed and record.done:
                raise record.refusal(folder / RECORD)
            if rejects is not None and not record.done:
                check_new(rejects, overwrite=overwrite)
            with Rejects(rejects, sources=files) as bad:
                found = _recordings(rows, sources, f".{options.subtitles}", bad)
                targets = {folder / name: one for name, one in found.items()}
                count = _write(model, options, targets, record, bad, overwrite=overwrite, show=show)
            (folder / RECORD).unlink()
    except KeyboardInterrupt:
        message = f"stopped; the subtitles so far are in {folder}, and the same command continues"
        raise Stopped(message, signal.SIGINT) from None
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(folder)):
            raise  # another file cannot be read
        raise refusal(folder, error, "the same command continues") from error
    finally:
        if new:
            with suppress(OSError):  # a folder that is not empty is kept
                folder.rmdir()
    return count, bad.count


def _write(
    model: Transcriber,
    options: Transcripts,
    targets: dict[Path, Recording],
    record: Record,
    bad: Rejects,
    *,
    overwrite: bool,
    show: bool,
) -> int:
    """Write the files that are not written yet; return the number of all files."""
    done = {str(name) for one in record.done for name in one}
    for target in targets:
        if str(target) not in done and target.exists() and not overwrite:
            raise FolderError(f"{target}: exists already; name another folder, or give --overwrite")
    if not done:
        record.begin()
    count = 0
    seconds = round(sum(clip.seconds for one in targets.values() for clip, _ in one))
    with reading_bar("transcribing", seconds, show=show, least=0) as advance:
        for target, recording in targets.items():
            try:
                if str(target) not in done or not target.exists():
                    words = _words(model, options, recording)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    write_subtitles(target, words, overwrite=overwrite)
                    record.add(str(target))
            except DataError as error:
                bad.add(recording[0][1], error)
            else:
                count += 1
            if advance is not None:
                advance(round(sum(clip.seconds for clip, _ in recording)))
    return count


def _rows(model: Transcriber, path: Path, *, lenient: bool) -> FileSource:
    rows = model.rows(path, lenient=lenient)
    if not isinstance(model.input_, Audio) or not isinstance(rows, FileSource):
        raise ArgumentError(f"subtitles need audio, this model reads {model.input_.reader.noun}")
    return rows


def _recordings(
    rows: Sequence[FileSource], sources: Sequence[Path], suffix: str, bad: Rejects
) -> dict[Path, Recording]:
    """Return the clips of each recording, by the name of its file of subtitles."""
    found: dict[Path, Recording] = {}
    for one, source in zip(rows, sources, strict=True):
        for place, values in one.read():
            if isinstance(values, DataError):
                bad.add(place, values)
                continue
            clip: Any = values[0]
            name = _name(clip.source, source).with_suffix(suffix)
            recording = found.setdefault(name, [])
            if recording and recording[0][0].source != clip.source:
                raise ArgumentError(
                    f"{recording[0][0].source} and {clip.source} would both have the subtitles "
                    f"{name}; rename one of them, or give each its own folder"
                )
            recording.append((clip, place))
    return found


def _name(file: Path, source: Path) -> Path:
    """Return the path of a file relative to its folder or manifest; its name if it is outside."""
    base = source if source.is_dir() else source.parent
    if ".." in file.parts or not file.is_relative_to(base):
        return Path(file.name)
    return file.relative_to(base)


def _words(model: Transcriber, options: Transcripts, recording: Recording) -> list[Word]:
    """Return the words of the clips of a recording, in the order of their starts."""
    clips = [clip for clip, _ in recording]
    found = model.transcribe(clips, **options.given())
    words = [
        (word, start, end)
        for clip, best in zip(clips, found, strict=True)
        for start, end, word, _ in words_in_file(best[0], clip)
    ]
    return sorted(words, key=lambda word: word[1:])
