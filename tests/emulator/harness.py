"""Runs the CUDA side of crnn_ext on CPU tensors, by the emulator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor

from crnn_ext import _cuda
from emulator import build

Tensors = Sequence[Tensor | None]
Region = tuple[str, int, int, str]


class Emulation:
    """What `crnn_ext._cuda` calls instead of launching kernels.

    Args:
        kernels: from `build.module`, perhaps with a mistake put in.
        seed: of the schedules; counted up with each launch.
        device_labels: treat integers as if they were on a GPU, where the host cannot check them.
    """

    def __init__(self, kernels: ModuleType, seed: int = 0, *, device_labels: bool = False) -> None:
        self.kernels = kernels
        self.seed = seed
        self.device_labels = device_labels
        self.launches: list[int] = []  # of each call

    def on_host(self, tensor: Tensor) -> bool:
        return not self.device_labels

    def scratch_bytes(self, name: str, numbers: Sequence[int]) -> int:
        size: int = getattr(self.kernels, name)(numbers)
        return size

    def launch(
        self,
        name: str,
        reads: Tensors,
        writes: Tensors,
        scratch: Tensors,
        updates: Tensors,
        numbers: Sequence[int],
    ) -> None:
        for tensor in (*writes, *scratch):
            poison(tensor)
        regions = _merge([r for k, t in enumerate(reads) for r in _region(f"input {k}", t, "r")])
        regions += [r for k, t in enumerate(writes) for r in _region(f"output {k}", t, "w")]
        regions += [r for t in scratch for r in _region("scratch", t, "w")]
        regions += [r for k, t in enumerate(updates) for r in _region(f"update {k}", t, "rw")]
        self.kernels.set_regions(regions)
        self.kernels.seed(self.seed)
        self.seed += 1
        tensors = (*reads, *writes, *scratch, *updates)
        addresses = [0 if t is None else t.data_ptr() for t in tensors]
        before = self.kernels.launches()
        try:
            getattr(self.kernels, name)(addresses, numbers, 0)
        except self.kernels.CudaError as error:
            raise _cuda.CudaError(str(error)) from error
        self.launches.append(self.kernels.launches() - before)
        unwritten = [m for m in self.kernels.unwritten() if not m.startswith("scratch")]
        assert not unwritten, f"{name} left {unwritten}"


def poison(tensor: Tensor | None) -> None:
    """Fill with bytes that are NaN in every floating type."""
    if tensor is not None and tensor.numel():
        torch.as_strided(tensor, (tensor.numel(),), (1,)).view(torch.uint8).fill_(0xFF)


def _region(name: str, tensor: Tensor | None, access: str) -> list[Region]:
    """The bytes between the first and the last element of a tensor."""
    if tensor is None or tensor.numel() == 0:
        return []
    last = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return [(name, tensor.data_ptr(), (last + 1) * tensor.itemsize, access)]


def _merge(regions: list[Region]) -> list[Region]:
    """Inputs may overlap: one region for each stretch of memory."""
    merged: list[Region] = []
    for name, begin, size, access in sorted(regions, key=lambda r: r[1]):
        if merged and begin < merged[-1][1] + merged[-1][2]:
            other, start, length, _ = merged[-1]
            end = max(start + length, begin + size)
            merged[-1] = (f"{other}, {name}", start, end - start, access)
        else:
            merged.append((name, begin, size, access))
    return merged


@contextmanager
def emulated(
    *patches: tuple[str, str, str], seed: int = 0, device_labels: bool = False
) -> Iterator[Emulation]:
    """Within, crnn_ext runs its CUDA kernels, on the emulator, for CPU tensors."""
    emulation = Emulation(build.module(*patches), seed, device_labels=device_labels)
    before, _cuda.emulation = _cuda.emulation, emulation
    try:
        yield emulation
    finally:
        _cuda.emulation = before
