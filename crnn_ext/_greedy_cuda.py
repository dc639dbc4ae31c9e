"""Greedy reading of frames on a GPU: only labels come to the host, in one copy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from crnn_ext import _cuda
from crnn_ext._check import fail
from crnn_ext._frames import Lengths, check_lengths, check_log_probs

Reading = tuple[list[int], float, list[tuple[int, int]]]

TYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
HEADER = 8  # int32 words of GreedyHeader, csrc/kernels/greedy_cuda.h


def greedy_decode(op: str, log_probs: Tensor, lengths: Lengths, blank: int) -> list[Reading]:
    """What `_C.greedy_decode` returns, after the same checks; waits for the device once."""
    blank = check_log_probs(op, log_probs, blank)
    x = log_probs.detach() if log_probs.dim() == 3 else log_probs.detach().unsqueeze(1)
    T, N, C = x.shape
    if x.dtype not in TYPES:
        x = x.float()
    on_device = _device_lengths(op, lengths, x)
    readings = x.new_empty([N * (HEADER + 3 * T)], dtype=torch.int32)
    best = x.new_empty([12 * T * N], dtype=torch.uint8)
    _cuda.launch(
        "greedy_cuda",
        x.device,
        (x, on_device),
        (readings,),
        (best,),
        (T, N, C, blank, TYPES[x.dtype], *x.stride()),
    )
    return _unpack(op, readings.cpu(), lengths, T)


def _device_lengths(op: str, lengths: Lengths, x: Tensor) -> Tensor | None:
    """int64 lengths on the device, unchecked where they come from there; None: all T."""
    T, N, _ = x.shape
    if lengths is None:
        return None
    if not isinstance(lengths, Tensor) or _cuda.on_host(lengths):
        return check_lengths(op, lengths, T, N).to(x.device, non_blocking=True)
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        fail(op, "lengths", "have an integer dtype", lengths.dtype)
    if lengths.numel() != N:
        fail(op, "lengths", f"hold one value per sample ({N})", lengths.numel())
    if lengths.device != x.device:
        fail(
            op, "lengths", f"be on {x.device} (the device of log_probs) or the CPU", lengths.device
        )
    return lengths.detach().to(torch.int64).reshape(-1).contiguous()


def _unpack(op: str, readings: Tensor, lengths: Lengths, T: int) -> list[Reading]:
    N = readings.numel() // (HEADER + 3 * T)
    header = readings[: N * HEADER].view(N, HEADER)
    counts, wrong, damaged, _ = header[:, :4].t().tolist()
    damage, log_prob = header.view(torch.float64)[:, 2:].t().tolist()
    if any(wrong):
        check_lengths(op, lengths, T, N)  # raises, with the value
    parts = readings[N * HEADER :].view(N, 3, T)
    result: list[Reading] = []
    for n, count in enumerate(counts):
        if damaged[n] >= 0:
            shown = "nan" if math.isnan(damage[n]) else f"{damage[n]:g}"
            got = f"{shown} in frame {damaged[n]} of sample {n}"
            fail(op, "log_probs", "hold neither NaN nor values of 1e9 or more", got)
        labels, begins, ends = parts[n, :, :count].tolist()
        result.append((labels, log_prob[n], list(zip(begins, ends, strict=True))))
    return result
