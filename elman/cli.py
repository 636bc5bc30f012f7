"""The command line: `elman train|predict|generate|evaluate|resume|info`.

Flags and help of `train` are derived from the fields of the task and their docstrings; nothing
heavy is imported before a command runs.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal  # noqa: F401 - types of `Settings` are looked up here

import cyclopts
from cyclopts import App, Group, Parameter

import elman
from elman.errors import ArgumentError, DataError, ElmanError, Stopped
from elman.tasks import LanguageModel, load, task_of

SETTINGS = Group(
    "Settings",
    help='Also by --config FILE.yaml, a line each: "hidden_size: 512". Where None is a choice, '
    'give it by --no-NAME, or by "NAME: null" in the file.',
)

app = App(
    name="elman",
    version=elman.__version__,
    help="Recurrent sequence models: train on a file, see how good it is, use it.",
    help_epilogue="Start with: elman train language-model book.txt --out runs/book\n\n"
    "With --debug an error shows where in the program it arose.",
    help_format="plaintext",  # markdown would swallow <unk>
    default_parameter=Parameter(negative_iterable=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # main says how to go on
)
train = App(name="train", help="Train a model.")
app.command(train)


@dataclass(kw_only=True)
class Settings(LanguageModel):
    """The fields as flags: "one number or several" is one type more than the parser takes."""

    hidden_size: Annotated[
        tuple[int, ...], Parameter(show_default=lambda sizes: " ".join(map(str, sizes)))
    ] = (256,)


@train.command(name="language-model")
def train_language_model(
    text: Path,
    /,
    *,
    out: Path,
    validation: Path | None = None,
    test: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    config: Path | None = None,  # noqa: ARG001 - read by _use_config before the flags are
    settings: Annotated[
        Settings, Parameter(name="*", group=SETTINGS, negative_none="no-")
    ] = Settings(),  # noqa: B008
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
    _print_scores(model, out)


@app.command
def resume(run: Path, /, *, learning_rate: float | None = None, epochs: int | None = None) -> None:
    """Go on with a stopped run; the result is the same as without the stop.

    Parameters
    ----------
    run
        The folder given as --out.
    learning_rate
        Go on with another learning rate, for example after a divergence.
    epochs
        Train to another number of epochs.
    """
    model = task_of(run).resume(run, learning_rate=learning_rate, epochs=epochs, show=True)
    _print_scores(model, run)


@app.command
def predict(run: Path, text: str, /, *, k: int = 5) -> None:
    """Show the likeliest next words after a text.

    Example: elman predict runs/book "The cat sat on the"

    Parameters
    ----------
    run
        The model's folder.
    text
        What comes before.
    k
        How many to show.
    """
    model = load(run)
    _check_prompt(model, text)
    for token, probability in model.predict(text, k=k):
        print(f"{probability:7.2%}  {token if token.strip() else repr(token)}")


@app.command
def generate(
    run: Path,
    text: str = "",
    /,
    *,
    max_new_tokens: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    stop: tuple[str, ...] = (),
    seed: int = 0,
    samples: int = 1,
) -> None:
    """Go on with a text, word by word as it is drawn.

    Example: elman generate runs/book "It was a" --temperature 0.8 --top-p 0.95

    Parameters
    ----------
    run
        The model's folder.
    text
        What to continue.
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
            print(piece, end="", flush=True)
        print("\n" if number + 1 < samples else "")


@app.command
def evaluate(
    run: Path, text: Path, /, *, as_json: Annotated[bool, Parameter("--json", negative="")] = False
) -> None:
    """Score a model on a text, beside an n-gram model of the same training text.

    Parameters
    ----------
    run
        The model's folder.
    text
        Text of the same kind as the training text.
    as_json
        Print one JSON object.
    """
    scores = load(run).evaluate(text)
    if as_json:
        print(json.dumps(scores))
        return
    baseline = scores.pop("baseline", None)
    print(f"perplexity  {scores['perplexity']:10.2f}")
    if baseline is None:
        print("baseline    not known: the training text is not where it was, or has changed")
    else:
        print(f"  n-gram    {baseline['perplexity']:10.2f}   (interpolated Kneser-Ney 5-gram)")
    print(f"accuracy    {scores['accuracy']:10.2%}")
    print(f"tokens      {scores['tokens']:10,}")
    if scores.get("unknown"):
        print(f"unknown     {scores['unknown']:10.2%}   of them, all counted as one word <unk>")


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

        print(f"elman    {elman.__version__}")
        print(f"torch    {torch.__version__}, {torch.get_num_threads()} threads")
        print(f"kernels  {kernels.describe()}")
        print(f"cuda     {torch.cuda.get_device_name() if torch.cuda.is_available() else 'no'}")
        return
    from elman.tasks.folder import METRICS, read_config, read_json

    config = read_config(run)
    settings = task_of(run)._from_config(config, run)
    metrics = read_json(run / METRICS) if (run / METRICS).exists() else None
    print(f"{run}: a {config['task']} by Elman {config['elman']}")
    print(f"data   {config['data'].get('name', 'texts in memory')}")
    print(f"state  {'in training or stopped (elman resume)' if metrics is None else 'trained'}")
    _print_perplexities(metrics or {})
    print("settings that differ from the defaults:")
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value != field.default:
            print(f"  {field.name}: {value}")


def _check_prompt(model: LanguageModel, text: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ArgumentError(f"the text is not valid UTF-8: {text!a}")
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
        print(f"elman: not in the vocabulary: {', '.join(dict.fromkeys(words))}", file=sys.stderr)


def _print_scores(model: LanguageModel, out: Path) -> None:
    _print_perplexities(model.metrics)
    print(f"model and report: {out}  (open {out / 'report.html'})")


def _print_perplexities(metrics: dict[str, Any]) -> None:
    ours, baseline = metrics.get("model", {}), metrics.get("baseline", {})
    for part, scores in ours.items():
        line = f"{part} perplexity {scores['perplexity']:.2f}"
        if part in baseline:
            better = "lower" if scores["perplexity"] < baseline[part]["perplexity"] else "HIGHER"
            line += f", {better} than the {baseline['name']}'s {baseline[part]['perplexity']:.2f}"
        print(f"{line}; accuracy {scores['accuracy']:.1%} of {scores['tokens']:,} tokens")


def _use_config(arguments: list[str]) -> None:
    """Let a YAML file named by --config give flags that the command line leaves out."""
    train.config = ()
    for index, argument in enumerate(arguments):
        if argument == "--config" and index + 1 < len(arguments):
            train.config = _read_settings(Path(arguments[index + 1]))
        elif argument.startswith("--config="):
            train.config = _read_settings(Path(argument.removeprefix("--config=")))


def _read_settings(path: Path) -> cyclopts.config.Dict:
    import yaml

    try:
        with path.open(encoding="utf-8") as file:
            settings = yaml.safe_load(file) or {}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path}: is not valid YAML ({error})") from error
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
        raise DataError(f'{path}: expected settings, a line each, such as "hidden_size: 512"')
    for name, value in settings.items():
        if isinstance(value, list | dict) and name not in ("hidden_size", "hidden-size"):
            raise DataError(f"{path}: {name} must be one value, got {value}")
    return cyclopts.config.Dict(settings, source=str(path), use_commands_as_keys=False)


def _spread_sizes(arguments: list[str]) -> list[str]:
    """`--hidden-size 8 6` as `--hidden-size 8 --hidden-size 6`, which is understood anywhere."""
    spread: list[str] = []
    for argument in arguments:
        if argument.isdecimal() and spread[-2:-1] == ["--hidden-size"]:
            spread.append("--hidden-size")
        spread.append(argument)
    return spread


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 if it went well, 2 after bad input, 128 + n after a signal n."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if debug:
        arguments.remove("--debug")
    try:
        _use_config(arguments)
        app(_spread_sizes(arguments), exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except cyclopts.UnusedCliTokensError as error:
        words = " ".join(error.unused_tokens or ())
        return _refuse(
            f"too much: {words!r}; put quotes around a text of several words", error, debug
        )
    except (cyclopts.CycloptsError, ElmanError) as error:
        return _refuse(str(error), error, debug)
    except Stopped as stopped:
        print(f"elman: {stopped}", file=sys.stderr)
        return 128 + stopped.signal
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Who read the output has gone: what is still in the buffer must not fail at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _refuse(str(error), error, debug)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error):
            raise
        reason = f"not enough memory ({error}); lower hidden_size, batch_size or bptt"
        return _refuse(reason, error, debug)
    return 0


def _refuse(message: str, error: BaseException, debug: bool) -> int:
    if debug:
        raise error
    print(f"elman: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
