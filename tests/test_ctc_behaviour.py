"""ctc_loss: forms of arguments and special cases, beside torch.nn.functional.ctc_loss."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from crnn_ext import CTCLoss, ctc_loss

pytestmark = pytest.mark.usefixtures("kernels")
T, N, C, S = 12, 3, 7, 4


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(T, N, C)


TARGETS = torch.tensor([[1, 2, 3, 3], [4, 5, 0, 0], [6, 6, 6, 0]])
IL, TL = torch.tensor([12, 7, 9]), torch.tensor([4, 2, 3])


def with_gradient(x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    leaf = x.detach().requires_grad_()
    loss = ctc_loss(leaf, *args, **kwargs)
    (dx,) = torch.autograd.grad(loss.sum(), leaf)
    return loss.detach(), dx


def with_torch(x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """The same by torch in float64."""
    leaf = x.detach().double().requires_grad_()
    loss = F.ctc_loss(leaf.log_softmax(-1), *args, **kwargs)
    (dx,) = torch.autograd.grad(loss.sum(), leaf)
    return loss.detach().to(x.dtype), dx.to(x.dtype)


# ---- forms of arguments -------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_reductions(x: Tensor, reduction: str) -> None:
    for args in [(TARGETS, IL, TL), (TARGETS, IL, torch.tensor([4, 0, 1]))]:
        expected = with_torch(x, *args, reduction=reduction)
        result = with_gradient(x, *args, reduction=reduction, from_logits=True)
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint32]
)
def test_integer_dtypes(x: Tensor, dtype: torch.dtype) -> None:
    expected = with_gradient(x, TARGETS, IL, TL)
    args = [tensor.to(dtype) for tensor in (TARGETS, IL, TL)]
    torch.testing.assert_close(with_gradient(x, *args), expected, rtol=0, atol=0)


def test_forms_of_targets_and_lengths(x: Tensor) -> None:
    expected = with_gradient(x, TARGETS, IL, TL)
    flat = torch.cat([row[:n] for row, n in zip(TARGETS, TL, strict=True)])
    wide = F.pad(TARGETS, (0, 5), value=-100)
    strided = torch.stack([TARGETS, TARGETS], dim=2)[:, :, 1]
    poisoned = TARGETS.clone()
    poisoned[1, 2:] = 10**15
    for targets in (flat, wide, strided, poisoned):
        torch.testing.assert_close(with_gradient(x, targets, IL, TL), expected, rtol=0, atol=0)
    for il, tl in [([12, 7, 9], (4, 2, 3)), ((12, 7, 9), TL), (IL, [4, 2, 3])]:
        torch.testing.assert_close(with_gradient(x, TARGETS, il, tl), expected, rtol=0, atol=0)
    every_second = torch.stack([IL, TL], dim=1)
    lengths = every_second[:, 0], every_second[:, 1]
    torch.testing.assert_close(with_gradient(x, TARGETS, *lengths), expected, rtol=0, atol=0)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_unbatched(x: Tensor, reduction: str) -> None:
    one = x[:, 0]
    expected = with_torch(one, TARGETS[0], IL[0], TL[0], reduction=reduction)
    for il, tl in [(IL[0], TL[0]), (12, 4), ((12,), [4]), (IL[:1], TL[:1])]:
        options = {"reduction": reduction, "from_logits": True}
        result = with_gradient(one, TARGETS[0], il, tl, **options)  # type: ignore[arg-type]
        assert result[0].shape == ()
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


def test_layouts_of_log_probs(x: Tensor) -> None:
    expected = with_gradient(x, TARGETS, IL, TL, from_logits=True)
    layouts = {
        "NTC": x.transpose(0, 1).contiguous().transpose(0, 1),
        "classes outermost": x.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        "part of a larger tensor": torch.randn(T, N, 2 * C)[:, :, :C].copy_(x),
        "every second frame": x.repeat_interleave(2, 0)[::2],
    }
    for name, layout in layouts.items():
        result = with_gradient(layout, TARGETS, IL, TL, from_logits=True)
        torch.testing.assert_close(result, expected, rtol=0, atol=0, msg=name)
    result = with_gradient(layouts["NTC"], TARGETS, IL, TL, from_logits=True)
    assert result[1].stride() == layouts["NTC"].stride()
    same = x[:, :1].expand(-1, N, -1)
    losses, _ = with_gradient(same, TARGETS[:1].expand(N, -1), [T] * N, [4] * N, reduction="none")
    assert losses.eq(losses[0]).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("from_logits", [True, False])
def test_half_precision_is_computed_in_float32(
    x: Tensor, dtype: torch.dtype, from_logits: bool
) -> None:
    half = (x if from_logits else x.log_softmax(2)).to(dtype)
    loss, dx = with_gradient(half, TARGETS, IL, TL, from_logits=from_logits)
    expected, expected_dx = with_gradient(half.float(), TARGETS, IL, TL, from_logits=from_logits)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
    assert torch.equal(dx, expected_dx.to(dtype))


def test_module(x: Tensor) -> None:
    module = CTCLoss(blank=2, reduction="sum", zero_infinity=True, from_logits=True)
    expected = ctc_loss(x, TARGETS, IL, TL, 2, "sum", True, from_logits=True)
    assert torch.equal(module(x, TARGETS, IL, TL), expected)
    assert repr(module) == (
        "CTCLoss(blank=2, reduction='sum', zero_infinity=True, from_logits=True)"
    )
    assert repr(CTCLoss()).startswith("CTCLoss(blank=0, reduction='mean', zero_infinity=False")


# ---- special cases ------------------------------------------------------------------------------


@pytest.mark.parametrize("from_logits", [True, False])
def test_frames_beyond_the_length_do_not_matter(x: Tensor, from_logits: bool) -> None:
    expected_loss, expected = with_gradient(x, TARGETS, IL, TL, from_logits=from_logits)
    for poison in (math.nan, math.inf, -math.inf):
        padded = x.clone()
        for n, length in enumerate(IL):
            padded[length:, n] = poison
        loss, dx = with_gradient(padded, TARGETS, IL, TL, from_logits=from_logits)
        assert torch.equal(loss, expected_loss)
        assert torch.equal(dx, expected)
    for n, length in enumerate(IL):
        assert expected[length:, n].eq(0).all()
        assert expected[:length, n].ne(0).any()


def test_no_frames_and_no_symbols(x: Tensor) -> None:
    lengths = ([0, 0, 5], [0, 2, 0])
    losses, dx = with_gradient(x, TARGETS, *lengths, reduction="none", from_logits=True)
    assert losses.tolist() == [0.0, math.inf, losses[2].item()]
    blanks = -x[:5, 2].log_softmax(1)[:, 0].sum()
    torch.testing.assert_close(losses[2], blanks)
    assert dx[:, :2].eq(0).all()
    assert dx[5:].eq(0).all()
    nothing = torch.empty(0, N, C)
    assert ctc_loss(nothing, TARGETS, [0] * N, [0] * N, reduction="none").tolist() == [0.0] * N
    no_symbols = torch.empty(N, 0, dtype=torch.int64)
    loss, dx = with_gradient(x, no_symbols, IL, [0] * N, from_logits=True)
    expected = with_torch(x, torch.empty(0, dtype=torch.int64), IL, torch.zeros(N).long())
    torch.testing.assert_close((loss, dx), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_labels_without_a_path(x: Tensor, reduction: str) -> None:
    il = [5, 7, 4]  # samples 1 has a path; 0 needs 5 and has it; 2 (6 6 6) needs 5 frames
    loss, dx = with_gradient(x, TARGETS, il, TL, reduction=reduction, from_logits=True)
    assert torch.isinf(loss).any()
    assert dx[:4, 2].isnan().all()
    assert dx[4:, 2].eq(0).all()
    assert dx[:, :2].isfinite().all()
    lengths = torch.tensor(il)
    expected = with_torch(x, TARGETS, lengths, TL, reduction=reduction, zero_infinity=True)
    result = with_gradient(
        x, TARGETS, il, TL, reduction=reduction, zero_infinity=True, from_logits=True
    )
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)
    assert result[1][:, 2].eq(0).all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_nan_and_inf_reach_their_own_sample_only(
    x: Tensor, value: float, zero_infinity: bool
) -> None:
    options = {"zero_infinity": zero_infinity, "reduction": "none"}
    for from_logits, c in [(True, 6), (False, 4)]:
        bad = x.clone()
        bad[3, 1, c] = value
        args = (TARGETS, IL, TL, 0)
        loss, dx = with_gradient(bad, *args, from_logits=from_logits, **options)
        expected, expected_dx = with_gradient(x, *args, from_logits=from_logits, **options)
        assert loss[1].isnan()
        assert dx[:7, 1].isnan().all()
        assert dx[7:, 1].eq(0).all()
        assert torch.equal(loss[[0, 2]], expected[[0, 2]])
        assert torch.equal(dx[:, [0, 2]], expected_dx[:, [0, 2]])


def test_impossible_classes(x: Tensor) -> None:
    """Log-probabilities of -inf, or masks of -1e30: finite gradient where the loss is finite."""
    for mask in (-math.inf, -1e30, torch.finfo(torch.float32).min):
        masked = x.clone()
        masked[:, :, 6] = mask  # a symbol of label 2 alone
        masked[4, 0, 2] = mask  # symbol 2 of label 0, in one frame of many
        for from_logits in (True, False):
            losses, dx = with_gradient(
                masked, TARGETS, IL, TL, reduction="none", from_logits=from_logits
            )
            assert losses[:2].isfinite().all()
            assert dx[:, :2].isfinite().all()
            assert dx[:, :2, 6].eq(0).all()
            assert losses[2].item() == math.inf
    whole_frame = x.log_softmax(2)
    whole_frame[2, 0] = -math.inf
    assert ctc_loss(whole_frame, TARGETS, IL, TL, reduction="none")[0].item() == math.inf


def test_log_probs_need_no_normalisation(x: Tensor) -> None:
    for shift in (-300.0, 50.0, 3e5):
        loss, _ = with_gradient(x.double() + shift, TARGETS, IL, TL, reduction="none")
        expected = F.ctc_loss(x.double() + shift, TARGETS, IL, TL, reduction="none")
        torch.testing.assert_close(loss, expected)


def test_empty_batch() -> None:
    args = (torch.empty(T, 0, C), torch.empty(0, S, dtype=torch.int64), [], [])
    assert ctc_loss(*args, reduction="none").shape == (0,)
    assert ctc_loss(*args, reduction="sum").item() == 0
    assert math.isnan(ctc_loss(*args).item())
    assert with_gradient(*args, reduction="sum")[1].shape == (T, 0, C)


def test_zero_gradient_of_the_loss_is_zero(x: Tensor) -> None:
    leaf = x.requires_grad_()
    losses = ctc_loss(leaf, TARGETS, IL, TL, reduction="none", from_logits=True)
    (dx,) = torch.autograd.grad(losses, leaf, torch.tensor([0.0, 2.0, 1.0]))
    assert dx[:, 0].eq(0).all()
    expected = with_gradient(x, TARGETS, IL, TL, reduction="none", from_logits=True)[1]
    torch.testing.assert_close(dx[:, 1], 2 * expected[:, 1])
