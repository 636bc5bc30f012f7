"""Train a model of any task on batches, and write its folder: weights, scores, card, report."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric

from elman.atomic import write_atomic
from elman.errors import DivergenceError, Stopped
from elman.inputs.declared import with_paths
from elman.manifest import CHECKPOINT, WEIGHTS, remove_part, settle_parts, write_json
from elman.report.journal import Journal, read_journal
from elman.report.page import write_report
from elman.report.progress import Progress
from elman.tasks.folder import (
    CARD,
    METRICS,
    PARTS,
    PATHS,
    Model,
    name_of,
    start_folder,
    write_config,
)
from elman.train.checkpoint import check_tensors, load_tensors, select
from elman.train.chunks import Batches, Refit
from elman.train.fabric import on_first
from elman.train.loop import fit
from elman.train.position import Position
from elman.version import __version__

JOURNAL = "run.jsonl"


class Request(NamedTuple):
    """The request for a training run.

    Attributes:
        data: the data by part (train, validation, test), in a form that the task reads.
        rejects: file for bad rows; None to stop at a bad row.
        folder: folder of the run; None to keep the model in memory.
        before: facts about the data of the run to continue; None for a new run.
        show: whether to show progress on the terminal.
    """

    data: Mapping[str, object]
    rejects: Path | None
    folder: Path | None
    before: dict[str, Any] | None
    show: bool

    @property
    def begins(self) -> bool:
        """Whether the training begins: there is no checkpoint to continue from."""
        new = self.before is None or self.folder is None
        return new or not (self.folder / CHECKPOINT).exists()  # type: ignore[operator]


@dataclass(frozen=True)
class Job:
    """The data and functions of a task for its training run.

    Args:
        train: training batches.
        validation: validation batches; None for none.
        data: names and sizes of the data, for the report.
        unit: unit of the reported speed, such as tokens or examples.
        measure: returns the scores of the trained model and of its baselines.
        notes: messages for the user.
        records: returns additional records that end the journal.
        refit: training on all data that follows; None for none.
        judge: called before `measure`, while the model has the weights that were validated.
    """

    train: Batches
    validation: Batches | None
    data: Mapping[str, object]
    unit: str
    measure: Callable[[], dict[str, Any]]
    notes: Sequence[str] = ()
    records: Callable[[], Iterable[Mapping[str, object]]] = lambda: ()
    refit: Refit | None = None
    judge: Callable[[], None] = lambda: None


def train(model: Model, job: Job, request: Request, fabric: Fabric) -> None:
    """Train a new model, or continue from the checkpoint of its folder.

    An old model in the folder is kept until this call, which replaces it.
    """
    folder, resume = request.folder, request.before is not None

    def prepare() -> None:
        if folder is None:
            return
        if not resume:
            start_folder(folder)
            model._save_parts(folder)
        else:
            if not request.begins:
                _check_run(model, job, folder)
            settle_parts(folder, PARTS)  # files of a killed run, or of an older version
        write_config(folder, model._config(folder))

    on_first(fabric, prepare)
    _run(model, job, folder, fabric=fabric, resume=resume, show=request.show)


def write_card(model: Model, folder: Path) -> None:
    """Write the model card, README.md."""
    write_atomic(folder / CARD, model.card(folder.name))


def _check_run(model: Model, job: Job, folder: Path) -> None:
    """Raise an error, before anything is changed, if files are damaged or of another model."""
    expected = model.model.float().state_dict()  # independent of torch's default dtype
    for file, prefix in ((CHECKPOINT, "model."), (WEIGHTS, "")):
        tensors, facts = load_tensors(folder / file)
        check_tensors(folder / file, select(tensors, prefix), expected)
        if file == CHECKPOINT:
            batches = max(len(job.train), len(job.refit.batches) if job.refit else 0)
            position = Position.read(facts.get("position"), folder / file, batches)
            journal = folder / JOURNAL  # records after the checkpoint will be cut
            if journal.is_file() and not journal.is_symlink():
                read_journal(journal, length=position.journal)
            if not position.best_step:
                return  # there are no weights before the first validation


def _run(
    model: Model, job: Job, folder: Path | None, *, fabric: Fabric, resume: bool, show: bool
) -> None:
    first = fabric.is_global_zero
    journal = Journal(folder / JOURNAL) if folder is not None and first else None
    display = Progress() if show and first else None
    try:
        if display is not None:
            for note in job.notes:
                display.show({"event": "note", "text": note})
        begin = _start_record(model, job, fabric)
        if journal is not None and folder is not None:
            if not (folder / CHECKPOINT).exists():  # stopped before the first checkpoint
                journal.truncate(0)
            if journal.position == 0:
                journal.write(begin)
                for note in job.notes:
                    journal.write({"event": "note", "text": note})
        if display is not None:
            display.show(begin)
        model.model.float()  # independent of torch's default dtype
        outcome = fit(
            model.model,
            job.train,
            job.validation,
            model.settled(),
            fabric=fabric,
            folder=folder,
            resume=resume,
            journal=journal,
            show=display.show if display else None,
            refit=job.refit,
        )
        model.model.to("cpu")
        if outcome.signal is not None:
            if folder is not None and first:  # scores of an earlier run with fewer epochs
                remove_part(folder / METRICS)
            saved = f"; continue with: elman resume {folder}" if folder else ""
            raise Stopped(f"stopped after step {outcome.position.step}{saved}", outcome.signal)
        if first:
            _judge(model, job, outcome.validated)
            model.metrics = job.measure()
            for record in job.records() if journal is not None else ():
                assert journal is not None
                journal.write(record)
    except DivergenceError:
        model.model.to("cpu")
        if folder is not None and first:
            write_report(folder)
        raise
    finally:
        if journal is not None:
            journal.close()
        if display is not None:
            display.close()
    if folder is not None and first:
        write_config(folder, model._config(folder))  # with facts from the validation data
        write_json(folder / METRICS, model.metrics)
        write_card(model, folder)
        write_report(folder)


def _judge(model: Model, job: Job, validated: Mapping[str, torch.Tensor] | None) -> None:
    """Call `judge` with the weights that were validated, and restore the final ones."""
    if validated is None:
        job.judge()
        return
    final = {name: value.clone() for name, value in model.model.state_dict().items()}
    model.model.load_state_dict(validated)
    job.judge()
    model.model.load_state_dict(final)


def _start_record(model: Model, job: Job, fabric: Fabric) -> dict[str, object]:
    settled = model.settled()
    settings = {name: value for name, value in asdict(settled).items() if value is not None}
    for name in set(PATHS) & set(settings):  # the report can be shared, so it has no full paths
        settings[name] = name_of(settings[name])
    if inputs := settings.get("inputs"):
        settings["inputs"] = [with_paths(one, PATHS, name_of) for one in inputs]
    return {
        "event": "start",
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "task": model.task,
        "parameters": sum(p.numel() for p in model.model.parameters()),
        "device": str(fabric.device),
        "precision": settled.precision,
        "seed": settled.seed,
        "versions": {"elman": __version__, "torch": torch.__version__},
        "settings": settings,
        "data": dict(job.data),
        "epochs": settled.epochs + (job.refit.epochs if job.refit else 0),
        "steps_per_epoch": -(-len(job.train) // settled.accumulate),
        "unit": job.unit,
    }
