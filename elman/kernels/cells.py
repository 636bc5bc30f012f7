"""The cells of the native kernels, and the weights and settings with which a layer is run.

Shape legend: T steps, B rows, G gates * units, H units, R features of h (H, or the projection's).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from elman.errors import TensorError
from elman.kernels.ragged import Ragged

Leaves = tuple[Tensor, ...]
CELLS = {"rnn tanh": 0, "rnn relu": 1, "lstm": 2, "gru": 3, "gru reset before": 4}
GATES = {"rnn tanh": 1, "rnn relu": 1, "lstm": 4, "gru": 3, "gru reset before": 3}
LATE = {"gru reset before": 1}  # gates whose matrix, `hr`, is multiplied after the others
SHORT = (torch.float32, torch.bfloat16, torch.float16)


class Constants(NamedTuple):
    """The weights of a layer in the form of the kernel; None where an option is off.

    `bias_ih` is added to the contribution of the inputs to the gates, after its normalisation if
    there is a `gain_ih`.  If nothing is computed between adding `bias_ih` and `bias`, their sum can
    be added.  `hr` is the second matrix of a step: the projection, or the rows missing in `hh`,
    which multiply r * h.
    """

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None = None
    bias: Tensor | None = None
    hr: Tensor | None = None
    peephole: Tensor | None = None
    gain: Tensor | None = None
    gain_c: Tensor | None = None
    bias_c: Tensor | None = None
    gain_ih: Tensor | None = None


SMALL = ("bias", "peephole", "gain", "gain_c", "bias_c")  # the vectors among Constants


@dataclass(slots=True)
class Run:
    """The settings with which one layer is run.

    Args:
        cell: a key of CELLS.
        reverse: run from the last step to the first.
        steps: T.
        ragged: places of the rows in packed data; None if all rows have T steps.
        padded: whether the output of packed data is padded, (T, B, R).
        mask: (B, R), recurrent dropout.
        keep_h: share of the old h that zoneout keeps: (T, B, R), or one number.
        keep_c: share of the old c that zoneout keeps: (T, B, H), or one number.
        bf16: whether products can round their factors to bfloat16.
    """

    cell: str
    reverse: bool
    steps: int
    ragged: Ragged | None = None
    padded: bool = True
    mask: Tensor | None = None
    keep_h: Tensor | float = 0.0
    keep_c: Tensor | float = 0.0
    bf16: bool = False


def sizes(cell: str, hh: Tensor) -> tuple[int, int]:
    """Return gates * units, and units, of a layer with this `hh`."""
    hidden = hh.shape[0] // (GATES[cell] - LATE.get(cell, 0))
    return GATES[cell] * hidden, hidden


def is_separate(cell: str, *, normalised: bool) -> bool:
    """Return whether products with h are kept separate from the contribution of the inputs.

    A GRU that resets after the product needs them separately; an RNN normalises the sum.
    """
    return cell == "gru" or (normalised and not cell.startswith("rnn"))


def in_float32(
    state: Leaves, weights: Constants, *, call: bool = False, matrices: bool = True
) -> tuple[Leaves, Constants]:
    """Convert the state and the weights to float32, except W_ih, which stays unchanged like x.

    Args:
        state: the leaves of the state.
        weights: weights of the layer.
        call: keep biases and states in bfloat16, because a native call of a layer takes them.
        matrices: whether to convert the recurrent matrices if all of them are in bfloat16.
    """
    for tensor in (*state, *weights):
        if tensor is not None and tensor.dtype not in SHORT:
            raise TensorError(f"a weight or state must be float32 or shorter, got {tensor.dtype}")
    kept = set()  # if they are in bfloat16
    if call:
        kept |= {"bias"} if weights.gain_ih is not None else {"bias", "bias_ih"}
    recurrent = [w for w in (weights.hh, weights.hr) if w is not None]
    if not matrices and all(w.dtype == torch.bfloat16 for w in recurrent):
        kept |= {"hh", "hr"}
    rest = {
        name: w.float()
        for name, w in weights._asdict().items()
        if w is not None and name != "ih" and not (name in kept and w.dtype == torch.bfloat16)
    }
    state = tuple(s if call and s.dtype == torch.bfloat16 else s.float() for s in state)
    return state, weights._replace(**rest)


def check_matrix(hh: Tensor) -> None:
    """Raise a TensorError unless W_hh has two dimensions."""
    if hh.dim() != 2:
        raise TensorError(f"weight_hh must be a matrix, got shape {tuple(hh.shape)}")
