"""Fuse several inputs into one sequence: an encoder that is made of encoders.

    x_t                  vectors of the main input, which has the steps
    e_k,t                vectors of input k at step t of the main input:
        value            tanh(W v), the only vector v of a number or category
        late             [max_s h_s ; last states] of the states h_s of a bidirectional GRU that has
                         read input k
        attention        sum_s softmax_s(W x_t . h_s / sqrt(U)) h_s over the states h_s of this GRU
        early            the vector of input k at the same moment, s = floor((t + 1/2) r + o) with r
                         steps of input k in a step of the main input, of which o come before the
                         main input begins; input k is missing before its first and after its last
                         step
    g_k,t = sigmoid(w_k . [x_t ; e_2,t ; ..] + b_k)        a gate for each input
    z_t = [g_1,t x_t ; g_2,t e_2,t ; ..]

The gates are those of arXiv:1702.01992, one for each input instead of one for each feature.  The
vectors of an input that is missing in a row are one learned vector.  In training, inputs are
dropped at random, as if they were missing.  The other inputs are complete before the first step, so
that the fused sequence is causal in the main input.

Shape legend: B rows, T steps of the main input, S steps of input k, D_k features of input k, K
inputs, U features of e_k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.dropout import check_probability, choose
from elman.encode.encoder import unread
from elman.padded import Padded, masked_softmax, time_mask
from elman.recur import GRU

if TYPE_CHECKING:
    from elman.encode.encoder import Encoder

OPEN = 2.0  # b_k at the beginning: gates are almost open


class ReadValue(nn.Module):
    """The vector of a single value: tanh(W v)."""

    def __init__(self, size: int, units: int) -> None:
        super().__init__()
        self.layer = nn.Linear(size, units)

    def forward(self, x: Tensor, one: Padded) -> Tensor:
        """Return vectors (B, 1, U) of an input (B, 1, D_k); `x` (B, T, D) is not read."""
        vectors: Tensor = self.layer(one.data[:, :1])
        return torch.tanh(vectors)


class ReadSequence(nn.Module):
    """The vectors of a sequence that a bidirectional GRU has read.

    Args:
        size: D_k.
        units: hidden units of each direction; U is twice as many with attention, and otherwise four
            times as many.
        main: features D of the main input, which attends to the states; None for the maximum and
            the last states.

    Attributes:
        size: U.
    """

    def __init__(self, size: int, units: int, main: int | None = None) -> None:
        super().__init__()
        self.read = GRU(size, units, batch_first=True, bidirectional=True)
        self.query = None if main is None else nn.Linear(main, 2 * units)
        self.size = 4 * units if main is None else 2 * units

    def forward(self, x: Tensor, one: Padded) -> Tensor:
        """Return vectors (B, T or 1, U) of an input (B, S, D_k), for a main input (B, T, D)."""
        states, last = self.read(one.data, None, one.lengths)
        if self.query is None:
            mask = one.mask().unsqueeze(2)
            highest = torch.where(mask, states, -torch.inf).amax(1)
            highest = torch.where(mask.any(1), highest, 0)
            return torch.cat([highest, last[0], last[1]], 1).unsqueeze(1)
        scores = self.query(x) @ states.mT / states.shape[2] ** 0.5  # (B, T, S)
        weights = masked_softmax(scores, one.mask().unsqueeze(1))
        read: Tensor = weights.to(states.dtype) @ states
        return read


class ReadMoments(nn.Module):
    """The vectors of a sequence whose steps are those of the main input, see `at_moments`."""

    def forward(self, x: Tensor, one: Padded) -> Tensor:
        """Return vectors (B, T, D_k) of an input (B, S, D_k), for a main input (B, T, D)."""
        return nn.functional.pad(one.data, (0, 0, 0, x.shape[1] - one.data.shape[1]))


def at_moments(
    steps: int, begin: int, end: int, ratio: float, offset: float = 0.0
) -> NDArray[np.int64]:
    """Return the step of an input for each step of the main input, up to the end of the input.

    Args:
        steps: S, the number of steps of the input.
        begin, end: steps of the main input.
        ratio: r.
        offset: o; below 0 if the input begins after the main input, and the steps before its
            beginning are then below 0, too.

    Example:
        >>> from elman.encode.fuse import at_moments
        >>> at_moments(2, 0, 6, 0.5).tolist(), at_moments(6, 1, 3, 2.0).tolist()
        ([0, 0, 1, 1], [3, 5])
        >>> at_moments(2, 0, 6, 1.0, -2.0).tolist()
        [-2, -1, 0, 1]
    """
    places = np.floor((np.arange(begin, end) + 0.5) * ratio + offset)
    found: NDArray[np.int64] = places.astype(np.int64)
    return found[found < steps] if steps else found[:0]


class Fuse(nn.Module):
    """An encoder that joins the vectors of all inputs at every step of the main input.

    Args:
        encoders: an encoder for each input, the main input first.
        sizes: D_k of each encoder.
        readers: a module for each other input, which returns its vectors for the main input.
        units: number of features of the vectors of each reader.
        dropped: probability of dropping a whole input in training.
        main_dropped: whether the main input can be dropped, too.
        main_plain: whether the numbers of the main input are passed on unchanged, without a gate,
            as GRU-D and similar cells need them; zeros, a mask of nothing, then stand for a missing
            main input.

    Attributes:
        size: features of z.

    Example:
        >>> import torch
        >>> from elman.encode.embed import Embed
        >>> from elman.encode.fuse import Fuse, ReadSequence
        >>> from elman.padded import Padded
        >>> fuse = Fuse([Embed(5, 3), Embed(7, 2)], [3, 2], [ReadSequence(2, 1)], [4])
        >>> other = Padded.full(torch.zeros(1, 9, dtype=torch.int64))
        >>> batch = Padded.full(torch.zeros(1, 6, dtype=torch.int64))._replace(others=(other,))
        >>> fuse(batch).data.shape
        torch.Size([1, 6, 7])
        >>> missing = Padded(torch.zeros(1, 0, dtype=torch.int64), torch.tensor([0]))
        >>> fuse(batch._replace(others=(missing,))).data.shape
        torch.Size([1, 6, 7])
    """

    def __init__(
        self,
        encoders: Sequence[Encoder],
        sizes: Sequence[int],
        readers: Sequence[nn.Module],
        units: Sequence[int],
        *,
        dropped: float = 0.0,
        main_dropped: bool = True,
        main_plain: bool = False,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)  # type: ignore[arg-type]
        self.readers = nn.ModuleList(readers)
        widths = [sizes[0], *units]
        self.size = sum(widths)
        self.missing = nn.ParameterList(nn.Parameter(0.1 * torch.randn(width)) for width in widths)
        self.gate = nn.Linear(self.size, len(widths))
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, OPEN)
        self.dropped = check_probability("drop_inputs", dropped)
        self.main_dropped, self.main_plain = main_dropped, main_plain
        if main_plain:
            self.missing[0].requires_grad_(False).zero_()

    def forward(self, x: Padded, *, generator: torch.Generator | None = None) -> Padded:
        """Return vectors (B, T, D) for the inputs of a batch; a missing input has no steps."""
        vectors, lengths = self.vectors(x, generator=generator)
        gates = self.gates(vectors)
        gated = [one * gates[..., k : k + 1] for k, one in enumerate(vectors)]
        if self.main_plain:
            gated[0] = vectors[0]
        return Padded(torch.cat(gated, 2), lengths, x.extra)

    def gates(self, vectors: Sequence[Tensor]) -> Tensor:
        """Return the gates (B, T, K) for the vectors of the inputs."""
        whole = [one.expand(-1, vectors[0].shape[1], -1) for one in vectors]
        return torch.sigmoid(self.gate(torch.cat(whole, 2)))

    def vectors(
        self, x: Padded, *, generator: torch.Generator | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return the vectors (B, T, U_k) of each input before the gates, and the lengths (B,)."""
        there = torch.stack([one.lengths > 0 for one in (x, *x.others)], 1)  # (B, K)
        there = there.to(x.data.device)
        if self.training and self.dropped:
            there = self._keep(there, generator)
        first, lengths = self._main(x, there[:, 0], generator)
        found = [first]
        for k, one in enumerate(x.others, 1):
            vectors = self.missing[k].expand(len(first), first.shape[1], -1)
            if one.data.shape[1] and bool((one.lengths > 0).any()):
                reader, inside = self.readers[k - 1], there[:, k, None]
                if isinstance(reader, ReadMoments):
                    inside = inside & _moments(one, first.shape[1]).to(there.device)
                read = reader(first, self.encoders[k](one, generator=generator))
                vectors = torch.where(inside.unsqueeze(2), read, vectors)
            elif self.training:
                vectors = vectors + unread(self.encoders[k], self.readers[k - 1])
            found.append(vectors)
        return found, lengths

    def _main(
        self, x: Padded, there: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return the vectors (B, T, D) of the main input, and their lengths (B,), at least 1."""
        if not bool((x.lengths > 0).any()):
            missing = self.missing[0].expand(len(x.lengths), 1, -1)
            if self.training:
                missing = missing + unread(self.encoders[0])
            return missing, torch.ones_like(x.lengths)
        vectors, lengths, *_ = self.encoders[0](x._replace(others=()), generator=generator)
        return torch.where(there[:, None, None], vectors, self.missing[0]), lengths.clamp(min=1)

    def _keep(self, there: Tensor, generator: torch.Generator | None) -> Tensor:
        """Drop inputs of rows (B, K) at random, but not all of a row."""
        device, p = there.device, 1 - self.dropped
        kept = there & choose(there.shape, p, device=device, generator=generator)
        one = torch.rand(there.shape, device=device, generator=generator).where(there, -1).argmax(1)
        kept[~kept.any(1), one[~kept.any(1)]] = True
        if not self.main_dropped:
            kept[:, 0] = True
        return kept & there


def _moments(one: Padded, steps: int) -> Tensor:
    """Return a mask (B, T) of the steps of the main input at which another input is not missing."""
    there = time_mask(one.lengths, steps)
    return there if one.extra is None else there & ~time_mask(one.extra, steps)
