"""The argument checks of every public function; kernels trust their callers."""

from __future__ import annotations

from typing import Any, NoReturn

import torch


def fail(op: str, argument: str, rule: str, got: object) -> NoReturn:
    """Raise ``ValueError("<op>: <argument> must <rule>, got <got>")``."""
    raise ValueError(f"{op}: {argument} must {rule}, got {got}")


def fail_type(op: str, argument: str, rule: str, got: Any) -> NoReturn:
    """Raise ``TypeError`` of the same form; `got` is the offending value."""
    raise TypeError(f"{op}: {argument} must {rule}, got {type(got).__name__}")


def fail_dtype(op: str, argument: str, rule: str, got: torch.dtype) -> NoReturn:
    """Raise ``TypeError`` of the same form for a tensor's element type."""
    raise TypeError(f"{op}: {argument} must {rule}, got {str(got).removeprefix('torch.')}")


def check_cpu(op: str, argument: str, tensor: torch.Tensor) -> None:
    """Raise ``NotImplementedError`` of the same form for a tensor on a GPU."""
    if tensor.device.type not in ("cpu", "meta"):
        raise NotImplementedError(
            f"{op}: {argument} must be on the CPU (this release of crnn_ext has no CUDA kernels "
            f"for it), got {tensor.device}"
        )
