"""The argument checks of every public function; kernels trust their callers."""

from __future__ import annotations

from typing import Any, NoReturn

import torch

from crnn_ext import _C


def fail(op: str, argument: str, rule: str, got: object) -> NoReturn:
    """Raise ``ValueError("<op>: <argument> must <rule>, got <got>")``."""
    raise ValueError(f"{op}: {argument} must {rule}, got {got}")


def fail_type(op: str, argument: str, rule: str, got: Any) -> NoReturn:
    """Raise ``TypeError`` of the same form; `got` is the offending value."""
    raise TypeError(f"{op}: {argument} must {rule}, got {type(got).__name__}")


def fail_dtype(op: str, argument: str, rule: str, got: torch.dtype) -> NoReturn:
    """Raise ``TypeError`` of the same form for a tensor's element type."""
    raise TypeError(f"{op}: {argument} must {rule}, got {str(got).removeprefix('torch.')}")


def check_device(op: str, argument: str, tensor: torch.Tensor, like: torch.Tensor, of: str) -> None:
    """Raise ``ValueError`` of the same form unless `tensor` is on the device of `like` or the CPU.

    Args:
        of: the name of `like`.
    """
    device = tensor.device
    if device != like.device and not (device.type == "cpu" and like.is_cuda):
        rule = f"be on {like.device} (the device of {of})"
        if like.is_cuda:
            rule += " or on the CPU"
        fail(op, argument, rule, device)


def check_kernels(op: str, argument: str, tensor: torch.Tensor) -> None:
    """Raise ``NotImplementedError`` of the same form for a device that has no kernels here."""
    kind = tensor.device.type
    if kind == "cuda" and not _C.built_with_cuda:
        raise NotImplementedError(
            f"{op}: {argument} must be on the CPU (crnn_ext was built without CUDA), "
            f"got {tensor.device}"
        )
    if kind not in ("cpu", "cuda", "meta"):
        raise NotImplementedError(
            f"{op}: {argument} must be on the CPU or a CUDA device, got {tensor.device}"
        )
