"""Each kind of attention."""

from __future__ import annotations

import math

import pytest
import torch

from elman.attend import KINDS, Attention
from elman.errors import ArgumentError
from elman.padded import Padded

LENGTHS = torch.tensor([4, 2, 0])


def attention(kind: str) -> Attention:
    torch.manual_seed(0)
    return Attention(8, 8, kind, heads=2).double()  # type: ignore[arg-type]


def data() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    query = torch.randn(3, 5, 8, dtype=torch.float64, generator=draw)
    return query, torch.randn(3, 4, 8, dtype=torch.float64, generator=draw)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_after_a_source_has_no_influence(kind: str) -> None:
    attend, (query, h) = attention(kind), data()
    poisoned = torch.where(Padded(h, LENGTHS).mask().unsqueeze(2), h, torch.nan).requires_grad_()
    context, weights, _ = attend(query, attend.remember(Padded(poisoned, LENGTHS)))
    for row, length in enumerate(LENGTHS.tolist()):
        alone, _, _ = attend(
            query[row : row + 1], attend.remember(Padded.full(h[row : row + 1, :length]))
        )
        torch.testing.assert_close(context[row : row + 1], alone)
    sums = weights.sum(2)
    torch.testing.assert_close(sums[:2], torch.ones_like(sums[:2]))
    assert not bool(context[2].any())
    context.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in attend.parameters() if p.grad is not None)
    assert bool(poisoned.grad.isfinite().all())


def test_scores_equal_the_equations_of_the_papers() -> None:
    query, h = data()
    states = Padded.full(h[:1])
    for kind in ("dot", "multiplicative", "additive"):
        attend = attention(kind)
        q, k = query[0, 0], h[0]
        if kind == "dot":
            scores = k @ q
        elif kind == "multiplicative":
            scores = (k @ attend.key.weight.t()) @ q
        else:
            scores = torch.tanh(attend.query.weight @ q + attend.key(k)) @ attend.energy
        _, weights, _ = attend(query[:1], attend.remember(states))
        torch.testing.assert_close(weights[0, 0].double(), scores.softmax(0), rtol=1e-5, atol=1e-6)


def test_multi_head_attention_equals_scaled_dot_products_of_each_head() -> None:
    attend, (query, h) = attention("multi-head"), data()
    q, k, v = attend.query(query), attend.key(h), attend.value(h)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(4)).softmax(2)
        heads.append(weights @ v[..., part])
    expected = attend.join(torch.cat(heads, 2))
    torch.testing.assert_close(
        attend(query, attend.remember(Padded.full(h)))[0], expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_coverage_is_added_to_the_keys(kind: str) -> None:
    torch.manual_seed(0)
    attend = Attention(8, 8, kind, heads=2, coverage=True).double()  # type: ignore[arg-type]
    assert attend.cover is not None
    torch.nn.init.normal_(attend.cover)
    query, h = data()
    memory = attend.remember(Padded(h, LENGTHS))
    contexts, weights, after = attend(query, memory)
    seen = torch.zeros(3, 4)
    plain = Attention(8, 8, kind, heads=2).double()  # type: ignore[arg-type]
    plain.load_state_dict({n: w for n, w in attend.state_dict().items() if n != "cover"})
    for step in range(5):
        keys = memory.keys + seen.double().unsqueeze(2) * attend.cover
        here = memory._replace(keys=keys, seen=None)
        expected, expected_weights, _ = plain(query[:, step : step + 1], here)
        torch.testing.assert_close(contexts[:, step : step + 1], expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            weights[:, step : step + 1], expected_weights, rtol=1e-5, atol=1e-5
        )
        seen = seen + expected_weights[:, 0]
    torch.testing.assert_close(after.seen, seen)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_memory_can_be_selected_for_beams(kind: str) -> None:
    attend, (query, h) = attention(kind), data()
    which = torch.tensor([1, 1, 0])
    memory = attend.remember(Padded(h, LENGTHS))
    picked, _, _ = attend(query[which], memory.rows(which))
    whole, _, _ = attend(query, memory)
    torch.testing.assert_close(picked, whole[which])


def test_incompatible_sizes_are_refused() -> None:
    with pytest.raises(ArgumentError, match="attention=dot needs states of the same size"):
        Attention(4, 6, "dot")
    with pytest.raises(ArgumentError, match="heads=4 must divide"):
        Attention(6, 6, "multi-head")
    with pytest.raises(ArgumentError, match="attention must be one of"):
        Attention(4, 4, "hard")  # type: ignore[arg-type]
