"""Save a run to a checkpoint, and restore it so that the result is exactly the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from elman.arguments import check_type
from elman.errors import FolderError
from elman.manifest import CHECKPOINT, WEIGHTS, content_of
from elman.model import SequenceModel
from elman.report.journal import Journal
from elman.seq2seq import Seq2Seq
from elman.state import State, from_named_leaves, map_state, named_leaves
from elman.train.checkpoint import (
    Json,
    check_tensors,
    load_optimizer,
    load_tensors,
    optimizer_tensors,
    save_tensors,
    select,
)
from elman.train.chunks import Batches, Refit
from elman.train.fabric import gather
from elman.train.optim import build_optimizer, find_undecayed
from elman.train.position import Position
from elman.train.settings import TrainingSettings


class Resumable:
    """The part of a run that a checkpoint stores and restores.

    Attributes:
        position: the position of the run.
        generator: draws all random numbers of this process.
        state: state that is carried to the next batch; None at the beginning of an epoch.
        best: weights of the best validation; None before the first one.
        validated: the weights before a refit, while it changes the model; else None.
        scores: scores of the best validation.
    """

    def __init__(
        self,
        model: SequenceModel | Seq2Seq,
        train: Batches,
        settings: TrainingSettings,
        fabric: Fabric,
        folder: Path | None,
        journal: Journal | None,
        refit: Refit | None,
    ) -> None:
        self.model, self.train, self.settings, self.refit = model, train, settings, refit
        self.fabric, self.folder, self.journal = fabric, folder, journal
        self.optimizer = build_optimizer(model.parameters(), settings, find_undecayed(model))
        self.generator = torch.Generator(fabric.device)
        self.generator.manual_seed(settings.seed * 1000 + fabric.global_rank)
        self.position = Position()
        self.state: State | None = None
        self.best: dict[str, Tensor] | None = None
        self.validated: dict[str, Tensor] | None = None
        self.scores: dict[str, float] | None = None

    def stalled(self) -> bool:
        """Return whether the patience of early stopping has run out."""
        patience = self.settings.early_stopping
        return patience is not None and self.position.stalls >= patience

    def save_weights(self, weights: dict[str, Tensor]) -> None:
        """Write weights to the folder, if there is one."""
        if self.folder is not None and self.fabric.is_global_zero:
            facts: dict[str, Json] = {"step": self.position.step, "scores": dict(self.scores or {})}
            save_tensors(self.folder / WEIGHTS, weights, facts)

    def write_checkpoint(self) -> None:
        """Write a checkpoint to the folder."""
        assert self.folder is not None
        self.position.journal = self.journal.position if self.journal else 0
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        moments, groups = optimizer_tensors(self.optimizer)
        tensors |= moments
        for name, value in (self.validated or {}).items():
            tensors[f"validated.{name}"] = value
        tensors["generator"] = torch.stack(gather(self.fabric, self.generator.get_state()))
        if self.state is not None:
            tensors |= dict(named_leaves(map_state(self._gather_rows, self.state)))
        if self.fabric.is_global_zero:
            facts: dict[str, Json] = {
                "position": asdict(self.position),
                "device": self.fabric.device.type,
                "optimizer": groups,
                "scores": dict(self.scores) if self.scores else None,
            }
            save_tensors(self.folder / CHECKPOINT, tensors, facts)

    def restore(self) -> None:
        """Restore the checkpoint in the folder."""
        assert self.folder is not None
        path = self.folder / CHECKPOINT
        tensors, facts = load_tensors(path)
        if facts.get("device") != self.fabric.device.type:
            raise FolderError(
                f"{self.folder}: was trained on {facts.get('device')} and can resume only there, "
                f"but this device is {self.fabric.device.type}"
            )
        weights, expected = select(tensors, "model."), self.model.state_dict()
        check_tensors(path, weights, expected)
        refit = self.refit.batches if self.refit else self.train
        most = max(len(self.train), len(refit))
        self.position = Position.read(facts.get("position"), path, most)
        with content_of(path):
            check_type(facts["scores"], dict[str, float] | None, "scores")
        load_generator(path, tensors.get("generator"), self.generator, self.fabric)
        rows = self.train.rows if self.position.batch else 0  # each epoch starts from zeros
        self.state = load_state(path, tensors, self.model, rows, self.fabric)
        load_optimizer(self.optimizer, tensors, facts.get("optimizer"), path)
        self.model.load_state_dict(weights)
        if self.position.best_step > 0:
            self.best, _ = load_tensors(self.folder / WEIGHTS)
            check_tensors(self.folder / WEIGHTS, self.best, expected)
            self.scores = facts["scores"]  # type: ignore[assignment]
        if self.position.refit:
            self._restore_refit(path, select(tensors, "validated."), expected)
        if self.journal is not None and self.fabric.is_global_zero:
            self.journal.truncate(self.position.journal)

    def _restore_refit(
        self, path: Path, validated: dict[str, Tensor], expected: Mapping[str, Tensor]
    ) -> None:
        """Restore the weights before the refit, and train them further if epochs are left."""
        check_tensors(path, validated, expected)
        self.validated = validated
        if self.position.epoch <= self.settings.epochs and not self.stalled():
            self.position.refit = self.position.batch = 0
            self.best, self.validated = validated, None
            self.model.load_state_dict(validated)
            self.save_weights(validated)

    def _gather_rows(self, leaf: Tensor) -> Tensor:
        """Return the rows of all processes concatenated."""
        return torch.cat(gather(self.fabric, leaf), dim=1)


def load_generator(
    path: Path, states: Tensor | None, generator: torch.Generator, fabric: Fabric
) -> None:
    """Restore the random generator of this process.

    Args:
        path: the checkpoint, for messages.
        states: (processes, bytes) of all processes.
        generator: is set to the state of this process.
        fabric: a launched Fabric.

    Raises:
        FolderError: the states are damaged, or were written by another number of processes.
    """
    before = 0 if states is None or states.dim() != 2 else len(states)
    if states is None or before != fabric.world_size:
        raise FolderError(
            f"{path}: was written by {before} processes and can resume only with the same number, "
            f"got {fabric.world_size}"
        )
    try:
        generator.set_state(states[fabric.global_rank].clone())  # torch does not accept a view
    except (RuntimeError, TypeError) as error:
        raise FolderError(
            f"{path}: the state of the random generator is damaged ({str(error).splitlines()[0]}); "
            "put the right file back"
        ) from error


@torch.no_grad()
def load_state(
    path: Path,
    tensors: Mapping[str, Tensor],
    model: SequenceModel | Seq2Seq,
    rows: int,
    fabric: Fabric,
) -> State | None:
    """Return the state that is carried from batch to batch, for the rows of this process.

    Args:
        path: the checkpoint, for messages.
        tensors: tensors of the checkpoint.
        model: the model of the state.
        rows: number of rows of this process; 0 if no state is carried.
        fabric: a launched Fabric.

    Raises:
        FolderError: a leaf of the state differs in shape or dtype from that of the model.
    """
    found = {name: leaf for name, leaf in tensors.items() if name.startswith("state")}
    expected: dict[str, Tensor] = {}
    if rows and isinstance(model, SequenceModel):
        core = model.core.eval()  # so that no random number is drawn
        whole = torch.zeros(rows * fabric.world_size, 1, core.input_size, device=fabric.device)
        expected = {name: leaf.cpu() for name, leaf in named_leaves(core(whole)[1])}
    check_tensors(path, found, expected)
    if not found:
        return None
    mine = slice(fabric.global_rank * rows, (fabric.global_rank + 1) * rows)
    return map_state(
        lambda leaf: leaf[:, mine].contiguous().to(fabric.device), from_named_leaves(found)
    )
