"""The layers as operators of torch, for the graphs of `torch.compile` and `torch.export`.

A captured operator must be a function of tensors alone, so the values that are kept for the
backward pass are outputs here, and nothing is overwritten.  Eager code uses the shorter path of
`elman.kernels.layer`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elman.kernels.cells import Constants, Leaves, Run, in_float32, is_separate, sizes
from elman.kernels.recurrence import Recurrence
from elman.kernels.saved import Saved

SAVED = len(Saved._fields)


def run_in_graph(run: Run, x: Tensor, state: Leaves, weights: Constants) -> tuple[Tensor, Leaves]:
    """Run one layer like `run_layer`, on x (T, B, D) whose rows are all T long."""
    kept = state[0].dtype
    if run.bf16:
        state, weights = in_float32(state, weights)
    h, c = state if len(state) == 2 else (state[0], None)
    keep_h, rate_h = _split(run.keep_h)
    keep_c, rate_c = _split(run.keep_c)
    options = (run.cell, run.reverse, run.bf16, rate_h, rate_c)
    masks = (run.mask, keep_h, keep_c)
    operator = layer_for_training if torch.is_grad_enabled() else layer
    y, h_end, c_end, *_ = operator(x.contiguous(), h, c, *weights, *masks, *options)
    end = (h_end, c_end) if len(state) == 2 else (h_end,)
    return (y.bfloat16(), tuple(leaf.to(kept) for leaf in end)) if run.bf16 else (y, end)


def _split(kept: Tensor | float) -> tuple[Tensor | None, float]:
    return (kept, 0.0) if isinstance(kept, Tensor) else (None, float(kept))


def _build(
    x: Tensor, h: Tensor, c: Tensor | None, weights: Constants, masks: Any, options: Any
) -> Recurrence:
    mask, keep_h, keep_c = masks
    cell, reverse, bf16, rate_h, rate_c = options
    run = Run(
        cell,
        reverse,
        x.shape[0],
        mask=mask,
        keep_h=rate_h if keep_h is None else keep_h,
        keep_c=rate_c if keep_c is None else keep_c,
        bf16=bf16,
    )
    state = (h,) if c is None else (h, c)
    return Recurrence(run, x, state, weights, pooled=False)


@torch.library.custom_op("elman::layer", mutates_args=())
def layer(
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    ih: Tensor,
    hh: Tensor,
    bias_ih: Tensor | None,
    bias: Tensor | None,
    hr: Tensor | None,
    peephole: Tensor | None,
    gain: Tensor | None,
    gain_c: Tensor | None,
    bias_c: Tensor | None,
    gain_ih: Tensor | None,
    mask: Tensor | None,
    keep_h: Tensor | None,
    keep_c: Tensor | None,
    cell: str,
    reverse: bool,
    bf16: bool,
    rate_h: float,
    rate_c: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, the last h and the last c, which is empty for cells without c."""
    weights = Constants(ih, hh, bias_ih, bias, hr, peephole, gain, gain_c, bias_c, gain_ih)
    call = _build(x, h, c, weights, (mask, keep_h, keep_c), (cell, reverse, bf16, rate_h, rate_c))
    y, end, _ = call.forward(keep=False)
    return y, end[0], end[1] if c is not None else x.new_empty(0)


@layer.register_fake
def _(x: Tensor, h: Tensor, c: Tensor | None, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    y = h.new_empty(x.shape[0], *h.shape)
    return y, torch.empty_like(h), x.new_empty(0) if c is None else torch.empty_like(c)


@torch.library.custom_op("elman::layer_for_training", mutates_args=())
def layer_for_training(
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    ih: Tensor,
    hh: Tensor,
    bias_ih: Tensor | None,
    bias: Tensor | None,
    hr: Tensor | None,
    peephole: Tensor | None,
    gain: Tensor | None,
    gain_c: Tensor | None,
    bias_c: Tensor | None,
    gain_ih: Tensor | None,
    mask: Tensor | None,
    keep_h: Tensor | None,
    keep_c: Tensor | None,
    cell: str,
    reverse: bool,
    bf16: bool,
    rate_h: float,
    rate_c: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the results of `layer`, and the values that the backward pass needs."""
    weights = Constants(ih, hh, bias_ih, bias, hr, peephole, gain, gain_c, bias_c, gain_ih)
    call = _build(x, h, c, weights, (mask, keep_h, keep_c), (cell, reverse, bf16, rate_h, rate_c))
    y, end, saved = call.forward(keep=True)
    kept = tuple(h.new_empty(0) if buffer is None else buffer for buffer in saved)
    return y, end[0], end[1] if c is not None else x.new_empty(0), *kept  # type: ignore[return-value]


@layer_for_training.register_fake
def _(
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    ih: Tensor,
    hh: Tensor,
    bias_ih: Tensor | None,
    bias: Tensor | None,
    hr: Tensor | None,
    peephole: Tensor | None,
    gain: Tensor | None,
    gain_c: Tensor | None,
    bias_c: Tensor | None,
    gain_ih: Tensor | None,
    mask: Tensor | None,
    keep_h: Tensor | None,
    keep_c: Tensor | None,
    cell: str,
    *_: Any,
) -> Any:
    rows, R = x.shape[0] * x.shape[1], hh.shape[1]
    G, hidden = sizes(cell, hh)
    widths = {
        "a": G,
        "p": G if is_separate(cell, normalised=gain is not None) else None,
        "c": hidden if c is not None else None,
        "seen": R if mask is not None else None,
        "m": hidden if hr is not None else None,
        "stats": 2 if gain is not None else None,
        "normal": G if gain_ih is not None else None,
        "scales": 2 if gain_ih is not None else None,
    }
    found = [widths[name] for name in Saved._fields]
    kept = (h.new_empty(0) if n is None else h.new_empty(rows, n) for n in found)
    end_c = x.new_empty(0) if c is None else torch.empty_like(c)
    return h.new_empty(x.shape[0], *h.shape), torch.empty_like(h), end_c, *kept


@torch.library.custom_op("elman::layer_backward", mutates_args=())
def layer_backward(
    d_y: Tensor,
    d_h: Tensor,
    d_c: Tensor | None,
    y: Tensor,
    saved: list[Tensor],
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    ih: Tensor,
    hh: Tensor,
    bias_ih: Tensor | None,
    bias: Tensor | None,
    hr: Tensor | None,
    peephole: Tensor | None,
    gain: Tensor | None,
    gain_c: Tensor | None,
    bias_c: Tensor | None,
    gain_ih: Tensor | None,
    mask: Tensor | None,
    keep_h: Tensor | None,
    keep_c: Tensor | None,
    cell: str,
    reverse: bool,
    bf16: bool,
    rate_h: float,
    rate_c: float,
) -> list[Tensor]:
    """Return the gradients of x, h, c and the weights; those that do not exist are empty."""
    weights = Constants(ih, hh, bias_ih, bias, hr, peephole, gain, gain_c, bias_c, gain_ih)
    call = _build(x, h, c, weights, (mask, keep_h, keep_c), (cell, reverse, bf16, rate_h, rate_c))
    buffers = [buffer if buffer.numel() else None for buffer in saved]
    kept = Saved(*buffers).copy()
    ends = (d_h,) if c is None else (d_h, d_c)
    d_x, d_state, gradients = call.backward(kept, y, d_y, ends, (True, True))
    assert d_x is not None
    if call.one_bias:  # results must not share memory
        gradients["bias_ih"] = gradients["bias_ih"].clone()
    found = [d_x.to(x.dtype), *d_state, *([] if c is not None else [None])]
    found += [gradients.get(name) for name in Constants._fields]
    inputs = (x, h, c, *weights)
    return [
        x.new_empty(0) if g is None or i is None else g.to(i.dtype).contiguous()
        for g, i in zip(found, inputs, strict=True)
    ]


@layer_backward.register_fake
def _(
    d_y: Tensor,
    d_h: Tensor,
    d_c: Tensor | None,
    y: Tensor,
    saved: list[Tensor],
    x: Tensor,
    *rest: Any,
) -> list[Tensor]:
    inputs = (x, *rest[: 2 + len(Constants._fields)])
    return [x.new_empty(0) if i is None else i.new_empty(i.shape) for i in inputs]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    tensors = inputs[: 6 + len(Constants._fields)]
    ctx.options = inputs[len(tensors) :]
    ctx.there = [t is not None for t in tensors]
    ctx.save_for_backward(output[0], *output[3:], *(t for t in tensors if t is not None))


def _backward(ctx: Any, d_y: Tensor, d_h: Tensor, d_c: Tensor, *_: Any) -> Any:
    y, *rest = ctx.saved_tensors
    saved, given = list(rest[:SAVED]), iter(rest[SAVED:])
    tensors = [next(given) if there else None for there in ctx.there]
    d_c_or_none = d_c if tensors[2] is not None else None
    gradients = layer_backward(d_y, d_h, d_c_or_none, y, saved, *tensors, *ctx.options)
    n = len(gradients)
    there = [g if t is not None else None for g, t in zip(gradients, tensors[:n], strict=True)]
    return *there, *[None] * (len(tensors) - n + len(ctx.options))


layer_for_training.register_autograd(_backward, setup_context=_setup)
