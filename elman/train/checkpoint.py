"""Checkpoints: everything that a run needs to go on as if nothing had happened, in one file.

The file is safetensors: tensors of the model, the optimiser, the carried state and the random
generators; position, optimiser groups and other numbers as JSON in its header.  It is replaced
atomically, so a crash leaves the old one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias, Union

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.optim import Optimizer

from elman.atomic import write_atomic
from elman.errors import FolderError

CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "weights.safetensors"  # of a model folder

Json: TypeAlias = Union[  # noqa: UP007 - a quoted part cannot stand beside |
    bool, int, float, str, list["Json"], dict[str, "Json"], None
]


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Json] | None = None
) -> None:
    """Write tensors and JSON values to a safetensors file, atomically.

    Example:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
        >>> save_tensors(path, {"w": torch.ones(2)}, {"step": 3})
        >>> tensors, facts = load_tensors(path)
        >>> tensors["w"].tolist(), facts
        ([1.0, 1.0], {'step': 3})
    """
    # Shared tensors (tied weights) are written out; each needs memory of its own here.
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    write_atomic(path, safetensors.torch.save(plain, {"elman": json.dumps(facts or {})}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Json]]:
    """Read what `save_tensors` wrote.

    Raises:
        FolderError: the file is missing, damaged or not from Elman.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = (file.metadata() or {}).get("elman")
            # Copied: memory of a mapped file is not aligned as torch's own, and sums on it may
            # round differently.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise FolderError(f"{path}: cannot be read ({error.strerror or error})") from error
    except safetensors.SafetensorError as error:
        raise FolderError(f"{path}: is damaged ({error})") from error
    if facts is None:
        raise FolderError(f"{path}: was not written by Elman")
    return tensors, json.loads(facts)


def optimizer_tensors(optimizer: Optimizer) -> tuple[dict[str, Tensor], Json]:
    """The state of an optimiser as named tensors, and its groups as JSON."""
    state = optimizer.state_dict()
    tensors = {
        f"optimizer.{index}.{name}": torch.as_tensor(value)
        for index, values in state["state"].items()
        for name, value in values.items()
        if value is not None
    }
    return tensors, json.loads(json.dumps(state["param_groups"]))


def check_like(path: Path, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise a FolderError unless all tensors are there, with the dtypes and shapes wanted."""
    for name in sorted(tensors.keys() ^ wanted.keys()):
        what = "is missing" if name in wanted else "is not part of this model"
        raise FolderError(f"{path}: {name} {what}: the file is damaged or of another model")
    for name, tensor in tensors.items():
        like = wanted[name]
        if tensor.dtype != like.dtype or tensor.shape != like.shape:
            raise FolderError(
                f"{path}: {name} is {tensor.dtype} {tuple(tensor.shape)}, expected {like.dtype} "
                f"{tuple(like.shape)}: the file is damaged or of another model"
            )


def check_moments(path: Path, tensors: Mapping[str, Tensor], optimizer: Optimizer) -> None:
    """Raise a FolderError unless the state of an optimiser fits its parameters.

    Numbers aside, such as a count of steps, a state is of its parameter's dtype and shape.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {name: t for name, t in tensors.items() if name.startswith("optimizer.")}
    for name in moments:
        if not int(name.split(".")[1]) < len(parameters):
            raise FolderError(f"{path}: {name} belongs to no parameter: the file is damaged")
    moments = {name: t for name, t in moments.items() if t.dim() or t.dtype == torch.bool}
    check_like(path, moments, {name: parameters[int(name.split(".")[1])] for name in moments})


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], groups: Json) -> None:
    """Put back what `optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})
