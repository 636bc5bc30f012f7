"""Batches of rows of different lengths are sorted and packed as by torch."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from elman import kernels
from elman.kernels.ragged import Ragged, pack

pytestmark = pytest.mark.skipif(kernels.native is None, reason="installed without kernels")


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_rows_and_their_gradients_equal_those_of_torch(
    batch_first: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    for rows, steps, features in ((1, 1, 1), (5, 7, 3), (40, 9, 17)):
        lengths = torch.randint(1, steps + 1, (rows,))
        shape = (rows, steps, features) if batch_first else (steps, rows, features)
        x = torch.randn(shape, dtype=dtype, requires_grad=True)
        order = lengths.sort(descending=True, stable=True)[1]
        expected = pack_padded_sequence(
            x.index_select(0 if batch_first else 1, order), lengths[order], batch_first=batch_first
        )
        x_TBD = x.transpose(0, 1) if batch_first else x
        ragged = Ragged.sort(lengths, steps)
        packed = pack(x_TBD, ragged)
        assert torch.equal(packed, expected.data)
        sizes = expected.batch_sizes.tolist()
        assert ragged.batch_sizes == sizes + [0] * (steps - len(sizes))
        assert ragged.rows(0, steps) == (0, int(lengths.sum()))
        weight = torch.randn_like(packed)
        ours, theirs = (torch.autograd.grad(data, x, weight)[0] for data in (packed, expected.data))
        assert torch.equal(ours, theirs)


def test_rows_without_elements_are_last_and_rows_of_one_length_keep_their_order() -> None:
    ragged = Ragged.sort(torch.tensor([0, 2, 3, 2, 0], dtype=torch.int32), 4)
    assert ragged.native.start == [0, 3, 6, 7]
    assert ragged.batch_sizes == [3, 3, 1, 0]
    assert ragged.native.order == [2, 1, 3, 0, 4]
