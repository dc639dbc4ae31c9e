"""ctc_loss: forms of arguments, special cases and errors, beside torch.nn.functional.ctc_loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import crnn_ext
from crnn_ext import _C, CTCLoss, ctc_loss

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


# ---- errors -------------------------------------------------------------------------------------

ERRORS: dict[str, tuple[type[Exception], str, Callable[[Tensor], object]]] = {
    "input_lengths above T": (
        ValueError,
        "ctc_loss: input_lengths[1] must be in 0..12 (T of log_probs), got 13",
        lambda x: ctc_loss(x, TARGETS, [12, 13, 9], TL),
    ),
    "negative input_lengths": (
        ValueError,
        "ctc_loss: input_lengths[2] must be in 0..12 (T of log_probs), got -1",
        lambda x: ctc_loss(x, TARGETS, [12, 7, -1], TL),
    ),
    "negative target_lengths": (
        ValueError,
        "ctc_loss: target_lengths[0] must be at least 0, got -2",
        lambda x: ctc_loss(x, TARGETS, IL, [-2, 2, 3]),
    ),
    "target_lengths above S": (
        ValueError,
        "ctc_loss: target_lengths[1] must be at most 4 (S of targets), got 5",
        lambda x: ctc_loss(x, TARGETS, IL, [4, 5, 3]),
    ),
    "concatenated targets": (
        ValueError,
        "ctc_loss: targets must have sum(target_lengths) = 9 elements, got 12",
        lambda x: ctc_loss(x, TARGETS.flatten(), IL, TL),
    ),
    "lengths whose sum wraps": (
        ValueError,
        f"ctc_loss: targets must have sum(target_lengths) = {2**63 - 1} elements, got 12",
        lambda x: ctc_loss(x, TARGETS.flatten(), IL, [2**62, 2**62, 2**62]),
    ),
    "label too large": (
        ValueError,
        "ctc_loss: targets must hold classes in 0..6, got 7 in sample 1",
        lambda x: ctc_loss(x, TARGETS + torch.tensor([[0], [2], [0]]), IL, TL),
    ),
    "negative label": (
        ValueError,
        "ctc_loss: targets must hold classes in 0..6, got -1 in sample 0",
        lambda x: ctc_loss(x, TARGETS - 2, IL, TL),
    ),
    "blank": (
        ValueError,
        "ctc_loss: blank must be in 0..6 (C of log_probs), got -1",
        lambda x: ctc_loss(x, TARGETS, IL, TL, blank=-1),
    ),
    "blank without classes": (
        ValueError,
        "ctc_loss: log_probs must have at least one class, got [12, 3, 0]",
        lambda x: ctc_loss(x[:, :, :0], TARGETS, IL, TL),
    ),
    "blank type": (
        TypeError,
        "ctc_loss: blank must be an integer, got float",
        lambda x: ctc_loss(x, TARGETS, IL, TL, blank=0.0),  # type: ignore[arg-type]
    ),
    "reduction": (
        ValueError,
        "ctc_loss: reduction must be 'none', 'sum' or 'mean', got 'max'",
        lambda x: ctc_loss(x, TARGETS, IL, TL, reduction="max"),
    ),
    "log_probs type": (
        TypeError,
        "ctc_loss: log_probs must be a Tensor, got list",
        lambda x: ctc_loss(x.tolist(), TARGETS, IL, TL),  # type: ignore[arg-type]
    ),
    "log_probs dtype": (
        TypeError,
        "ctc_loss: log_probs must be float16, bfloat16, float32 or float64, got int64",
        lambda x: ctc_loss(x.long(), TARGETS, IL, TL),
    ),
    "log_probs shape": (
        ValueError,
        "ctc_loss: log_probs must have shape [T, N, C] or [T, C], got [12]",
        lambda x: ctc_loss(x[:, 0, 0], TARGETS, IL, TL),
    ),
    "targets type": (
        TypeError,
        "ctc_loss: targets must be a Tensor, got list",
        lambda x: ctc_loss(x, [1, 2], IL, TL),  # type: ignore[arg-type]
    ),
    "targets dtype": (
        TypeError,
        "ctc_loss: targets must have an integer dtype, got float32",
        lambda x: ctc_loss(x, TARGETS.float(), IL, TL),
    ),
    "targets shape": (
        ValueError,
        "ctc_loss: targets must have shape [3, S] or [sum(target_lengths)], got [2, 4]",
        lambda x: ctc_loss(x, TARGETS[:2], IL, TL),
    ),
    "unbatched targets": (
        ValueError,
        "ctc_loss: targets must have shape [L] for unbatched log_probs, got [1, 4]",
        lambda x: ctc_loss(x[:, 0], TARGETS[:1], 12, 4),
    ),
    "lengths type": (
        TypeError,
        "ctc_loss: input_lengths must be a Tensor, tuple or list of integers, got int",
        lambda x: ctc_loss(x, TARGETS, 12, TL),
    ),
    "lengths of floats": (
        TypeError,
        "ctc_loss: target_lengths must hold integers, got float",
        lambda x: ctc_loss(x, TARGETS, IL, [4, 2.0, 3]),  # type: ignore[list-item]
    ),
    "lengths dtype": (
        TypeError,
        "ctc_loss: input_lengths must have an integer dtype, got float32",
        lambda x: ctc_loss(x, TARGETS, IL.float(), TL),
    ),
    "number of lengths": (
        ValueError,
        "ctc_loss: target_lengths must have shape [3] (N of log_probs), got [2]",
        lambda x: ctc_loss(x, TARGETS, IL, TL[:2]),
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(x: Tensor, name: str) -> None:
    kind, message, call = ERRORS[name]
    with pytest.raises(kind) as caught:
        call(x)
    assert str(caught.value) == message


def test_a_build_without_cuda_refuses_tensors_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_C, "built_with_cuda", False)
    with FakeTensorMode():
        x = torch.empty(T, N, C, device="cuda")
        with pytest.raises(NotImplementedError) as caught:
            crnn_ext.ctc_loss(x, TARGETS, [T] * N, [4] * N)
    assert str(caught.value) == (
        "ctc_loss: log_probs must be on the CPU (crnn_ext was built without CUDA), got cuda:0"
    )


@pytest.mark.parametrize("name", ["targets", "input_lengths"])
def test_tensors_on_several_devices_are_refused(x: Tensor, name: str) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        other = torch.empty(TARGETS.shape if name == "targets" else [N], device="cuda").long()
    args = {"targets": TARGETS, "input_lengths": IL, "target_lengths": TL, name: other}
    with pytest.raises(ValueError, match="must be on") as caught:
        crnn_ext.ctc_loss(x, **args)
    assert str(caught.value) == (
        f"ctc_loss: {name} must be on cpu (the device of log_probs), got cuda:0"
    )


def test_second_derivative_is_refused(x: Tensor) -> None:
    leaf = x.requires_grad_()
    loss = ctc_loss(leaf, TARGETS, IL, TL, from_logits=True)
    (dx,) = torch.autograd.grad(loss, leaf, create_graph=True)
    with pytest.raises(RuntimeError) as caught:
        (loss + dx.norm()).backward()
    assert str(caught.value) == ("ctc_loss: is differentiable once; its gradient has no derivative")
