"""Commands that use a model: generate, chat, evaluate and info."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

import elman
from elman.cli.app import AsJson, RunFolder, SkipBadRows, TopK, TopP, app
from elman.cli.predict import check_unicode, tell_unknown
from elman.cli.show import notes_shown, print_metrics, print_notes
from elman.errors import ArgumentError
from elman.report.progress import figure
from elman.report.terminal import show, show_text
from elman.report.verdict import name_of
from elman.tasks import Forecaster, LanguageModel, Translator, load, task_of

if TYPE_CHECKING:
    from elman.decode.sample import Sampling

LENGTH = 100  # tokens of a continuation


@dataclass(kw_only=True)
class SamplingFlags:
    """The settings for drawing words."""

    temperature: float = 1.0
    """Below 1, likely words are preferred; 0 always takes the likeliest word."""
    top_k: TopK = None
    top_p: TopP = None
    min_p: float | None = None
    """Draw only from words at least this fraction as likely as the likeliest one."""
    repetition_penalty: float = 1.0
    """Above 1: avoid words that occurred before."""

    def settings(self) -> Sampling:
        """Return the flags as the settings of sampling."""
        from elman.decode.sample import Sampling

        return Sampling(
            temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
        )  # fmt: skip


@app.command
def generate(
    run: RunFolder,
    text: str = "",
    /,
    *,
    max_new_tokens: int = LENGTH,
    flags: Annotated[SamplingFlags, Parameter(name="*")] = SamplingFlags(),  # noqa: B008
    stop: tuple[str, ...] = (),
    seed: int = 0,
    samples: int = 1,
) -> None:
    """Continue a text with words that are drawn at random, or draw translations of it.

    Example: elman generate runs/book "It was a" --temperature 0.8 --top-p 0.95

    Parameters
    ----------
    text
        A text to continue or translate.
    max_new_tokens
        Largest number of tokens of a continuation.
    stop
        End a continuation before this string; can be given several times.
    seed
        Seed of the random numbers; equal seeds give equal texts.
    samples
        Number of texts.
    """
    if samples < 1:
        raise ArgumentError(f"samples must be at least 1, got {samples}")
    sampling = flags.settings()
    model = load(run)
    check_unicode(text)
    if isinstance(model, Translator):
        if stop or max_new_tokens != LENGTH:
            raise ArgumentError("--max-new-tokens and --stop are for a language model")
        for number in range(samples):
            show(model.predict([text], sampling=sampling, seed=seed + number)[0])
        return
    if not isinstance(model, LanguageModel):
        raise ArgumentError(f"{run}: holds a {model.task}, which generates no text")
    tell_unknown(model, text)
    for number in range(samples):
        _continue(
            model, text, sampling=sampling, max_new_tokens=max_new_tokens, stop=stop,
            seed=seed + number,
        )  # fmt: skip
        show_text("\n\n" if number + 1 < samples else "\n")


def _continue(model: LanguageModel, text: str, **settings: Any) -> None:
    """Print a text and its continuation, each word when it is drawn."""
    from elman.encode.text import glued

    pieces = model.generate_live(text, **settings)
    first = next(pieces, "")  # before anything is printed, as the settings may be refused
    words = model.vocabulary.tokens == "word" and text
    if words and not glued(text[-1], first, model.vocabulary.split_punctuation):
        first = f" {first}"
    for piece in itertools.chain([text, first], pieces):
        show_text(piece)


@app.command
def chat(
    run: RunFolder,
    /,
    *,
    temperature: float = 0.0,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: int = 0,
) -> None:
    """Talk to a model of kind dialogue, one turn per line.

    An empty line begins a new conversation, and Ctrl-D ends the program.

    Parameters
    ----------
    temperature
        Above 0, answers are drawn at random; 0 takes the likeliest one.
    seed
        Seed of the random numbers; equal seeds give equal answers.
    """
    from elman.decode.sample import Sampling

    if (top_k, top_p) != (None, None) and not temperature:
        raise ArgumentError("--top-k and --top-p draw answers: set --temperature, for example 0.8")
    model = load(run)
    if not isinstance(model, Translator):
        raise ArgumentError(f"{run}: holds a {model.task}, which has no conversations")
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    conversation = model.chat(sampling=sampling if temperature else None, seed=seed)
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt)
        except EOFError:
            return
        if line.strip():
            check_unicode(line)
            show_text(f"{conversation.say(line)}\n")
        else:
            conversation.restart()


@app.command
def evaluate(
    run: RunFolder,
    text: Path,
    labels: Path | None = None,
    /,
    *,
    as_json: AsJson = False,
    skip_bad_rows: SkipBadRows = None,
) -> None:
    """Score a model on data that it was not trained on.

    Parameters
    ----------
    text
        Data in the same form as the training data.
    labels
        For a file with one text per line: the file with its labels, tags or targets.
    """
    from elman.report.overlap import missing_scores

    model = load(run)
    if isinstance(model, LanguageModel | Forecaster) and labels is not None:
        raise ArgumentError(f"{run}: a {model.task} is scored on one file, without labels")
    if isinstance(model, LanguageModel) and skip_bad_rows is not None:
        raise ArgumentError(f"{run}: a language model is scored on all of a text")
    with notes_shown():
        if isinstance(model, LanguageModel):
            scores = model.evaluate(text)
        elif isinstance(model, Forecaster):
            scores = model.evaluate(text, skip_bad_rows=skip_bad_rows)
        else:
            scores = model.evaluate(text, labels, skip_bad_rows=skip_bad_rows)
    if isinstance(model, Translator):
        print_notes(missing_scores(model.kind))
    if as_json:
        print(json.dumps(scores))
    elif isinstance(model, LanguageModel):
        _print_perplexity(scores)
    else:
        positive = str(model.metrics.get("positive", ""))
        for name, value in scores.items():
            if not isinstance(value, str):
                value = f"{f'{value:,}' if isinstance(value, int) else figure(value):>10s}"
            show(f"{name_of(name, positive):22s} {value}")


def _print_perplexity(scores: Mapping[str, Any]) -> None:
    """Print the scores of a language model and its baseline."""
    baseline = scores.get("baseline")
    show(f"perplexity  {scores['perplexity']:10.2f}")
    if baseline is None:
        show("baseline    unknown: the training text was moved, or has changed")
    else:
        show(f"  n-gram    {baseline['perplexity']:10.2f}   (interpolated Kneser-Ney 5-gram)")
    show(f"accuracy    {scores['accuracy']:10.2%}")
    show(f"tokens      {scores['tokens']:10,}")
    if scores.get("unknown"):
        show(f"unknown     {scores['unknown']:10.2%}   of the tokens, counted as one word <unk>")


@app.command
def info(run: Path | None = None, /) -> None:
    """Describe the model in a folder, or without a folder this installation.

    Parameters
    ----------
    run
        Folder of a model.
    """
    if run is not None:
        _print_model(run)
        return
    import torch

    from elman import kernels

    show(f"elman    {elman.__version__}")
    show(f"torch    {torch.__version__}, {torch.get_num_threads()} threads")
    show(f"kernels  {kernels.describe()}")
    show(f"cuda     {torch.cuda.get_device_name() if torch.cuda.is_available() else 'no'}")


def _print_model(run: Path) -> None:
    """Print the data, state, scores and settings of a model."""
    from elman.manifest import MANIFEST, read_json
    from elman.tasks.folder import METRICS, check_folder, read_config

    config = read_config(run)
    settings = task_of(run)._from_config(config, run)
    check_folder(run, checkpoint=True)
    metrics = read_json(run / METRICS, finite=False) if (run / METRICS).exists() else None
    show(f"{run}: a {config['task']} by Elman {config['elman']}")
    show(f"data   {config['data'].get('name', 'texts in memory')}")
    state = "trained" if metrics is not None else "in training, or stopped (see elman resume)"
    show(f"state  {state}")
    checked = "unchanged" if (run / MANIFEST).exists() else "not checked: there is no manifest"
    show(f"files  {checked}")
    print_metrics(metrics or {})
    show("settings that differ from the defaults:")
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, list):  # as JSON has it
            value = tuple(value)
        if value != field.default:
            show(f"  {field.name}: {value}")
