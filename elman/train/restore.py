"""Restore the random generator and the carried state of each process from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from elman.errors import FolderError
from elman.model import SequenceModel
from elman.recur.stack import Stack
from elman.seq2seq import Seq2Seq
from elman.state import State, from_named_leaves, map_state, named_leaves
from elman.train.checkpoint import check_tensors


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
        FolderError: the states are damaged, or belong to another number of processes.
    """
    before = 0 if states is None or states.dim() != 2 else len(states)
    if states is None or before != fabric.world_size:
        raise FolderError(
            f"{path}: was written by {before} processes and can resume only with as many, but here "
            f"are {fabric.world_size}"
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
    path: Path, tensors: Mapping[str, Tensor], model: SequenceModel | Seq2Seq, rows: int,
    fabric: Fabric,
) -> State | None:  # fmt: skip
    """Return the state that is carried from batch to batch, for the rows of this process.

    Args:
        path: the checkpoint, for messages.
        tensors: tensors of the checkpoint.
        model: the model of the state.
        rows: number of rows of this process; 0 if no state is carried.
        fabric: a launched Fabric.

    Raises:
        FolderError: a leaf of the state has another shape or dtype than the model's.
    """
    found = {name: leaf for name, leaf in tensors.items() if name.startswith("state")}
    expected: dict[str, Tensor] = {}
    if rows and isinstance(model, SequenceModel) and isinstance(model.core, Stack):
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
