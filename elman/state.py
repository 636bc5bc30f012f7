"""Functions on the state of a recurrence between two calls.

A state is a tensor or a (nested) tuple of tensors.  Every leaf has the batch in dimension 1, as in
torch: (layers * directions, B, ...).  None means a state of zeros.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias
from weakref import WeakKeyDictionary

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from elman.errors import ArgumentError, DataError

MOST = 1 << 62  # number of steps that no session reaches, so that counting never overflows

State: TypeAlias = Tensor | tuple["State", ...]

SEAL = "session"  # name of the checksum and the key in the metadata of a state
_HASHES: WeakKeyDictionary[nn.Module, tuple[list[tuple[int, int]], str]] = WeakKeyDictionary()


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
    return safetensors.torch.save(_leaves_of(state))


def _leaves_of(state: State) -> dict[str, Tensor]:
    return {name: leaf.detach().cpu().contiguous().clone() for name, leaf in named_leaves(state)}


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


def sealed(state: State, key: str) -> bytes:
    """Return a state as bytes with a checksum, for a session that a key identifies.

    Example:
        >>> import torch
        >>> from elman.state import restored, sealed
        >>> blob = sealed(torch.ones(1, 1, 2), "model 1")
        >>> restored(blob, torch.zeros(1, 1, 2), "model 1").sum()
        tensor(2.)
        >>> restored(blob, torch.zeros(1, 1, 2), "model 2")
        Traceback (most recent call last):
        elman.errors.DataError: the state is from another model, or from a session with ...
    """
    leaves = _leaves_of(state)
    return safetensors.torch.save(leaves, {SEAL: f"{_checksum(leaves)} {key}"})


def _checksum(leaves: Mapping[str, Tensor]) -> int:
    return zlib.crc32(safetensors.torch.save(dict(leaves)))


def restored(blob: bytes, like: State, key: str | None = None) -> State:
    """Return the state that `to_bytes` or `sealed` stored, checked against another state.

    Args:
        blob: the bytes.
        like: a state with the expected leaves, dtypes and shapes.  If the first dimension of its
            leaf is 0, the stored leaf can be longer.
        key: the key of the session, for bytes of `sealed`; None for those of `to_bytes`.

    Raises:
        ArgumentError: `blob` is not bytes.
        DataError: the bytes are damaged, or contain a state of another session or form.
    """
    if not isinstance(blob, bytes | bytearray | memoryview):
        raise ArgumentError(f"a stored state must be bytes, got {type(blob).__name__}")
    blob = bytes(blob)
    leaves, wanted = leaves_from_bytes(blob), dict(named_leaves(like))
    if key is not None:
        _check_seal(blob, leaves, key)
    if leaves.keys() != wanted.keys():
        raise DataError(
            f"the state has {len(leaves)} leaves, but this model needs {len(wanted)} with other "
            "names: restore it into the model that it came from, with the same settings"
        )
    for name, leaf in wanted.items():
        if not _fits(leaves[name], leaf):
            raise DataError(
                f"the state has {_shown(name, leaves[name])}, but this model needs "
                f"{_shown(name, leaf)}: restore it into the model that it came from, with the same "
                "settings"
            )

    def filled(part: State, name: str) -> State:
        if isinstance(part, Tensor):
            return leaves[name]
        return tuple(filled(one, f"{name}.{n}") for n, one in enumerate(part))

    return filled(like, "state")


def _check_seal(blob: bytes, leaves: Mapping[str, Tensor], key: str) -> None:
    """Raise a DataError if the bytes are damaged, or were stored with another key."""
    header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
    found, _, other = header.get("__metadata__", {}).get(SEAL, "").partition(" ")
    if found != str(_checksum(leaves)):
        raise DataError(
            f"these {len(blob)} bytes are not a stored session, or are damaged: pass the bytes "
            "that state_bytes returned, unchanged"
        )
    if other != key:
        raise DataError(
            "the state is from another model, or from a session with other settings (such as the "
            "sample rate, static values, phrases or endpoints): open the session with the same "
            "model and the same settings"
        )


def hash_of(*parts: object) -> str:
    """Return a hash of modules and of other values, which is equal on every machine.

    Args:
        parts: modules, whose weights are read, and values with an unambiguous `repr`.
    """
    texts = [_weights_hash(one) if isinstance(one, nn.Module) else repr(one) for one in parts]
    return hashlib.blake2b("\n".join(texts).encode(), digest_size=16).hexdigest()


def _weights_hash(module: nn.Module) -> str:
    """Return a hash of the weights of a module, which is computed again after they change."""
    weights = module.state_dict()
    versions = [
        (leaf.data_ptr(), 0 if leaf.is_inference() else leaf._version) for leaf in weights.values()
    ]
    known = _HASHES.get(module)
    if known is None or known[0] != versions:
        digest = hashlib.blake2b(digest_size=16)
        for name, leaf in sorted(weights.items()):
            plain = leaf.detach().cpu().contiguous().reshape(-1)
            digest.update(f"{name} {plain.dtype} {tuple(leaf.shape)}\n".encode())
            digest.update(memoryview(plain.view(torch.uint8).numpy()))
        _HASHES[module] = known = versions, digest.hexdigest()
    return known[1]


def _fits(found: Tensor, wanted: Tensor) -> bool:
    """Return whether a leaf has the right dtype and shape; an empty leaf can become longer."""
    longer = wanted.dim() > 0 and wanted.shape[0] == 0 and found.dim() == wanted.dim()
    shapes = (found.shape[1:], wanted.shape[1:]) if longer else (found.shape, wanted.shape)
    return found.dtype == wanted.dtype and shapes[0] == shapes[1]


def _shown(name: str, leaf: Tensor) -> str:
    return f"{name} {leaf.dtype} {tuple(leaf.shape)}"
