"""The base class of all tasks: settings as fields, a network, and a folder that contains both.

Large libraries are imported when they are first used, so that `elman --help` is fast.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from elman.arguments import is_of_type, plain
from elman.errors import FolderError, UntrainedError
from elman.inputs.declared import declare, with_paths
from elman.manifest import WEIGHTS, content_of, read_json, write_json
from elman.read.files import path_of
from elman.read.rows import check_new
from elman.report.terminal import tell
from elman.settings import NetworkSettings, check_pairs
from elman.tasks.folder import (
    CONFIG,
    METRICS,
    PATHS,
    check_can_go_on,
    check_folder,
    check_free,
    found_from,
    read_config,
    relative_to,
    start_folder,
    write_config,
)
from elman.tasks.lock import locked
from elman.train.processes import is_first

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from elman.model import SequenceModel
    from elman.seq2seq import Seq2Seq
    from elman.tasks.run import Job, Request

SomeTask = TypeVar("SomeTask", bound="Task")


class Task(NetworkSettings):
    """A task, whose settings are the fields of a dataclass.

    Subclasses define `check`, `fit` and the methods that raise NotImplementedError here.
    """

    task: ClassVar[str]  # its name in config.json and on the command line

    def __setattr__(self, name: str, value: Any) -> None:
        """Store a setting as a plain Python value; inputs by column become strings."""
        if name == "inputs" and isinstance(value, Mapping):
            value = declare(value)
        field = type(self).__dataclass_fields__.get(name)
        if field is not None:
            value = plain(value, str(field.type))
            if name == "hidden_size" and isinstance(value, tuple) and len(value) == 1:
                value = value[0]
        super().__setattr__(name, value)

    def __post_init__(self) -> None:
        self._model: SequenceModel | Seq2Seq | None = None
        self.described: dict[str, Any] = {}  # facts about the data, stored in config.json
        self.metrics: dict[str, Any] = {}

    # Defined by each task.

    def check(self) -> None:
        """Raise an ArgumentError for settings that cannot work."""
        raise NotImplementedError

    def _save_parts(self, folder: Path) -> None:
        """Write the files that the network needs besides its weights, such as a vocabulary."""
        raise NotImplementedError

    def _build_from(self, folder: Path) -> None:
        """Build the network, with any weights, from the files of `_save_parts`."""
        raise NotImplementedError

    def _job(self, request: Request, fabric: Fabric) -> Job:
        """Read the data, build the network, and return the data and functions of a training run."""
        raise NotImplementedError

    def card(self, name: str) -> str:
        """Return the model card as Markdown: data, sizes, scores, and how to use the model."""
        raise NotImplementedError

    # Shared by all tasks.

    def _fit(
        self,
        data: Mapping[str, object],
        out: str | Path | None,
        skip_bad_rows: str | Path | None = None,
        *,
        overwrite: bool,
        show: bool,
    ) -> None:
        """Train a new model on the data of each part, by name; see `fit` of the tasks."""
        from elman.tasks.parts import check_parts, naming_columns
        from elman.tasks.run import Request

        begun = self._begin(out, skip_bad_rows, overwrite=overwrite)
        with begun as (folder, rejects), naming_columns(self):
            if is_first():  # the others do not read the data
                check_parts(data.values(), self)
            self._train(Request(data, rejects, folder, None, show))

    def _train(self, request: Request) -> None:
        from elman.tasks.run import train
        from elman.train.fabric import build_fabric

        fabric = build_fabric(self)
        train(self, self._job(request, fabric), request, fabric)

    def _data_before(self, folder: Path) -> tuple[dict[str, object], Path | None]:
        """Return the data of the run in a folder by part, and the file for its bad rows."""
        from elman.tasks.parts import given_before

        return given_before(self.described)

    @contextlib.contextmanager
    def _begin(
        self, out: str | Path | None, skip_bad_rows: str | Path | None, *, overwrite: bool
    ) -> Iterator[tuple[Path | None, Path | None]]:
        """Check the settings and paths; yield the locked folder, and the file for bad rows."""
        self.check()
        check_pairs(self)
        self.described = {}  # forget an earlier fit
        folder = None if out is None else path_of(out, "out")
        rejects = None if skip_bad_rows is None else path_of(skip_bad_rows, "skip_bad_rows")
        if not is_first():  # the first process checks for all
            yield folder, rejects
            return
        if rejects is not None:
            check_new(rejects, overwrite=overwrite)
        with contextlib.ExitStack() as stack:
            if folder is not None:
                check_free(folder, overwrite=True)
                stack.enter_context(locked(folder))
                check_free(folder, overwrite=overwrite)
            yield folder, rejects

    def _check_described(self) -> None:
        """Raise an ArgumentError if facts about the data in `config.json` are not valid."""

    @property
    def model(self) -> Any:  # SequenceModel or Seq2Seq, depending on the task
        """The trained network, a `torch.nn.Module`."""
        if self._model is None:
            raise UntrainedError(f"this {type(self).__name__} is not trained yet: call fit first")
        return self._model

    def settled(self: SomeTask) -> SomeTask:
        """Return the settings, with the values that `start_from` or `vectors` decided."""
        return replace(self, **self.described.get("decided", {}))

    @classmethod
    def resume(
        cls: type[SomeTask],
        folder: str | Path,
        *,
        learning_rate: float | None = None,
        epochs: int | None = None,
        show: bool = False,
    ) -> SomeTask:
        """Continue a run from its last checkpoint, with the same result as without the stop.

        With a new number of epochs, the result is that of one run of this number of epochs, with
        two exceptions.  With `schedule="cosine"`, only the remaining steps get the learning rates
        of such a run.  A finished forecaster continues from its best weights (see `refit_epochs`).

        Args:
            folder: folder of the run.
            learning_rate: new learning rate, for example after a divergence.
            epochs: new total number of epochs.
            show: whether to show progress on the terminal.

        Raises:
            FolderError: there is no run in the folder.
            DataError: the data are missing or have changed.
        """
        from elman.tasks.run import Request

        folder = path_of(folder, "folder")
        model = cls._from_config(read_config(folder), folder)
        old = model.settled()
        model.learning_rate = model.learning_rate if learning_rate is None else learning_rate
        model.epochs = model.epochs if epochs is None else epochs
        model.check()
        other = epochs not in (None, old.epochs) and old.schedule == "cosine"
        if other and show and is_first():
            tell(
                f"schedule=cosine was set for epochs={old.epochs} and now ends at "
                f"epochs={epochs}, so the result is not that of one run with epochs={epochs}"
            )
        with locked(folder) if is_first() else contextlib.nullcontext():
            if is_first():
                check_can_go_on(folder)
            before = dict(model.described)
            model._train(Request(*model._data_before(folder), folder, before, show))
        return model

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the model to a folder, from which `elman.load` reads it.

        Args:
            folder: the folder, which is created.
            overwrite: whether to replace a model that is in the folder.

        Raises:
            FolderError: the folder is not empty, is in use, or cannot be written.
        """
        from elman.tasks.run import write_card
        from elman.train.checkpoint import save_tensors

        folder, weights = path_of(folder, "folder"), self.model.state_dict()
        check_free(folder, overwrite=True)
        with locked(folder):
            check_free(folder, overwrite=overwrite)
            start_folder(folder)
            self._save_parts(folder)
            save_tensors(folder / WEIGHTS, weights)
            write_json(folder / METRICS, self.metrics)
            write_config(folder, self._config(folder))
            write_card(self, folder)

    @classmethod
    def load(cls: type[SomeTask], folder: str | Path) -> SomeTask:
        """Read a model from a folder.

        Raises:
            FolderError: the folder is missing, damaged or of another task.
        """
        from elman.train.checkpoint import check_tensors, load_tensors

        folder = path_of(folder, "folder")
        model = cls._from_config(read_config(folder), folder)
        check_folder(folder, checkpoint=False)
        if not (folder / WEIGHTS).exists():
            raise FolderError(
                f"{folder}: has no weights yet, as its training stopped before the first "
                f"validation; continue with `elman resume {folder}`"
            )
        weights, _ = load_tensors(folder / WEIGHTS)
        try:
            with content_of(folder / CONFIG):
                model._build_from(folder)
        except (MemoryError, RuntimeError) as error:
            reason = str(error).partition("\n")[0] or "not enough memory"
            raise FolderError(
                f"{folder / CONFIG}: describes a network that cannot be built here ({reason}); put "
                "the right file back, or use a larger machine"
            ) from error
        check_tensors(folder / WEIGHTS, weights, model.model.float().state_dict())
        model.model.load_state_dict(weights)
        model.model.eval()
        if (folder / METRICS).exists():
            model.metrics = read_json(folder / METRICS, finite=False)
        return model

    def _config(self, folder: Path) -> dict[str, Any]:
        """Return the content of config.json, with paths relative to the folder.

        A shared folder therefore reveals no paths of the machine, and a run finds its data again if
        both are moved together.
        """
        config = {"task": self.task, "settings": asdict(self), "data": dict(self.described)}
        return _change_paths(config, lambda path: relative_to(folder, path))

    @classmethod
    def _from_config(cls: type[SomeTask], config: dict[str, Any], folder: Path) -> SomeTask:
        """Build a task from the config.json of a folder; raise a FolderError if it is not valid."""
        if config["task"] != cls.task:
            raise FolderError(f"{folder}: holds a model for {config['task']}, not {cls.task}")
        known = {field.name for field in fields(cls)}
        _check_data(config["data"], folder)
        config = _change_paths(config, lambda path: str(found_from(folder, path)))
        unknown = set(config["settings"]) - known
        if unknown:
            raise FolderError(
                f"{folder / CONFIG}: has unknown settings: {', '.join(sorted(unknown))}"
            )
        with content_of(folder / CONFIG):
            model = cls(**config["settings"])
            model.described = config["data"]
            model.settled().check()
            model._check_described()
        return model


def _change_paths(config: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return a copy of a config in which a function has been applied to each path."""

    def changed(values: dict[str, Any]) -> dict[str, Any]:
        result = dict(values)
        inputs = values.get("inputs")
        if isinstance(inputs, list | tuple) and is_of_type([*inputs], list[str]):
            result["inputs"] = [with_paths(one, PATHS, change) for one in inputs]
        for name in PATHS:
            if isinstance(value := values.get(name), str):
                result[name] = change(value)
            elif isinstance(value, list):
                result[name] = [None if path is None else change(path) for path in value]
        return result

    return {**config, "settings": changed(config["settings"]), "data": changed(config["data"])}


def _check_data(data: Mapping[str, Any], folder: Path) -> None:
    """Raise a FolderError unless the data in a config are paths or pairs of paths, with keys."""
    for name, value in data.items():
        if (name == "name" or name.endswith("_key")) and not isinstance(value, str):
            raise FolderError(
                f"{folder / CONFIG}: is damaged (data.{name} must be a string, got {value!r})"
            )
    for name in set(PATHS) & set(data):
        found = data[name]
        pair = found if isinstance(found, list) and len(found) == 2 else [found, None]
        if not (isinstance(pair[0], str) and isinstance(pair[1], str | None)):
            raise FolderError(
                f"{folder / CONFIG}: is damaged (data.{name} must be a path or a list of two, got "
                f"{found!r})"
            )


def identity_of(model: Task) -> str:
    """Return a hash of the weights and the settings of a model."""
    from elman.state import hash_of

    return hash_of(model.model, json.dumps(model.described, sort_keys=True, default=str))
