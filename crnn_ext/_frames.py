"""What the decoders have in common: checked log-probabilities, lengths, labels, ready for `_C`."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crnn_ext import _C
from crnn_ext._check import fail, fail_type

Lengths = Tensor | Iterable[int] | int | None


@dataclass(slots=True)  # frozen ones take four times as long to make
class Frames:
    """Checked log-probabilities [T, N, C] (or [T, C]: N = 1) on the CPU, as `_C` takes them."""

    log_probs: Tensor  # what `args` points to
    lengths: Tensor | None  # [N] in int64; None: all T
    args: _C._Frames
    blank: int

    @property
    def batched(self) -> bool:
        return self.log_probs.dim() == 3

    @property
    def counts(self) -> list[int]:
        """The frames of each sample."""
        T, N, _ = self.args[2]
        return [T] * N if self.lengths is None else self.lengths.tolist()

    @property
    def samples(self) -> int:
        return self.args[2][1]

    @property
    def classes(self) -> int:
        return self.args[2][2]


def check_log_probs(op: str, log_probs: Tensor, blank: int) -> int:
    """Check what every decoder checks; return the blank as an integer."""
    if not isinstance(log_probs, Tensor):
        fail_type(op, "log_probs", "be a torch.Tensor", log_probs)
    shape = log_probs.shape
    if len(shape) not in (2, 3):
        fail(op, "log_probs", "have shape [T, N, C] or [T, C]", list(shape))
    if not log_probs.is_floating_point():
        fail(op, "log_probs", "have a floating dtype", log_probs.dtype)
    C = shape[-1]
    if C == 0:
        fail(op, "log_probs", "have at least one class", list(shape))
    blank = operator.index(blank)
    if not 0 <= blank < C:
        fail(op, "blank", f"lie in [0, {C})", blank)
    return blank


def check_frames(op: str, log_probs: Tensor, lengths: Lengths, blank: int) -> Frames:
    """Check the arguments of a decoder; half precision becomes float32, a GPU tensor is copied."""
    blank = check_log_probs(op, log_probs, blank)
    values = log_probs if log_probs.is_cpu else log_probs.detach().cpu()
    dtype = values.dtype
    if dtype != torch.float32 and dtype != torch.float64:
        values, dtype = values.detach().float(), torch.float32
    shape, strides = values.shape, values.stride()
    if len(shape) == 3:
        (T, N, C), (t, n, c) = shape, strides
    else:
        (T, C), (t, c), N, n = shape, strides, 1, 0
    checked = None if lengths is None else check_lengths(op, lengths, T, N)
    address = 0 if checked is None else checked.data_ptr()
    args = values.data_ptr(), dtype == torch.float64, (T, N, C), (t, n, c), address
    return Frames(values, checked, args, blank)


def check_lengths(op: str, lengths: Lengths, T: int, N: int) -> Tensor:
    """The lengths as int64 [N] on the CPU, in range."""
    if lengths is None:
        return torch.full((N,), T, dtype=torch.int64)
    if isinstance(lengths, Tensor):
        if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
            fail(op, "lengths", "have an integer dtype", lengths.dtype)
        values = lengths.detach().to("cpu", torch.int64).reshape(-1).contiguous()
    elif isinstance(lengths, Iterable):
        values = torch.tensor([operator.index(v) for v in lengths], dtype=torch.int64)
    else:
        values = torch.tensor([operator.index(lengths)], dtype=torch.int64)
    if values.numel() != N:
        fail(op, "lengths", f"hold one value per sample ({N})", values.numel())
    wrong = ((values < 0) | (values > T)).nonzero()
    if wrong.numel() > 0:
        n = int(wrong[0])
        fail(op, "lengths", f"lie in [0, {T}]", f"{int(values[n])} for sample {n}")
    return values


def check_labels(
    op: str, labels: Sequence[Sequence[int]], classes: int, blank: int
) -> list[list[int]]:
    """Sequences of classes other than the blank, as `_C` takes them."""
    checked = []
    for k, label in enumerate(labels):
        if isinstance(label, str) or not isinstance(label, Iterable):
            fail_type(op, "labels", "hold sequences of classes", label)
        values = [operator.index(value) for value in label]
        for value in values:
            if not 0 <= value < classes or value == blank:
                rule = f"hold classes in [0, {classes}) other than the blank {blank}"
                fail(op, "labels", rule, f"{value} in label {k}")
        checked.append(values)
    return checked
