"""`elman train TASK` and `elman resume`; the flags are the fields of the tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from elman.cli.app import FileName, RunFolder
from elman.cli.flags import Whole, arguments_of, flags_of, in_order
from elman.cli.show import print_metrics
from elman.errors import ArgumentError
from elman.tasks import TASKS, AnyTask, task_of

EXAMPLES = {
    "language-model": ("book.txt --out runs/book --epochs 5",),
    "classifier": (
        "reviews.csv --text review --label stars --out runs/reviews",
        "watch.csv --channels ax ay az --rate 50 --window 200 --out runs/watch",
        "records.csv outcomes.csv --variable name --out runs/risk",
        "commands --out runs/commands",
    ),
    "tagger": (
        "en-train.conllu --validation en-dev.conllu --out runs/tags",
        "trips.csv events.csv --channels ax ay az --rate 20 --out runs/trips",
    ),
    "translator": (
        "train.de train.en --out runs/de-en",
        "mails.jsonl --source body --target subject --kind summary --out runs/subjects",
        "dialogues.txt --kind dialogue --out runs/talk",
    ),
    "transcriber": (
        "speech.csv --out runs/speech",
        "speech.csv --decoder transducer --no-bidirectional --out runs/live",
    ),
    "forecaster": ("sales.csv --horizon 28 --out runs/sales",),
}
NAMES = {"train": "TEXT"}  # arguments of `fit` that have another name on the command line


@dataclass(kw_only=True)
class RunFlags:
    """The arguments of `fit` that become flags, and `config`; each task has those of its `fit`."""

    out: Path
    """Folder for the model, its checkpoints and its report."""
    validation: tuple[Path, ...] = ()
    """Data that select the best weights, in the same form as the training data; without them, a
    part of the training data is held out. For two files, repeat the flag, in the same order."""
    test: tuple[Path, ...] = ()
    """Data in the same form, which are only scored at the end."""
    skip_bad_rows: Path | None = None
    """Skip rows that cannot be read; write them and the reasons to this CSV file."""
    overwrite: bool = False
    """Replace a model that is already in the folder."""
    config: Path | None = None
    """YAML file with settings, one on each line, such as "hidden_size: 512"; flags take precedence
    over it. To set None, use --no-NAME, or "NAME: null" in the file."""


def train_app(arguments: Sequence[str], config: Any) -> App:
    """Return the commands that train; flags are built for the tasks that the arguments name."""
    app = App(name="train", help="Train a model.", config=config)
    for name, task in TASKS.items():
        command = _command(task) if not arguments or name in arguments else _later
        examples = (f"Example: elman train {name} {one}" for one in EXAMPLES.get(name, ()))
        app.command(command, name=name, help="\n\n".join([_summary(task), *examples]))
    return app


def _later() -> None:
    """Take the place of a command that is not called."""


def _summary(task: type[AnyTask]) -> str:
    """Return the summary of a command, from the docstring of its task."""
    first = (inspect.getdoc(task) or "").partition("\n\n")[0]
    return "Train " + " ".join(f"{first[:1].lower()}{first[1:]}".split())


def _command(task: type[AnyTask]) -> Callable[..., None]:
    """Return the command that trains a task, with a flag for each field of it."""
    places = data_of(task)
    taken = {"config", *inspect.signature(task.fit).parameters}
    of_run = [one for one in flags_of(RunFlags) if one.name in taken]

    def command(*data: Path, **given: Any) -> None:
        given.pop("config", None)  # it has been read by `settings_of`
        run = {one.name: given.pop(one.name) for one in of_run if one.name in given}
        for name in {"validation", "test"} & set(run):
            run[name] = _as_data(run[name], name, len(places))
        fitted = task(**given).fit(*data, **run, show=True)
        print_metrics(fitted.metrics, run["out"])

    flags = [*of_run, *flags_of(task, negative=True)]
    command.__signature__ = inspect.Signature([*places, *in_order(flags)])  # type: ignore[attr-defined]
    return command


def data_of(task: type[AnyTask]) -> list[inspect.Parameter]:
    """Return the data arguments of `fit` as arguments of a command."""
    texts = arguments_of(task.fit, task)
    return [
        inspect.Parameter(
            f"given_{name}",
            inspect.Parameter.POSITIONAL_ONLY,
            default=one.default,
            annotation=Annotated[
                FileName if one.default is one.empty else FileName | None,
                Parameter(name=NAMES.get(name, name).upper(), help=texts.get(name)),
            ],
        )
        for name, one in inspect.signature(task.fit).parameters.items()
        if one.kind is one.POSITIONAL_OR_KEYWORD and name not in ("self", "validation")
    ]


def _as_data(paths: tuple[Path, ...], name: str, most: int) -> Path | tuple[Path, ...] | None:
    """Return the files of a flag in the form of `fit`: one, or as many as the training data."""
    if len(paths) > most:
        wanted = "one file" if most == 1 else "a table or two files"
        raise ArgumentError(f"{name} must be {wanted}, got {len(paths)} files")
    return paths[0] if len(paths) == 1 else paths or None


def resume(
    run: RunFolder, /, *, learning_rate: float | None = None, epochs: Whole | None = None
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
