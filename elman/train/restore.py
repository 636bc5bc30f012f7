"""Random numbers and carried state as a checkpoint has them, given back to each process."""

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
    """Take the random numbers up where this process left them.

    Args:
        path: the checkpoint, for messages.
        states: (processes, bytes) of all processes.
        generator: is set to the state of this one.
        fabric: launched.

    Raises:
        FolderError: the states are damaged, or those of another number of processes.
    """
    before = 0 if states is None or states.dim() != 2 else len(states)
    if states is None or before != fabric.world_size:
        raise FolderError(
            f"{path}: was written by {before} processes and can go on only with as many, but here "
            f"are {fabric.world_size}"
        )
    try:
        generator.set_state(states[fabric.global_rank].clone())  # torch takes no view
    except (RuntimeError, TypeError) as error:
        raise FolderError(
            f"{path}: the state of the random numbers is damaged ({str(error).splitlines()[0]}); "
            "put the right file back"
        ) from error


@torch.no_grad()
def load_state(
    path: Path, tensors: Mapping[str, Tensor], model: SequenceModel | Seq2Seq, rows: int,
    fabric: Fabric,
) -> State | None:  # fmt: skip
    """The state that is carried from batch to batch, the rows of this process.

    Args:
        path: the checkpoint, for messages.
        tensors: those of the checkpoint.
        model: whose state it is.
        rows: of this process; 0 where nothing is carried.
        fabric: launched.

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
