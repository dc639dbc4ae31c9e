"""The CTC kernels for CUDA: csrc/kernels/ctc_cuda.h, launched without waiting for the device.

Arguments as in `_ctc_ops`. Targets and lengths on the device are int32 or int64 and go to the
kernels as they are; those on the host are checked there and copied.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from crnn_ext import _C, _cuda
from crnn_ext._check import fail

OP = "ctc_loss"
LONGEST = 1023  # kCtcCudaLongest
TYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
MEAN = 2


class Labels(NamedTuple):
    """Targets and lengths on the device, and what the host knows of them."""

    targets: Tensor
    input_lengths: Tensor
    target_lengths: Tensor
    longest: int  # no label that has a path is longer


def saved_size(x: Tensor, targets: Tensor, from_logits: bool, for_gradient: bool) -> int:
    """Elements of the buffer that csrc/kernels/ctc_cuda.h describes."""
    T, N, _ = x.shape
    size = N + (2 * T * N if from_logits else 0)
    if for_gradient:
        size += T * (2 * targets.numel() + N) + 4 * N + targets.numel()
    return size


def prepare(x: Tensor, targets: Tensor, il: Tensor, tl: Tensor) -> Labels:
    """Check what is on the host, as the CPU kernels do, and bring it to the device."""
    T, N, C = x.shape
    width = targets.shape[1] if targets.dim() == 2 else -1
    addresses = [t.data_ptr() if _cuda.on_host(t) else 0 for t in (targets, il, tl)]
    if any(addresses):
        _C.ctc_check(T, N, C, targets.numel(), width, *addresses)
    longest = min(targets.numel(), T) if width < 0 else width
    if _cuda.on_host(tl):
        longest = int(tl.max()) if N else 0
        if longest > LONGEST:
            fail(OP, "target_lengths", f"be at most {LONGEST} on CUDA", longest)
    targets, il, tl = (t.to(x.device, non_blocking=True) for t in (targets, il, tl))
    return Labels(targets, il, tl, min(longest, LONGEST))


def _numbers(
    x: Tensor,
    targets: Tensor,
    longest: int,
    lengths_bytes: tuple[int, int],
    options: tuple[int, int, bool, bool],
    rest: tuple[int, int, int, int],
) -> list[int]:
    """The numbers of csrc/bindings/bind_cuda_ctc.cpp."""
    T, N, C = x.shape
    x_t, x_n, _ = x.stride()
    blank, reduction, zero_infinity, from_logits = options
    width = targets.shape[1] if targets.dim() == 2 else -1
    return [
        *(T, N, C, targets.numel(), blank, from_logits, width, longest, TYPES[x.dtype]),
        *(x_t, x_n, targets.itemsize, *lengths_bytes, reduction, zero_infinity, *rest),
    ]


def forward(
    x: Tensor,
    labels: Labels,
    options: tuple[int, int, bool, bool],
    for_gradient: bool,
    loss: Tensor,
    saved: Tensor,
) -> None:
    """Launch the forward kernels; `x` has stride 1 over classes."""
    if x.shape[1] == 0:
        loss.fill_(math.nan if options[1] == MEAN else 0)
        return
    targets, il, tl, longest = labels
    rest = (for_gradient, 0, 0, 0)
    numbers = _numbers(x, targets, longest, (il.itemsize, tl.itemsize), options, rest)
    scratch = _cuda.scratch("ctc_cuda_scratch_bytes", x, numbers)
    reads = (x, targets, il, tl)
    _cuda.launch("ctc_cuda_forward", x.device, reads, (saved, loss), (scratch,), numbers)


def backward(
    x: Tensor,
    targets: Tensor,
    options: tuple[int, int, bool, bool],
    saved: Tensor,
    grad: Tensor,
    dx: Tensor,
) -> None:
    """Launch the backward kernel."""
    if dx.numel() == 0:
        return
    targets = targets.to(x.device, non_blocking=True)
    strides = (grad.stride(0) if grad.dim() else 0, dx.stride(0), dx.stride(1))
    numbers = _numbers(x, targets, 0, (0, 0), options, (True, *strides))
    reads = (x, targets, saved, grad)
    _cuda.launch("ctc_cuda_backward", x.device, reads, (dx,), (), numbers)
