"""Products over all steps equal those of torch in float64, from operands of any layout."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from elman import kernels
from elman.kernels import products
from elman.kernels.products import Steps, add_products, block_linear, linear, multiply

pytestmark = pytest.mark.skipif(kernels.native is None, reason="installed without kernels")
SETS = [] if kernels.native is None else kernels.native.instruction_sets()
# T, B, K, M: one, around a register, several blocks of rows, of columns, of summed products.
SIZES = [
    (1, 1, 1, 1),
    (3, 5, 15, 17),
    (7, 9, 17, 63),
    (2, 33, 500, 31),
    (40, 30, 33, 130),
    (1, 200, 1100, 40),
]
# Relative to the largest result: sums of up to 1,200 products, and numbers rounded to 8 bits.
TOLERANCE = {False: 2e-6, True: 1e-2}


@pytest.fixture(params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def chosen(instruction_set: str) -> Iterator[None]:
    """Choose an instruction set, and fill the scratch memory and torch.empty with NaN."""
    before, threads = kernels.name(), torch.get_num_threads()
    torch.set_num_threads(2)
    kernels.native.choose(instruction_set)
    kernels.native.poison_scratch()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    kernels.native.choose(before)
    torch.set_num_threads(threads)


def steps(T: int, B: int, K: int, layout: str) -> Steps:
    """Return inputs of a layout: time or batch first, part of a tensor, with an initial step."""
    if layout == "batch first":
        return Steps(torch.randn(B, T, K).transpose(0, 1))
    if layout == "cut":
        return Steps(torch.randn(T + 2, 2 * B, K + 3)[1:-1, ::2, 2:-1])
    if layout == "bfloat16":
        return Steps(torch.randn(B, T, K).transpose(0, 1).bfloat16())
    if layout == "initial first":
        return Steps(torch.randn(T, B, K), torch.randn(B, K))
    if layout == "initial last":
        return Steps(torch.randn(B, T, K).transpose(0, 1), torch.randn(B, K), at_end=True)
    return Steps(torch.randn(T, B, K))


NAMES = ["time first", "batch first", "cut", "initial first", "initial last"]
# Inputs in bfloat16 are tested only with products that may round.
LAYOUTS = [(name, bf16) for name in NAMES for bf16 in (False, True)] + [("bfloat16", True)]
# All combinations on the first instruction set; a third of them on the others, with all sizes and
# all layouts.
CASES = [
    pytest.param(name, SIZES[i], *LAYOUTS[j], id=f"{name}-{SIZES[i]}-{LAYOUTS[j]}")
    for name in SETS
    for i in range(len(SIZES))
    for j in range(len(LAYOUTS))
    if name == SETS[0] or (i + j) % 3 == 0
]
every_case = pytest.mark.parametrize(("instruction_set", "size", "layout", "bf16"), CASES)


def compare(found: Tensor, wanted: Tensor, bf16: bool) -> None:
    assert found.isfinite().all()
    found, wanted = found.detach(), wanted.detach()
    scale = float(wanted.abs().max())
    assert float((found.double() - wanted).abs().max()) <= TOLERANCE[bf16] * max(scale, 1.0)


@every_case
def test_a_product_equals_that_of_torch(
    size: tuple[int, int, int, int], layout: str, bf16: bool
) -> None:
    torch.manual_seed(0)
    T, B, K, M = size
    a, w, bias = steps(T, B, K, layout), torch.randn(K, M), torch.randn(M)
    expected = a.rows().double() @ w.double()
    for matrix, transposed in ((w, False), (w.t().contiguous(), True)):
        out = torch.empty(T * B, M)
        multiply(a, matrix, out, transposed=transposed, bf16=bf16)
        compare(out, expected, bf16)
        multiply(a, matrix, out, transposed=transposed, bias=bias, bf16=bf16)
        compare(out, expected + bias.double(), bf16)


@every_case
def test_outer_products_accumulate_over_parts(
    size: tuple[int, int, int, int], layout: str, bf16: bool
) -> None:
    torch.manual_seed(0)
    T, B, K, M = size
    sums: dict[str, Tensor] = {}
    wanted = {"x": torch.zeros(M, K).double(), "h": torch.zeros(M, 7).double()}
    for _ in range(3):
        factors = {"x": steps(T, B, K, layout), "h": steps(T, B, 7, "time first")}
        a = torch.randn(T * B, M)
        add_products(sums, a, factors, bf16=bf16)
        for name, factor in factors.items():
            wanted[name] += a.t().double() @ factor.rows().double()
    for name, total in wanted.items():
        compare(sums[name], total, bf16)


def test_parts_by_torch_and_by_the_kernel_accumulate(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    sums: dict[str, Tensor] = {}
    wanted = torch.zeros(8, 5).double()
    for own in (False, True, False):
        monkeypatch.setattr(products, "_own", lambda *_, own=own: own and _has_products())
        a, b = torch.randn(70, 8), torch.randn(70, 5)
        add_products(sums, a, {"x": Steps(b)})
        wanted += a.t().double() @ b.double()
    compare(sums["x"], wanted, False)


def test_a_matrix_without_rows_is_supported() -> None:
    out = torch.empty(0, 3)
    multiply(Steps(torch.empty(0, 2)), torch.randn(2, 3), out, transposed=False)
    sums: dict[str, Tensor] = {}
    add_products(sums, torch.empty(0, 4), {"x": Steps(torch.empty(0, 2))})
    assert torch.equal(sums["x"], torch.zeros(4, 2))


def _has_products() -> bool:
    return bool(kernels.native.has_products())


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", ["time first", "batch first", "cut"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_layer_equals_torch(layout: str, bias: bool) -> None:
    T, B, K, M = 40, 30, 33, 130  # more than products.SMALL multiplications
    x = steps(T, B, K, layout).data.requires_grad_()
    given = [x, torch.randn(M, K, requires_grad=True)]
    given += [torch.randn(M, requires_grad=True)] if bias else []
    exact = [t.detach().double().requires_grad_() for t in given]
    weight = torch.randn(B, T, M).transpose(0, 1)
    y, wanted = linear(*given), torch.nn.functional.linear(*exact)
    assert (type(y.grad_fn).__name__ == "_LinearBackward") == products.native.has_products()
    compare(y, wanted, False)
    found = torch.autograd.grad(y, given, weight)
    for ours, true in zip(found, torch.autograd.grad(wanted, exact, weight.double()), strict=True):
        assert ours.shape == true.shape
        compare(ours, true, False)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize(
    "size", [(70, 9, 1, 3, 70, 17), (40, 30, 2, 8, 9, 16), (3, 200, 2, 1, 40, 33)]
)
def test_block_diagonal_matrices_equal_their_definition(size: tuple[int, ...]) -> None:
    T, B, M, G, U, V = size
    x, w = torch.randn(T, B, G * V, requires_grad=True), torch.randn(M, G, U, V, requires_grad=True)
    exact = [t.detach().double().requires_grad_() for t in (x, w)]
    wanted = torch.cat([exact[0] @ torch.block_diag(*part).t() for part in exact[1]], -1)
    weight = torch.randn(B, T, M * G * U).transpose(0, 1)
    y = block_linear(x, w)
    compare(y, wanted, False)
    found = torch.autograd.grad(y, [x, w], weight)
    for ours, true in zip(found, torch.autograd.grad(wanted, exact, weight.double()), strict=True):
        compare(ours, true, False)
    for i, leaf in enumerate((x, w)):  # one gradient alone
        others = [t.detach() for t in (x, w)]
        others[i] = leaf
        (alone,) = torch.autograd.grad(block_linear(*others), leaf, weight)
        assert torch.equal(alone, found[i])
