"""How CUDA kernels are called: tensors become addresses, work goes to the current stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from crnn_ext import _C

CudaError = _C.CudaError

Tensors = Sequence[Tensor | None]


class Emulation(Protocol):
    """Runs the kernels on CPU tensors: tests put one into `emulation`."""

    def on_host(self, tensor: Tensor) -> bool: ...
    def scratch_bytes(self, name: str, numbers: Sequence[int]) -> int: ...
    def launch(
        self,
        name: str,
        reads: Tensors,
        writes: Tensors,
        scratch: Tensors,
        updates: Tensors,
        numbers: Sequence[int],
    ) -> None: ...


emulation: Emulation | None = None


def takes(tensor: Tensor) -> bool:
    """Whether the CUDA kernels, rather than those for the CPU, run on this tensor."""
    return tensor.is_cuda or (emulation is not None and tensor.device.type == "cpu")


def on_host(tensor: Tensor) -> bool:
    """Whether the CPU can read the tensor without waiting for a device."""
    if emulation is not None:
        return emulation.on_host(tensor)
    return tensor.device.type == "cpu"


def launch(
    name: str,
    device: torch.device,
    reads: Tensors,
    writes: Tensors,
    scratch: Tensors,
    numbers: Sequence[int],
    updates: Tensors = (),
) -> None:
    """Call ``_C.<name>(addresses, numbers, stream)`` on the current stream of `device`.

    Args:
        name: the function of `_C`.
        device: of all the tensors.
        reads: inputs; the kernels never write to them. None passes address 0.
        writes: outputs; the kernels write every element.
        scratch: memory for the kernels' own use.
        numbers: sizes, strides and options, in the function's own order.
        updates: outputs that are read first; their addresses come last.

    Raises:
        CudaError: the launch failed; the message names the operation. The process can go on.
    """
    if emulation is not None:
        emulation.launch(name, reads, writes, scratch, updates, numbers)
        return
    addresses = [0 if t is None else t.data_ptr() for t in (*reads, *writes, *scratch, *updates)]
    function = getattr(_C, name)
    if device.index == torch.cuda.current_device():
        function(addresses, numbers, torch._C._cuda_getCurrentRawStream(device.index))
    else:
        with torch.cuda.device(device):
            function(addresses, numbers, torch._C._cuda_getCurrentRawStream(device.index))


def scratch(name: str, like: Tensor, numbers: Sequence[int]) -> Tensor | None:
    """Memory of as many bytes as ``_C.<name>(numbers)`` says; None for none."""
    if emulation is not None:
        size = emulation.scratch_bytes(name, numbers)
    else:
        size = getattr(_C, name)(numbers)
    return like.new_empty([size], dtype=torch.uint8) if size else None
