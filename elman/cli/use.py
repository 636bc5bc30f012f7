"""Commands that use a model: predict, generate, chat, evaluate, info."""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

import elman
from elman.arguments import is_unicode
from elman.cli.app import app
from elman.cli.forecast import show_forecasts
from elman.cli.recordings import Recorded, reads_recordings, show_recordings
from elman.cli.show import print_metrics, print_notes
from elman.errors import ArgumentError
from elman.report.terminal import show, show_text, tell
from elman.tasks import (
    Classifier,
    Forecaster,
    LanguageModel,
    Tagger,
    Translator,
    load,
    task_of,
)

if TYPE_CHECKING:
    from elman.decode.beam import Search


@app.command
def predict(
    run: Path,
    text: str | None = None,
    /,
    *,
    k: int | None = None,
    beam: int | None = None,
    length_penalty: float = 1.0,
    coverage_penalty: float = 0.0,
    no_repeat: int | None = None,
    level: tuple[float, ...] = (),
    futures: int = 0,
    file: Path | None = None,
    recorded: Annotated[Recorded, Parameter(name="*")] = Recorded(),  # noqa: B008
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    skip_bad_rows: Path | None = None,
) -> None:
    """Show the likeliest next words after a text, its labels, tags or translation; or of a file.

    A forecaster says what comes behind its training data, or behind those of --file. Of recordings
    in --file, the label of each, the tag of every step, or with --events what happens when.

    Example: elman predict runs/book "The cat sat on the"

    Example: elman predict runs/reviews --file new.csv --out labels.csv

    Example: elman predict runs/sales --out next.csv

    Example: elman predict runs/trips --file trip.csv --events --out events.csv

    Parameters
    ----------
    run
        The model's folder.
    text
        What comes before, or what is to be labelled, tagged or translated.
    k
        How many to show of a text; None for 5 words or labels, and for 1 translation.
    beam
        Of a translator: sequences that are followed at a time, None for 5 or k; 1 is greedy.
    length_penalty
        Of a translator: 0 for the likeliest; above, longer ones are preferred.
    coverage_penalty
        Of a translator: above 0 prefers what looks at all of the source.
    no_repeat
        Of a translator: length of n-grams that may not come twice.
    level
        Of a forecaster: intervals in which so many percent of the numbers will lie; 80 and 95
        if none is given.
    futures
        Of a forecaster: how many whole courses to draw of what may come, a column each.
    file
        A table with the model's column of texts, or a file with a text a line; of any size. Of a
        forecaster, or of recordings, a table like that of the training.
    out
        File for what is predicted, in the same order: CSV, TSV or JSONL, of tags .conll, of
        translations .txt, of forecasts .parquet, too; after a stop the same command goes on.
    overwrite
        Replace a file that is there.
    skip_bad_rows
        Leave out rows that cannot be read and write them, with the reason, to this CSV file.
    """
    chosen = (beam, length_penalty, coverage_penalty, no_repeat) != (None, 1.0, 0.0, None)
    if issubclass(task_of(run), Forecaster):
        if text is not None or k is not None or chosen or skip_bad_rows is not None:
            raise ArgumentError(f"{run}: takes --file, --out, --level, --futures, --overwrite")
        show_forecasts(run, file, out, level or None, futures, overwrite=overwrite)
        return
    if level or futures:
        raise ArgumentError(
            f"{run}: holds a {task_of(run).task}; level and futures are for a forecaster"
        )
    if reads_recordings(run):
        if k is not None or chosen or skip_bad_rows is not None:
            raise ArgumentError(
                f"{run}: reads recordings; it takes --file, --spans, --events, --out"
            )
        show_recordings(run, text, file, recorded, out, overwrite=overwrite)
        return
    if recorded != Recorded():
        raise ArgumentError(f"{run}: reads no recordings; spans and events are for these")
    if (text is None) == (file is None) or (file is None) != (out is None):
        raise ArgumentError("predict takes a TEXT, or --file and --out")
    from elman.decode.beam import Search

    if k is not None and file is not None:
        raise ArgumentError("k is for a TEXT; of a --file the best of each row is written")
    if chosen and not issubclass(task_of(run), Translator):
        raise ArgumentError(
            f"{run}: holds a {task_of(run).task}; beam, length_penalty, coverage_penalty and "
            "no_repeat are for a translator"
        )
    search = Search(
        beam=max(5, k or 1) if beam is None else beam, length_penalty=length_penalty,
        coverage_penalty=coverage_penalty, no_repeat=no_repeat, n_best=max(1, k or 1),
    )  # fmt: skip
    model = load(run)
    assert not isinstance(model, Forecaster)
    if text is not None:
        _check_unicode(text)
        _show_guesses(model, text, k, search if chosen or k is not None else None)
    if file is not None and out is not None:
        if isinstance(model, LanguageModel):
            raise ArgumentError(f"{run}: a language model predicts from a text, not from --file")
        from elman.tasks.predict_file import predict_file

        count, bad = predict_file(
            model,
            file,
            out,
            overwrite=overwrite,
            rejects=skip_bad_rows,
            search=search if chosen else None,
            show=True,
        )
        show(f"{count:,} rows: {out}")
        if bad:
            show(f"{bad:,} bad rows are left out: {skip_bad_rows}")


def _show_guesses(
    model: Classifier | LanguageModel | Tagger | Translator,
    text: str,
    k: int | None,
    search: Search | None,
) -> None:
    """What a model says of one text, a line for each guess."""
    if not text.strip() and not isinstance(model, LanguageModel):
        raise ArgumentError(f"the text is empty; a {model.task} needs words")
    if k is not None and k < 1 and not isinstance(model, LanguageModel):
        raise ArgumentError(f"k must be at least 1, got {k}")
    if isinstance(model, Tagger):
        if k is not None:
            raise ArgumentError("k is not for a tagger, which gives each word its likeliest tag")
        words = text.split()
        for word, tag in zip(words, model.predict([words])[0], strict=True):
            show(f"{tag:8s} {word}")
    elif isinstance(model, Classifier):
        shares = model.predict_proba([text])[0]
        for n in sorted(range(len(shares)), key=lambda n: -shares[n])[: k or 5]:
            show(f"{shares[n]:7.2%}  {model.classes[n]}")
    elif isinstance(model, Translator):
        if search is None:
            show(model.predict([text])[0])
            return
        for translation, log_p in model.n_best([text], search)[0]:
            show(f"{log_p:8.2f}  {translation}" if k is not None else translation)
    else:
        _check_prompt(model, text)
        for token, probability in model.predict(text, k=5 if k is None else k):
            show(f"{probability:7.2%}  {token if token.strip() else repr(token)}")


LENGTH = 100  # tokens of a continuation


@app.command
def generate(
    run: Path,
    text: str = "",
    /,
    *,
    max_new_tokens: int = LENGTH,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    stop: tuple[str, ...] = (),
    seed: int = 0,
    samples: int = 1,
) -> None:
    """Go on with a text, word by word as it is drawn; or draw translations of it.

    Example: elman generate runs/book "It was a" --temperature 0.8 --top-p 0.95

    Parameters
    ----------
    run
        The model's folder.
    text
        What to continue or translate.
    max_new_tokens
        Tokens of a continuation, at most.
    temperature
        Below 1 is more cautious; 0 always takes the likeliest word.
    top_k
        Draw from the k likeliest words only.
    top_p
        Draw from the likeliest words that together reach this probability.
    min_p
        Draw from words at least this fraction as likely as the likeliest.
    repetition_penalty
        Above 1 avoids words that were there before.
    stop
        End a continuation before this string; may be given several times.
    seed
        The same seed gives the same text.
    samples
        How many continuations.
    """
    from elman.decode.sample import Sampling
    from elman.encode.text import glued

    if samples < 1:
        raise ArgumentError(f"samples must be at least 1, got {samples}")
    sampling = Sampling(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
        repetition_penalty=repetition_penalty,
    )  # fmt: skip
    model = load(run)
    _check_unicode(text)
    if isinstance(model, Translator):
        if stop or max_new_tokens != LENGTH:
            raise ArgumentError("max_new_tokens and stop are for a language model")
        for number in range(samples):
            show(model.predict([text], sampling=sampling, seed=seed + number)[0])
        return
    if not isinstance(model, LanguageModel):
        raise ArgumentError(f"{run}: holds a {model.task}, which generates no text")
    _check_prompt(model, text)
    for number in range(samples):
        pieces = model.generate_live(
            text, sampling=sampling, max_new_tokens=max_new_tokens, stop=stop, seed=seed + number
        )
        first = next(pieces, "")  # nothing is printed if the flags cannot work
        words = model.vocabulary.tokens == "word" and text
        if words and not glued(text[-1], first, model.vocabulary.split_punctuation):
            first = f" {first}"
        for piece in itertools.chain([text, first], pieces):
            show_text(piece)
        show_text("\n\n" if number + 1 < samples else "\n")


@app.command
def chat(
    run: Path,
    /,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> None:
    """Talk to a model of kind dialogue, a line a turn; an empty line forgets, Ctrl-D ends.

    Parameters
    ----------
    run
        The model's folder.
    temperature
        Above 0 answers are drawn; 0 for the likeliest.
    top_k
        Draw from the k likeliest words only.
    top_p
        Draw from the likeliest words that together reach this probability.
    seed
        The same seed gives the same answers.
    """
    from elman.decode.sample import Sampling

    if (top_k, top_p) != (None, None) and not temperature:
        raise ArgumentError("top_k and top_p draw answers: set temperature, for example 0.8")
    model = load(run)
    if not isinstance(model, Translator):
        raise ArgumentError(f"{run}: holds a {model.task}, which does not talk")
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    talk = model.chat(sampling=sampling if temperature else None, seed=seed)
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt)
        except EOFError:
            return
        if line.strip():
            _check_unicode(line)
            show_text(f"{talk.say(line)}\n")
        else:
            talk.restart()


@app.command
def evaluate(
    run: Path,
    text: Path,
    labels: Path | None = None,
    /,
    *,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
    skip_bad_rows: Path | None = None,
) -> None:
    """Score a model on data that it has not seen.

    Parameters
    ----------
    run
        The model's folder.
    text
        Data of the same kind as those it was trained on.
    labels
        For a file with a text a line: the file with their labels, tags or targets.
    as_json
        Print one JSON object.
    skip_bad_rows
        Leave out rows that cannot be read and write them, with the reason, to this CSV file.
    """
    from elman.report.overlap import missing_scores

    model = load(run)
    if not isinstance(model, LanguageModel | Forecaster):
        scores = model.evaluate(text, labels, skip_bad_rows=skip_bad_rows)
    elif labels is not None:
        raise ArgumentError(f"{run}: a {model.task} is scored on one file, without labels")
    elif isinstance(model, Forecaster):
        scores = model.evaluate(text, skip_bad_rows=skip_bad_rows)
    elif skip_bad_rows is not None:
        raise ArgumentError(f"{run}: a language model is scored on all of a text")
    else:
        scores = model.evaluate(text)
    if isinstance(model, Translator):
        print_notes(missing_scores(model.kind))
    if as_json:
        print(json.dumps(scores))
        return
    if not isinstance(model, LanguageModel):
        for name, value in scores.items():
            form = "" if isinstance(value, str) else "10," if isinstance(value, int) else "10.4f"
            show(f"{name:22s} {value:{form}}")
        return
    baseline = scores.pop("baseline", None)
    show(f"perplexity  {scores['perplexity']:10.2f}")
    if baseline is None:
        show("baseline    not known: the training text is not where it was, or has changed")
    else:
        show(f"  n-gram    {baseline['perplexity']:10.2f}   (interpolated Kneser-Ney 5-gram)")
    show(f"accuracy    {scores['accuracy']:10.2%}")
    show(f"tokens      {scores['tokens']:10,}")
    if scores.get("unknown"):
        show(f"unknown     {scores['unknown']:10.2%}   of them, all counted as one word <unk>")


@app.command
def info(run: Path | None = None, /) -> None:
    """Show what a folder holds, or, without one, this installation.

    Parameters
    ----------
    run
        A model's folder.
    """
    if run is None:
        import torch

        from elman import kernels

        show(f"elman    {elman.__version__}")
        show(f"torch    {torch.__version__}, {torch.get_num_threads()} threads")
        show(f"kernels  {kernels.describe()}")
        show(f"cuda     {torch.cuda.get_device_name() if torch.cuda.is_available() else 'no'}")
        return
    from elman.manifest import MANIFEST
    from elman.tasks.folder import METRICS, check_folder, read_config, read_json

    config = read_config(run)
    settings = task_of(run)._from_config(config, run)
    check_folder(run, checkpoint=True)
    metrics = read_json(run / METRICS, finite=False) if (run / METRICS).exists() else None
    show(f"{run}: a {config['task']} by Elman {config['elman']}")
    show(f"data   {config['data'].get('name', 'texts in memory')}")
    show(f"state  {'in training or stopped (elman resume)' if metrics is None else 'trained'}")
    whole = "all as they were written" if (run / MANIFEST).exists() else "not checked, no manifest"
    show(f"parts  {whole}")
    print_metrics(metrics or {})
    show("settings that differ from the defaults:")
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, list):  # as JSON has it
            value = tuple(value)
        if value != field.default:
            show(f"  {field.name}: {value}")


def _check_unicode(text: str) -> None:
    if not is_unicode(text):
        raise ArgumentError(f"the text is not valid UTF-8: {text!a}")


def _check_prompt(model: LanguageModel, text: str) -> None:
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
