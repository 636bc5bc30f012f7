"""Recurrences that torch.nn does not have, as the fastest loops over time that torch allows.

The contribution of the inputs to the gates is one product outside the loop.  The steps are
separated by `unbind`, because indexing would fill a gradient of the whole sequence at every step.
`torch.jit.script` can compile these functions, too.

Shape legend: x (T, B, H), h and c (B, H).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Result = tuple[Tensor, Tensor, Tensor]  # y (T, B, H), h, c


def layer_norm(x: Tensor, h: Tensor, c: Tensor, w: dict[str, Tensor]) -> Result:
    hh, hidden, four = w["weight_hh_l0"].t(), [h.size(1)], [4 * h.size(1)]
    product = F.linear(x, w["weight_ih_l0"])
    a = F.layer_norm(product, four, w["gain_ih_l0"], w["bias_ih_l0"])
    outputs: list[Tensor] = []
    for a_t in a.unbind(0):
        gates = a_t + F.layer_norm(h @ hh, four, w["gain_hh_l0"], w["bias_hh_l0"])
        i, f, g, o = gates.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        normed = F.layer_norm(c, hidden, w["gain_c_l0"], w["bias_c_l0"])
        h = torch.sigmoid(o) * torch.tanh(normed)
        outputs.append(h)
    return torch.stack(outputs), h, c


def peephole(x: Tensor, h: Tensor, c: Tensor, w: dict[str, Tensor]) -> Result:
    hh = w["weight_hh_l0"].t()
    p_i, p_f, p_o = w["weight_peephole_l0"].chunk(3)
    a = F.linear(x, w["weight_ih_l0"], w["bias_ih_l0"] + w["bias_hh_l0"])
    outputs: list[Tensor] = []
    for a_t in a.unbind(0):
        i, f, g, o = torch.addmm(a_t, h, hh).chunk(4, 1)
        i, f = torch.addcmul(i, p_i, c), torch.addcmul(f, p_f, c)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(torch.addcmul(o, p_o, c)) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), h, c


def zoneout(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    w: dict[str, Tensor],
    kept_h: Tensor | None = None,
    kept_c: Tensor | None = None,
    rate: float = 0.1,
) -> Result:
    """Run an LSTM with zoneout; the choices (T, B, H) can be given, to compare results."""
    hh = w["weight_hh_l0"].t()
    a = F.linear(x, w["weight_ih_l0"], w["bias_ih_l0"] + w["bias_hh_l0"])
    shape = [x.size(0), h.size(0), h.size(1)]
    kept_h = x.new_empty(shape).bernoulli_(rate) if kept_h is None else kept_h
    kept_c = x.new_empty(shape).bernoulli_(rate) if kept_c is None else kept_c
    keep_h, keep_c = kept_h.unbind(0), kept_c.unbind(0)
    outputs: list[Tensor] = []
    for t, a_t in enumerate(a.unbind(0)):
        i, f, g, o = torch.addmm(a_t, h, hh).chunk(4, 1)
        new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.lerp(torch.sigmoid(o) * torch.tanh(new), h, keep_h[t])
        c = torch.lerp(new, c, keep_c[t])
        outputs.append(h)
    return torch.stack(outputs), h, c


def reset_before(x: Tensor, h: Tensor, w: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    sizes = [2 * h.size(1), h.size(1)]
    hh_rz, hh_n = w["weight_hh_l0"].t().split(sizes, 1)
    a_rz, a_n = F.linear(x, w["weight_ih_l0"], w["bias_ih_l0"] + w["bias_hh_l0"]).split(sizes, 2)
    outputs: list[Tensor] = []
    for rz_t, n_t in zip(a_rz.unbind(0), a_n.unbind(0)):  # noqa: B905 - torch.jit has no strict
        r, z = torch.sigmoid(torch.addmm(rz_t, h, hh_rz)).chunk(2, 1)
        h = torch.lerp(torch.tanh(torch.addmm(n_t, r * h, hh_n)), h, z)
        outputs.append(h)
    return torch.stack(outputs), h
