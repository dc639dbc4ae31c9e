"""What ctc_loss refuses, and in which words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import crnn_ext
from crnn_ext import _C, ctc_loss

pytestmark = pytest.mark.usefixtures("kernels")
T, N, C = 12, 3, 7
TARGETS = torch.tensor([[1, 2, 3, 3], [4, 5, 0, 0], [6, 6, 6, 0]])
IL, TL = torch.tensor([12, 7, 9]), torch.tensor([4, 2, 3])


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(T, N, C)


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
