"""Functions on the state of a recurrence between two calls.

A state is a tensor or a (nested) tuple of tensors.  Every leaf has the batch in dimension 1, as in
torch: (layers * directions, B, ...).  None means a state of zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from elman.errors import DataError

MOST = 1 << 62  # number of steps that no session reaches, so that counting never overflows

State: TypeAlias = Tensor | tuple["State", ...]


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """Apply a function to every leaf."""
    if isinstance(state, Tensor):
        return function(state)
    return tuple(map_state(function, part) for part in state)


def detach(state: State) -> State:
    """Detach every leaf from its graph, so that truncated BPTT stops there."""
    return map_state(torch.Tensor.detach, state)


def select_rows(state: State, rows: Tensor) -> State:
    """Select rows of the batch by index, each any number of times, for beams and segments.

    Example:
        >>> import torch
        >>> from elman.state import select_rows
        >>> h = torch.tensor([[[1.0], [2.0]]])
        >>> select_rows(h, torch.tensor([1, 1, 0])).flatten().tolist()
        [2.0, 2.0, 1.0]
    """
    return map_state(lambda leaf: leaf.index_select(1, rows.to(leaf.device)), state)


def join_rows(states: Sequence[State]) -> State:
    """Join the rows of states of one form, in this order.

    Example:
        >>> import torch
        >>> from elman.state import join_rows
        >>> join_rows([torch.zeros(1, 2, 3), torch.ones(1, 1, 3)]).shape
        torch.Size([1, 3, 3])
    """
    if isinstance(states[0], Tensor):
        return torch.cat([state for state in states if isinstance(state, Tensor)], 1)
    return tuple(join_rows(parts) for parts in zip(*states, strict=True))


def zero_rows(state: State, rows: Tensor) -> State:
    """Set rows to zero where the boolean mask (B,) is true: a new sequence starts there."""

    def zero(leaf: Tensor) -> Tensor:
        mask = rows.to(leaf.device).view(1, -1, *[1] * (leaf.dim() - 2))
        return leaf.masked_fill(mask, 0)

    return map_state(zero, state)


def named_leaves(state: State, name: str = "state") -> Iterator[tuple[str, Tensor]]:
    """Yield each leaf with its path, such as `state.1.0`; `from_named_leaves` is the inverse."""
    if isinstance(state, Tensor):
        yield name, state
    else:
        for index, part in enumerate(state):
            yield from named_leaves(part, f"{name}.{index}")


def from_named_leaves(leaves: dict[str, Tensor], name: str = "state") -> State:
    """Build a state from named leaves; the inverse of `named_leaves`.

    The leaves are copied: memory of a file can be aligned differently from torch's own, and matrix
    products on it can then round differently.
    """
    if name in leaves:
        return leaves[name].clone()
    parts = {key[len(name) + 1 :].split(".")[0] for key in leaves if key.startswith(f"{name}.")}
    if not parts:
        raise DataError(f"a stored state is damaged: it has no leaf {name!r}")
    return tuple(from_named_leaves(leaves, f"{name}.{i}") for i in range(len(parts)))


def to_bytes(state: State) -> bytes:
    """Return the state as bytes (safetensors), which are equal on every machine.

    Example:
        >>> import torch
        >>> from elman.state import from_bytes, to_bytes
        >>> h, c = from_bytes(to_bytes((torch.ones(1, 2, 3), torch.zeros(1, 2, 3))))
        >>> h.shape, float(h.sum())
        (torch.Size([1, 2, 3]), 6.0)
    """
    return safetensors.torch.save(
        {name: leaf.detach().cpu().contiguous().clone() for name, leaf in named_leaves(state)}
    )


def from_bytes(blob: bytes) -> State:
    """Return the state that `to_bytes` stored; raise a DataError for any other bytes."""
    leaves = leaves_from_bytes(blob)
    try:
        return from_named_leaves(leaves)
    except (KeyError, RecursionError):
        raise DataError(
            f"these {len(blob)} bytes are not a stored state: its names are damaged"
        ) from None


def leaves_from_bytes(blob: bytes) -> dict[str, Tensor]:
    """Return copies of the leaves that `to_bytes` stored; raise a DataError for other bytes."""
    try:
        leaves = safetensors.torch.load(blob)
    except (KeyError, safetensors.SafetensorError) as error:  # KeyError: an unknown dtype
        reason = " ".join(str(error).split())
        raise DataError(f"these {len(blob)} bytes are not a stored state: {reason}") from None
    return {name: leaf.clone() for name, leaf in leaves.items()}


def restored(blob: bytes, like: State) -> State:
    """Return the state that `to_bytes` stored, checked against another state.

    Args:
        blob: the bytes.
        like: a state with the expected leaves, dtypes and shapes.  If the first dimension of its
            leaf is 0, the stored leaf can be longer.

    Raises:
        DataError: the bytes are damaged, or contain a state of another form.
    """
    leaves, wanted = leaves_from_bytes(blob), dict(named_leaves(like))
    if leaves.keys() != wanted.keys() or not all(
        _fits(leaves[name], leaf) for name, leaf in wanted.items()
    ):
        raise DataError(
            f"the state has leaves {_shown(leaves)}, but this model needs {_shown(wanted)}: "
            "restore it into the model that it came from, with the same settings"
        )

    def filled(part: State, name: str) -> State:
        if isinstance(part, Tensor):
            return leaves[name]
        return tuple(filled(one, f"{name}.{n}") for n, one in enumerate(part))

    return filled(like, "state")


def _fits(found: Tensor, wanted: Tensor) -> bool:
    """Return whether a leaf has the right dtype and shape; an empty leaf can become longer."""
    longer = wanted.dim() > 0 and wanted.shape[0] == 0 and found.dim() == wanted.dim()
    shapes = (found.shape[1:], wanted.shape[1:]) if longer else (found.shape, wanted.shape)
    return found.dtype == wanted.dtype and shapes[0] == shapes[1]


def _shown(leaves: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {leaf.dtype} {tuple(leaf.shape)}" for name, leaf in leaves.items())
