"""ctc_loss inside torch: compile, opcheck, fake tensors; bits, threads, SIMD levels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from crnn_ext import _C, CTCLoss, ctc_loss, release_memory

T, N, C = 20, 4, 11
TARGETS = torch.tensor([[1, 2, 3, 3], [4, 5, 0, 0], [6, 6, 6, 0], [10, 9, 0, 0]])
IL, TL = torch.tensor([20, 7, 9, 1]), torch.tensor([4, 2, 3, 1])
SIMD_TESTS = (
    "tests/test_ctc.py",
    "tests/test_ctc_behaviour.py",
    *("-k", "cpu and not torch and not gradcheck and not enumeration and not error"),
)
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(T, N, C)


@pytest.fixture
def _restore_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def loss_and_gradient(x: Tensor, *args: object, **options: object) -> tuple[Tensor, Tensor]:
    leaf = x.detach().requires_grad_()
    loss = ctc_loss(leaf, *args, **options)  # type: ignore[arg-type]
    (dx,) = torch.autograd.grad(loss.sum(), leaf)
    return loss.detach(), dx


# ---- compile ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor's own imports
def test_compiles_without_graph_breaks(x: Tensor, backend: str) -> None:
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("inductor needs g++")
    torch._dynamo.reset()

    def train(x: Tensor, targets: Tensor, il: Tensor, tl: Tensor) -> Tensor:
        return ctc_loss(2 * x, targets, il, tl, from_logits=True)

    compiled = torch.compile(train, fullgraph=True, backend=backend)
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    losses = [f(leaf, TARGETS, IL, TL) for f, leaf in zip((train, compiled), leaves, strict=True)]
    torch.testing.assert_close(losses[1], losses[0], rtol=0, atol=0)
    gradients = [
        torch.autograd.grad(loss, leaf)[0] for loss, leaf in zip(losses, leaves, strict=True)
    ]
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_compiles_every_form(x: Tensor, reduction: str) -> None:
    torch._dynamo.reset()
    flat = torch.cat([row[:n] for row, n in zip(TARGETS, TL, strict=True)])
    module = CTCLoss(reduction=reduction, zero_infinity=True)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    ntc = x.transpose(0, 1).contiguous().transpose(0, 1)
    for inputs in [(x, TARGETS, IL, TL), (ntc, flat, IL.int(), TL), (x.half(), TARGETS, IL, TL)]:
        leaves = [inputs[0].detach().clone().requires_grad_() for _ in range(2)]
        losses = [module(leaves[0], *inputs[1:]), compiled(leaves[1], *inputs[1:])]
        torch.testing.assert_close(losses[1], losses[0], rtol=0, atol=0)
        for loss in losses:
            loss.sum().backward()
        torch.testing.assert_close(leaves[1].grad, leaves[0].grad, rtol=0, atol=0)
        with torch.no_grad():
            torch.testing.assert_close(compiled(*inputs), losses[0], rtol=0, atol=0)
    # Lists of lengths, unbatched.
    one = torch.compile(ctc_loss, fullgraph=True, backend="aot_eager")
    loss = one(x[:, 0], TARGETS[0], [T], [4], reduction=reduction)
    torch.testing.assert_close(loss, ctc_loss(x[:, 0], TARGETS[0], [T], [4], reduction=reduction))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("reduction", [0, 1, 2])
def test_opcheck(x: Tensor, dtype: torch.dtype, reduction: int) -> None:
    op = torch.ops.crnn_ext.ctc_loss.default
    for leaf in (x.to(dtype), x.to(dtype).transpose(0, 1).contiguous().transpose(0, 1)):
        leaf.requires_grad_()
        args = (leaf, TARGETS, IL, TL, 0, reduction, True, True, True)
        torch.library.opcheck(op, args)
        loss, *saved = (tensor.detach() for tensor in op(*args))
        torch.library.opcheck(
            torch.ops.crnn_ext.ctc_loss_backward.default,
            (torch.ones_like(loss), leaf.detach(), TARGETS, IL, TL, *saved, *args[4:8]),
        )
    torch.library.opcheck(
        op, (x.detach().to(dtype), TARGETS, IL, TL, 0, reduction, True, False, False)
    )


def test_the_op_refuses_a_gradient_it_did_not_save(x: Tensor) -> None:
    loss = torch.ops.crnn_ext.ctc_loss(
        x.requires_grad_(), TARGETS, IL, TL, 0, 1, False, True, False
    )[0]
    with pytest.raises(RuntimeError) as caught:
        loss.backward()
    assert str(caught.value) == "ctc_loss: save must be True where a gradient is wanted, got False"


def test_meta_tensors_have_the_shapes(x: Tensor) -> None:
    meta = [tensor.to("meta") for tensor in (x, TARGETS, IL, TL)]
    args = (0, 0, False, True, True)
    outputs = torch.ops.crnn_ext.ctc_loss(x, TARGETS, IL, TL, *args)
    for real, fake in zip(outputs, torch.ops.crnn_ext.ctc_loss(*meta, *args), strict=True):
        assert (real.shape, real.dtype) == (fake.shape, fake.dtype)


def test_second_derivative_of_the_op_is_refused(x: Tensor) -> None:
    leaf = x.requires_grad_()
    loss = torch.ops.crnn_ext.ctc_loss(leaf, TARGETS, IL, TL, 0, 1, False, True, True)[0]
    (dx,) = torch.autograd.grad(loss, leaf, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^ctc_loss: is differentiable once"):
        (loss + dx.norm()).backward()


def test_backward_twice_and_accumulation(x: Tensor) -> None:
    _, expected = loss_and_gradient(x, TARGETS, IL, TL, from_logits=True)
    leaf = x.requires_grad_()
    loss = ctc_loss(leaf, TARGETS, IL, TL, from_logits=True)
    loss.backward(retain_graph=True)
    loss.backward()
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, 2 * expected, rtol=0, atol=0)


def test_changed_input_is_noticed(x: Tensor) -> None:
    leaf = x.requires_grad_()
    middle = leaf * 1
    loss = ctc_loss(middle, TARGETS, IL, TL)
    middle.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_memory_of_large_gradients_is_reused_but_never_shared() -> None:
    torch.manual_seed(4)
    args = (torch.randint(1, 9000, (8, 5)), [128] * 8, [5] * 8)
    xs = [torch.randn(128, 8, 9000), torch.randn(8, 128, 9000).transpose(0, 1)]  # 35 MB each
    release_memory()
    gradients = [loss_and_gradient(x, *args, from_logits=True)[1] for x in xs]
    assert gradients[0].data_ptr() != gradients[1].data_ptr()
    for x, dx in zip(xs, gradients, strict=True):
        assert dx.stride() == x.stride()
        part = loss_and_gradient(x[:, :1], args[0][:1], [128], [5], from_logits=True)[1]
        torch.testing.assert_close(dx[:, :1] * 8, part)
    address = gradients.pop().data_ptr()
    del dx
    again = loss_and_gradient(xs[0], *args, from_logits=True)[1]
    assert again.data_ptr() == address
    assert torch.equal(again, gradients[0])
    assert release_memory() == 0
    del again
    assert release_memory() >= 128 * 8 * 9000 * 4
    assert release_memory() == 0


# ---- bits ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_restore_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_bits_for_every_number_of_threads(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    x = torch.randn(60, 17, 301, dtype=dtype)
    targets = torch.randint(1, 301, (17, 20))
    lengths = torch.randint(30, 61, (17,)), torch.randint(0, 21, (17,))
    results = []
    torch.use_deterministic_algorithms(True)
    try:
        for threads in (1, 2, 3, 8, 1):
            torch.set_num_threads(threads)
            results.append(loss_and_gradient(x, targets, *lengths, from_logits=True))
    finally:
        torch.use_deterministic_algorithms(False)
    for loss, dx in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(dx, results[0][1])


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sample_has_the_same_bits_alone_and_in_any_batch(
    dtype: torch.dtype, from_logits: bool
) -> None:
    torch.manual_seed(2)
    x = torch.randn(40, 9, 29, dtype=dtype)
    targets = torch.randint(1, 29, (9, 23))
    il, tl = torch.randint(20, 41, (9,)), torch.randint(0, 19, (9,))
    losses, dx = loss_and_gradient(
        x, targets, il, tl, reduction="none", from_logits=from_logits, zero_infinity=True
    )
    for order in (range(8, -1, -1), [4], [7, 7, 1]):
        n = list(order)
        part, part_dx = loss_and_gradient(
            x[:, n],
            targets[n],
            il[n],
            tl[n],
            reduction="none",
            from_logits=from_logits,
            zero_infinity=True,
        )
        assert torch.equal(part, losses[n])
        assert torch.equal(part_dx, dx[:, n])
    # Alone, cut to its own frames, in memory of another alignment.
    for n in range(9):
        memory = torch.empty(int(il[n]) * 29 + 1, dtype=dtype)[1:]
        alone = memory.view(-1, 1, 29).copy_(x[: il[n], n : n + 1])
        loss, alone_dx = loss_and_gradient(
            alone,
            targets[n : n + 1, : tl[n]],
            il[n : n + 1],
            tl[n : n + 1],
            reduction="none",
            from_logits=from_logits,
            zero_infinity=True,
        )
        assert torch.equal(loss[0], losses[n])
        assert torch.equal(alone_dx[:, 0], dx[: il[n], n])


def test_the_loss_is_the_same_with_and_without_gradient(x: Tensor) -> None:
    for from_logits in (True, False):
        args = (x, TARGETS, IL, TL, 0, "none")
        with_gradient, _ = loss_and_gradient(*args, from_logits=from_logits)
        assert torch.equal(ctc_loss(*args, from_logits=from_logits), with_gradient)


@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512"])
def test_every_simd_level(level: str) -> None:
    """The tests of values and behaviour again, with the level forced."""
    environment = {**os.environ, "CRNN_SIMD": level}
    probe = subprocess.run(
        [sys.executable, "-c", "from crnn_ext import _C; print(_C.simd_level())"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if level == _C.simd_level():
        pytest.skip("the level of this process")
    if "must be a level this machine has" in probe.stderr:
        pytest.skip(f"this machine has no {level}")
    assert probe.stdout.strip() == level
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *SIMD_TESTS],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:]
