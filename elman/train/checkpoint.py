"""Checkpoints: one file with everything that a run needs to resume exactly.

The file is in safetensors format.  It contains tensors of the model, the optimiser, the carried
state and the random generators; its header contains the position, optimiser groups and other
numbers as JSON.  It is replaced atomically, so the previous file survives a crash.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias, Union

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.optim import Optimizer

from elman.errors import FolderError
from elman.manifest import write_part

MOMENTS: dict[type[Optimizer], tuple[str, ...]] = {
    torch.optim.Adam: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.SGD: (),
    torch.optim.ASGD: ("step", "eta", "mu", "ax"),
}
SCALARS, AVERAGE = ("step", "eta", "mu"), "average"  # scalar states; the moving average
NEVER_NEGATIVE = (*SCALARS, "exp_avg_sq")
MOVING = ("lr", "t0")  # settings of a group that change during a run

Json: TypeAlias = Union[  # noqa: UP007 - a quoted part cannot be an operand of |
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
    # Shared tensors (tied weights) are written separately; each needs separate memory here.
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    write_part(path, safetensors.torch.save(plain, {"elman": json.dumps(facts or {})}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Json]]:
    """Read the tensors and JSON values that `save_tensors` wrote.

    Raises:
        FolderError: the file is missing, damaged or not from Elman.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = (file.metadata() or {}).get("elman")
            # Tensors are copied, because memory of a mapped file is aligned differently from
            # torch's own, and sums on it can round differently.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise FolderError(f"{path}: cannot be read ({error.strerror or error})") from error
    except safetensors.SafetensorError as error:
        raise FolderError(f"{path}: is damaged ({error})") from error
    if facts is None:
        raise FolderError(f"{path}: was not written by Elman")
    try:
        return tensors, dict(json.loads(facts))
    except (ValueError, TypeError, RecursionError) as error:
        raise FolderError(f"{path}: is damaged ({error})") from error


def select(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, named without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def check_tensors(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise an error for tensors with unexpected names, shapes or dtypes, or with NaN or infinity.

    Raises:
        FolderError: a tensor is not as expected; the message names the file and the tensor.

    Example:
        >>> import torch
        >>> from pathlib import Path
        >>> from elman.train.checkpoint import check_tensors
        >>> check_tensors(Path("a"), {"w": torch.ones(2).long()}, {"w": torch.ones(2)})
        Traceback (most recent call last):
        elman.errors.FolderError: a: w is int64 (2), but config.json describes a model with \
float32 (2); put the right file back
    """
    for name in [*expected, *found]:
        if name not in found or name not in expected:
            reason = "is missing from" if name in expected else "does not belong to"
            raise FolderError(
                f"{path}: {name} {reason} the model that config.json describes; put the right "
                "file back"
            )
        ours, theirs = found[name], expected[name]
        if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
            raise FolderError(
                f"{path}: {name} is {_kind(ours)}, but config.json describes a model with "
                f"{_kind(theirs)}; put the right file back"
            )
        # A finite sum has only finite terms, and is much faster than a check of each term.
        if ours.is_floating_point() and not (ours.sum().isfinite() or ours.isfinite().all()):
            raise FolderError(
                f"{path}: {name} holds a number that is not finite: it is damaged; put the right "
                "file back"
            )


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}".replace(",)", ")")


def optimizer_tensors(optimizer: Optimizer) -> tuple[dict[str, Tensor], Json]:
    """Return the state of an optimiser as named tensors, and its groups as JSON."""
    state = optimizer.state_dict()
    tensors = {
        f"optimizer.{index}.{name}": (
            torch.as_tensor(value, dtype=torch.float32 if name in SCALARS else None)
        )
        for index, values in state["state"].items()
        for name, value in values.items()
        if value is not None
    }
    return tensors, json.loads(json.dumps(state["param_groups"]))


def load_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], groups: Json, path: Path
) -> None:
    """Restore the state that `optimizer_tensors` returned for an optimiser of the same kind.

    Raises:
        FolderError: a moment has another name, shape or dtype, or a group has other settings; the
            message names the file at `path`.
    """
    checked = _checked_groups(path, groups, optimizer_tensors(optimizer)[1])
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    names, one = MOMENTS[type(optimizer)], torch.ones((), dtype=torch.float32)
    found = {name: value for name, value in tensors.items() if name.startswith("optimizer.")}
    expected = {
        f"optimizer.{index}.{name}": one if name in SCALARS else parameter
        for index, parameter in enumerate(parameters)
        for name in (*names, AVERAGE)
        if f"optimizer.{index}.{name}" in found
        # A parameter that never had a gradient has no moments.
        or (name in names and any(f"optimizer.{index}.{other}" in found for other in names))
    }
    check_tensors(path, found, expected)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in found.items():
        _, index, name = key.split(".", 2)
        if name in NEVER_NEGATIVE and value.numel() and value.min() < 0:
            raise FolderError(
                f"{path}: {key} holds a number below zero: it is damaged; put the right file back"
            )
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": checked})


def _checked_groups(path: Path, found: Json, expected: Json) -> list[dict[str, Json]]:
    """Return the groups with settings that a newer torch adds; raise an error if others differ."""
    groups: list[dict[str, Json]] = []
    assert isinstance(expected, list)
    same = isinstance(found, list) and len(found) == len(expected)
    for theirs, ours in zip(found if isinstance(found, list) else [], expected, strict=False):
        assert isinstance(ours, dict)
        if not isinstance(theirs, dict) or theirs.get("params") != ours["params"]:
            same = False
            break
        changed = [n for n in theirs if n in ours and n not in MOVING and theirs[n] != ours[n]]
        if changed:
            name = changed[0]
            raise FolderError(
                f"{path}: was written with {name}={theirs[name]}, but config.json describes a run "
                f"with {ours[name]}; put the right file back"
            )
        for name in set(MOVING) & set(ours):
            rate = theirs.get(name)
            if not (isinstance(rate, int | float) and 0 <= rate < math.inf):
                raise FolderError(
                    f"{path}: {name} of its optimizer is {rate!r}, expected a number, 0 or more; "
                    "put the right file back"
                )
        groups.append(ours | theirs)
    if not same:
        raise FolderError(
            f"{path}: its optimizer does not belong to the model that config.json describes; put "
            "the right file back"
        )
    return groups
