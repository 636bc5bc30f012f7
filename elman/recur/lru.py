"""The linear recurrent unit, whose state is a diagonal linear recurrence of complex numbers.

    s_t = lambda * s_{t-1} + gamma * (B x_t)       lambda = exp(-exp(n) + i exp(p))
    y_t = Re(C s_t) + D x_t                        gamma = exp(g)

n, p and g are trained (`nu_log`, `theta_log`, `gamma_log`), so |lambda| stays below 1.  H complex
units give H outputs.  The layer has no nonlinearity, so several layers without one between them
express no more than one layer: it is used in blocks, see `elman.recur.blocks`.

Source: Orvieto et al. 2023, "Resurrecting Recurrent Neural Networks for Long Sequences"
(arXiv:2303.06349), with its initialisation (appendix A).  There D is a vector; here it is a matrix
(H, F), because inputs and outputs can have different sizes.

Complex numbers are stored as pairs of real ones, so that optimisers, data types and files need no
support for complex numbers.  Rows 2k and 2k + 1 of `weight_in` (2 H, F) are the real and imaginary
parts of row k of B.  Columns 2k and 2k + 1 of `weight_out` (H, 2 H) are the real parts of column k
of C and its imaginary parts with the sign changed.

Shape legend: T steps, B rows, F features, H hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from elman.errors import ArgumentError
from elman.kernels.autograd import seen_by_torch
from elman.kernels.products import linear
from elman.recur.cell import Cell, Leaves, Masks, Shapes, Weights
from elman.recur.linear import last_outputs
from elman.recur.scan import linear_recurrence
from elman.recur.stack import Stack

SMALL = 1e-7  # initial values keep this distance from 0 and 1, where their logarithms are infinite


@dataclass(frozen=True)
class LRUCell(Cell):
    """The equations at the top of this file; the state is (y, s)."""

    r_min: float = 0.9
    r_max: float = 0.999
    max_phase: float = 2 * math.pi
    undecayed = ("nu_log", "theta_log", "gamma_log")

    def __post_init__(self) -> None:
        if not (0 <= self.r_min < self.r_max <= 1 and 0 < self.max_phase <= 2 * math.pi):
            raise ArgumentError(
                "r_min, r_max and max_phase must satisfy 0 <= r_min < r_max <= 1 and "
                f"0 < max_phase <= 2 pi, got {self.r_min}, {self.r_max}, {self.max_phase}"
            )

    def state_shapes(self, hidden: int) -> Shapes:
        """Return the shapes of y, and of the real and imaginary parts of s."""
        return {"y": (hidden,), "s": (hidden, 2)}

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the logarithms and of B, C and D."""
        return {
            "nu_log": (hidden,),
            "theta_log": (hidden,),
            "gamma_log": (hidden,),
            "weight_in": (2 * hidden, features),
            "weight_out": (hidden, 2 * hidden),
            "weight_skip": (hidden, features),
        }

    @torch.no_grad()
    def reset(self, weights: Weights, hidden: int) -> None:
        """Draw lambda uniformly from a ring or a part of it, and normal matrices.

        The variances of the numbers of B, C and D are 1 / (2 F), 1 / H and 1 / F.
        """
        least = self.r_min**2
        square = _wide(torch.empty_like(weights["nu_log"])).uniform_(least, self.r_max**2)
        square.clamp_(SMALL, 1 - SMALL)
        weights["nu_log"].copy_((-0.5 * square.log()).log())
        weights["gamma_log"].copy_(0.5 * (1 - square).log())
        phase = torch.empty_like(square).uniform_(SMALL, 1) * self.max_phase
        weights["theta_log"].copy_(phase.log())
        features = weights["weight_in"].shape[1]
        nn.init.normal_(weights["weight_in"], std=(2 * features) ** -0.5)
        nn.init.normal_(weights["weight_out"], std=hidden**-0.5)
        nn.init.normal_(weights["weight_skip"], std=features**-0.5)

    def begin(self, state: Leaves) -> Leaves:
        """Return a state whose s has the real part y, because no step reads y."""
        y, s = state
        return y, torch.stack([y, torch.zeros_like(y)], -1).to(s.dtype)

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute one step of the equations at the top of this file, in real numbers."""
        factor_re, factor_im = _eigenvalues(weights).unbind(-1)
        re, im = state[1].unbind(-1)
        turned = [factor_re * re - factor_im * im, factor_re * im + factor_im * re]
        s = torch.stack(turned, -1) + _read(x, weights)
        return _write(s, x, weights).to(state[0].dtype), s.to(state[1].dtype)

    def sequence(
        self,
        x: Tensor,
        state: Leaves,
        weights: Weights,
        *,
        masks: Masks,
        lengths: Tensor | None,
        reverse: bool,
    ) -> tuple[Tensor, Leaves]:
        """Run all steps by `linear_recurrence`."""
        if masks.zoneout or seen_by_torch():  # not every exporter knows complex numbers
            return super().sequence(
                x, state, weights, masks=masks, lengths=lengths, reverse=reverse
            )
        read = torch.view_as_complex(_read(x, weights))
        start = torch.view_as_complex(state[1].to(read.real.dtype).contiguous())
        factors = torch.view_as_complex(_eigenvalues(weights))
        s, end = linear_recurrence(factors, read.transpose(0, 1), start, lengths, reverse=reverse)
        y = _write(torch.view_as_real(s.transpose(0, 1)), x, weights).to(state[0].dtype)
        last = last_outputs(y, state[0], lengths, reverse=reverse)
        return y, (last, torch.view_as_real(end).to(state[1].dtype))


def _wide(x: Tensor) -> Tensor:
    """Return x as float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _eigenvalues(weights: Weights) -> Tensor:
    """Return the real and imaginary parts of lambda, (H, 2)."""
    radius, phase = torch.exp(-_wide(weights["nu_log"]).exp()), _wide(weights["theta_log"]).exp()
    return torch.stack([radius * phase.cos(), radius * phase.sin()], -1)


def _read(x: Tensor, weights: Weights) -> Tensor:
    """Return the real and imaginary parts of gamma * (B x), (..., H, 2), for x (..., F)."""
    gamma, matrix = weights["gamma_log"].exp().repeat_interleave(2), weights["weight_in"]
    if x.numel() < matrix.numel():  # scale whichever is smaller
        read = _wide(gamma * linear(x, matrix))
    else:
        read = _wide(linear(x, matrix * gamma[:, None]))
    return read.reshape(*read.shape[:-1], -1, 2)


def _write(s: Tensor, x: Tensor, weights: Weights) -> Tensor:
    """Return y (..., H) for the real and imaginary parts of s, (..., H, 2), and x (..., F)."""
    skip = linear(x, weights["weight_skip"])
    return linear(s.flatten(-2).to(x.dtype), weights["weight_out"]) + skip


class LRU(Stack):
    """Layers of linear recurrent units.

    The state is (y, s), where y is the last output and s holds the real and imaginary parts of the
    H complex units, (..., H, 2).  A layer maps F features to H outputs, so D is a matrix (H, F)
    instead of the paper's vector.

    Args:
        input_size: features of x.
        hidden_size: units of a layer, or one number for each layer.
        num_layers: layers; optional if `hidden_size` lists one number for each layer.
        batch_first: x is (B, T, D) instead of (T, B, D).
        dropout: probability of dropping an output between two layers.
        bidirectional: also read the sequence from its end; the layer is then not causal.
        variational: `dropout` keeps one mask for a whole sequence (arXiv:1512.05287).
        r_min: smallest initial |lambda|.
        r_max: largest initial |lambda|.  A unit remembers about 1 / (1 - |lambda|) steps.
        max_phase: largest initial phase of lambda in radians; small for slow signals.
        device: device of the weights.
        dtype: data type of the weights.

    Raises:
        ArgumentError: a size or a probability is out of its range, or not
            0 <= r_min < r_max <= 1 and 0 < max_phase <= 2 pi.

    Example:
        >>> import torch, elman
        >>> core = elman.LRU(3, 8, batch_first=True, r_min=0.5)
        >>> y, (last, s) = core(torch.zeros(4, 10, 3), lengths=[10, 7, 0, 1])
        >>> y.shape, s.shape
        (torch.Size([4, 10, 8]), torch.Size([1, 4, 8, 2]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        *,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        variational: bool = False,
        r_min: float = 0.9,
        r_max: float = 0.999,
        max_phase: float = 2 * math.pi,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            LRUCell(r_min, r_max, max_phase),
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            variational=variational,
            device=device,
            dtype=dtype,
        )
